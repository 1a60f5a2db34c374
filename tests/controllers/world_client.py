"""The client of a ``World``, as each controller's process has one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import orjson

from hawser.api import errors
from hawser.api.kinds import EVENT, SUBJECT_ACCESS_REVIEW, Kind
from hawser.apiserver.paths import parse
from hawser.client.client import Client

from .world import Fault, World


class WorldClient(Client):
    """A client whose requests end in a World."""

    def __init__(self, world: World) -> None:
        super().__init__("http://world.invalid", ca=b"the certificate")
        self._world = world

    async def raw(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        accept: str = "",
    ) -> bytes:
        world = self._world
        target = parse(method, f"{path}?{urlencode(params or {})}")
        body = orjson.loads(orjson.dumps(body)) if body is not None else None
        world.requests += 1
        await asyncio.sleep(0)
        if path == "/apis":
            return orjson.dumps({"items": world.groups})
        if target.verb == "list":
            return orjson.dumps(world.listing(target))
        if method == "GET" or target.kind in (EVENT, SUBJECT_ACCESS_REVIEW):
            return orjson.dumps(world.request(target, method, body, content_type))
        world.writes += 1
        fault = next(world.faults, Fault.NONE)
        if world.crashed or fault is Fault.REFUSED:
            await self._end(world.crashed, "refused")
        answer = world.request(target, method, body, content_type)
        try:
            world.on_write(method, answer)
        except AssertionError as error:
            world.broken.append(error)
        if fault is not Fault.NONE:
            await self._end(fault is Fault.CRASH, "lost")
        await asyncio.sleep(0)
        return orjson.dumps(answer)

    async def _end(self, crashed: bool, what: str) -> None:
        if crashed:
            # Whoever asked does nothing any more until it is cancelled.
            self._world.crashed = True
            await asyncio.get_running_loop().create_future()
        raise errors.service_unavailable(f"the answer is {what}")

    def watch(
        self,
        kind: Kind,
        namespace: str | None = None,
        resource_version: str = "",
        label_selector: str = "",
        field_selector: str = "",
        **_: Any,
    ) -> Any:
        return self._world.watch(kind, namespace or "", field_selector, int(resource_version))

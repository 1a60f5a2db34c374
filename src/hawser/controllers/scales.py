"""The scale subresource of whatever has one: built-in kinds and custom resources alike.

Source: Scale v1 autoscaling, API reference; errors are worded as those of client-go's scale client and REST mapper.
"""

from __future__ import annotations

from dataclasses import replace

import orjson

from hawser.api import kinds
from hawser.api.errors import APIError
from hawser.api.kinds import KINDS, Kind
from hawser.api.types import Obj
from hawser.client.client import Client
from hawser.client.clock import Clock
from hawser.client.discovery import custom_kinds

_REMEMBERED_SECONDS = 2.0


class Scales:
    """Finds kinds by what references say of them, and reads and writes their scales."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._custom: dict[tuple[str, str], Kind] = {}
        self._asked = -_REMEMBERED_SECONDS

    async def kind(self, api_version: str, kind: str) -> Kind:
        """The row of a kind in a version. Raises APIError when it is not served."""
        if (row := kinds.of(api_version, kind)) is not None:
            return row
        group, _, version = api_version.rpartition("/")
        return replace(await self._custom_kind(group, kind), version=version)

    async def preferred(self, api_version: str, kind: str) -> Kind:
        """The row of a kind in the version that the server prefers: autoscalers look at a reference's group alone.

        Raises APIError when it is not served.
        """
        group = api_version.rpartition("/")[0]
        known = next((row for row in KINDS if (row.group, row.kind) == (group, kind)), None)
        return known if known is not None else await self._custom_kind(group, kind)

    async def _custom_kind(self, group: str, kind: str) -> Kind:
        known = self._custom.get((group, kind))
        if known is None and self._clock.monotonic() - self._asked >= _REMEMBERED_SECONDS:
            self._asked = self._clock.monotonic()
            self._custom = {(row.group, row.kind): row for row in await custom_kinds(self._client)}
            known = self._custom.get((group, kind))
        if known is None:
            raise APIError(404, "NotFound", f'no matches for kind "{kind}" in group "{group}"')
        return known

    async def get(self, kind: Kind, namespace: str, name: str) -> Obj:
        """The Scale of an object. Raises APIError."""
        return await self._client.get_subresource(kind, name, namespace, "scale")

    async def set(self, kind: Kind, scale: Obj, replicas: int) -> Obj:
        """Writes the number of replicas into the Scale that was read. Raises APIError, 409 when it has changed."""
        body = {**scale, "spec": {**(scale.get("spec") or {}), "replicas": replicas}}
        return await self._client.update(kind, body, "scale")

    async def is_scalable(self, kind: Kind) -> bool:
        """Whether the kind has a scale at all. Raises APIError."""
        if kind in KINDS:
            return "scale" in kind.subresources
        listed = orjson.loads(await self._client.raw("GET", f"/apis/{kind.api_version}"))
        return any(resource["name"] == f"{kind.plural}/scale" for resource in listed.get("resources") or ())

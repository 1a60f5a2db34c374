"""Pods of a running engine, as tests make and watch them."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from hawser.api.errors import APIError
from hawser.api.kinds import EVENT, NODE, POD
from hawser.client.client import Client

from . import engine as engines
from .engine import Engine
from .images import BUSYBOX

Obj = dict[str, Any]
FOREVER = "trap exit TERM; sleep 3600 & wait"


async def remove_pods(engine: Engine) -> None:
    """Removes all pods of the default namespace and waits for it."""
    async with Client.from_kubeconfig(engine.kubeconfig) as client:
        await client.delete_collection(POD, "default", grace_period=1)
        await until(lambda: none_left(client))


async def none_left(client: Client) -> bool:
    return not (await client.list(POD, "default")).items


async def node_is_there(client: Client) -> bool:
    try:
        await client.get(NODE, engines.NODE)
    except APIError:
        return False
    return True


async def until(check: Callable[[], Any], seconds: float = 120) -> Any:
    """Waits until ``await check()`` is true; its result."""
    end = time.monotonic() + seconds
    while True:
        result = await check()
        if result or time.monotonic() > end:
            assert result
            return result
        await asyncio.sleep(0.01)


def pod(name: str, script: str = FOREVER, container: Obj | None = None, **spec: Any) -> Obj:
    one = {"name": "c", "image": BUSYBOX, "command": ["/bin/sh", "-c", script], **(container or {})}
    spec = {"nodeName": engines.NODE, "hostNetwork": True, "terminationGracePeriodSeconds": 2, **spec}
    spec.setdefault("containers", [one])
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


async def seen(client: Client, name: str, check: Callable[[Obj], Any], seconds: float = 120) -> Obj:
    """The pod, once ``check(pod)`` is true."""
    last: Obj = {}

    async def look() -> bool:
        nonlocal last
        last = await client.get(POD, name, "default")
        return bool(check(last))

    try:
        await until(look, seconds)
    except AssertionError:
        pytest.fail(f"pod {name} stayed as {last.get('status')}")
    return last


def ready(obj: Obj) -> bool:
    rows = (obj.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in rows)


def phase(wanted: str) -> Callable[[Obj], bool]:
    return lambda obj: (obj.get("status") or {}).get("phase") == wanted


def state(obj: Obj, kind: str = "containerStatuses") -> Obj:
    rows = (obj.get("status") or {}).get(kind) or [{}]
    found: Obj = rows[0]
    return found


async def events(client: Client, name: str) -> list[tuple[str, str]]:
    listed = await client.list(EVENT, "default", field_selector=f"involvedObject.name={name}")
    return [(e["reason"], e["message"]) for e in listed.items]


async def reason(client: Client, name: str, wanted: str, words: str = "") -> None:
    async def look() -> bool:
        return any(r == wanted and words in m for r, m in await events(client, name))

    await until(look)


def log_of(engine: Engine, obj: Obj, container: str = "c", count: int = 0) -> str:
    meta = obj["metadata"]
    folder = engine.folder / "agent/logs/pods" / f"{meta['namespace']}_{meta['name']}_{meta['uid']}"
    lines = (folder / container / f"{count}.log").read_text().splitlines()
    return "\n".join(line.split(" ", 3)[3] for line in lines)


async def gone(client: Client, name: str, seconds: float = 120) -> None:
    async def look() -> bool:
        try:
            await client.get(POD, name, "default")
        except APIError as err:
            return err.code == 404
        return False

    await until(look, seconds)


async def ask(engine: Engine, path: str, token: str | None = None) -> tuple[int, str]:
    """As somebody who asks the agent itself: with a token, or as the API server with its certificate."""
    pki = engine.settings.pki_dir
    tls = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    if token is None:
        tls.load_cert_chain(pki / "apiserver-kubelet-client.crt", pki / "apiserver-kubelet-client.key")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session,
        session.get(f"https://{engine.settings.kubelet_listen}{path}", headers=headers) as answer,
    ):
        return answer.status, await answer.text()


async def page(engine: Engine, path: str) -> str:
    """A page of the agent."""
    status, text = await ask(engine, path)
    assert status == 200, text
    return text

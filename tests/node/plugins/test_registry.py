"""Plugins that the node does not take are asked again, each in its own time."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from hawser.node.plugins import registry, tables
from hawser.node.plugins.registry import Registry
from hawser.node.rpc.server import Server

_PAUSE = 0.05


class Taking:
    """Takes a plugin in at its ``last`` attempt. asked: when each was brought, by the event loop's clock."""

    def __init__(self, last: int) -> None:
        self._last = last
        self._news = asyncio.Condition()
        self.asked: dict[str, list[float]] = defaultdict(list)
        self.taken: set[str] = set()

    async def register(self, name: str, endpoint: str, versions: Sequence[str]) -> str:
        async with self._news:
            self.asked[name].append(asyncio.get_running_loop().time())
            if len(self.asked[name]) == self._last:
                self.taken.add(name)
            self._news.notify_all()
        return "" if name in self.taken else "not yet"

    async def deregister(self, name: str, endpoint: str) -> None:
        async with self._news:
            self.taken.discard(name)
            self._news.notify_all()

    async def until(self, check: Callable[[], bool]) -> None:
        async with asyncio.timeout(20), self._news:
            await self._news.wait_for(check)


async def plugin(folder: Path, name: str, *, hangs: bool = False) -> Server:
    async def info(request: Any) -> Mapping[str, Any]:
        await (asyncio.Event().wait() if hangs else asyncio.sleep(0))
        return {"type": "Toy", "name": name, "supported_versions": ["1"]}

    async def notify(request: Any) -> Mapping[str, Any]:
        return {}

    server = Server(folder / f"{name}.sock")
    server.add(tables.registration(), "Registration", {"GetInfo": info, "NotifyRegistrationStatus": notify})
    await server.start()
    return server


@pytest.fixture
async def plugins(tmp_path: Path) -> AsyncIterator[list[Server]]:
    servers = [await plugin(tmp_path, name) for name in ("a", "b", "c")]
    yield servers
    for server in servers:
        await server.stop()


async def test_a_plugin_that_is_refused_is_asked_again_after_pauses_that_grow(
    tmp_path: Path, plugins: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_RETRY_SECONDS", _PAUSE)
    taking = Taking(5)
    known = Registry(tmp_path, {"Toy": lambda: taking})
    known.start()
    await taking.until(lambda: taking.taken == {"a", "b", "c"})
    for times in taking.asked.values():
        assert len(times) == 5
        pauses = [after - before for before, after in pairwise(times)]
        assert all(pause > _PAUSE * 2**i - 0.02 for i, pause in enumerate(pauses)), "others do not bring it forward"
    await plugins[0].stop()
    await taking.until(lambda: taking.taken == {"b", "c"})
    await known.close()


async def test_a_plugin_that_does_not_answer_holds_up_no_other(tmp_path: Path, plugins: list[Server]) -> None:
    hung = await plugin(tmp_path, "0", hangs=True)
    taking = Taking(1)
    known = Registry(tmp_path, {"Toy": lambda: taking})
    known.start()
    await taking.until(lambda: taking.taken == {"a", "b", "c"})
    await known.close()
    await hung.stop()


async def test_a_plugin_that_brings_about_a_mistake_keeps_no_other_from_being_asked_again(
    tmp_path: Path, plugins: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mistaken(Taking):
        async def register(self, name: str, endpoint: str, versions: Sequence[str]) -> str:
            if name == "a":
                raise KeyError(name)
            return await super().register(name, endpoint, versions)

    monkeypatch.setattr(registry, "_RETRY_SECONDS", _PAUSE)
    taking = Mistaken(3)
    known = Registry(tmp_path, {"Toy": lambda: taking})
    known.start()
    await taking.until(lambda: taking.taken == {"b", "c"})
    await known.close()


async def test_nobody_is_asked_again_once_it_is_closed(
    tmp_path: Path, plugins: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_RETRY_SECONDS", _PAUSE)
    taking = Taking(2)
    known = Registry(tmp_path, {"Toy": lambda: taking})
    known.start()
    await taking.until(lambda: len(taking.asked) == 3)
    await known.close()
    await asyncio.sleep(2 * _PAUSE)
    assert not taking.taken

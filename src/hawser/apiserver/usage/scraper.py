"""Asking node agents what is used, when somebody wants to know: two looks, the older one kept from the last time."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from hawser.api.errors import APIError
from hawser.apiserver.agents import Agents
from hawser.apiserver.relay import Goal, Relay
from hawser.apiserver.usage.samples import SHORTEST, Key, Sample, Use, parse, uses

_FRESH_SECONDS = 5.0
_OLDEST_SECONDS = 120.0
_ASK_SECONDS = 10.0
_PATH = "/metrics/resource"


@dataclass(slots=True)
class _Node:
    before: Sample | None = None
    last: Sample | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Scraper:
    """Remembers two samples of each node that was asked about."""

    def __init__(self, agents: Agents, relay: Relay) -> None:
        self._agents = agents
        self._relay = relay
        self._nodes: dict[str, _Node] = {}

    async def node(self, name: str) -> dict[Key, Use]:
        """What a node and its containers use; empty when its agent does not answer."""
        known = self._nodes.setdefault(name, _Node())
        async with known.lock:
            try:
                await self._look(name, known)
            except (APIError, TimeoutError):
                return {}
            assert known.before is not None and known.last is not None
            return uses(known.before, known.last)

    async def _look(self, name: str, known: _Node) -> None:
        now = time.time()
        if known.before is not None and known.last is not None and now - known.last.at < _FRESH_SECONDS:
            return
        base = known.last
        if base is None or now - base.at > _OLDEST_SECONDS:
            base = await self._ask(name)
        await asyncio.sleep(max(0.0, base.at + SHORTEST - time.time()))
        known.last = await self._ask(name)
        known.before = base

    async def _ask(self, name: str) -> Sample:
        address = self._agents.address(name)
        goal = Goal(address.host, address.port, _PATH, self._agents.tls)
        async with asyncio.timeout(_ASK_SECONDS):
            status, body = await self._relay.fetch(goal, ())
        if status != 200:
            raise APIError(503, "ServiceUnavailable", f"the agent of node {name} answered {status}")
        return parse(body.decode(), time.time())

    def forget(self, live: set[str]) -> None:
        """Drops what is known of nodes that have gone."""
        for name in [n for n in self._nodes if n not in live]:
            del self._nodes[name]

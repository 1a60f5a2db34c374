"""What is promised to pods that are placed and not bound yet: volumes. Pure; the same for a live cluster and a dump."""

from __future__ import annotations

from hawser.scheduler import volumes
from hawser.scheduler.cache import Cache
from hawser.scheduler.filters import Refusal
from hawser.scheduler.placement import NodeCheck
from hawser.scheduler.shapes import PodInfo
from hawser.scheduler.volumes import Binding, Stock


class Promises:
    """Decides on volumes, and remembers what is decided until it is written."""

    def __init__(self, stock: Stock, cache: Cache) -> None:
        self.stock = stock
        self._cache = cache

    def check(self, pod: PodInfo) -> NodeCheck | Refusal:
        """What nodes must pass because of the pod's claims; a Refusal if no node could."""
        claims = volumes.wanted(pod, self.stock)
        if isinstance(claims, Refusal):
            return claims
        restricted = volumes.restricted(pod, self.stock, self._cache)

        def check(name: str) -> Refusal | None:
            if restricted is not None:
                return restricted
            found = volumes.plan(pod, claims, self._cache.nodes[name], self.stock)
            return found if isinstance(found, Refusal) else None

        return check

    def make(self, pod: PodInfo, node: str) -> Binding:
        """Promises the pod, whose claims passed the check of the node, its volumes."""
        claims = volumes.wanted(pod, self.stock)
        assert not isinstance(claims, Refusal)
        binding = volumes.plan(pod, claims, self._cache.nodes[node], self.stock)
        assert not isinstance(binding, Refusal)
        for claim, volume in binding.static:
            self.stock.promised[volume["metadata"]["name"]] = volumes.key(claim)
        for claim in binding.dynamic:
            self.stock.selected[volumes.key(claim)] = node
        return binding

    def end(self, binding: Binding) -> None:
        """The promise has come true, or is taken back."""
        for _, volume in binding.static:
            self.stock.promised.pop(volume["metadata"]["name"], None)
        for claim in binding.dynamic:
            self.stock.selected.pop(volumes.key(claim), None)

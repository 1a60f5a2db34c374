"""What is promised to pods that are placed and not bound yet: volumes. Pure; the same for a live cluster and a dump."""

from __future__ import annotations

from collections import Counter

from hawser.scheduler import volumes
from hawser.scheduler.cache import Cache, NodeInfo
from hawser.scheduler.filters import Refusal
from hawser.scheduler.shapes import PodInfo
from hawser.scheduler.volume_limits import over_limit
from hawser.scheduler.volumes import IN_USE, Binding, Stock, Wanted


class VolumeCheck:
    """What nodes must pass because of a pod's claims. held: those that another pod uses and nobody else may."""

    def __init__(self, pod: PodInfo, claims: Wanted, stock: Stock, cache: Cache) -> None:
        self.held = volumes.held(pod, stock, cache)
        self._pod, self._claims, self._stock, self._cache = pod, claims, stock, cache

    def __call__(self, name: str) -> Refusal | None:
        return IN_USE if self.held else self.crowded(self._cache.nodes[name]) or self.lasting(name)

    def crowded(self, node: NodeInfo) -> Refusal | None:
        """Whether the pods on a node, if it were like this, leave no room for the pod's volumes."""
        return over_limit(self._pod, node, self._stock)

    def lasting(self, name: str) -> Refusal | None:
        """Why the node does not pass, whoever leaves it."""
        found = volumes.plan(self._claims, self._cache.nodes[name], self._stock)
        return found if isinstance(found, Refusal) else None


class Promises:
    """Decides on volumes, and remembers what is decided until it is written."""

    def __init__(self, stock: Stock, cache: Cache) -> None:
        self.stock = stock
        self._cache = cache
        self._kept: Counter[str] = Counter()

    def check(self, pod: PodInfo) -> VolumeCheck | Refusal:
        """What nodes must pass because of the pod's claims; a Refusal if no node could."""
        claims = volumes.wanted(pod, self.stock)
        return claims if isinstance(claims, Refusal) else VolumeCheck(pod, claims, self.stock, self._cache)

    def make(self, pod: PodInfo, node: str) -> Binding:
        """Promises the pod, whose claims passed the check of the node, its volumes."""
        claims = volumes.wanted(pod, self.stock)
        assert not isinstance(claims, Refusal)
        binding = volumes.plan(claims, self._cache.nodes[node], self.stock)
        assert not isinstance(binding, Refusal)
        for claim, volume in binding.static:
            self.stock.promised[volume["metadata"]["name"]] = volumes.key(claim)
        for claim in binding.dynamic:
            self.stock.selected[volumes.key(claim)] = node
        self._kept.update(_names(binding))
        return binding

    def end(self, binding: Binding) -> None:
        """The promise has come true, or is taken back; pods that share a claim were promised the same."""
        for name in _names(binding):
            self._kept[name] -= 1
            if not self._kept[name]:
                del self._kept[name]
                self.stock.promised.pop(name, None)
                self.stock.selected.pop(name, None)


def _names(binding: Binding) -> list[str]:
    """Of volumes, which have no slash in their names, and of claims that get one."""
    return [v["metadata"]["name"] for _, v in binding.static] + [volumes.key(claim) for claim in binding.dynamic]

"""Which nodes a pod's ResourceClaims allow, and what is kept of devices for pods that are not bound yet. Pure.

The plugin DynamicResources of kube-scheduler; its reasons, word for word.
Source: "Dynamic Resource Allocation"; KEP-4381.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from hawser.api.extended_resources import claimant
from hawser.api.types import Obj
from hawser.client.informer import key_of
from hawser.scheduler.cache import Cache
from hawser.scheduler.devices import claims as of
from hawser.scheduler.devices.allocator import MOST_TRIES, Budget, allocate
from hawser.scheduler.devices.asks import AllocationError, NodeError
from hawser.scheduler.devices.claims import NotUsableError
from hawser.scheduler.devices.extended import Extended, extended_claim
from hawser.scheduler.devices.inventory import Inventory, selector_matches
from hawser.scheduler.devices.ledger import Ledger
from hawser.scheduler.filters import Refusal
from hawser.scheduler.shapes import PodInfo

PLUGIN = "DynamicResources"
SHORT = Refusal(PLUGIN, ("cannot allocate all claims",), True)
ELSEWHERE = Refusal(PLUGIN, ("resourceclaim not available on the node",), True)
MOST_CHOICES = 8
MOST_IN_ALL = 2 * MOST_TRIES
LEFTOVER = Refusal(PLUGIN, ("cannot schedule extended resource claim",), True)


@dataclass(slots=True)
class Stock:
    """What there is of devices. claims: by namespace/name. ledger: what is allocated, or about to be.

    in_flight: UIDs of claims that are about to be allocated. backed: by extended resource, the class that it is of.
    """

    claims: Mapping[str, Obj] = field(default_factory=dict)
    classes: Mapping[str, Obj] = field(default_factory=dict)
    inventory: Inventory = field(default_factory=Inventory)
    ledger: Ledger = field(default_factory=Ledger)
    in_flight: set[str] = field(default_factory=set)
    backed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reservation:
    """A pod's claims, and what was decided to allocate for some of them, by namespace/name.

    extended: the claim that is to be made for extended resources, if devices give them.
    """

    pod: Obj
    claims: tuple[Obj, ...]
    allocations: Mapping[str, Obj]
    extended: Extended | None = None


class DeviceCheck:
    """What nodes must pass because of a pod's claims. find: what is allocated on a node, or why it does not do.

    wanted: the claims that are to be allocated.
    """

    def __init__(self, find: Callable[[str], list[Obj] | Refusal], wanted: Sequence[Obj]) -> None:
        self._find = find
        self._choices = [_choices(claim) for claim in wanted]
        self._worth: dict[str, int] = {}
        self.ranked = any(self._choices)

    def __call__(self, name: str) -> Refusal | None:
        found = self._find(name)
        if isinstance(found, Refusal):
            return found
        if self.ranked:
            self._worth[name] = sum(map(_worth, self._choices, found))
        return None

    def worth(self, name: str) -> int:
        """The more, the earlier in their lists are the choices that a node which has passed can give."""
        return self._worth[name]


def _choices(claim: Obj) -> dict[str, int]:
    """What each choice of a claim's lists is worth, by its full name."""
    requests = (claim["spec"].get("devices") or {}).get("requests") or ()
    return {
        f"{request['name']}/{choice['name']}": MOST_CHOICES - place
        for request in requests
        for place, choice in enumerate(request.get("firstAvailable") or ())
    }


def _worth(choices: Mapping[str, int], allocation: Obj) -> int:
    taken = {result["request"] for result in allocation["devices"]["results"]}
    return sum(choices.get(name, 0) for name in taken)


class Devices:
    """Decides on devices, and remembers what is decided until it is written.

    pods: finds the pod's object by its key. now: the time. share_id: makes a UUID for a share of a device.
    """

    def __init__(
        self,
        stock: Stock,
        cache: Cache,
        pods: Callable[[str], Obj | None],
        now: Callable[[], datetime],
        share_id: Callable[[], str],
    ) -> None:
        self.stock = stock
        self._cache = cache
        self._pods = pods
        self._now = now
        self._share_id = share_id
        self._made: dict[str, set[str]] = {}

    def lacks_claims(self, pod: PodInfo) -> bool:
        """Whether claims are still to be made for the pod of their templates."""
        obj = self._pods(pod.key)
        return obj is not None and of.lacks_names(obj)

    def check(self, pod: PodInfo, seconds: float) -> DeviceCheck | Refusal:
        """What nodes must pass because of the pod's claims; a Refusal if no node could.

        seconds: in which devices have to be ready to be bound.
        """
        try:
            claims = self._claims(pod)
        except NotUsableError as why:
            return Refusal(PLUGIN, (str(why),), True)
        if pod.shape.extended and self.leftover(pod) is not None:
            return DeviceCheck(lambda name: LEFTOVER, [])
        wanted = [claim for claim in claims if of.allocation(claim) is None]
        # Nobody else is placed meanwhile: all nodes share what may be tried.
        budget = Budget(MOST_IN_ALL)

        allocated = [claim for claim in claims if of.allocation(claim) is not None]

        def find(name: str) -> list[Obj] | Refusal:
            # As in the original, what is to be allocated is looked at first.
            extended = self._extended(pod, name)
            found = self._allocate([*wanted, *([extended.claim] if extended else ())], name, budget)
            if isinstance(found, Refusal):
                return found
            return ELSEWHERE if any(self._is_elsewhere(claim, name, seconds) for claim in allocated) else found

        return DeviceCheck(find, wanted)

    def make(self, pod: PodInfo, node: str) -> Reservation:
        """Keeps devices of the node, which has passed the check, for the pod."""
        claims = self._claims(pod)
        wanted = [claim for claim in claims if of.allocation(claim) is None]
        extended = self._extended(pod, node)
        if extended is not None:
            wanted.append(extended.claim)
        found = self._allocate(wanted, node)
        assert not isinstance(found, Refusal)
        for claim, allocation in zip(wanted, found, strict=True):
            uid = claim["metadata"]["uid"]
            self.stock.in_flight.add(uid)
            self.stock.ledger.put(uid, allocation)
        obj = self._pods(pod.key)
        assert obj is not None
        return Reservation(obj, tuple(claims), dict(zip(map(key_of, wanted), found, strict=True)), extended)

    def end(self, reservation: Reservation) -> None:
        """What was kept for the pod is allocated now, or taken back."""
        for claim in reservation.claims:
            if key_of(claim) in reservation.allocations:
                self.settle(claim)
        if reservation.extended is not None:
            self.settle(reservation.extended.claim)

    def settle(self, claim: Obj) -> None:
        """A claim is not about to be allocated any more: from now on it has what the API says."""
        uid = claim["metadata"]["uid"]
        self.stock.in_flight.discard(uid)
        known = self.stock.claims.get(key_of(claim))
        same = known is not None and known["metadata"]["uid"] == uid
        self.stock.ledger.put(uid, of.allocation(known) if known is not None and same else None)

    def changed(self, old: Obj | None, new: Obj | None) -> None:
        """A claim came, changed or went."""
        self._note_made(old, new)
        if old is not None and (new is None or new["metadata"]["uid"] != old["metadata"]["uid"]):
            self.stock.in_flight.discard(old["metadata"]["uid"])
            self.stock.ledger.put(old["metadata"]["uid"], None)
        if new is not None:
            uid, allocation = new["metadata"]["uid"], of.allocation(new)
            if allocation is not None or uid not in self.stock.in_flight:
                self.stock.ledger.put(uid, allocation)

    def _note_made(self, old: Obj | None, new: Obj | None) -> None:
        """Keeps in mind for which pods' extended resources there are claims."""
        if old is not None and (owner := claimant(old)) is not None:
            made = self._made.get(owner["uid"], set())
            made.discard(key_of(old))
            if not made:
                self._made.pop(owner["uid"], None)
        if new is not None and (owner := claimant(new)) is not None:
            self._made.setdefault(owner["uid"], set()).add(key_of(new))

    def idle(self, pod: PodInfo, seconds: float) -> Obj | None:
        """A claim of a pod that was refused as ELSEWHERE: not for all nodes, and used by nobody else."""
        try:
            claims = self._claims(pod)
        except NotUsableError:
            return None
        for claim in claims:
            others = [consumer for consumer in of.consumers(claim) if consumer["uid"] != pod.uid]
            if not others and any(self._is_elsewhere(claim, name, seconds) for name in self._cache.nodes):
                return claim
        return None

    def leftover(self, pod: PodInfo) -> Obj | None:
        """The claim for extended resources that an attempt before made for the pod: it is to be deleted first."""
        key = next(iter(self._made.get(pod.uid, ())), "")
        return self.stock.claims.get(key)

    def _extended(self, pod: PodInfo, name: str) -> Extended | None:
        """The claim for those extended resources of the pod that the node has of devices only."""
        if not pod.shape.extended:
            return None
        backed, has = self.stock.backed, self._cache.nodes[name].allocatable
        classes = {one: backed[one] for one in pod.shape.extended if one in backed and not has.get(one)}
        obj = self._pods(pod.key) if classes else None
        return extended_claim(obj, classes) if obj is not None else None

    def _claims(self, pod: PodInfo) -> list[Obj]:
        obj = self._pods(pod.key)
        if obj is None:
            raise NotUsableError(f'pod "{pod.name}" not found')
        claims = of.claims_of(obj, self.stock.claims)
        for claim in claims:
            of.check_usable(claim, pod.uid, self.stock.classes)
            if of.allocation(claim) is None and claim["metadata"]["uid"] in self.stock.in_flight:
                raise NotUsableError(f"resource claim {key_of(claim)} is in the process of being allocated")
        return claims

    def _is_elsewhere(self, claim: Obj, name: str, seconds: float) -> bool:
        """Whether an allocated claim is not for the node, or is for none any more: its devices did not get ready."""
        allocation = of.allocation(claim)
        if allocation is None:
            return False
        node = self._cache.nodes[name]
        selector = allocation.get("nodeSelector")
        if selector is not None and not selector_matches(selector, name, node.labels):
            return True
        if not of.binds_slowly(claim):
            return False
        failed = bool(of.binding_failure(claim))
        return failed or (not of.is_ready(claim) and of.is_late(claim, self._now(), seconds))

    def _allocate(self, claims: Sequence[Obj], name: str, budget: Budget | None = None) -> list[Obj] | Refusal:
        if not claims:
            return []
        stock, labels = self.stock, self._cache.nodes[name].labels
        try:
            found = allocate(claims, stock.classes, stock.inventory, stock.ledger, name, labels, self._share_id, budget)
        except NodeError as why:
            return Refusal(PLUGIN, (str(why),), True)
        except AllocationError as why:
            return Refusal(PLUGIN, (f'running "{PLUGIN}" filter plugin: {why}',), True)
        return SHORT if found is None else found

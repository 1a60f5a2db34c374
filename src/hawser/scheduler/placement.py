"""The decision: which node a pod goes to, or why there is none."""

from __future__ import annotations

import math
import random
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from itertools import chain, islice
from time import perf_counter

from hawser.api.selectors import LabelSelector
from hawser.scheduler import scores
from hawser.scheduler.cache import HOSTNAME, Cache, NodeInfo
from hawser.scheduler.filters import Refusal, chosen, refusal, unavailable
from hawser.scheduler.outlook import Class, Outlook
from hawser.scheduler.profile import Profile
from hawser.scheduler.shapes import PodInfo
from hawser.scheduler.terms import NamespaceLabels
from hawser.scheduler.wishes import Part, wishes_of
from hawser.series import Histograms

_RATINGS_KEPT = 400_000
_OUTLOOKS_KEPT = (16, 512)

NodeCheck = Callable[[str], Refusal | None]
"""What a node must pass that depends on the very pod: its volumes. Takes the node's name."""


@dataclass(frozen=True, slots=True)
class Decision:
    """node: where the pod goes, or None; then message is kube-scheduler's sentence.

    refusals: how many nodes refuse the pod for what. blocked: the pod cannot be placed now, whatever the nodes are.
    """

    node: str | None
    message: str = ""
    refusals: Mapping[Refusal, int] = field(default_factory=dict)
    blocked: bool = False

    @property
    def plugins(self) -> frozenset[str]:
        """Who refused the pod."""
        return frozenset(refusal.plugin for refusal in self.refusals)


@dataclass(slots=True)
class _Open:
    """Nodes of a class that can take the pod, by score. size: how many there are, as far as that is known."""

    kind: Class
    nodes: Mapping[int, Mapping[str, None]]
    size: int


def _no_siblings(pod: PodInfo) -> LabelSelector | None:
    return None


class Placement:
    """Decides on a cache, for one profile. What nodes are to pods is remembered, so pods of one template cost little.

    rng: breaks ties between equally good nodes. namespace_labels: for namespace selectors of affinity terms.
    siblings: what selects the pods of a pod's Service or controller. points: where the time of decisions is counted.
    backed: resources that devices may give.
    """

    def __init__(
        self,
        cache: Cache,
        rng: random.Random | None = None,
        namespace_labels: NamespaceLabels = lambda name: {"kubernetes.io/metadata.name": name},
        profile: Profile | None = None,
        siblings: Callable[[PodInfo], LabelSelector | None] = _no_siblings,
        points: Histograms | None = None,
    ) -> None:
        self.profile = profile or Profile()
        self.backed: Set[str] = frozenset()
        self._cache = cache
        self._rng = rng or random.Random()
        self._namespace_labels = namespace_labels
        self._siblings = siblings
        self._points = points
        self._filters = chosen(self.profile.filters, self.profile.ignored, (), depends=True)
        self._outlooks: OrderedDict[object, Outlook] = OrderedDict()
        self._failed: dict[object, tuple[int, Decision]] = {}

    def forget(self) -> None:
        """What outlooks were made of besides nodes and pods has changed: labels of namespaces, Services."""
        self._outlooks.clear()
        self._failed.clear()

    def refusal(self, pod: PodInfo, node: NodeInfo) -> Refusal | None:
        """Why the node does not take the pod, by what can be told of the two alone; None if it does."""
        return refusal(pod.shape, node, self._filters)

    def decide(
        self,
        pod: PodInfo,
        check: NodeCheck | None = None,
        promised: str = "",
        worth: Callable[[str], int] | None = None,
    ) -> Decision:
        """The best node of those that can take the pod. Changes nothing; the caller assumes the pod there.

        check: what nodes must pass besides. promised: the node that the pod goes to if it can. worth: how good a node
        that passed is by what the check found, the more the better.
        """
        likeness = pod.likeness
        if check is None:
            generation, failed = self._failed.get(likeness, (-1, None))
            if failed is not None and generation == self._cache.generation:
                return failed
        began = perf_counter()
        outlook = self.outlook(pod)
        sample = check is None and not promised
        enough = self.profile.wanted(self._cache.ready)
        outlook.refresh(enough if sample else 0)
        if promised and _takes(outlook, promised, check):
            return Decision(promised)
        refusals = Counter(outlook.refused)
        found: list[_Open] = []
        for kind, refused in outlook.verdicts():
            if refused is not None:
                refusals[refused] += kind.size
            elif check is None:
                found.append(_Open(kind, kind.nodes, kind.size))
            else:
                passed = _passed(kind, check, refusals, 1 if worth is None else enough, self._rng)
                if passed.nodes:
                    found.append(passed)
        filtered = perf_counter()
        self._timed("Filter", "Success" if found else "Unschedulable", filtered - began)
        if not found:
            nodes = self._cache.ready
            decision = Decision(None, unavailable(nodes, refusals), refusals)
            if check is None:
                if len(self._failed) > 1000:
                    self._failed.clear()
                self._failed[likeness] = (self._cache.generation, decision)
            return decision
        weight = self.profile.weights.get("DynamicResources", 0)
        best = self._best(outlook, _ranked(found, worth, weight) if worth is not None and weight else found)
        self._timed("Score", "Success", perf_counter() - filtered)
        return Decision(best)

    def _timed(self, point: str, status: str, seconds: float) -> None:
        if self._points is not None:
            self._points.of(point, status, self.profile.name).observe(seconds)

    def outlook(self, pod: PodInfo) -> Outlook:
        """What nodes are to pods like this one; not refreshed."""
        key = pod.look
        outlook = self._outlooks.get(key)
        if outlook is not None:
            self._outlooks.move_to_end(key)
            return outlook
        # Only constraints of the profile ask for siblings.
        siblings = self._siblings(pod) if not pod.shape.spread and self.profile.spread else None
        wishes = wishes_of(pod, self.profile, self._namespace_labels, siblings)
        outlook = Outlook(pod, self.profile, self._cache, wishes, self._namespace_labels, self.backed)
        self._outlooks[key] = outlook
        least, most = _OUTLOOKS_KEPT
        if len(self._outlooks) > max(least, min(most, _RATINGS_KEPT // (len(self._cache.nodes) or 1))):
            self._outlooks.popitem(last=False)
        return outlook

    def _best(self, outlook: Outlook, found: list[_Open]) -> str:
        extras = self._extras(outlook, found)
        totals = [extra + max(o.nodes) for extra, o in zip(extras, found, strict=True)]
        best = max(totals)
        tied = [o.nodes[best - extra] for o, extra, t in zip(found, extras, totals, strict=True) if t == best]
        number = self._rng.randrange(sum(map(len, tied)))
        for names in tied:
            if number < len(names):
                return next(islice(names, number, None))
            number -= len(names)
        raise AssertionError("unreachable")

    def _extras(self, outlook: Outlook, found: list[_Open]) -> list[int]:
        """What each class gets besides its nodes' own scores: by comparison with the others."""
        extras = [0] * len(found)
        weights = self.profile.weights

        def add(values: list[int], plugin: str) -> None:
            weight = weights.get(plugin, 0)
            for index, value in enumerate(values):
                extras[index] += value * weight

        if len(found) == 1:
            return extras
        disliked = [o.kind.disliked for o in found]
        if any(disliked):
            add(scores.inverted(disliked), "TaintToleration")
        preferred = [o.kind.preferred for o in found]
        if any(preferred):
            add(scores.normalized(preferred), "NodeAffinity")
        soft = [n for n, wish in enumerate(outlook.wishes) if wish.part is Part.SOFT]
        if soft:
            add(scores.thinned(_crowds(outlook, found, soft)), "PodTopologySpread")
        pulls = [n for n, wish in enumerate(outlook.wishes) if wish.part is Part.PULL]
        if pulls:
            add(
                scores.stretched([sum(outlook.amount(o.kind, n) or 0 for n in pulls) for o in found]),
                "InterPodAffinity",
            )
        return extras


def _ranked(found: list[_Open], worth: Callable[[str], int], weight: int) -> list[_Open]:
    """The same nodes, their scores raised by what they are worth in comparison with the best."""
    values = {name: worth(name) for o in found for names in o.nodes.values() for name in names}
    most = max(values.values())
    if not most:
        return found
    ranked: list[_Open] = []
    for o in found:
        nodes: dict[int, dict[str, None]] = {}
        for score, names in o.nodes.items():
            for name in names:
                nodes.setdefault(score + weight * (values[name] * 100 // most), {})[name] = None
        ranked.append(_Open(o.kind, nodes, o.size))
    return ranked


def _takes(outlook: Outlook, name: str, check: NodeCheck | None) -> bool:
    """Whether a node can take the pod."""
    if name not in outlook.rated or outlook.refusal_at(name) is not None:
        return False
    return check is None or check(name) is None


def _passed(kind: Class, check: NodeCheck, refusals: Counter[Refusal], enough: int, rng: random.Random) -> _Open:
    """The best nodes of the class that pass, at most so many; those that do not are counted among the refusals."""
    passed: dict[int, dict[str, None]] = {}
    size = kind.size
    for score, name in _best_first(kind, rng):
        refused = check(name)
        if refused is not None:
            refusals[refused] += 1
            size -= 1
            continue
        passed.setdefault(score, {})[name] = None
        enough -= 1
        if not enough:
            break
    return _Open(kind, passed, size)


def _best_first(kind: Class, rng: random.Random) -> Iterator[tuple[int, str]]:
    """The nodes of a class with their scores; equally good ones from a random one on."""
    for score in sorted(kind.nodes, reverse=True):
        names = kind.nodes[score]
        start = rng.randrange(len(names))
        for name in chain(islice(names, start, None), islice(names, start)):
            yield score, name


def _crowds(outlook: Outlook, found: list[_Open], soft: list[int]) -> list[int | None]:
    """How crowded the domains of each class are by its ScheduleAnyway constraints; None: nodes that lack a label."""
    wishes, places = outlook.wishes, outlook.places
    # Constraints that somebody stated ask for all their labels; the built-in ones do with those that there are.
    strict = bool(outlook.pod.shape.spread) or not outlook.profile.by_the_system
    ignored = [strict and any(o.kind.place[places[wishes[n].key]] is None for n in soft) for o in found]
    counted = [o for o, ignore in zip(found, ignored, strict=True) if not ignore]
    scales = []
    for number in soft:
        key = wishes[number].key
        values = {o.kind.place[places[key]] for o in counted}
        domains = sum(o.size for o in counted) if key == HOSTNAME else len(values)
        # The more domains a key has, the fewer pods each of them gets: the logarithm evens keys out.
        scales.append(math.log(domains + 2))
    crowds: list[int | None] = []
    for o, ignore in zip(found, ignored, strict=True):
        total = 0.0
        for number, scale in zip(soft, scales, strict=True):
            amount = outlook.amount(o.kind, number)
            if amount is not None:
                total += amount * scale + wishes[number].max_skew - 1
        crowds.append(None if ignore else int(total + 0.5))
    return crowds

"""What all nodes are to pods that are alike, kept up to date node by node.

Rating every node for every pod would cost as much as there are nodes. Here a node is rated anew only when it has
changed, and nodes that differ in nothing but their score are one class: a decision looks at the classes. What decides
beyond one node (how many pods a zone has) is counted while nodes are rated: a node brings its own share in and takes it
away again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field

from hawser.api.node_affinity import node_matches, preference
from hawser.scheduler import scores
from hawser.scheduler.cache import HOSTNAME, Cache, NodeInfo
from hawser.scheduler.filters import NOT_ADDED, Refusal, chosen, refusal
from hawser.scheduler.profile import CPU_AND_MEMORY, Profile
from hawser.scheduler.shapes import Group, PodInfo
from hawser.scheduler.terms import Hold, NamespaceLabels
from hawser.scheduler.wishes import ALONE, CROWDED, FORBIDDEN, UNEVEN, UNLABELLED, Part, Wish, held_wish

_GROUPS_REMEMBERED = 8192

Share = tuple[int, str, int]
"""What a node adds to the tally of a wish: the wish's number, the value of the node's label, pods (weighted)."""


@dataclass(slots=True)
class Tally:
    """Pods by the value of a node label, for one wish. nodes: how many nodes there are of each value."""

    amounts: dict[str, int] = field(default_factory=dict)
    nodes: Counter[str] = field(default_factory=Counter)
    levels: Counter[int] = field(default_factory=Counter)
    total: int = 0

    def add(self, value: str, amount: int, sign: int) -> None:
        """Counts a node's share in (1) or out (-1)."""
        before = self.amounts.get(value, 0)
        if self.nodes[value]:
            self.levels[before] -= 1
            if not self.levels[before]:
                del self.levels[before]
        self.nodes[value] += sign
        self.total += sign * amount
        if self.nodes[value]:
            self.amounts[value] = before + sign * amount
            self.levels[self.amounts[value]] += 1
        else:
            del self.nodes[value]
            self.amounts.pop(value, None)

    @property
    def least(self) -> int:
        """The smallest amount of any value."""
        return min(self.levels, default=0)


@dataclass(slots=True, eq=False)
class Class:
    """Nodes that can take the pod by themselves and differ in their score only.

    place: the values of the labels that wishes speak of. own: by wish, what a node counts where it is its own domain.
    """

    key: object
    disliked: int
    preferred: int
    place: tuple[str | None, ...]
    own: Mapping[int, int]
    nodes: dict[int, dict[str, None]] = field(default_factory=dict)
    size: int = 0


@dataclass(slots=True)
class Rated:
    """What a node is to the pods. kind: its class, None if it is refused."""

    refused: Refusal | None
    kind: Class | None
    score: int
    shares: tuple[Share, ...]


class Outlook:
    """The nodes as pods like the given one see them; ``refresh`` first, then ask.

    own: the wishes of such a pod. labels: of namespaces, for terms of others with a namespace selector.
    backed: resources that devices may give.
    """

    def __init__(
        self, pod: PodInfo, profile: Profile, cache: Cache, own: list[Wish], labels: NamespaceLabels, backed: Set[str]
    ) -> None:
        self.pod = pod
        self.refused: Counter[Refusal] = Counter()
        self.classes: dict[object, Class] = {}
        self.wishes = list(own)
        self.tallies: list[Tally] = []
        self.rated: dict[str, Rated] = {}
        self.places: dict[str, int] = {}
        self.profile = profile
        self._cache = cache
        self._namespace_labels = labels
        given = backed & set(pod.shape.extended) if backed else ()
        self._filters = chosen(profile.filters, profile.ignored, given, bool(pod.shape.features))
        self._packing = scores.packing_of(profile)
        plain = profile.balanced == CPU_AND_MEMORY
        self._balance = scores.balanced if plain else scores.balance_of(profile.balanced)
        self._weigh = [profile.weights.get(n, 0) for n in ("NodeResourcesFit", "NodeResourcesBalancedAllocation")]
        self._held: dict[tuple[Part, str], int] = {}
        self._own = len(own)
        self._of_group: dict[Group, tuple[tuple[int, int], ...]] = {}
        self._unrated: dict[str, None] = {}
        self._wanted = Counter(map(scores.tagged, pod.shape.images))
        self._images: dict[str, float] = {}
        self._epoch = -1
        self._generation = 0
        self._uses = 0

    # Keeping up

    def refresh(self, enough: int = 0) -> None:
        """Takes in what has changed. enough: feasible nodes to choose from, for each such pod so far; 0: all."""
        cache = self._cache
        self._uses += 1
        if cache.generation != self._generation or cache.epoch != self._epoch:
            changed = cache.changed_since(self._generation) if cache.epoch == self._epoch else None
            if changed is None or self._images_changed():
                self._begin()
            else:
                for name in changed:
                    self._update(name)
            self._generation = cache.generation
        if not self._unrated:
            return
        # Preferences do with a part of the nodes, the larger the more such pods come; rules must know them all.
        few = enough * self._uses if not cache.holding and all(w.part is Part.SOFT for w in self.wishes) else 0
        while self._unrated and (not few or self.feasible < few):
            self._update(next(iter(self._unrated)))

    @property
    def feasible(self) -> int:
        """How many nodes can take such a pod as far as they alone decide."""
        return sum(kind.size for kind in self.classes.values())

    def _begin(self) -> None:
        self.rated.clear()
        self.classes.clear()
        self.refused.clear()
        self._of_group.clear()
        del self.wishes[self._own :]
        self._held.clear()
        self.tallies = [Tally() for _ in self.wishes]
        self.places = {key: number for number, key in enumerate(dict.fromkeys(wish.key for wish in self.wishes))}
        self._images = self._image_shares()
        self._epoch = self._cache.epoch
        names = list(self._cache.nodes)
        # Where only a part is looked at, it is another part each time.
        start = self._cache.generation % (len(names) or 1)
        self._unrated = dict.fromkeys(names[start:] + names[:start])

    def _image_shares(self) -> dict[str, float]:
        if not self.profile.weights.get("ImageLocality"):
            return {}
        images, nodes = self._cache.images, self._cache.ready
        return {name: count * images[name] / nodes for name, count in self._wanted.items() if images.get(name)}

    def _images_changed(self) -> bool:
        return (bool(self._cache.images) or bool(self._images)) and self._image_shares() != self._images

    def _update(self, name: str) -> None:
        self._unrated.pop(name, None)
        known = self.rated.pop(name, None)
        if known is not None:
            self._count(name, known, -1)
        node = self._cache.nodes.get(name)
        if node is not None and node.known:
            rated = self.rated[name] = self._rate(node)
            self._count(name, rated, 1)

    def _count(self, name: str, rated: Rated, sign: int) -> None:
        for number, value, amount in rated.shares:
            self.tallies[number].add(value, amount, sign)
        kind = rated.kind
        if kind is None:
            assert rated.refused is not None
            self.refused[rated.refused] += sign
            if not self.refused[rated.refused]:
                del self.refused[rated.refused]
            return
        kind.size += sign
        if sign > 0:
            kind.nodes.setdefault(rated.score, {})[name] = None
            if kind.size == 1:
                self.classes[kind.key] = kind
            return
        alike = kind.nodes[rated.score]
        del alike[name]
        if not alike:
            del kind.nodes[rated.score]
        if not kind.size:
            del self.classes[kind.key]

    # Rating

    def _rate(self, node: NodeInfo) -> Rated:
        shape = self.pod.shape
        view = self._with_nominated(node) if node.nominated else node
        refused = refusal(shape, view, self._filters)
        added = self.profile.added_affinity
        if refused is None and added is not None and not node_matches(_affine(added), node.name, node.labels):
            refused = NOT_ADDED
        shares, own = self._shares(node, view)
        if refused is None:
            refused = self._unlabelled(node)
        if refused is not None:
            return Rated(refused, None, 0, shares)
        packing, balance = self._weigh
        score = packing * self._packing(shape, view) + balance * self._balance(shape, view)
        if self._images:
            weight = self.profile.weights["ImageLocality"]
            score += weight * scores.images_present(self._images, shape.images_wanted, node)
        disliked = scores.disliked(shape, node) if node.taints else 0
        preferred = preference(shape.spec, node.name, node.labels) if shape.selects else 0
        if added is not None:
            preferred += preference(_affine(added), node.name, node.labels)
        place = tuple([node.labels.get(key) for key in self.places]) if self.places else ()
        if own is not None and HOSTNAME in self.places and self._cache.hosts_are_nodes:
            # Every node would be a class of its own.
            number = self.places[HOSTNAME]
            place = (*place[:number], "" if place[number] is not None else None, *place[number + 1 :])
        key = (disliked, preferred, place, tuple(own.items()) if own else ())
        kind = self.classes.get(key) or Class(key, disliked, preferred, place, own or {})
        return Rated(None, kind, score, shares)

    def _with_nominated(self, node: NodeInfo) -> NodeInfo:
        """The node with the pods that are promised room there and are not less important than ours."""
        promised = [pod for pod in node.nominated.values() if pod.priority >= self.pod.priority]
        if not promised:
            return node
        view = node.copy()
        for pod in promised:
            if pod.key not in view.pods:
                view.add(pod)
        return view

    def _unlabelled(self, node: NodeInfo) -> Refusal | None:
        for wish in self.wishes[: self._own]:
            if wish.part is Part.SPREAD and wish.key not in node.labels:
                return UNLABELLED
        return None

    def _shares(self, node: NodeInfo, view: NodeInfo) -> tuple[tuple[Share, ...], dict[int, int] | None]:
        """What the node adds to the tallies; and of it what concerns only itself."""
        if not self.wishes and not self._cache.holding:
            return (), None
        amounts: dict[int, int] = {}
        for group, count in view.groups.items():
            found = self._of_group.get(group)
            if found is None:
                found = self._judge(group)
            for number, amount in found:
                # Pods that are only promised cannot be what a required affinity leans on.
                pods = count if self.wishes[number].part is not Part.TOGETHER else node.groups.get(group, 0)
                amounts[number] = amounts.get(number, 0) + amount * pods
        shares: list[Share] = []
        own: dict[int, int] = {}
        alone = self._cache.hosts_are_nodes
        for number, wish in enumerate(self.wishes):
            value = node.labels.get(wish.key)
            if value is None or (wish.eligible is not None and not wish.eligible(node)):
                continue
            amount = amounts.get(number, 0)
            if amount or wish.eligible is not None:
                shares.append((number, value, amount))
                if amount and alone and wish.key == HOSTNAME:
                    own[number] = amount
        return tuple(shares), own

    def _judge(self, group: Group) -> tuple[tuple[int, int], ...]:
        """What one pod of the group adds to each wish."""
        found: Counter[int] = Counter()
        for number, wish in enumerate(self.wishes[: self._own]):
            amount = wish.counts(group)
            if amount:
                found[number] += amount
        pod = self.pod
        for hold in group.holds:
            part = Part.FORBIDS if hold.forbids else Part.PULL
            weight = self._weight(hold)
            if weight and hold.term.matches(pod.namespace, pod.labels, self._namespace_labels):
                found[self._held_number(part, hold.term.topology_key)] += weight
        if len(self._of_group) >= _GROUPS_REMEMBERED:
            self._of_group.clear()
        answer = self._of_group[group] = tuple(found.items())
        return answer

    def _weight(self, hold: Hold) -> int:
        """How much a placed pod's term counts for or against a place."""
        profile = self.profile
        if hold.forbids:
            return int("InterPodAffinity" in profile.filters)
        if not profile.weights.get("InterPodAffinity") or (profile.ignore_preferred_of_others and not hold.hard):
            return 0
        return profile.hard_affinity_weight if hold.hard else hold.weight

    def _held_number(self, part: Part, key: str) -> int:
        number = self._held.get((part, key))
        if number is None:
            number = self._held[part, key] = len(self.wishes)
            self.wishes.append(held_wish(part, key))
            self.tallies.append(Tally())
            if key not in self.places:
                # Classes know nothing of this label: every node is to be placed anew.
                self.places[key] = len(self.places)
                self._unrated |= dict.fromkeys(self.rated)
        return number

    # Deciding

    def verdicts(self) -> list[tuple[Class, Refusal | None]]:
        """Each class of nodes, and why it does not take such a pod now (None: it does) by what other pods are where."""
        if not self.wishes:
            return [(kind, None) for kind in self.classes.values()]
        hard, first = self._hard()
        return [(kind, self._verdict(kind, hard, first)) for kind in self.classes.values()]

    def _hard(self) -> tuple[list[tuple[int, Wish]], bool]:
        """The wishes that may refuse nodes, in kube-scheduler's order; and whether the pod is the first that wants to
        be together with pods like itself, which may go anywhere that has the labels."""
        hard = [(number, wish) for part in _HARD for number, wish in enumerate(self.wishes) if wish.part is part]
        together = [number for number, wish in hard if wish.part is Part.TOGETHER]
        return hard, all(not self.tallies[number].total and self.wishes[number].itself for number in together)

    def _verdict(self, kind: Class, hard: list[tuple[int, Wish]], first: bool) -> Refusal | None:
        for number, wish in hard:
            amount = self.amount(kind, number)
            match wish.part:
                case Part.SPREAD:
                    tally = self.tallies[number]
                    least = tally.least if len(tally.nodes) >= wish.min_domains else 0
                    if (amount or 0) + wish.itself - least > wish.max_skew:
                        return UNEVEN
                case Part.TOGETHER:
                    if amount is None or (amount <= 0 and not first):
                        return ALONE
                case Part.APART | Part.FORBIDS:
                    if amount:
                        return CROWDED if wish.part is Part.APART else FORBIDDEN
        return None

    def amount(self, kind: Class, number: int) -> int | None:
        """What a wish counts at the place of a class; None where the label is missing."""
        key = self.wishes[number].key
        place = self.places[key]
        value = kind.place[place] if place < len(kind.place) else None
        if value is None:
            return None
        if key == HOSTNAME and self._cache.hosts_are_nodes:
            return kind.own.get(number, 0)
        return self.tallies[number].amounts.get(value, 0)

    def refusal_at(self, name: str) -> Refusal | None:
        """Why the node does not take such a pod; None if it does."""
        rated = self.rated[name]
        if rated.kind is None or not self.wishes:
            return rated.refused
        return self._verdict(rated.kind, *self._hard())

    def refusal_if(self, node: NodeInfo) -> Refusal | None:
        """Why a node would not take such a pod if it were like this; everything else as it is."""
        known = self.rated[node.name]
        self._count(node.name, known, -1)
        rated = self.rated[node.name] = self._rate(node)
        self._count(node.name, rated, 1)
        refused = self.refusal_at(node.name)
        self._count(node.name, rated, -1)
        self.rated[node.name] = known
        self._count(node.name, known, 1)
        return refused

    def refusals(self) -> Iterator[tuple[str, Refusal]]:
        """Each node that does not take such a pod, and why."""
        of_class = {id(kind): refused for kind, refused in self.verdicts()}
        for name, rated in self.rated.items():
            refused = rated.refused if rated.kind is None else of_class[id(rated.kind)]
            if refused is not None:
                yield name, refused


_HARD = (Part.SPREAD, Part.TOGETHER, Part.APART, Part.FORBIDS)


def _affine(affinity: Mapping[str, object]) -> dict[str, object]:
    return {"affinity": {"nodeAffinity": affinity}}

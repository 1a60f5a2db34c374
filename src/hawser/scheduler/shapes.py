"""What scheduling needs to know of a pod, worked out once for all pods that are alike."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from weakref import WeakValueDictionary

import orjson

from hawser.api.extended_resources import is_extended
from hawser.api.pod_claims import claim_name
from hawser.api.pod_resources import Amounts, amount, pod_requests
from hawser.api.pod_restarts import DECLARED, may_restart_all
from hawser.api.types import Obj
from hawser.scheduler.terms import Hold, holds

# What a container without requests is taken to use when nodes are compared (kube-scheduler's documented defaults).
DEFAULT_MILLI_CPU = 100
DEFAULT_MEMORY = 200 * 1024 * 1024
GANG_LABEL = "scheduling.x-k8s.io/pod-group"
_REMEMBERED = 1024

Port = tuple[str, str, int]
"""Host IP ("0.0.0.0" is every address), protocol, port."""


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """The part of a spec that placement depends on; pods of one template share one Shape.

    spec: nodeSelector, affinity and other fields as in the pod. scored: milli-CPU and memory for comparing.
    images_wanted: how many images the pod has, of containers and volumes.
    selects: there is a nodeSelector or node affinity. named: the only nodes that its node affinity allows by name.
    scheduler: who is to place it. preempts: it may take others' place. devices: it claims some.
    extended: resources that may be devices, too. features: that the node has to declare.
    """

    spec: Obj
    selects: bool
    named: frozenset[str] | None
    requests: Amounts
    scored: tuple[int, int]
    ports: tuple[Port, ...]
    images: tuple[str, ...]
    images_wanted: int
    tolerations: tuple[Obj, ...]
    spread: tuple[Obj, ...]
    affinity: Obj
    anti_affinity: Obj
    scheduler: str
    priority: int
    preempts: bool
    devices: bool
    extended: tuple[str, ...]
    features: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Group:
    """What other pods see of a pod; pods that look the same share one Group. leaving: they are being deleted.

    holds: their terms of inter-pod affinity that speak of newcomers.
    """

    namespace: str
    labels: dict[str, str]
    leaving: bool
    holds: tuple[Hold, ...]


@dataclass(frozen=True, slots=True, eq=False)
class PodInfo:
    """A pod to the scheduler. owner: kind/UID of what controls it, "" if nothing does.

    claims: its volumes that are claims: name, and whether it is a claim of the pod's own.
    nominated: where it was promised a place. gang: its PodGroup (namespace/name), placed as a whole or not at all.
    """

    key: str
    uid: str
    created: str
    owner: str
    nominated: str
    gang: str
    claims: tuple[tuple[str, bool], ...]
    shape: Shape
    group: Group

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return self.group.namespace

    @property
    def name(self) -> str:
        """Its name."""
        return self.key[len(self.group.namespace) + 1 :]

    @property
    def labels(self) -> dict[str, str]:
        """Its labels; read only."""
        return self.group.labels

    @property
    def priority(self) -> int:
        """The more the more important."""
        return self.shape.priority

    @property
    def likeness(self) -> object:
        """Pods of equal likeness have the same place, or none."""
        return (self.shape, self.group, self.owner, self.key if self.claims or self.shape.devices else "")

    @property
    def look(self) -> object:
        """Pods of equal look see nodes alike, volumes apart."""
        return (self.shape, self.group, self.owner)


class Shapes:
    """Finds the Shape of a spec, the same object for equal specs."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Shape] = OrderedDict()
        self._groups: WeakValueDictionary[object, Group] = WeakValueDictionary()

    def of(self, spec: Obj) -> Shape:
        """The spec's Shape."""
        containers = [
            [_relevant(c) for c in spec.get("containers") or ()],
            [_relevant(c) for c in spec.get("initContainers") or ()],
        ]
        rest = {name: spec[name] for name in _FIELDS if spec.get(name)}
        signature = orjson.dumps([containers, rest, _volume_images(spec)])
        shape = self._known.get(signature)
        if shape is None:
            shape = self._known[signature] = _shape(spec, rest)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(signature)
        return shape

    def pod(self, obj: Obj) -> PodInfo:
        """A Pod object as the scheduler sees it."""
        metadata = obj["metadata"]
        spec = obj["spec"]
        status = obj.get("status") or {}
        shape = self.of(resized(spec, status) if metadata.get("generation", 1) != 1 else spec)
        return PodInfo(
            key=f"{metadata['namespace']}/{metadata['name']}",
            uid=metadata["uid"],
            created=metadata.get("creationTimestamp") or "",
            owner=_owner(metadata),
            nominated=status.get("nominatedNodeName") or "",
            gang=_gang(metadata),
            claims=_claims(metadata["name"], spec),
            shape=shape,
            group=self._group(metadata, shape),
        )

    def _group(self, metadata: Obj, shape: Shape) -> Group:
        labels = metadata.get("labels") or {}
        leaving = "deletionTimestamp" in metadata
        alone = not shape.affinity and not shape.anti_affinity
        key = (metadata["namespace"], leaving, None if alone else shape, *sorted(labels.items()))
        group = self._groups.get(key)
        if group is None:
            held = () if alone else holds(shape.affinity, shape.anti_affinity, metadata["namespace"], labels)
            group = self._groups[key] = Group(metadata["namespace"], labels, leaving, held)
        return group


_FIELDS = (
    "nodeSelector",
    "affinity",
    "tolerations",
    "overhead",
    "resources",
    "topologySpreadConstraints",
    "schedulerName",
    "priority",
    "preemptionPolicy",
    "resourceClaims",
)


def resized(spec: Obj, status: Obj) -> Obj:
    """The spec of a pod that was resized: as long as that is under way it takes the larger of what it has and wants.

    A resize that the node cannot carry out takes nothing more than the pod has. Source: KEP-1287, "Scheduler changes".
    """
    conditions = status.get("conditions") or ()
    infeasible = any(c.get("type") == "PodResizePending" and c.get("reason") == "Infeasible" for c in conditions)
    changed = dict(spec)
    for part, seen in (("containers", "containerStatuses"), ("initContainers", "initContainerStatuses")):
        statuses = {c["name"]: c for c in status.get(seen) or ()}
        if spec.get(part) and statuses:
            changed[part] = [_taken(c, statuses.get(c["name"], {}), infeasible) for c in spec[part]]
    return _taken(changed, status, infeasible) if spec.get("resources") else changed


def _taken(part: Obj, seen: Obj, infeasible: bool) -> Obj:
    """The container (or pod) with the largest of its requests: the spec's, what is allocated and what is in force."""
    has = [r for r in (seen.get("allocatedResources"), (seen.get("resources") or {}).get("requests")) if r]
    if not has:
        return part
    resources = part.get("resources") or {}
    largest: Obj = {}
    for requests in has if infeasible else [*has, resources.get("requests") or {}]:
        for name, quantity in requests.items():
            if name not in largest or amount(name, quantity) > amount(name, largest[name]):
                largest[name] = quantity
    return {**part, "resources": {**resources, "requests": largest}}


def _owner(metadata: Obj) -> str:
    references = metadata.get("ownerReferences") or ()
    return next((f"{o['kind']}/{o['uid']}" for o in references if o.get("controller")), "")


def _gang(metadata: Obj) -> str:
    name = (metadata.get("labels") or {}).get(GANG_LABEL)
    return f"{metadata['namespace']}/{name}" if name else ""


def _claims(pod: str, spec: Obj) -> tuple[tuple[str, bool], ...]:
    volumes = spec.get("volumes") or ()
    return tuple((name, "ephemeral" in volume) for volume in volumes if (name := claim_name(pod, volume)))


def _volume_images(spec: Obj) -> list[str]:
    """The images that are mounted as volumes."""
    return [v["image"]["reference"] for v in spec.get("volumes") or () if (v.get("image") or {}).get("reference")]


def _relevant(container: Obj) -> list[object]:
    return [
        container.get("image"),
        container.get("resources"),
        container.get("restartPolicy"),
        container.get("restartPolicyRules"),
        [p for p in container.get("ports") or () if p.get("hostPort")],
    ]


def _shape(spec: Obj, rest: Obj) -> Shape:
    containers = spec.get("containers") or ()
    every = [*containers, *(spec.get("initContainers") or ())]
    running = [*containers, *(c for c in every[len(containers) :] if c.get("restartPolicy") == "Always")]
    requests = pod_requests(spec)
    guessed = pod_requests(_with_guesses(spec))
    affinity = spec.get("affinity") or {}
    mounted = _volume_images(spec)
    return Shape(
        spec=rest,
        selects=bool(rest.get("nodeSelector") or affinity.get("nodeAffinity")),
        named=_named(affinity.get("nodeAffinity") or {}),
        requests={name: value for name, value in requests.items() if value},
        scored=(guessed.get("cpu", 0), guessed.get("memory", 0)),
        ports=tuple(
            (p.get("hostIP") or "0.0.0.0", p.get("protocol") or "TCP", p["hostPort"])
            for c in running
            for p in c.get("ports") or ()
            if p.get("hostPort")
        ),
        images=(*(c["image"] for c in every if c.get("image")), *mounted),
        images_wanted=len(every) + len(mounted),
        tolerations=tuple(spec.get("tolerations") or ()),
        spread=tuple(spec.get("topologySpreadConstraints") or ()),
        affinity=affinity.get("podAffinity") or {},
        anti_affinity=affinity.get("podAntiAffinity") or {},
        scheduler=spec.get("schedulerName") or "default-scheduler",
        priority=spec.get("priority") or 0,
        preempts=spec.get("preemptionPolicy") != "Never",
        devices=bool(spec.get("resourceClaims")),
        extended=tuple(name for name, value in requests.items() if value and is_extended(name)),
        features=(DECLARED,) if may_restart_all(spec) else (),
    )


def _named(affinity: Obj) -> frozenset[str] | None:
    """The nodes that required terms leave when each of them says metadata.name In; None if one does not."""
    names: set[str] = set()
    terms = (affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}).get("nodeSelectorTerms") or ()
    for term in terms:
        fields = [f for f in term.get("matchFields") or () if f["operator"] == "In" and f["key"] == "metadata.name"]
        if not fields:
            return None
        names |= set.intersection(*(set(f.get("values") or ()) for f in fields))
    return frozenset(names) if terms else None


def _with_guesses(spec: Obj) -> Obj:
    """The spec with a guess for every container that states no request; a pod that states its own needs none."""
    stated = (spec.get("resources") or {}).get("requests") or {}
    guesses = {"cpu": f"{DEFAULT_MILLI_CPU}m", "memory": str(DEFAULT_MEMORY)}
    guesses = {name: value for name, value in guesses.items() if name not in stated}

    def guessed(container: Obj) -> Obj:
        resources = container.get("resources") or {}
        return {
            **container,
            "resources": {**resources, "requests": {**guesses, **(resources.get("requests") or {})}},
        }

    parts = ("containers", "initContainers")
    return {**spec, **{part: [guessed(c) for c in spec[part]] for part in parts if spec.get(part)}}

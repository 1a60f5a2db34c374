"""What scheduling needs to know of a pod, worked out once for all pods that are alike."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import orjson

from hawser.api.pod_resources import Amounts, pod_requests
from hawser.api.types import Obj

# What a container without requests is taken to use when nodes are compared (kube-scheduler's documented defaults).
DEFAULT_MILLI_CPU = 100
DEFAULT_MEMORY = 200 * 1024 * 1024
_REMEMBERED = 1024

Port = tuple[str, str, int]
"""Host IP ("0.0.0.0" is every address), protocol, port."""


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """The part of a spec that placement depends on; pods of one template share one Shape.

    spec: nodeSelector, affinity and other fields as in the pod. scored: milli-CPU and memory for comparing.
    selects: there is a nodeSelector or node affinity.
    """

    spec: Obj
    selects: bool
    requests: Amounts
    scored: tuple[int, int]
    ports: tuple[Port, ...]
    images: tuple[str, ...]
    tolerations: tuple[Obj, ...]
    spread: tuple[Obj, ...]
    affinity: Obj
    anti_affinity: Obj


@dataclass(frozen=True, slots=True, eq=False)
class PodInfo:
    """A pod to the scheduler. owner: UID of what controls it, "" if nothing does. leaving: it is being deleted."""

    key: str
    uid: str
    namespace: str
    labels: dict[str, str]
    priority: int
    created: str
    owner: str
    leaving: bool
    shape: Shape


class Shapes:
    """Finds the Shape of a spec, the same object for equal specs."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Shape] = OrderedDict()

    def of(self, spec: Obj) -> Shape:
        """The spec's Shape."""
        containers = [
            [_relevant(c) for c in spec.get("containers") or ()],
            [_relevant(c) for c in spec.get("initContainers") or ()],
        ]
        rest = {name: spec[name] for name in _FIELDS if spec.get(name)}
        signature = orjson.dumps([containers, rest])
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
        owner = next((o["uid"] for o in metadata.get("ownerReferences") or () if o.get("controller")), "")
        return PodInfo(
            key=f"{metadata['namespace']}/{metadata['name']}",
            uid=metadata["uid"],
            namespace=metadata["namespace"],
            labels=metadata.get("labels") or {},
            priority=spec.get("priority") or 0,
            created=metadata.get("creationTimestamp") or "",
            owner=owner,
            leaving="deletionTimestamp" in metadata,
            shape=self.of(spec),
        )


_FIELDS = ("nodeSelector", "affinity", "tolerations", "overhead", "resources", "topologySpreadConstraints")


def _relevant(container: Obj) -> list[object]:
    return [
        container.get("image"),
        container.get("resources"),
        container.get("restartPolicy"),
        [p for p in container.get("ports") or () if p.get("hostPort")],
    ]


def _shape(spec: Obj, rest: Obj) -> Shape:
    containers = [*(spec.get("containers") or ()), *_sidecars(spec)]
    requests = pod_requests(spec)
    scored = [0, 0]
    for container in containers:
        stated = (container.get("resources") or {}).get("requests") or {}
        scored[0] += 0 if "cpu" in stated else DEFAULT_MILLI_CPU
        scored[1] += 0 if "memory" in stated else DEFAULT_MEMORY
    affinity = spec.get("affinity") or {}
    return Shape(
        spec=rest,
        selects=bool(rest.get("nodeSelector") or affinity.get("nodeAffinity")),
        requests={name: value for name, value in requests.items() if value},
        scored=(requests.get("cpu", 0) + scored[0], requests.get("memory", 0) + scored[1]),
        ports=tuple(
            (p.get("hostIP") or "0.0.0.0", p.get("protocol") or "TCP", p["hostPort"])
            for c in containers
            for p in c.get("ports") or ()
            if p.get("hostPort")
        ),
        images=tuple(c["image"] for c in containers if c.get("image")),
        tolerations=tuple(spec.get("tolerations") or ()),
        spread=tuple(spec.get("topologySpreadConstraints") or ()),
        affinity=affinity.get("podAffinity") or {},
        anti_affinity=affinity.get("podAntiAffinity") or {},
    )


def _sidecars(spec: Obj) -> list[Obj]:
    return [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]

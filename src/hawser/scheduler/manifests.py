"""Objects that are not in a cluster yet, made into what they would be there: defaults, limits, priorities, and the pods
of workloads.

Pure. What the API server would refuse is refused in its words. An object without a UID is new.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hawser.api import kinds, limits, schema, storage
from hawser.api.daemons import Places, spec_on
from hawser.api.defaults import apply_defaults
from hawser.api.errors import APIError
from hawser.api.types import Obj
from hawser.api.validation import validate_create
from hawser.client.informer import key_of

_WORKLOADS = {
    "Deployment": (kinds.DEPLOYMENT, "replicas"),
    "ReplicaSet": (kinds.REPLICA_SET, "replicas"),
    "ReplicationController": (kinds.REPLICATION_CONTROLLER, "replicas"),
    "StatefulSet": (kinds.STATEFUL_SET, "replicas"),
    "Job": (kinds.JOB, "parallelism"),
}
_CHANGED = frozenset(("Pod", "PersistentVolumeClaim", "DaemonSet", *_WORKLOADS))
_SYSTEM = {"system-cluster-critical": {"value": 2_000_000_000}, "system-node-critical": {"value": 2_000_001_000}}
_LAST = "9999-12-31T23:59:59Z"
WRONG = (KeyError, TypeError, AttributeError, ValueError, APIError)


@dataclass(frozen=True, slots=True)
class House:
    """What of a cluster decides what becomes of new objects there.

    priorities: PriorityClasses by name. classes: StorageClasses. limits: LimitRanges of all namespaces.
    """

    priorities: Mapping[str, Obj] = field(default_factory=dict)
    classes: Sequence[Obj] = ()
    limits: Sequence[Obj] = ()

    def limits_of(self, obj: Obj) -> list[Obj]:
        """The LimitRanges of an object's namespace."""
        return [one for one in self.limits if one["metadata"].get("namespace") == obj["metadata"]["namespace"]]


class ForbiddenError(ValueError):
    """Admission would refuse an object; the message is the API server's."""


@dataclass(slots=True)
class Arrival:
    """What a new object brings. forbidden: pods (namespace/name) that its controller could not create, and the
    message of the event in which it says so."""

    objects: list[Obj] = field(default_factory=list)
    forbidden: list[tuple[str, str]] = field(default_factory=list)


class BadObjectError(ValueError):
    """An object is not as Kubernetes has them; the message says which, and what is wrong with it."""


def bad(obj: Obj, err: Exception) -> BadObjectError:
    """What went wrong with an object; err: one of WRONG."""
    if isinstance(err, BadObjectError):
        return err
    metadata = obj.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    match err:
        case APIError():
            what = err.message
        case KeyError():
            what = f"there is no {err.args[0]}"
        case ValueError():
            what = str(err)
        case _:
            what = "it is not as Kubernetes has them"
    return BadObjectError(f"{obj.get('kind')} {name or 'without a name'}: {what}")


def flattened(objects: Iterable[Obj]) -> Iterator[Obj]:
    """The objects, those of lists one by one; items of typed lists need not say what they are."""
    for obj in objects:
        kind = obj.get("kind") or ""
        if not kind.endswith("List"):
            yield obj
            continue
        version = obj.get("apiVersion") or "v1"
        for item in obj.get("items") or ():
            if not isinstance(item, dict):
                raise BadObjectError(f"{kind}: an item is not an object")
            named = item if "kind" in item else {"apiVersion": version, **item, "kind": kind.removesuffix("List")}
            yield from flattened((named,))


def is_new(obj: Obj) -> bool:
    """Whether an object is to be ``arrived``: it is no cluster's, and of a kind that clusters change."""
    return obj.get("kind") in _CHANGED and not obj["metadata"].get("uid")


def arrived(obj: Obj, house: House, nodes: Sequence[Obj]) -> Arrival:
    """What a cluster would make of a new object: itself as it is kept, or a workload with its pods and their claims.

    nodes: where DaemonSets may run. Raises WRONG.
    """
    obj = copy.deepcopy(obj)
    metadata = obj["metadata"]
    metadata.setdefault("namespace", "default")
    if metadata.get("generateName") and not metadata.get("name"):
        metadata["name"] = f"{metadata['generateName']}new"
    metadata["uid"] = f"{obj['kind']}/{key_of(obj)}"
    if obj["kind"] == "Pod":
        return Arrival([_pod(obj, house)])
    if obj["kind"] == "PersistentVolumeClaim":
        return Arrival([_claim(obj, house)])
    if obj["kind"] == "DaemonSet":
        _check(kinds.DAEMON_SET, obj)
        return daemons(obj, house, nodes)
    kind, count = _WORKLOADS[obj["kind"]]
    _check(kind, obj)
    made = Arrival([obj])
    for number in range(obj["spec"].get(count) or 0):
        first = (obj["spec"].get("ordinals") or {}).get("start") or 0 if obj["kind"] == "StatefulSet" else 0
        pod = _member(obj, str(first + number))
        claims = [_own_claim(obj, pod, template) for template in obj["spec"].get("volumeClaimTemplates") or ()]
        _join(made, obj, pod, claims, house)
    return made


def daemons(ds: Obj, house: House, nodes: Iterable[Obj]) -> Arrival:
    """The pods that a DaemonSet, as clusters keep it, makes for nodes that have none of them. Raises WRONG."""
    places = Places(ds)
    made = Arrival()
    for node in nodes:
        if places.on(node)[0]:
            pod = _member(ds, node["metadata"]["name"])
            pod["spec"] = copy.deepcopy(spec_on(ds, node["metadata"]["name"]))
            _join(made, ds, pod, (), house)
    return made


def _join(made: Arrival, owner: Obj, pod: Obj, claims: Iterable[Obj], house: House) -> None:
    """Creates a pod of a workload, its claims first, or tells why its controller could not."""
    name = pod["metadata"]["name"]
    try:
        for claim in claims:
            try:
                made.objects.append(_claim(claim, house))
            except ForbiddenError as err:
                raise ForbiddenError(f"failed to create PVC {claim['metadata']['name']}: {err}") from None
        made.objects.append(_pod(pod, house))
    except ForbiddenError as err:
        failed = "Error creating:"
        if owner["kind"] == "StatefulSet":
            failed = f"create Pod {name} in StatefulSet {owner['metadata']['name']} failed error:"
        made.forbidden.append((key_of(pod), f"{failed} {err}"))


def _check(kind: kinds.Kind, obj: Obj, admit: Callable[[], None] | None = None) -> None:
    """Completes an object as the API server does. admit: what happens between its defaults and the checks.

    Raises APIError, ValueError when the server would refuse it.
    """
    complaints = schema.decode(kind, obj)
    apply_defaults(kind, obj)
    if admit is not None:
        admit()
    if kind is not kinds.JOB:
        # Jobs get selector and labels from the server: their pods are checked all the same.
        complaints += map(str, validate_create(kind, obj))
    if complaints:
        raise ValueError(", ".join(complaints))


def _pod(pod: Obj, house: House) -> Obj:
    ranges, priorities = house.limits_of(pod), house.priorities

    def admit() -> None:
        for limit_range in ranges:
            limits.set_defaults(limit_range, pod)

    _check(kinds.POD, pod, admit)
    _forbid(kinds.POD, pod, (limits.pod_violations(limit_range, pod) for limit_range in ranges))
    spec = pod["spec"]
    name = spec.get("priorityClassName") or ""
    found = priorities.get(name) or _SYSTEM.get(name)
    if found is None and name:
        _forbid(kinds.POD, pod, ([f"no PriorityClass with name {name} was found"],))
    if found is None:
        defaults = [one for one in priorities.values() if one.get("globalDefault")]
        found = min(defaults, key=lambda one: int(one.get("value", 0)), default={})
    spec["priority"] = found.get("value", 0)
    spec["preemptionPolicy"] = found.get("preemptionPolicy") or "PreemptLowerPriority"
    # Whoever waits already comes first.
    pod["metadata"]["creationTimestamp"] = _LAST
    return pod


def _forbid(kind: kinds.Kind, obj: Obj, violations: Iterable[Sequence[str]]) -> None:
    """Raises ForbiddenError when there is something against the object."""
    for found in violations:
        if found:
            listed = [*dict.fromkeys(found)]
            told = listed[0] if len(listed) == 1 else f"[{', '.join(listed)}]"
            raise ForbiddenError(f'{kind.plural} "{obj["metadata"]["name"]}" is forbidden: {told}')


def _claim(claim: Obj, house: House) -> Obj:
    ranges = house.limits_of(claim)
    _forbid(kinds.PERSISTENT_VOLUME_CLAIM, claim, (limits.claim_violations(one, claim) for one in ranges))
    default = storage.default_class(house.classes) if claim["spec"].get("storageClassName") is None else None
    if default is not None:
        claim["spec"]["storageClassName"] = default["metadata"]["name"]
    return claim


def _member(workload: Obj, which: str) -> Obj:
    """One pod of a workload. which: what tells it from the others."""
    own, spec, kind = workload["metadata"], workload["spec"], workload["kind"]
    template = copy.deepcopy(spec["template"])
    # A Deployment's pods are its ReplicaSet's.
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet" if kind == "Deployment" else kind, "name": own["name"]}
    given = template.get("metadata") or {}
    name = f"{own['name']}-{which}"
    metadata = {
        **{field: given[field] for field in ("labels", "annotations") if given.get(field)},
        "name": name,
        "namespace": own["namespace"],
        "uid": f"Pod/{own['namespace']}/{name}",
        "ownerReferences": [{**owner, "uid": own["uid"], "controller": True}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def _own_claim(workload: Obj, pod: Obj, template: Obj) -> Obj:
    """A claim of a StatefulSet's pod, which mounts it from now on."""
    volume, metadata = template["metadata"]["name"], pod["metadata"]
    name = f"{volume}-{metadata['name']}"
    mounted = {"name": volume, "persistentVolumeClaim": {"claimName": name}}
    volumes = [one for one in pod["spec"].get("volumes") or () if one["name"] != volume]
    pod["spec"]["volumes"] = [*volumes, mounted]
    key = {"name": name, "namespace": metadata["namespace"]}
    fields = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
    uid = f"PersistentVolumeClaim/{metadata['namespace']}/{name}"
    return {**fields, "metadata": {**key, "uid": uid}, "spec": copy.deepcopy(template["spec"])}

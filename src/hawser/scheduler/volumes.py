"""Which nodes a pod's volumes allow: pure.

Source: Kubernetes documentation, "Persistent Volumes" (binding, node affinity, access modes), "Storage Classes" (volume
binding mode, allowed topologies), "Storage Capacity", "Node-specific Volume Limits". The reasons are kube-scheduler's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from hawser.api import storage
from hawser.api.node_affinity import expression_matches, term_matches
from hawser.api.quantity import to_bytes
from hawser.api.types import Obj
from hawser.scheduler.cache import Cache, NodeInfo
from hawser.scheduler.filters import Refusal
from hawser.scheduler.shapes import PodInfo
from hawser.scheduler.terms import selector_of

NO_PROVISIONER = "kubernetes.io/no-provisioner"
_ZONES = (
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
)

ELSEWHERE = "node(s) didn't match PersistentVolume's node affinity"
NONE_TO_BIND = "node(s) didn't find available persistent volumes to bind"
NO_SPACE = "node(s) did not have enough free storage"
NO_VOLUME = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
UNBOUND = "pod has unbound immediate PersistentVolumeClaims"
OTHER_ZONE = Refusal("VolumeZone", ("node(s) had no available volume zone",), True)
IN_USE = Refusal(
    "VolumeRestrictions",
    ("node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",),
)


@dataclass(slots=True)
class Stock:
    """What there is of storage. claims: by namespace/name; everything else by name.

    attached: VolumeAttachments to a node, by its name.
    promised: for volumes that claims of placed pods are about to be bound to, the claim (namespace/name).
    selected: nodes where volumes are about to be made, by namespace/name of the claim.
    """

    claims: Mapping[str, Obj] = field(default_factory=dict)
    volumes: Mapping[str, Obj] = field(default_factory=dict)
    classes: Mapping[str, Obj] = field(default_factory=dict)
    drivers: Mapping[str, Obj] = field(default_factory=dict)
    csi_nodes: Mapping[str, Obj] = field(default_factory=dict)
    capacities: Iterable[Obj] = ()
    attached: Callable[[str], Iterable[Obj]] = lambda node: ()
    promised: dict[str, str] = field(default_factory=dict)
    selected: dict[str, str] = field(default_factory=dict)

    def class_of(self, claim: Obj) -> Obj | None:
        """The claim's StorageClass, if there is one."""
        return self.classes.get(storage.class_of(claim))


@dataclass(frozen=True, slots=True)
class Wanted:
    """A pod's claims: those that have a volume, and those that get one when the pod has a node."""

    bound: tuple[Obj, ...]
    delayed: tuple[Obj, ...]


@dataclass(frozen=True, slots=True)
class Binding:
    """What is to be done for a pod's claims on a node. static: claim and volume; dynamic: claims to be provisioned."""

    static: tuple[tuple[Obj, Obj], ...] = ()
    dynamic: tuple[Obj, ...] = ()


def key(obj: Obj) -> str:
    """namespace/name of a claim."""
    return f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"


def is_bound(claim: Obj) -> bool:
    """Whether the claim has its volume for good."""
    return bool(claim["spec"].get("volumeName")) and storage.BIND_COMPLETED in storage.notes(claim)


def wanted(pod: PodInfo, stock: Stock) -> Wanted | Refusal:
    """The pod's claims, or why no node can take the pod because of them."""
    bound: list[Obj] = []
    delayed: list[Obj] = []
    immediate: list[Obj] = []
    for name, own in pod.claims:
        claim = stock.claims.get(f"{pod.namespace}/{name}")
        trouble = _trouble(pod, name, own, claim)
        if trouble or claim is None:
            return Refusal("VolumeBinding", (trouble,), True)
        if is_bound(claim):
            bound.append(claim)
            continue
        named = storage.class_of(claim)
        found = stock.class_of(claim)
        if named and found is None and not claim["spec"].get("volumeName"):
            return Refusal("VolumeBinding", (f'storageclass.storage.k8s.io "{named}" not found',), True)
        waits = storage.is_delayed(found) and not claim["spec"].get("volumeName")
        (delayed if waits else immediate).append(claim)
    if immediate:
        return Refusal("VolumeBinding", (UNBOUND,), True)
    return Wanted(tuple(bound), tuple(delayed))


def _trouble(pod: PodInfo, name: str, own: bool, claim: Obj | None) -> str:
    if claim is None:
        if own:
            return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
        return f'persistentvolumeclaim "{name}" not found'
    if storage.phase(claim) == "Lost":
        volume = claim["spec"].get("volumeName") or ""
        return f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{volume}"'
    if "deletionTimestamp" in claim["metadata"]:
        return f'persistentvolumeclaim "{name}" is being deleted'
    owners = claim["metadata"].get("ownerReferences") or ()
    if own and not any(o.get("controller") and o["uid"] == pod.uid for o in owners):
        return f"PVC {pod.namespace}/{name} was not created for pod {pod.key} (pod is not owner)"
    return ""


def held(pod: PodInfo, stock: Stock, cache: Cache) -> frozenset[str]:
    """The pod's claims that only one pod at a time may use and that another uses: namespace/name."""
    found = []
    for name, _ in pod.claims:
        full = f"{pod.namespace}/{name}"
        modes = stock.claims[full]["spec"].get("accessModes") or ()
        if "ReadWriteOncePod" in modes and cache.claims.get(full):
            found.append(full)
    return frozenset(found)


def plan(claims: Wanted, node: NodeInfo, stock: Stock) -> Binding | Refusal:
    """What binding a pod's claims on the node takes, or why it cannot be, whoever else is there."""
    reasons = []
    volumes = [stock.volumes.get(claim["spec"]["volumeName"]) for claim in claims.bound]
    if any(volume is not None and not reachable(volume, node) for volume in volumes):
        reasons.append(ELSEWHERE)
    made = _bind_delayed(claims.delayed, node, stock)
    if isinstance(made, str):
        reasons.append(made)
    if None in volumes:
        reasons.append(NO_VOLUME)
    if reasons:
        return Refusal("VolumeBinding", tuple(reasons), True)
    if any(volume is not None and not _zone_fits(volume, node) for volume in volumes):
        return OTHER_ZONE
    assert isinstance(made, Binding)
    return made


def reachable(volume: Obj, node: NodeInfo) -> bool:
    """Whether the volume's node affinity allows the node."""
    required = (volume["spec"].get("nodeAffinity") or {}).get("required")
    if required is None:
        return True
    return any(term_matches(term, node.name, node.labels) for term in required.get("nodeSelectorTerms") or ())


def _bind_delayed(claims: tuple[Obj, ...], node: NodeInfo, stock: Stock) -> Binding | str:
    static: list[tuple[Obj, Obj]] = []
    dynamic: list[Obj] = []
    taken: set[str] = set()
    # Small claims first, so that they leave the large volumes.
    for claim in sorted(claims, key=storage.requested):
        selected = storage.notes(claim).get(storage.SELECTED_NODE) or stock.selected.get(key(claim))
        if selected is not None:
            if selected != node.name:
                return NONE_TO_BIND
            dynamic.append(claim)
            continue
        volume = matching(claim, node, stock, taken)
        if volume is not None:
            taken.add(volume["metadata"]["name"])
            static.append((claim, volume))
        else:
            dynamic.append(claim)
    for claim in dynamic:
        trouble = _unprovisionable(claim, node, stock)
        if trouble:
            return trouble
    return Binding(tuple(static), tuple(dynamic))


def matching(claim: Obj, node: NodeInfo, stock: Stock, taken: set[str]) -> Obj | None:
    """The smallest volume that is free for the claim and that the node can reach; one that names it goes first."""
    best: Obj | None = None
    for name, volume in stock.volumes.items():
        if name in taken or stock.promised.get(name, key(claim)) != key(claim):
            continue
        if not _offers(volume, claim) or not reachable(volume, node):
            continue
        if volume["spec"].get("claimRef"):
            return volume
        if storage.phase(volume) != "Available":
            continue
        if best is None or storage.capacity(volume) < storage.capacity(best):
            best = volume
    return best


def _offers(volume: Obj, claim: Obj) -> bool:
    """Whether the volume is what the claim asks for."""
    reference = volume["spec"].get("claimRef")
    if reference is not None and not storage.is_for(reference, claim):
        return False
    if "deletionTimestamp" in volume["metadata"] or not storage.is_enough(volume, claim):
        return False
    selector = claim["spec"].get("selector")
    if selector is not None and not selector_of(selector).matches(volume["metadata"].get("labels") or {}):
        return False
    return storage.class_of(volume) == storage.class_of(claim)


def _unprovisionable(claim: Obj, node: NodeInfo, stock: Stock) -> str:
    found = stock.class_of(claim) or {}
    provisioner = found.get("provisioner") or NO_PROVISIONER
    if provisioner == NO_PROVISIONER or not _topology_allows(found.get("allowedTopologies"), node):
        return NONE_TO_BIND
    driver = (stock.drivers.get(provisioner) or {}).get("spec") or {}
    if not driver.get("storageCapacity"):
        return ""
    for capacity in stock.capacities:
        limit = capacity.get("maximumVolumeSize") or capacity.get("capacity")
        if capacity.get("storageClassName") != found["metadata"]["name"] or limit is None:
            continue
        topology = capacity.get("nodeTopology")
        reaches = topology is not None and selector_of(topology).matches(node.labels)
        if reaches and to_bytes(limit) >= storage.requested(claim):
            return ""
    return NO_SPACE


def _topology_allows(terms: list[Obj] | None, node: NodeInfo) -> bool:
    """Whether one of a class's allowedTopologies has the node; without any, all do."""
    if not terms:
        return True
    return any(
        all(expression_matches({**e, "operator": "In"}, node.labels) for e in term.get("matchLabelExpressions") or ())
        for term in terms
    )


def _zone_fits(volume: Obj, node: NodeInfo) -> bool:
    labels = volume["metadata"].get("labels") or {}
    if not any(name in node.labels for name in _ZONES):
        return True
    return all(node.labels.get(name) in labels[name].split("__") for name in _ZONES if name in labels)

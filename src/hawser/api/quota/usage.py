"""What one object counts for in a ResourceQuota.

Source: Kubernetes documentation, "Resource Quotas"; API reference of each kind; messages are kube-apiserver's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from hawser.api import kinds
from hawser.api.extended_resources import IMPLICIT, claimant, is_extended
from hawser.api.kind import Kind
from hawser.api.pod_sums import parsed, pod_quantities
from hawser.api.quantity import Quantity
from hawser.api.quota.names import DEVICE_CLASS, HUGE_PAGES, REQUESTS, STORAGE_CLASS, count_name
from hawser.api.status import has_ended
from hawser.api.storage import class_of
from hawser.api.types import Obj

Usage = dict[str, Quantity]
"""Amounts by the names that quotas use."""

_COMPUTE = ("cpu", "memory", "ephemeral-storage")
# What every container must say when it is bounded. Kubernetes calls it a mistake that it keeps.
_REQUIRED = frozenset(("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"))
# So many devices are what "all" can be at most (API reference, DeviceRequestAllocationResult).
_MOST_DEVICES = 32


def _whole(number: int) -> Quantity:
    return Quantity.parse(number)


ZERO = _whole(0)
ONE = _whole(1)


@dataclass(frozen=True, slots=True)
class Around:
    """What the count of a ResourceClaim depends on besides itself.

    extended: the extended resource that a DeviceClass of a name says it is, or nothing. pod: finds one by its
    namespace and name. claims: all ResourceClaims of a namespace.
    """

    extended: Callable[[str], str]
    pod: Callable[[str, str], Obj | None]
    claims: Callable[[str], Iterable[Obj]]


ALONE = Around(lambda name: "", lambda namespace, name: None, lambda namespace: ())


def usage(kind: Kind, obj: Obj, now: datetime, around: Around = ALONE) -> Usage:
    """What an object counts for. now: pods that should be gone by now count for nothing but count/pods."""
    measure = _MEASURES.get(kind)
    counted: Usage = {count_name(kind): ONE}
    if kind is kinds.POD:
        return counted if ended(obj, now) else counted | _pod(obj)
    if kind is kinds.RESOURCE_CLAIM:
        devices = _resource_claim(obj)
        return counted | devices | _extended(obj, devices, around)
    if measure is not None:
        return counted | measure(obj)
    return counted | {kind.plural: ONE}


def changes_by_itself(kind: Kind, obj: Obj) -> bool:
    """Whether what an object counts for depends on the time."""
    return kind is kinds.POD and obj["metadata"].get("deletionTimestamp") is not None


def ended(pod: Obj, now: datetime) -> bool:
    """Whether a pod has finished, or its grace period has."""
    if has_ended(pod):
        return True
    metadata = pod["metadata"]
    since, grace = metadata.get("deletionTimestamp"), metadata.get("deletionGracePeriodSeconds")
    if since is None or grace is None:
        return False
    return now > datetime.fromisoformat(since) + timedelta(seconds=grace)


def _pod(pod: Obj) -> Usage:
    spec, status = pod.get("spec") or {}, pod.get("status")
    requests, limits = (pod_quantities(spec, part, overhead=True, status=status) for part in ("requests", "limits"))
    return _computed(requests, limits)


def _computed(requests: Mapping[str, Quantity], limits: Mapping[str, Quantity]) -> Usage:
    found: Usage = {"pods": ONE}
    for name, amount in requests.items():
        if name in _COMPUTE or name.startswith(HUGE_PAGES):
            found[name] = found[REQUESTS + name] = amount
        elif is_extended(name) and not name.startswith(REQUESTS):
            found[REQUESTS + name] = amount
    for name in _COMPUTE:
        if name in limits:
            found["limits." + name] = limits[name]
    return found


def _service(service: Obj) -> Usage:
    spec = service.get("spec") or {}
    found: Usage = {"services": ONE}
    ports = spec.get("ports") or ()
    if spec.get("type") == "LoadBalancer":
        found["services.loadbalancers"] = ONE
        if spec.get("allocateLoadBalancerNodePorts") is False:
            ports = [port for port in ports if port.get("nodePort")]
    elif spec.get("type") != "NodePort":
        ports = ()
    found["services.nodeports"] = _whole(len(ports))
    return found


def _claim(claim: Obj) -> Usage:
    spec = claim.get("spec") or {}
    found: Usage = {"persistentvolumeclaims": ONE}
    text = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if text is not None:
        found["requests.storage"] = Quantity.parse(text)
        given = ((claim.get("status") or {}).get("allocatedResources") or {}).get("storage")
        if given is not None and Quantity.parse(given).amount > found["requests.storage"].amount:
            found["requests.storage"] = Quantity.parse(given)
    if name := class_of(claim):
        found |= {name + STORAGE_CLASS + key: value for key, value in found.items()}
    return found


def _resource_claim(claim: Obj) -> Usage:
    found: Usage = {}
    devices = (claim.get("spec") or {}).get("devices") or {}
    for request in devices.get("requests") or ():
        # Of several ways to satisfy a request, the dearest of each class counts.
        most: dict[str, int] = {}
        for one in request.get("firstAvailable") or [request.get("exactly") or request]:
            name = one.get("deviceClassName")
            if name:
                number = _MOST_DEVICES if one.get("allocationMode") == "All" else int(one.get("count") or 1)
                most[name] = max(most.get(name, 0), number)
        found = add(found, {name + DEVICE_CLASS: _whole(number) for name, number in most.items()})
    return found


def _extended(claim: Obj, devices: Usage, around: Around) -> Usage:
    """Devices as the extended resources that their classes are, but for what the pod counts for that they are for."""
    found: Usage = {}
    for name, amount in devices.items():
        device_class = name.removesuffix(DEVICE_CLASS)
        found[REQUESTS + IMPLICIT + device_class] = amount
        if resource := around.extended(device_class):
            found = add(found, {REQUESTS + resource: amount})
    return increase(found, _pod(pod) if (pod := _claimant(claim, around)) else {})


def _claimant(claim: Obj, around: Around) -> Obj | None:
    """The pod for whose extended resources the claim is."""
    owner = claimant(claim)
    pod = around.pod(claim["metadata"]["namespace"], owner["name"]) if owner is not None else None
    if owner is None or pod is None or pod["metadata"]["uid"] != owner["uid"]:
        return None
    told = (pod.get("status") or {}).get("extendedResourceClaimStatus")
    if told:
        return pod if told["resourceClaimName"] == claim["metadata"].get("name") else None
    # As long as nothing is told of it, the pod's claim is its first: others would be a way around the quota.
    same = (
        one for one in around.claims(claim["metadata"]["namespace"]) if (claimant(one) or {}).get("uid") == owner["uid"]
    )
    return pod if all(_age(claim) <= _age(one) for one in same) else None


def _age(obj: Obj) -> tuple[str, str]:
    metadata = obj["metadata"]
    return metadata.get("creationTimestamp") or "", metadata.get("name") or ""


_MEASURES: dict[Kind, Callable[[Obj], Usage]] = {
    kinds.POD: _pod,
    kinds.SERVICE: _service,
    kinds.PERSISTENT_VOLUME_CLAIM: _claim,
    kinds.RESOURCE_CLAIM: _resource_claim,
}


def is_measured(kind: Kind) -> bool:
    """Whether objects of a kind count for more than one each, so that they have to be looked at."""
    return kind in _MEASURES


def add(left: Usage, right: Usage) -> Usage:
    """The sum of both."""
    return left | {name: left[name] + value if name in left else value for name, value in right.items()}


def subtract(left: Usage, right: Usage) -> Usage:
    """What is left of left without right."""
    return left | {name: left.get(name, ZERO) - value for name, value in right.items()}


def increase(new: Usage, old: Usage) -> Usage:
    """What there is more of than before."""
    return {name: value for name, value in subtract(new, old).items() if value.amount > 0}


def missing(pod: Obj, bounded: Iterable[str]) -> str:
    """What the containers of a pod have to say because it is bounded: ``must specify limits.cpu for: c``.

    Nothing when the pod as a whole says what it needs (KEP-2837).
    """
    required = _REQUIRED.intersection(bounded)
    if not required:
        return ""
    spec = pod.get("spec") or {}
    own = spec.get("resources") or {}
    if own.get("requests") or own.get("limits"):
        return ""
    lacking: dict[str, set[str]] = {}
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        for name in required - _said(container).keys():
            lacking.setdefault(name, set()).add(container["name"])
    if not lacking:
        return ""
    return "must specify " + "; ".join(f"{name} for: {','.join(sorted(lacking[name]))}" for name in sorted(lacking))


def _said(container: Obj) -> Usage:
    """What a container says for itself."""
    resources = container.get("resources") or {}
    requests, limits = ({n: parsed(t) for n, t in (resources.get(k) or {}).items()} for k in ("requests", "limits"))
    return _computed(requests, limits)


def exceeded(name: str, hard: Mapping[str, str], used: Usage, wanted: Usage) -> str:
    """Why what is wanted on top of what is used is too much for the quota of this name; empty when it is not."""
    bounds = {key: parsed(hard[key]) for key in wanted}
    over = sorted(key for key in wanted if (used.get(key, ZERO) + wanted[key]).amount > bounds[key].amount)
    if not over:
        return ""
    shown = (",".join(f"{key}={values.get(key, ZERO)}" for key in over) for values in (wanted, used, bounds))
    requested, taken, limited = shown
    return f"exceeded quota: {name}, requested: {requested}, used: {taken}, limited: {limited}"

"""Extended resources of a pod as a claim of devices: pure.

Names, order and what init containers may use again are kube-scheduler's. Source: KEP-5004 (extended resources by DRA).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hawser.api.extended_resources import CLAIM
from hawser.api.pod_resources import amount
from hawser.api.types import Obj
from hawser.scheduler.devices.claims import owner_of

IN_MEMORY = "<extended-resources>"


@dataclass(frozen=True, slots=True)
class Extended:
    """The claim that is to be made for a pod, and which request gives which container what."""

    claim: Obj
    mappings: Sequence[Obj]


def extended_claim(pod: Obj, classes: Mapping[str, str]) -> Extended:
    """The claim for resources that are devices on a node. classes: by resource, the class that it comes from."""
    metadata = pod["metadata"]
    requests: list[Obj] = []
    mappings: list[Obj] = []
    for resource in sorted(classes):
        made, told = _requests(pod["spec"], resource, classes[resource])
        requests += made
        mappings += told
    requests.sort(key=lambda request: str(request["name"]))
    own = {
        "name": IN_MEMORY,
        "generateName": f"{metadata['name']}-extended-resources-",
        "namespace": metadata["namespace"],
        # Until the API gives it one of its own.
        "uid": f"{metadata['uid']}/{IN_MEMORY}",
        "ownerReferences": [owner_of(pod)],
        "annotations": {CLAIM: "true"},
    }
    return Extended({"metadata": own, "spec": {"devices": {"requests": requests}}}, mappings)


def _requests(spec: Obj, resource: str, device_class: str) -> tuple[list[Obj], list[Obj]]:
    """Requests and mappings of one resource; init containers use first what containers get that come later."""
    initial = spec.get("initContainers") or []
    containers = [*initial, *spec["containers"]]
    short = [i for i, one in enumerate(initial) if one.get("restartPolicy") != "Always"]
    own: dict[int, Obj] = {}
    told: list[Obj] = []
    for number, container in enumerate(containers):
        wanted = 0 if number in short else _amount(container, resource)
        if wanted:
            own[number] = _request(number, container, resource, device_class, wanted)
            told.append(_mapping(container, resource, own[number]["name"]))
    largest: Obj | None = None
    names: set[str] = set()
    of_short: list[Obj] = []
    for number in short:
        container, wanted = containers[number], _amount(containers[number], resource)
        for later in sorted(n for n in own if n > number):
            if wanted > 0:
                of_short.append(_mapping(container, resource, own[later]["name"]))
                wanted -= own[later]["exactly"]["count"]
        if wanted > 0:
            made = _request(number, container, resource, device_class, wanted)
            names.add(made["name"])
            of_short.append(_mapping(container, resource, made["name"]))
            if largest is None or largest["exactly"]["count"] < wanted:
                largest = made
    if largest is not None:
        # They run one after another: what is enough for one is enough for all.
        for mapping in of_short:
            if mapping["requestName"] in names:
                mapping["requestName"] = largest["name"]
    return [*([largest] if largest is not None else ()), *own.values()], told + of_short


def _wants(container: Obj) -> Obj:
    resources = container.get("resources") or {}
    found: Obj = resources.get("requests") or {}
    return found


def _amount(container: Obj, resource: str) -> int:
    return amount(resource, _wants(container).get(resource) or 0)


def _request(number: int, container: Obj, resource: str, device_class: str, count: int) -> Obj:
    name = f"container-{number}-request-{sorted(_wants(container)).index(resource)}"
    return {
        "name": name,
        "exactly": {"deviceClassName": device_class, "allocationMode": "ExactCount", "count": count},
    }


def _mapping(container: Obj, resource: str, request: str) -> Obj:
    return {"containerName": container["name"], "resourceName": resource, "requestName": request}

"""Devices, classes and claims as short as a test can say them."""

from __future__ import annotations

import itertools
from uuid import UUID

_numbers = itertools.count(1)
DRIVER = "gpu.example.com"
NAMED = "resource.k8s.io/v1"


def device(name, *, driver=DRIVER, consumes=None, capacity=None, **fields):
    """A device; attributes are what is not a field of it. consumes: amounts by counter, of the set ``all``."""
    known = ("taints", "bindingConditions", "bindingFailureConditions", "bindsToNode", "allowMultipleAllocations")
    own = {k: fields.pop(k) for k in (*known, "nodeName", "allNodes", "nodeSelector") if k in fields}
    made = {"name": name, **own}
    if fields:
        made["attributes"] = {key: _attribute(value) for key, value in fields.items()}
    if capacity:
        made["capacity"] = {k: v if isinstance(v, dict) else {"value": v} for k, v in capacity.items()}
    if consumes:
        made["consumesCounters"] = [{"counterSet": "all", "counters": {k: {"value": v} for k, v in consumes.items()}}]
    return made


def _attribute(value):
    return value if isinstance(value, dict) else {{bool: "bool", int: "int", str: "string"}[type(value)]: value}


def resource_slice(*devices, node="", pool="", driver=DRIVER, generation=1, count=1, name="", counters=None, **where):
    """A ResourceSlice of a node, or of where it says."""
    pool = pool or node or "pool"
    spec = {
        "driver": driver,
        "pool": {"name": pool, "generation": generation, "resourceSliceCount": count},
        **({"nodeName": node} if node else where or {"allNodes": True}),
    }
    if devices:
        spec["devices"] = [*devices]
    if counters:
        spec["sharedCounters"] = [{"name": "all", "counters": {k: {"value": v} for k, v in counters.items()}}]
    metadata = {"name": name or f"slice-{next(_numbers)}"}
    return {"apiVersion": NAMED, "kind": "ResourceSlice", "metadata": metadata, "spec": spec}


def device_class(name="gpu", *expressions, **spec):
    if expressions:
        spec["selectors"] = [{"cel": {"expression": one}} for one in expressions]
    return {"apiVersion": NAMED, "kind": "DeviceClass", "metadata": {"name": name}, "spec": spec}


def exactly(*expressions, device_class="gpu", count=1, mode="ExactCount", **fields):
    """What a request, or a choice of one, says."""
    asked = {"deviceClassName": device_class, "allocationMode": mode, **fields}
    if mode == "ExactCount":
        asked["count"] = count
    if expressions:
        asked["selectors"] = [{"cel": {"expression": one}} for one in expressions]
    return asked


def request(name="gpu", *expressions, **fields):
    return {"name": name, "exactly": exactly(*expressions, **fields)}


def claim(name, *requests, namespace="default", constraints=(), config=(), allocation=None):
    devices = {"requests": [*requests] or [request()]}
    if constraints:
        devices["constraints"] = [*constraints]
    if config:
        devices["config"] = [*config]
    metadata = {"name": name, "namespace": namespace, "uid": str(UUID(int=next(_numbers)))}
    made = {"apiVersion": NAMED, "kind": "ResourceClaim", "metadata": metadata, "spec": {"devices": devices}}
    if allocation is not None:
        made["status"] = {"allocation": allocation}
    return made


def used(*names, pool="n1", driver=DRIVER, **fields):
    """An allocation of these devices."""
    results = [{"request": "gpu", "driver": driver, "pool": pool, "device": name, **fields} for name in names]
    return {"devices": {"results": results}}

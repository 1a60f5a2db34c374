"""The columns of kinds of the named groups."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from hawser.api.errors import APIError
from hawser.api.printers.base import (
    AGE,
    NAME,
    NONE,
    Column,
    Printer,
    age,
    containers,
    name,
    part,
    shortened,
    wide,
)
from hawser.api.selectors import LabelSelector
from hawser.api.types import Obj

_TEMPLATE = (
    wide("Containers", "The names of the template's containers."),
    wide("Images", "The images of the template's containers."),
    wide("Selector", "The labels of the pods that are managed."),
)


def _template(obj: Obj) -> list[str]:
    """CONTAINERS, IMAGES and SELECTOR of a workload."""
    spec = part(obj, "spec")
    try:
        selector = str(LabelSelector.from_object(spec.get("selector"))) or NONE
    except APIError:
        selector = "<error>"
    return [*containers(part(part(spec, "template"), "spec")), selector]


def _deployment(deployment: Obj, now: datetime) -> list[Any]:
    spec, status = part(deployment, "spec"), part(deployment, "status")
    return [
        name(deployment),
        f"{status.get('readyReplicas') or 0}/{spec.get('replicas', 1)}",
        status.get("updatedReplicas") or 0,
        status.get("availableReplicas") or 0,
        age(deployment, now),
        *_template(deployment),
    ]


def _replica_set(replicas: Obj, now: datetime) -> list[Any]:
    spec, status = part(replicas, "spec"), part(replicas, "status")
    return [
        name(replicas),
        spec.get("replicas", 1),
        status.get("replicas") or 0,
        status.get("readyReplicas") or 0,
        age(replicas, now),
        *_template(replicas),
    ]


def _scale(scale: Obj, now: datetime) -> list[Any]:
    return [
        name(scale),
        part(scale, "spec").get("replicas") or 0,
        part(scale, "status").get("replicas") or 0,
        age(scale, now),
    ]


def _lease(lease: Obj, now: datetime) -> list[Any]:
    return [name(lease), part(lease, "spec").get("holderIdentity") or "", age(lease, now)]


def _endpoint_slice(endpoints: Obj, now: datetime) -> list[Any]:
    ports = [str(p.get("port") or p.get("name", "*")) for p in endpoints.get("ports") or []]
    addresses = [a for e in endpoints.get("endpoints") or [] for a in e.get("addresses") or []]
    return [
        name(endpoints),
        endpoints.get("addressType", ""),
        shortened(ports),
        shortened(addresses),
        age(endpoints, now),
    ]


def _runtime_class(runtime: Obj, now: datetime) -> list[Any]:
    return [name(runtime), runtime.get("handler", ""), age(runtime, now)]


DEPLOYMENT = Printer(
    (
        NAME,
        Column("Ready", description="How many pods are ready, of how many that are wanted."),
        Column("Up-to-date", "integer", description="How many pods have the newest template."),
        Column("Available", "integer", description="How many pods have been ready for long enough."),
        AGE,
        *_TEMPLATE,
    ),
    _deployment,
)
REPLICA_SET = Printer(
    (
        NAME,
        Column("Desired", "integer", description="How many pods are wanted."),
        Column("Current", "integer", description="How many pods there are."),
        Column("Ready", "integer", description="How many pods are ready."),
        AGE,
        *_TEMPLATE,
    ),
    _replica_set,
)
SCALE = Printer(
    (
        NAME,
        Column("Desired", "integer", description="How many pods are wanted."),
        Column("Available", "integer", description="How many pods there are."),
        AGE,
    ),
    _scale,
)
LEASE = Printer((NAME, Column("Holder", description="Who holds the lease."), AGE), _lease)
ENDPOINT_SLICE = Printer(
    (
        NAME,
        Column("AddressType", description="The type of the addresses."),
        Column("Ports", description="The ports of the endpoints."),
        Column("Endpoints", description="The addresses of the endpoints."),
        AGE,
    ),
    _endpoint_slice,
)
RUNTIME_CLASS = Printer(
    (NAME, Column("Handler", description="The runtime handler that runs the pods."), AGE), _runtime_class
)

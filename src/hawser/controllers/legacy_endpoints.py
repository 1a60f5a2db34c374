"""Endpoints, the older form of EndpointSlices: those of Services with a selector.

Source: API reference, Endpoints; kube-controller-manager's endpoint controller (labels, annotations, limit).
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from hawser.api.errors import APIError, ignoring
from hawser.api.kinds import ENDPOINTS, POD, SERVICE
from hawser.api.status import has_ended, is_ready
from hawser.api.types import Obj
from hawser.client.controller import Controller, Manager
from hawser.controllers import pods
from hawser.controllers.endpoints import (
    HEADLESS,
    families,
    hostname,
    pod_address,
    port_of,
    trigger_time,
    triggered,
    triggers,
)
from hawser.controllers.endpointslice import concerned, selector_of
from hawser.controllers.selecting import Selecting, by_labels, selected

MANAGED_BY = "endpoints.kubernetes.io/managed-by"
MANAGER = "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
MOST = 1000
_LEADER = "control-plane.alpha.kubernetes.io/leader"


def subsets(service: Obj, selected: Iterable[Obj]) -> list[Obj]:
    """The subsets of a Service's Endpoints: addresses that have the same ports are together."""
    spec = service["spec"]
    unready = bool(spec.get("publishNotReadyAddresses"))
    family = families(service)[0]
    packed: dict[tuple[bytes, ...], tuple[list[Obj], list[Obj]]] = {}
    for pod in selected:
        ip = pod_address(pod, family)
        if not ip or has_ended(pod) or (pods.is_terminating(pod) and not unready):
            continue
        ports = [port for one in spec.get("ports") or () if (port := port_of(one, pod)) is not None]
        if not ports and (spec.get("ports") or spec.get("clusterIP") != "None"):
            continue
        key = tuple(sorted(orjson.dumps(port, option=orjson.OPT_SORT_KEYS) for port in ports))
        ready, waiting = packed.setdefault(key, ([], []))
        (ready if unready or is_ready(pod) else waiting).append(_address(service, pod, ip))
    made = []
    for key, groups in sorted(packed.items()):
        one: Obj = {}
        for field, listed in zip(("addresses", "notReadyAddresses"), groups, strict=True):
            if listed:
                one[field] = sorted(listed, key=lambda a: (a["ip"], a["targetRef"]["uid"]))
        if key:
            one["ports"] = [{k: v for k, v in orjson.loads(port).items() if v != ""} for port in key]
        made.append(one)
    return made


def _address(service: Obj, pod: Obj, ip: str) -> Obj:
    metadata = pod["metadata"]
    name = hostname(service, pod)
    return {
        "ip": ip,
        **({"hostname": name} if name else {}),
        **({"nodeName": pod["spec"]["nodeName"]} if pod["spec"].get("nodeName") else {}),
        "targetRef": {"kind": "Pod", **{field: metadata[field] for field in ("namespace", "name", "uid")}},
    }


def truncated(listed: list[Obj]) -> tuple[list[Obj], bool]:
    """The subsets with no more addresses than there may be, ready ones first; whether some were left out."""
    counts = {f: sum(len(one.get(f) or ()) for one in listed) for f in ("addresses", "notReadyAddresses")}
    if sum(counts.values()) <= MOST:
        return listed, False
    left = {"addresses": min(MOST, counts["addresses"])}
    left["notReadyAddresses"] = MOST - left["addresses"]
    made = []
    for one in listed:
        kept = dict(one)
        for field in left:
            some = (one.get(field) or [])[: left[field]]
            left[field] -= len(some)
            kept.pop(field, None)
            if some:
                kept[field] = some
        if len(kept) > ("ports" in kept):
            made.append(kept)
    return made, True


def wanted(service: Obj, selected: Iterable[Obj], found: Obj | None, trigger: str) -> Obj | None:
    """The Endpoints to write; None when they are as they should be. found: what there is."""
    listed, over = truncated(subsets(service, selected))
    labels = {k: v for k, v in (service["metadata"].get("labels") or {}).items() if k != HEADLESS}
    labels[MANAGED_BY] = MANAGER
    if service["spec"].get("clusterIP") in (None, "", "None"):
        labels[HEADLESS] = ""
    old = found or {"metadata": {}}
    annotations = old["metadata"].get("annotations") or {}
    if (
        found is not None
        and (found.get("subsets") or []) == listed
        and (found["metadata"].get("labels") or {}) == labels
        and (annotations.get(OVER_CAPACITY) == "truncated") == over
    ):
        return None
    metadata = {
        **old["metadata"],
        "namespace": service["metadata"]["namespace"],
        "name": service["metadata"]["name"],
        "labels": labels,
    }
    kept = {k: v for k, v in annotations.items() if k != OVER_CAPACITY}
    metadata["annotations"] = {**kept, OVER_CAPACITY: "truncated"} if over else kept
    made = {"apiVersion": "v1", "kind": "Endpoints", "metadata": triggered(metadata, trigger)}
    return {**made, "subsets": listed} if listed else made


class EndpointsController(Controller):
    """See the module."""

    name = "endpoints-controller"
    workers = 5

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._recorder = manager.recorder("endpoint-controller")
        self._services = manager.informer(SERVICE)
        self._selecting = Selecting(self._services, selector_of)
        self._pods = by_labels(manager.informer(POD))
        self._endpoints = manager.informer(ENDPOINTS)
        self._triggers: dict[str, dict[str, str]] = {}
        self._services.on_change(self.enqueue)
        self._endpoints.on_change(self._endpoints_changed)
        self._pods.on_change(self._enqueue_services)

    def _endpoints_changed(self, old: Obj | None, new: Obj | None) -> None:
        # What was not made here may do without a Service.
        labels = (new["metadata"].get("labels") or {}) if new is not None else {}
        if new is None or labels.get(MANAGED_BY) == MANAGER:
            self.enqueue(old, new)

    def _enqueue_services(self, old: Obj | None, new: Obj | None) -> None:
        for key in concerned(self._selecting, old, new):
            self.queue.add(key)

    async def reconcile(self, key: str) -> float | None:
        service, found = self._services.get_key(key), self._endpoints.get_key(key)
        if service is None:
            self._triggers.pop(key, None)
            await self._without_service(found)
            return None
        spec = service["spec"]
        if not spec.get("selector") or spec.get("type") == "ExternalName":
            return None
        chosen = selected(self._pods, service["metadata"]["namespace"], selector_of(service))
        moments = triggers(service, chosen)
        made = wanted(service, chosen, found, trigger_time(service, self._triggers.get(key), moments))
        if made is not None:
            await self._write(service, made, found is None)
        self._triggers[key] = moments
        return None

    async def _without_service(self, found: Obj | None) -> None:
        """Endpoints go with their Service; what elects leaders never had one."""
        if found is None or _LEADER in (found["metadata"].get("annotations") or {}):
            return
        metadata = found["metadata"]
        with ignoring(404):
            await self._client.delete(ENDPOINTS, metadata["name"], metadata["namespace"], uid=metadata["uid"])

    async def _write(self, service: Obj, made: Obj, new: bool) -> None:
        namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
        try:
            write = self._client.create if new else self._client.update
            self._endpoints.observe(await write(ENDPOINTS, made))
        except APIError as error:
            if new and error.code in (403, 404):
                return  # A namespace that ends takes nothing new.
            if error.reason in ("Conflict", "AlreadyExists"):
                raise
            reason, text = (
                ("FailedToCreateEndpoint", f"Failed to create endpoint for service {namespace}/{name}")
                if new
                else ("FailedToUpdateEndpoint", f"Failed to update endpoint {namespace}/{name}")
            )
            self._recorder.event(made, "Warning", reason, f"{text}: {error.message}")
            raise

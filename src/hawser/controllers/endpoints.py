"""Which endpoints a Service has and how they are spread over EndpointSlices. Pure.

Source: EndpointSlices documentation (conditions, "Distribution of EndpointSlices", at most 100 endpoints a slice) and
API reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from hawser.api.status import condition, has_ended, is_ready
from hawser.api.types import Obj
from hawser.controllers import pods, topology

MOST = 100
SERVICE_LABEL = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
HEADLESS = "service.kubernetes.io/headless"
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
_NOT_MIRRORED = {SERVICE_LABEL, MANAGED_BY, HEADLESS}

PREFER_NODE = "PreferSameNode"
PREFER_ZONE = ("PreferSameZone", "PreferClose")

Ports = tuple[bytes, ...]
"""Hashable form of an EndpointSlice's ports: one JSON text a port."""

Known = dict[tuple[str, str], tuple[str, Ports, Obj | None]]
"""By uid and address family what was made of pods, and of which version of them; None where there is no endpoint."""


@dataclass(frozen=True, slots=True)
class Plan:
    """EndpointSlices to create (without names), to update (whole objects) and to delete.

    unsuited: why the endpoints of a topology-aware Service have no hints.
    """

    create: tuple[Obj, ...] = ()
    update: tuple[Obj, ...] = ()
    delete: tuple[Obj, ...] = ()
    unsuited: str = ""


def plan(
    service: Obj,
    selected: Iterable[Obj],
    nodes: Mapping[str, Obj],
    slices: Sequence[Obj],
    trigger: str = "",
    known: Known | None = None,
) -> Plan:
    """Pure decision. selected: pods that match; slices: the Service's own EndpointSlices.

    trigger: when what is to be written happened, for the slices that change; "" when unknown. known: what the last plan
    for the same Service and nodes made of the pods; it is brought up to date.
    """
    aware, unsuited = topology.wanted(service), ""
    listed, labels = list(selected), slice_labels(service)
    # Hints are written into endpoints, which are then nobody else's.
    known = {} if known is None or aware else known
    parts = []
    for family in families(service):
        wanted = endpoints(service, listed, nodes, family, known)
        if aware:
            try:
                _hint(wanted, topology.ratios(nodes.values()))
            except topology.Unsuited as reason:
                unsuited = f"{reason}, addressType: {family}"
        own = [one for one in slices if one.get("addressType", "IPv4") == family]
        parts.append(_plan_family(service, wanted, own, labels, family, trigger))
    if len(known) > len(listed) * len(parts):
        there = {pod["metadata"]["uid"] for pod in listed}
        for key in [key for key in known if key[0] not in there]:
            del known[key]
    foreign = [one for one in slices if one.get("addressType", "IPv4") not in families(service)]
    return Plan(
        tuple(one for part in parts for one in part.create),
        tuple(one for part in parts for one in part.update),
        (*(one for part in parts for one in part.delete), *foreign),
        unsuited,
    )


def _hint(wanted: Mapping[Ports, list[Obj]], parts: Mapping[str, float]) -> None:
    """Give the endpoints hints. Raises Unsuited."""
    every = [endpoint for listed in wanted.values() for endpoint in listed]
    dealt = topology.deal(every, parts)
    for endpoint in every:
        if zone := dealt.get(endpoint["addresses"][0]):
            endpoint["hints"] = {"forZones": [{"name": zone}]}


def _plan_family(
    service: Obj, wanted: dict[Ports, list[Obj]], slices: list[Obj], labels: dict[str, str], family: str, trigger: str
) -> Plan:
    create: list[Obj] = []
    update: list[Obj] = []
    delete: list[Obj] = []
    by_ports: dict[Ports, list[Obj]] = {}
    for one in slices:
        by_ports.setdefault(_frozen(one.get("ports") or ()), []).append(one)
    for ports in sorted({*wanted, *by_ports}):
        have = sorted(by_ports.get(ports, []), key=lambda s: str(s["metadata"]["name"]))
        contents = distribute(wanted.get(ports, []), [s.get("endpoints") or [] for s in have])
        for old, content in zip(have, contents, strict=False):
            if not content and wanted:
                delete.append(old)
            elif content != (old.get("endpoints") or []) or (old["metadata"].get("labels") or {}) != labels:
                metadata = triggered({**old["metadata"], "labels": labels}, trigger)
                update.append({**old, "metadata": metadata, "endpoints": content})
        new = [c for c in contents[len(have) :] if c]
        create += [_slice(service, labels, ports, content, family, trigger) for content in new]
    if not wanted:
        # One empty slice stays, so that watchers can tell "no endpoints" from "not looked at yet".
        keep = update[:1] or [s for s in slices if s not in delete][:1]
        name = keep[0]["metadata"]["name"] if keep else ""
        delete = [s for s in slices if s["metadata"]["name"] != name]
        update = [u for u in update if u["metadata"]["name"] == name]
        if not keep:
            create = [_slice(service, labels, (), [], family, trigger)]
    return Plan(tuple(create), tuple(update), tuple(delete))


def families(service: Obj) -> list[str]:
    """The address families of a Service's endpoints."""
    spec = service["spec"]
    return spec.get("ipFamilies") or ["IPv6" if ":" in (spec.get("clusterIP") or "") else "IPv4"]


def pod_address(pod: Obj, family: str) -> str:
    """A pod's address of a family, "" when it has none."""
    status = pod.get("status", {})
    listed = [entry.get("ip", "") for entry in status.get("podIPs") or ()] or [status.get("podIP") or ""]
    return next((str(a) for a in listed if a and (":" in a) == (family == "IPv6")), "")


def triggers(service: Obj, selected: Iterable[Obj]) -> dict[str, str]:
    """When each thing that endpoints are made of last changed, by uid: the Service's creation, pods' readiness."""
    moments = {service["metadata"]["uid"]: service["metadata"].get("creationTimestamp") or ""}
    for pod in selected:
        moments[pod["metadata"]["uid"]] = (condition(pod, "Ready") or {}).get("lastTransitionTime") or ""
    return {uid: moment for uid, moment in moments.items() if moment}


def trigger_time(service: Obj, before: Mapping[str, str] | None, now: Mapping[str, str]) -> str:
    """The earliest change since the last look, "" when there is none; of a new Service its creation."""
    if before is None:
        return service["metadata"].get("creationTimestamp") or ""
    return min((moment for uid, moment in now.items() if moment > before.get(uid, "")), default="")


def triggered(metadata: Obj, trigger: str) -> Obj:
    """Metadata that tells when what is written happened, or nothing of it."""
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k != TRIGGER_TIME}
    if trigger:
        annotations[TRIGGER_TIME] = trigger
    return {
        **{k: v for k, v in metadata.items() if k != "annotations"},
        **({"annotations": annotations} if annotations else {}),
    }


def endpoints(
    service: Obj,
    selected: Iterable[Obj],
    nodes: Mapping[str, Obj],
    family: str = "IPv4",
    known: Known | None = None,
) -> dict[Ports, list[Obj]]:
    """Endpoints of one address family by the ports they resolve to (a named targetPort may differ from pod to pod).

    known: see ``plan``.
    """
    found: dict[Ports, list[Obj]] = {}
    known = {} if known is None else known
    for pod in selected:
        metadata = pod["metadata"]
        key, version = (metadata["uid"], family), metadata.get("resourceVersion", "")
        made = known.get(key)
        if made is None or made[0] != version:
            made = known[key] = (version, *_made(service, pod, nodes, family))
        if made[2] is not None:
            found.setdefault(made[1], []).append(made[2])
    for listed in found.values():
        listed.sort(key=lambda e: e["addresses"])
    return found


def _made(service: Obj, pod: Obj, nodes: Mapping[str, Obj], family: str) -> tuple[Ports, Obj | None]:
    """A pod's endpoint and its ports."""
    address = pod_address(pod, family)
    if not address or has_ended(pod):
        return (), None
    wanted = service["spec"].get("ports") or ()
    ports = [found for port in wanted if (found := port_of(port, pod)) is not None]
    if wanted and not ports:
        return (), None
    unready = bool(service["spec"].get("publishNotReadyAddresses"))
    return _frozen(ports), _endpoint(service, pod, address, nodes, unready)


def _endpoint(service: Obj, pod: Obj, address: str, nodes: Mapping[str, Obj], unready: bool) -> Obj:
    terminating = pods.is_terminating(pod)
    serving = is_ready(pod)
    made: Obj = {
        "addresses": [address],
        "conditions": {
            "ready": unready or (serving and not terminating),
            "serving": serving,
            "terminating": terminating,
        },
        "targetRef": {
            "kind": "Pod",
            "namespace": pod["metadata"]["namespace"],
            "name": pod["metadata"]["name"],
            "uid": pod["metadata"]["uid"],
        },
    }
    node = pod["spec"].get("nodeName")
    if node:
        made["nodeName"] = node
        labels = (nodes.get(node) or {}).get("metadata", {}).get("labels") or {}
        if zone := labels.get("topology.kubernetes.io/zone"):
            made["zone"] = zone
    if name := hostname(service, pod):
        made["hostname"] = name
    if hints := _hints(service["spec"].get("trafficDistribution"), made):
        made["hints"] = hints
    return made


def _hints(distribution: str | None, endpoint: Obj) -> Obj:
    """Who an endpoint is for: its own zone, and its own node where that is preferred (KEP-4444, KEP-3015)."""
    if not endpoint["conditions"]["ready"] or distribution not in (PREFER_NODE, *PREFER_ZONE):
        return {}
    hints: Obj = {}
    if zone := endpoint.get("zone"):
        hints["forZones"] = [{"name": zone}]
    if distribution == PREFER_NODE and (node := endpoint.get("nodeName")):
        hints["forNodes"] = [{"name": node}]
    return hints


def hostname(service: Obj, pod: Obj) -> str:
    """The name that a pod has below its Service's, "" for none."""
    spec = pod["spec"]
    return (
        str(spec["hostname"]) if spec.get("hostname") and spec.get("subdomain") == service["metadata"]["name"] else ""
    )


def port_of(port: Obj, pod: Obj) -> Obj | None:
    """A Service's port as it is on a pod, or None when the pod has no port of that name."""
    protocol = port.get("protocol", "TCP")
    target = port.get("targetPort", port["port"])
    if isinstance(target, str):
        spec = pod["spec"]
        sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
        for container in (*spec["containers"], *sidecars):
            for one in container.get("ports") or ():
                if one.get("name") == target and one.get("protocol", "TCP") == protocol:
                    target = one["containerPort"]
                    break
            else:
                continue
            break
        else:
            return None
    made: Obj = {"name": port.get("name", ""), "protocol": protocol, "port": target}
    if port.get("appProtocol"):
        made["appProtocol"] = port["appProtocol"]
    return made


def distribute(wanted: Sequence[Obj], have: Sequence[Sequence[Obj]]) -> list[list[Obj]]:
    """Endpoints over slices with the fewest changes: what is in a slice stays there, the rest fills up, then new ones.

    Returns the content of each existing slice in order, then of new ones.
    """
    left = {_address(e): e for e in wanted}
    contents: list[list[Obj]] = []
    for old in have:
        kept = [found for e in old[:MOST] if (found := left.pop(_address(e), None)) is not None]
        contents.append(kept)
    rest = list(left.values())
    # The fullest first, so that few slices change and the emptiest can go.
    for content in sorted(contents, key=len, reverse=True):
        if content and rest:
            room = MOST - len(content)
            content += rest[:room]
            rest = rest[room:]
    for content in contents:
        if not content and rest:
            content += rest[:MOST]
            rest = rest[MOST:]
    contents += [rest[i : i + MOST] for i in range(0, len(rest), MOST)]
    return contents


def _address(endpoint: Obj) -> tuple[str, str]:
    return endpoint["addresses"][0], endpoint.get("targetRef", {}).get("uid", "")


def slice_labels(service: Obj) -> dict[str, str]:
    """The Service's labels and those that tell whose slice it is."""
    labels = {k: v for k, v in (service["metadata"].get("labels") or {}).items() if k not in _NOT_MIRRORED}
    labels[SERVICE_LABEL] = service["metadata"]["name"]
    labels[MANAGED_BY] = MANAGER
    if service["spec"].get("clusterIP") == "None":
        labels[HEADLESS] = ""
    return labels


def _slice(service: Obj, labels: Mapping[str, str], ports: Ports, content: list[Obj], family: str, trigger: str) -> Obj:
    metadata = {
        "generateName": f"{service['metadata']['name']}-",
        "namespace": service["metadata"]["namespace"],
        "labels": dict(labels),
        "ownerReferences": [pods.owner_reference(service)],
    }
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": triggered(metadata, trigger),
        "addressType": family,
        "ports": [orjson.loads(p) for p in ports],
        "endpoints": content,
    }


def _frozen(ports: Iterable[Obj]) -> Ports:
    return tuple(sorted(orjson.dumps(p, option=orjson.OPT_SORT_KEYS) for p in ports))

"""The columns of the core group's other kinds."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from hawser.api.printers.base import (
    AGE,
    NAME,
    NONE,
    UNKNOWN,
    Column,
    Printer,
    age,
    joined,
    labels,
    name,
    part,
    since,
    wide,
)
from hawser.api.types import Obj

_ROLE_PREFIX = "node-role.kubernetes.io/"
_ROLE = "kubernetes.io/role"


def _external(service: Obj) -> str:
    spec = part(service, "spec")
    external = list(spec.get("externalIPs") or [])
    match spec.get("type"):
        case "ExternalName":
            return str(spec.get("externalName") or NONE)
        case "LoadBalancer":
            ingress = part(part(service, "status"), "loadBalancer").get("ingress") or []
            addresses = sorted({i.get("ip") or i.get("hostname") or "" for i in ingress} - {""})
            return ",".join([*addresses, *external]) or "<pending>"
    return joined(external)


def _port(port: Obj) -> str:
    node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port')}{node_port}/{port.get('protocol', 'TCP')}"


def _service(service: Obj, now: datetime) -> list[Any]:
    spec = part(service, "spec")
    addresses = spec.get("clusterIPs") or []
    return [
        name(service),
        spec.get("type", ""),
        (addresses[0] if addresses else spec.get("clusterIP")) or NONE,
        _external(service),
        joined([_port(port) for port in spec.get("ports") or []]),
        age(service, now),
        labels(spec.get("selector")),
    ]


def _node_status(node: Obj) -> str:
    conditions = part(node, "status").get("conditions") or []
    ready = [c for c in conditions if c.get("type") == "Ready"]
    words = ["Ready" if c.get("status") == "True" else "NotReady" for c in ready] or ["Unknown"]
    if part(node, "spec").get("unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def _roles(node: Obj) -> str:
    found = set()
    for key, value in (node["metadata"].get("labels") or {}).items():
        if key.startswith(_ROLE_PREFIX):
            found.add(key.removeprefix(_ROLE_PREFIX))
        elif key == _ROLE and value:
            found.add(value)
    return joined(sorted(found - {""}))


def _address(node: Obj, kind: str) -> str:
    addresses = part(node, "status").get("addresses") or []
    return next((str(a.get("address")) for a in addresses if a.get("type") == kind), NONE)


def _node(node: Obj, now: datetime) -> list[Any]:
    info = part(part(node, "status"), "nodeInfo")
    return [
        name(node),
        _node_status(node),
        _roles(node),
        age(node, now),
        info.get("kubeletVersion", ""),
        _address(node, "InternalIP"),
        _address(node, "ExternalIP"),
        info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


def _namespace(namespace: Obj, now: datetime) -> list[Any]:
    return [name(namespace), part(namespace, "status").get("phase", ""), age(namespace, now)]


def _config_map(config: Obj, now: datetime) -> list[Any]:
    return [name(config), len(part(config, "data")) + len(part(config, "binaryData")), age(config, now)]


def _secret(secret: Obj, now: datetime) -> list[Any]:
    return [name(secret), secret.get("type", ""), len(part(secret, "data")), age(secret, now)]


def _service_account(account: Obj, now: datetime) -> list[Any]:
    return [name(account), len(account.get("secrets") or []), age(account, now)]


def _source(event: Obj) -> str:
    source = part(event, "source")
    component = source.get("component") or event.get("reportingComponent") or ""
    host = source.get("host") or event.get("reportingInstance") or ""
    return f"{component}, {host}" if host else component


def _event(event: Obj, now: datetime) -> list[Any]:
    first = event.get("firstTimestamp") or event.get("eventTime")
    last, count = event.get("lastTimestamp") or first, event.get("count") or 0
    if series := part(event, "series"):
        last, count = series.get("lastObservedTime"), series.get("count") or 0
    elif not count:
        count = 1
    about = part(event, "involvedObject")
    target = about.get("kind", "").lower()
    return [
        since(last, now),
        event.get("type", ""),
        event.get("reason", ""),
        f"{target}/{about['name']}" if about.get("name") else target,
        about.get("fieldPath", ""),
        _source(event),
        event.get("message", "").strip(),
        since(first, now),
        count,
        name(event),
    ]


SERVICE = Printer(
    (
        NAME,
        Column("Type", description="How the service is exposed."),
        Column("Cluster-IP", description="The service's address inside the cluster."),
        Column("External-IP", description="The addresses at which the service is reached from outside."),
        Column("Port(s)", description="The service's ports, with node ports after a colon."),
        AGE,
        wide("Selector", "The labels of the pods that serve."),
    ),
    _service,
)
NODE = Printer(
    (
        NAME,
        Column("Status", description="Whether the node is ready, and takes new pods."),
        Column("Roles", description="The roles that the node's labels name."),
        AGE,
        Column("Version", description="The version that the node agent reports."),
        wide("Internal-IP", "The node's address inside the cluster."),
        wide("External-IP", "The node's address outside the cluster."),
        wide("OS-Image", "The operating system."),
        wide("Kernel-Version", "The kernel."),
        wide("Container-Runtime", "The container runtime and its version."),
    ),
    _node,
)
NAMESPACE = Printer((NAME, Column("Status", description="The namespace's phase."), AGE), _namespace)
CONFIG_MAP = Printer((NAME, Column("Data", description="How many keys there are."), AGE), _config_map)
SECRET = Printer(
    (
        NAME,
        Column("Type", description="What the secret is for."),
        Column("Data", description="How many keys there are."),
        AGE,
    ),
    _secret,
)
SERVICE_ACCOUNT = Printer((NAME, Column("Secrets", description="How many secrets are listed."), AGE), _service_account)
EVENT = Printer(
    (
        Column("Last Seen", description="The time since the event was seen last."),
        Column("Type", description="Normal or Warning."),
        Column("Reason", description="Why the event was written, in one word."),
        Column("Object", description="What the event is about."),
        wide("Subobject", "The part of the object that the event is about."),
        wide("Source", "What wrote the event."),
        Column("Message", description="What happened."),
        wide("First Seen", "The time since the event was seen first."),
        wide("Count", "How often the event was seen.", "string"),
        NAME._replace(priority=1),
    ),
    _event,
)

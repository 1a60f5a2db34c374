"""The columns of what governs the API itself: access, admission, flow control, certificates, devices."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from hawser.api.printers.base import AGE, NAME, NONE, Column, Printer, age, human_duration, name, part, wide
from hawser.api.types import Obj


def _binding(binding: Obj, now: datetime) -> list[Any]:
    role = part(binding, "roleRef")
    found: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in binding.get("subjects") or ():
        text = subject.get("name", "")
        if subject.get("kind") == "ServiceAccount":
            text = f"{subject.get('namespace', '')}/{text}"
        found.setdefault(subject.get("kind", ""), []).append(text)
    return [
        name(binding),
        f"{role.get('kind', '')}/{role.get('name', '')}",
        age(binding, now),
        *(", ".join(found[kind]) for kind in ("User", "Group", "ServiceAccount")),
    ]


def _csr_status(csr: Obj) -> str:
    status = part(csr, "status")
    types = {condition.get("type") for condition in status.get("conditions") or ()}
    words = ["Denied" if "Denied" in types else "Approved" if "Approved" in types else "Pending"]
    if "Failed" in types:
        words.append("Failed")
    if status.get("certificate"):
        words.append("Issued")
    return ",".join(words)


def _csr(csr: Obj, now: datetime) -> list[Any]:
    spec = part(csr, "spec")
    seconds = spec.get("expirationSeconds")
    return [
        name(csr),
        age(csr, now),
        spec.get("signerName") or NONE,
        spec.get("username", ""),
        NONE if seconds is None else human_duration(seconds),
        _csr_status(csr),
    ]


def _webhooks(config: Obj, now: datetime) -> list[Any]:
    return [name(config), len(config.get("webhooks") or []), age(config, now)]


def _api_service(service: Obj, now: datetime) -> list[Any]:
    target = part(part(service, "spec"), "service")
    available = "Unknown"
    for condition in part(service, "status").get("conditions") or ():
        if condition.get("type") == "Available":
            available = condition.get("status", "")
            if available != "True":
                available = f"{available} ({condition.get('reason', '')})"
    where = f"{target.get('namespace', '')}/{target.get('name', '')}" if target else "Local"
    return [name(service), where, available, age(service, now)]


def _flow_schema(schema: Obj, now: datetime) -> list[Any]:
    spec = part(schema, "spec")
    conditions = part(schema, "status").get("conditions") or ()
    return [
        name(schema),
        part(spec, "priorityLevelConfiguration").get("name", ""),
        spec.get("matchingPrecedence", 0),
        part(spec, "distinguisherMethod").get("type", NONE),
        age(schema, now),
        next((c.get("status", "") for c in conditions if c.get("type") == "Dangling"), "?"),
    ]


def _precedence(schema: Obj) -> tuple[int, str]:
    return part(schema, "spec").get("matchingPrecedence", 0), name(schema)


def _priority_level(level: Obj, now: datetime) -> list[Any]:
    spec = part(level, "spec")
    limited = part(spec, "limited")
    queuing = part(part(limited, "limitResponse"), "queuing")
    return [
        name(level),
        spec.get("type", ""),
        limited.get("nominalConcurrencyShares", NONE),
        *(queuing.get(field, NONE) for field in ("queues", "handSize", "queueLengthLimit")),
        age(level, now),
    ]


def _component(component: Obj, _now: datetime) -> list[Any]:
    for condition in component.get("conditions") or ():
        if condition.get("type") == "Healthy":
            status = "Healthy" if condition.get("status") == "True" else "Unhealthy"
            return [name(component), status, condition.get("message", ""), condition.get("error", "")]
    return [name(component), "Unknown", "", ""]


def _aged(obj: Obj, now: datetime) -> list[Any]:
    return [name(obj), age(obj, now)]


def claim_state(claim: Obj) -> str:
    """``allocated,reserved`` and the like."""
    status, deleted = part(claim, "status"), bool(claim["metadata"].get("deletionTimestamp"))
    words = ["deleted"] if deleted else []
    if "allocation" in status:
        words.append("allocated")
        if status.get("reservedFor"):
            words.append("reserved")
    elif not deleted:
        words.append("pending")
    return ",".join(words)


def _claim(claim: Obj, now: datetime) -> list[Any]:
    return [name(claim), claim_state(claim), age(claim, now)]


def _slice(obj: Obj, now: datetime) -> list[Any]:
    spec = part(obj, "spec")
    return [
        name(obj),
        spec.get("nodeName", ""),
        spec.get("driver", ""),
        part(spec, "pool").get("name", ""),
        age(obj, now),
    ]


BINDING = Printer(
    (
        NAME,
        Column("Role", description="The role that is bound."),
        AGE,
        wide("Users", "Users in the binding."),
        wide("Groups", "Groups in the binding."),
        wide("ServiceAccounts", "ServiceAccounts in the binding."),
    ),
    _binding,
)
CERTIFICATE_SIGNING_REQUEST = Printer(
    (
        NAME,
        AGE,
        Column("SignerName", description="Who is asked to sign."),
        Column("Requestor", description="Who asks."),
        Column("RequestedDuration", description="How long the certificate is to be valid."),
        Column("Condition", description="What has become of the request."),
    ),
    _csr,
)
WEBHOOKS = Printer((NAME, Column("Webhooks", "integer", description="How many webhooks there are."), AGE), _webhooks)
API_SERVICE = Printer(
    (
        NAME,
        Column("Service", description="The reference to the service that hosts this API endpoint."),
        Column("Available", description="Whether this service is available."),
        AGE,
    ),
    _api_service,
)
FLOW_SCHEMA = Printer(
    (
        NAME,
        Column("PriorityLevel", description="The priority level of requests that match."),
        Column("MatchingPrecedence", description="The schema with the lowest number wins."),
        Column("DistinguisherMethod", description="What tells flows apart."),
        AGE,
        Column("MissingPL", description="references a broken or non-existent PriorityLevelConfiguration"),
    ),
    _flow_schema,
    order=_precedence,
)
PRIORITY_LEVEL = Printer(
    (
        NAME,
        Column("Type", description="Limited or Exempt."),
        Column("NominalConcurrencyShares", description="The level's share of the server's concurrency."),
        Column("Queues", description="How many queues there are."),
        Column("HandSize", description="How many queues a flow may use."),
        Column("QueueLengthLimit", description="How many requests a queue holds."),
        AGE,
    ),
    _priority_level,
)
COMPONENT_STATUS = Printer(
    (
        NAME,
        Column("Status", description="Status of the component conditions"),
        Column("Message", description="Message of the component conditions"),
        Column("Error", description="Error of the component conditions"),
    ),
    _component,
)
AGED = Printer((NAME, AGE), _aged)
RESOURCE_CLAIM = Printer(
    (
        NAME,
        Column("State", description="A summary of the current state (allocated, pending, reserved, etc.)."),
        AGE,
    ),
    _claim,
)
RESOURCE_SLICE = Printer(
    (
        NAME,
        Column("Node", description="The node that has the devices."),
        Column("Driver", description="The driver of the devices."),
        Column("Pool", description="The pool of the devices."),
        AGE,
    ),
    _slice,
)

"""Defaults of what governs the API itself: access, admission, aggregation, flow control.

Source: API reference of each kind.
"""

from __future__ import annotations

from hawser.api.types import Obj

RBAC = "rbac.authorization.k8s.io"


def binding(obj: Obj) -> None:
    """Groups of the role and of the subjects."""
    role = obj.get("roleRef")
    if isinstance(role, dict) and not role.get("apiGroup"):
        role["apiGroup"] = RBAC
    for subject in obj.get("subjects") or ():
        if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = RBAC


def _webhook(hook: Obj) -> None:
    hook.setdefault("failurePolicy", "Fail")
    hook.setdefault("matchPolicy", "Equivalent")
    hook.setdefault("namespaceSelector", {})
    hook.setdefault("objectSelector", {})
    hook.setdefault("timeoutSeconds", 10)
    for rule in hook.get("rules") or ():
        rule.setdefault("scope", "*")
    _port(hook.get("clientConfig") or {})


def _port(reference: Obj) -> None:
    """A Service is called at its HTTPS port."""
    service = reference.get("service")
    if service is not None:
        service.setdefault("port", 443)


def validating_webhooks(config: Obj) -> None:
    """Webhooks must answer within ten seconds, for any object."""
    for hook in config.get("webhooks") or ():
        _webhook(hook)


def mutating_webhooks(config: Obj) -> None:
    """As validating webhooks; called once."""
    for hook in config.get("webhooks") or ():
        _webhook(hook)
        hook.setdefault("reinvocationPolicy", "Never")


def api_service(obj: Obj) -> None:
    """The port of the Service that serves."""
    _port(obj.get("spec") or {})


def flow_schema(schema: Obj) -> None:
    """In the middle of the precedences."""
    spec = schema.setdefault("spec", {})
    if not spec.get("matchingPrecedence"):
        spec["matchingPrecedence"] = 1000


def priority_level(level: Obj) -> None:
    """Shares and queues."""
    spec = level.setdefault("spec", {})
    if (exempt := spec.get("exempt")) is not None:
        exempt.setdefault("nominalConcurrencyShares", 0)
        exempt.setdefault("lendablePercent", 0)
    if (limited := spec.get("limited")) is None:
        return
    limited.setdefault("nominalConcurrencyShares", 30)
    limited.setdefault("lendablePercent", 0)
    queuing = (limited.get("limitResponse") or {}).get("queuing")
    if queuing is not None:
        for field, value in (("handSize", 8), ("queues", 64), ("queueLengthLimit", 50)):
            if not queuing.get(field):
                queuing[field] = value

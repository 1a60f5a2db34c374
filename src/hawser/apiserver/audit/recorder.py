"""Audit events of requests: what is known of one at each stage, as audit.k8s.io/v1 Event has it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from hawser.api.encoding import dumps
from hawser.api.errors import APIError, Unreadable
from hawser.api.types import Obj
from hawser.apiserver import negotiation
from hawser.apiserver.audit.log import AuditLog
from hawser.apiserver.audit.policy import Choice, Level, Policy
from hawser.apiserver.identity import User
from hawser.apiserver.paths import Target
from hawser.apiserver.reply import Answer, Reply

_WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_STATUS_FIELDS = ("metadata", "status", "message", "reason", "details", "code")
DECISION = "authorization.k8s.io/decision"
REASON = "authorization.k8s.io/reason"


class Auditor:
    """Records requests by a policy."""

    def __init__(self, policy: Policy, log: AuditLog) -> None:
        self._policy = policy
        self._log = log
        self.events = 0
        self.levels = dict.fromkeys(Level, 0)

    def begin(self, request: web.BaseRequest, target: Target) -> Record | None:
        """The record of a request whose user is known, or None when it is not to be recorded."""
        choice = self._policy.choose(target.user, target)
        self.levels[choice.level] += 1
        if choice.level is Level.NONE:
            return None
        record = Record(request, target, choice, self._write)
        record.emit("RequestReceived")
        return record

    def _write(self, event: Obj) -> None:
        self.events += 1
        self._log.write(dumps(event) + b"\n")

    def metrics(self) -> Iterator[str]:
        """Lines of text for Prometheus."""
        yield "# HELP apiserver_audit_event_total Counter of audit events generated and sent to the audit backend."
        yield "# TYPE apiserver_audit_event_total counter"
        yield f"apiserver_audit_event_total {self.events}"
        yield "# HELP apiserver_audit_error_total Counter of audit events that failed to be audited properly."
        yield "# TYPE apiserver_audit_error_total counter"
        yield f'apiserver_audit_error_total{{plugin="log"}} {self._log.lost}'
        yield "# HELP apiserver_audit_level_total Counter of policy levels for audit events (1 per request)."
        yield "# TYPE apiserver_audit_level_total counter"
        for level, count in self.levels.items():
            yield f'apiserver_audit_level_total{{level="{level.text}"}} {count}'

    def close(self) -> None:
        """Write what is left."""
        self._log.close()


class _Copied:
    """A request's body that is read by whoever serves the request, and kept."""

    def __init__(self, content: Any) -> None:
        self._content = content
        self.parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    def read_nowait(self, n: int = -1) -> bytes:
        """As aiohttp's StreamReader."""
        return self._keep(self._content.read_nowait(n))

    async def readany(self) -> bytes:
        """As aiohttp's StreamReader."""
        return self._keep(await self._content.readany())

    async def read(self, n: int = -1) -> bytes:
        """As aiohttp's StreamReader."""
        return self._keep(await self._content.read(n))

    def _keep(self, data: bytes) -> bytes:
        self.parts.append(data)
        return data


class Record:
    """One request. Its user is who authenticated; who is impersonated is known at the end."""

    def __init__(self, request: web.BaseRequest, target: Target, choice: Choice, write: Callable[[Obj], None]) -> None:
        self._request = request
        self._target = target
        self._choice = choice
        self._write = write
        self._body: _Copied | None = None
        self._started = False
        self._event = _event(request, target, target.user, choice)
        if target.verb in _WRITES:
            self._body = _Copied(request._payload)
            request._payload = self._body  # type: ignore[assignment]

    def decided(self, allowed: bool, reason: str) -> None:
        """Note the authorizer's answer."""
        self._event["annotations"] = {DECISION: "allow" if allowed else "forbid", REASON: reason}
        if self._target.user.name != self._event["user"]["username"]:
            self._event["impersonatedUser"] = self._target.user.info

    def annotate(self, key: str, value: str) -> None:
        """Add an annotation, as admission does."""
        self._event.setdefault("annotations", {}).setdefault(key, value)

    def started(self) -> None:
        """The head of an answer that takes long was sent."""
        if not self._started:
            self._started = True
            self._event["responseStatus"] = {"metadata": {}, "code": 200}
            self.emit("ResponseStarted")

    def end(self, answer: Answer) -> None:
        """The answer is known, or has been sent."""
        if isinstance(answer, Reply):
            self._answered(answer)
        else:
            self.started()
        self._requested()
        self.emit("ResponseComplete")

    def failed(self) -> None:
        """The peer is gone, or the request was cancelled."""
        self._requested()
        self.emit("ResponseComplete" if self._started else "Panic")

    def emit(self, stage: str) -> None:
        """Write the event as it is now, when the policy wants this stage."""
        if stage in self._choice.stages:
            now = _now()
            received = self._event.get("requestReceivedTimestamp", now)
            self._event["requestReceivedTimestamp"] = received
            self._write({**self._event, "stage": stage, "stageTimestamp": now})
        else:
            self._event.setdefault("requestReceivedTimestamp", _now())

    def _requested(self) -> None:
        """What the body says of the object, and the body itself where the policy wants it."""
        raw = b"".join(self._body.parts) if self._body is not None else b""
        if not raw:
            return
        media = self._request.headers.get("Content-Type", "")
        if media.partition(";")[0].endswith(("+json", "+yaml")):
            media = "application/yaml" if "yaml" in media else "application/json"
        try:
            obj = negotiation.decode(raw, media)
        except (APIError, Unreadable):
            return
        about = self._event.get("objectRef")
        if about is not None and isinstance(obj, dict) and isinstance(obj.get("metadata"), dict):
            for name in ("namespace", "name", "uid", "resourceVersion"):
                if obj["metadata"].get(name):
                    about.setdefault(name, obj["metadata"][name])
        if self._choice.level >= Level.REQUEST:
            self._event["requestObject"] = self._bare(obj)

    def _answered(self, answer: Reply) -> None:
        status: Obj = {"metadata": {}, "code": answer.status}
        obj = None
        if answer.body and (answer.status >= 400 or self._choice.level >= Level.REQUEST_RESPONSE):
            try:
                obj = negotiation.decode(answer.body, answer.content_type)
            except (APIError, Unreadable):
                obj = None
        if isinstance(obj, dict) and obj.get("kind") == "Status" and answer.status >= 400:
            status.update({name: obj[name] for name in _STATUS_FIELDS if name in obj})
        self._event["responseStatus"] = status
        if self._choice.level >= Level.REQUEST_RESPONSE and self._target.resource and isinstance(obj, dict):
            self._event["responseObject"] = self._bare(obj)

    def _bare(self, obj: Any) -> Any:
        """Without managedFields where the policy does not want them, the items' of a list included."""
        if self._choice.bare and isinstance(obj, dict):
            for each in (obj, *(item for item in obj.get("items") or () if isinstance(item, dict))):
                if isinstance(each.get("metadata"), dict):
                    each["metadata"].pop("managedFields", None)
        return obj


def _event(request: web.BaseRequest, target: Target, user: User, choice: Choice) -> Obj:
    """What is known when a request comes."""
    headers = request.headers
    event: Obj = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": choice.level.text,
        "auditID": headers.get("Audit-ID") or str(uuid.uuid4()),
        "requestURI": request._message.path,
        "verb": target.verb,
        "user": user.info,
        "sourceIPs": _sources(request),
    }
    agent = headers.get("User-Agent")
    if agent:
        event["userAgent"] = agent
    if target.resource:
        about = {
            "resource": target.resource,
            "namespace": target.namespace,
            "name": target.name,
            "apiGroup": target.group,
            "apiVersion": target.kind.version if target.kind is not None else "",
            "subresource": target.subresource,
        }
        event["objectRef"] = {name: value for name, value in about.items() if value}
    return event


def _sources(request: web.BaseRequest) -> list[str]:
    """Where a request says it comes from, the peer last."""
    forwarded = [item.strip() for item in request.headers.get("X-Forwarded-For", "").split(",")]
    transport = request.transport
    peer = transport.get_extra_info("peername") if transport is not None else None
    sources = [address for address in forwarded if address]
    if peer and peer[0] not in sources[-1:]:
        sources.append(peer[0])
    return sources


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

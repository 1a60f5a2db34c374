"""Validation of Events, in the words of the version they are written in.

Source: API reference of both; KEP-383 (what new events say).
"""

from __future__ import annotations

from hawser.api import conversion
from hawser.api.kinds import EVENTS_EVENT
from hawser.api.types import Obj
from hawser.api.validation import rules, values
from hawser.api.validation.rules import Errors, each, invalid, required

_MAX_NOTE = 1024
_MAX_TEXT = 128
_UNSET = "needs to be unset"


def event(obj: Obj) -> Errors:
    """core/v1: old events (without eventTime) are only asked for their namespace."""
    yield from _event(obj, "reportingComponent")


def _event(obj: Obj, controller_field: str) -> Errors:
    namespace = (obj.get("metadata") or {}).get("namespace", "")
    about = (obj.get("involvedObject") or {}).get("namespace", "")
    new = bool(obj.get("eventTime"))
    # Events of cluster-scoped objects live in a namespace of the system's.
    homes = ("default", "kube-system") if new else ("", "default")
    if namespace not in homes if not about else about != namespace:
        yield invalid("involvedObject.namespace", about, "does not match event.namespace")
    if new:
        controller = obj.get("reportingComponent", "")
        if not controller:
            yield required(controller_field)
        yield from each(controller_field, controller, rules.qualified_name_errors(controller) if controller else ())
        for field in ("reportingInstance", "action", "reason"):
            text = obj.get(field, "")
            if not text:
                yield required(field)
            if len(text.encode()) > _MAX_TEXT:
                yield invalid(field, "", f"can have at most {_MAX_TEXT} characters")
        if len(obj.get("message", "").encode("utf-8", "replace")) > _MAX_NOTE:
            yield invalid("message", "", f"can have at most {_MAX_NOTE} characters")
    if namespace:
        yield from each("namespace", namespace, rules.subdomain_errors(namespace))


def _series(obj: Obj) -> Errors:
    series = obj.get("series")
    if series is None:
        return
    if series.get("count", 0) < 2:
        yield invalid("series.count", "", "should be at least 2")
    if not series.get("lastObservedTime"):
        yield required("series.lastObservedTime")


def new_event_create(obj: Obj) -> Errors:
    """events.k8s.io/v1: nothing of the old."""
    event = conversion.kept(EVENTS_EVENT, obj)
    yield from _event(event, "reportingController")
    yield from _series(event)
    if not event.get("eventTime"):
        yield required("eventTime")
    if event.get("type") not in ("Normal", "Warning"):
        yield invalid("type", "", f"has invalid value: {event.get('type', '')}")
    for field in ("firstTimestamp", "lastTimestamp", "count"):
        if event.get(field):
            yield invalid(field, "", _UNSET)
    if any((event.get("source") or {}).values()):
        yield invalid("source", "", _UNSET)


_FIXED = (
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "type",
    "eventTime",
    "action",
    "related",
    "reportingComponent",
    "reportingInstance",
)


def new_event_update(obj: Obj, old: Obj) -> Errors:
    """Only the series changes."""
    event, before = (conversion.kept(EVENTS_EVENT, form) for form in (obj, old))
    yield from _event(event, "reportingController")
    if event.get("series") != before.get("series"):
        yield from _series(event)
    for field in _FIXED:
        shown = "reportingController" if field == "reportingComponent" else field
        yield from values.same(shown, event.get(field), before.get(field))

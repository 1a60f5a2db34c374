"""Events: core/v1 (kept) and events.k8s.io/v1, which are the same under other names. Source: API reference of both."""

from __future__ import annotations

from hawser.api.types import Obj

FIELDS = (
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
)
"""The name of a field in core/v1, and in events.k8s.io/v1."""
_TO_EVENTS = dict(FIELDS)
_TO_CORE = {new: old for old, new in FIELDS}


def to_events(obj: Obj) -> Obj:
    """A core/v1 Event as events.k8s.io/v1."""
    return {_TO_EVENTS.get(name, name): value for name, value in obj.items()}


def to_core(obj: Obj) -> Obj:
    """An events.k8s.io/v1 Event as core/v1."""
    return {_TO_CORE.get(name, name): value for name, value in obj.items()}

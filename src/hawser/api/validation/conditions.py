"""Validation of metav1.Conditions, which the newer kinds have in their status. Source: API reference, Condition."""

from __future__ import annotations

import re

from hawser.api.types import Obj
from hawser.api.validation.rules import (
    Errors,
    duplicate,
    each,
    invalid,
    qualified_name_errors,
    required,
    too_long,
    unsupported,
)

_STATUSES = ("False", "True", "Unknown")
_MAX_REASON = 1024
_MAX_MESSAGE = 32 * 1024
_REASON = r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?"
_REASON_RULE = (
    "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric "
    "characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or "
    f"'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '{_REASON}')"
)
_is_reason = re.compile(_REASON).fullmatch


def conditions(listed: list[Obj] | None, path: str) -> Errors:
    """One of each type, each with all its fields."""
    seen = set()
    for i, condition in enumerate(listed or ()):
        kind = condition.get("type", "")
        if kind in seen:
            yield duplicate(f"{path}[{i}].type", kind)
        seen.add(kind)
        yield from _condition(condition, f"{path}[{i}]")


def _condition(condition: Obj, path: str) -> Errors:
    kind, status = condition.get("type", ""), condition.get("status", "")
    reason, message = condition.get("reason", ""), condition.get("message", "")
    yield from each(f"{path}.type", kind, qualified_name_errors(kind))
    if status not in _STATUSES:
        yield unsupported(f"{path}.status", status, _STATUSES)
    generation = condition.get("observedGeneration", 0)
    if generation < 0:
        yield invalid(f"{path}.observedGeneration", generation, "must be greater than or equal to zero")
    if not condition.get("lastTransitionTime"):
        yield required(f"{path}.lastTransitionTime", "must be set")
    if not reason:
        yield required(f"{path}.reason", "must be set")
    else:
        if not _is_reason(reason):
            yield invalid(f"{path}.reason", reason, _REASON_RULE)
        if len(reason) > _MAX_REASON:
            yield too_long(f"{path}.reason", _MAX_REASON)
    if len(message) > _MAX_MESSAGE:
        yield too_long(f"{path}.message", _MAX_MESSAGE)

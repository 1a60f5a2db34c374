"""Validation of Leases. Source: API reference, LeaseSpec."""

from __future__ import annotations

from hawser.api.types import Obj
from hawser.api.validation.rules import Errors, invalid, not_negative


def lease(obj: Obj) -> Errors:
    spec = obj.get("spec") or {}
    duration = spec.get("leaseDurationSeconds")
    if duration is not None and duration <= 0:
        yield invalid("spec.leaseDurationSeconds", duration, "must be greater than 0")
    yield from not_negative(spec, "spec", "leaseTransitions")

"""Validation of HorizontalPodAutoscalers in version v1: what they become in v2 must be valid."""

from __future__ import annotations

from hawser.api import conversion
from hawser.api.defaults.autoscaling import horizontal_pod_autoscaler
from hawser.api.kinds import HORIZONTAL_POD_AUTOSCALER_V1
from hawser.api.strategic import clone
from hawser.api.types import Obj
from hawser.api.validation import autoscaling
from hawser.api.validation.rules import Errors


def _kept(obj: Obj) -> Obj:
    made: Obj = clone(conversion.kept(HORIZONTAL_POD_AUTOSCALER_V1, obj))
    horizontal_pod_autoscaler(made)
    return made


def create(obj: Obj) -> Errors:
    yield from autoscaling.autoscaler_create(_kept(obj))


def update(obj: Obj, old: Obj) -> Errors:
    yield from autoscaling.autoscaler_update(_kept(obj), _kept(old))


def status(obj: Obj, old: Obj) -> Errors:
    yield from autoscaling.autoscaler_status_update(_kept(obj), _kept(old))

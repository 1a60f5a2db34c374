"""The status of a HorizontalPodAutoscaler while it is made."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import datetime

from hawser.api.types import Obj
from hawser.client.clock import timestamp
from hawser.controllers.autoscaler.behavior import Said


class Draft:
    """Conditions and numbers as they become; what is not said anew stays."""

    def __init__(self, autoscaler: Obj, now: datetime) -> None:
        self._now = now
        self.status: Obj = copy.deepcopy(autoscaler.get("status") or {})

    def say(self, kind: str, value: bool, reason: str, message: str) -> None:
        """Sets a condition."""
        conditions: list[Obj] = self.status.setdefault("conditions", [])
        text = "True" if value else "False"
        found = next((c for c in conditions if c["type"] == kind), None)
        if found is None:
            found = {"type": kind}
            conditions.append(found)
        if found.get("status") != text:
            found["lastTransitionTime"] = timestamp(self._now)
        found.update(status=text, reason=reason, message=message)

    def said(self, kind: str, told: Said) -> None:
        self.say(kind, told.status, told.reason, told.message)

    def scaled(self, current: int, desired: int, metrics: Sequence[Obj] | None, *, now: bool) -> None:
        """Sets the numbers. metrics: current ones, None for those of before. now: whether it was just scaled."""
        self.status["currentReplicas"] = current
        self.status["desiredReplicas"] = desired
        if metrics is not None:
            self.status.pop("currentMetrics", None)
            if metrics:
                # A metric that could not be had still has its place.
                self.status["currentMetrics"] = [metric or {"type": ""} for metric in metrics]
        if now:
            self.status["lastScaleTime"] = timestamp(self._now)

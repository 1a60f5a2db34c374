"""Defaults of the kinds that bound pods: LimitRange, ResourceQuota, PriorityClass.

Source: API reference, LimitRangeItem and PriorityClass; "Limit Ranges".
"""

from __future__ import annotations

from hawser.api.defaults.pod import round_amounts
from hawser.api.types import Obj

_LISTS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")


def limit_range(obj: Obj) -> None:
    """Containers that say nothing get the largest limit, and request what they are limited to, or the least."""
    for item in (obj.get("spec") or {}).get("limits") or ():
        for field in _LISTS:
            round_amounts(item.get(field))
        if item.get("type") != "Container":
            continue
        limits = {**(item.get("max") or {}), **(item.get("default") or {})}
        requests = {**(item.get("min") or {}), **limits, **(item.get("defaultRequest") or {})}
        if limits:
            item["default"] = limits
        if requests:
            item["defaultRequest"] = requests


def resource_quota(obj: Obj) -> None:
    round_amounts((obj.get("spec") or {}).get("hard"))
    for field in ("hard", "used"):
        round_amounts((obj.get("status") or {}).get(field))


def priority_class(obj: Obj) -> None:
    obj.setdefault("preemptionPolicy", "PreemptLowerPriority")

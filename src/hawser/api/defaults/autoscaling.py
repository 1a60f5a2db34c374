"""Defaults of HorizontalPodAutoscalers (autoscaling/v2).

Source: API reference, HorizontalPodAutoscalerSpec; "Horizontal Pod Autoscaling", "Default Behavior".
"""

from __future__ import annotations

from typing import Any

from hawser.api.types import Obj

_CPU_PERCENT = 80
_PERIOD = 15
# The most of four pods and a doubling each period, at once; down at any speed, after the controller's own window.
_UP = (("Pods", 4), ("Percent", 100))
_DOWN = (("Percent", 100),)


def horizontal_pod_autoscaler(obj: Obj) -> None:
    spec: Obj | None = obj.get("spec")
    if spec is None:
        spec = obj["spec"] = {}
    spec.setdefault("minReplicas", 1)
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": _CPU_PERCENT}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behavior = spec.get("behavior")
    if behavior is not None:
        _rules(behavior, "scaleUp", _UP)
        _rules(behavior, "scaleDown", _DOWN)
        behavior["scaleUp"].setdefault("stabilizationWindowSeconds", 0)


def horizontal_pod_autoscaler_v1(obj: Obj) -> None:
    """Version v1: metrics are filled in where the object is kept."""
    obj.setdefault("spec", {}).setdefault("minReplicas", 1)


def _rules(behavior: Obj, field: str, policies: tuple[tuple[str, int], ...]) -> None:
    rules: Any = behavior.get(field)
    if rules is None:
        rules = behavior[field] = {}
    rules.setdefault("selectPolicy", "Max")
    # An empty list of policies is one that was said, and is refused.
    if rules.get("policies") is None:
        rules["policies"] = [{"type": kind, "value": value, "periodSeconds": _PERIOD} for kind, value in policies]

"""Defaults of resource.k8s.io: requests for one device each. Source: API reference, DeviceRequest."""

from __future__ import annotations

from hawser.api.types import Obj


def _request(request: Obj) -> None:
    if not request.get("allocationMode"):
        request["allocationMode"] = "ExactCount"
    if request["allocationMode"] == "ExactCount" and not request.get("count"):
        request["count"] = 1
    tolerations(request)


def tolerations(holder: Obj) -> None:
    """Tolerations compare for equality."""
    for toleration in holder.get("tolerations") or ():
        if not toleration.get("operator"):
            toleration["operator"] = "Equal"


def _spec(spec: Obj) -> None:
    for request in (spec.get("devices") or {}).get("requests") or ():
        if "exactly" in request:
            _request(request["exactly"])
        for choice in request.get("firstAvailable") or ():
            _request(choice)


def claim(obj: Obj) -> None:
    """Of a claim, and of what was allocated for it."""
    _spec(obj.setdefault("spec", {}))
    allocation = ((obj.get("status") or {}).get("allocation") or {}).get("devices") or {}
    for result in allocation.get("results") or ():
        tolerations(result)


def claim_template(obj: Obj) -> None:
    """Of the claims that are made of it."""
    _spec(obj.setdefault("spec", {}).setdefault("spec", {}))

"""Validation of resource amounts. Source: "Resource Management for Pods and Containers", "Extended resources"."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache

from hawser.api.quantity import parse_quantity
from hawser.api.types import Obj
from hawser.api.validation.rules import NEGATIVE, Errors, each, forbidden, invalid, qualified_name_errors, required

_STANDARD = ("cpu", "memory", "ephemeral-storage")
# Names without a domain that exist somewhere in Kubernetes (quotas, volumes), if not in a container.
_KNOWN = (*_STANDARD, "storage", "pods", "services", "secrets", "configmaps", "persistentvolumeclaims")


@lru_cache(maxsize=4096)
def _amount(text: str) -> Decimal:
    return parse_quantity(text)


def amounts(resources: dict[str, str] | None, path: str) -> Errors:
    """A list of resources anywhere: qualified names, nothing negative."""
    for name, amount in (resources or {}).items():
        yield from each(f"{path}[{name}]", name, qualified_name_errors(name))
        if _amount(amount) < 0:
            yield invalid(f"{path}[{name}]", amount, NEGATIVE)


def requirements(resources: Obj, path: str, pod_level: bool = False) -> Errors:
    """limits and requests of a container, or of a whole pod."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for name, amount in limits.items():
        yield from _resource(name, amount, f"{path}.limits[{name}]", pod_level)
    for name, amount in requests.items():
        yield from _resource(name, amount, f"{path}.requests[{name}]", pod_level)
        limit = limits.get(name)
        if limit is None:
            if not overcommits(name):
                yield required(f"{path}.limits", "Limit must be set for non overcommitable resources")
        elif not overcommits(name):
            if _amount(amount) != _amount(limit):
                yield invalid(f"{path}.requests", amount, f"must be equal to {name} limit of {limit}")
        elif _amount(amount) > _amount(limit):
            yield invalid(f"{path}.requests", amount, f"must be less than or equal to {name} limit of {limit}")
    named = {*limits, *requests}
    if any(name.startswith("hugepages-") for name in named) and not named & {"cpu", "memory"}:
        yield forbidden(path, "HugePages require cpu or memory")


def overcommits(name: str) -> bool:
    """Whether requests may be smaller than limits: for what Kubernetes itself meters, except huge pages."""
    return ("/" not in name or "kubernetes.io/" in name) and not name.startswith("hugepages-")


def _resource(name: str, amount: str, path: str, pod_level: bool) -> Errors:
    if name not in _STANDARD:
        yield from container_resource(name, path)
    if pod_level and name not in ("cpu", "memory") and not name.startswith("hugepages-"):
        yield invalid(path, name, "must be a supported resource for pods")
    value = _amount(amount)
    if value < 0:
        yield invalid(path, amount, NEGATIVE)
    if "/" in name and value != value.to_integral_value():
        yield invalid(path, amount, "must be an integer")


def container_resource(name: str, path: str) -> Errors:
    """The name of a resource that a container may ask for."""
    if name in _STANDARD:
        return
    yield from each(path, name, qualified_name_errors(name))
    if name.startswith("hugepages-"):
        return
    if "/" not in name:
        if name not in _KNOWN:
            yield invalid(path, name, "must be a standard resource type or fully qualified")
        yield invalid(path, name, "must be a standard resource for containers")
    elif "kubernetes.io/" not in name and (name.startswith("requests.") or qualified_name_errors(f"requests.{name}")):
        yield invalid(path, name, "doesn't follow extended resource name standard")

"""What is said of Services: fields without effect, addresses in unusual forms. The sentences are kube-apiserver's."""

from __future__ import annotations

from collections.abc import Iterator

from hawser.api.types import Obj
from hawser.api.warnings.addresses import address, network

_HINTS = "service.kubernetes.io/topology-aware-hints"
_MODE = "service.kubernetes.io/topology-mode"


def service(obj: Obj) -> Iterator[str]:
    """A Service."""
    spec = obj["spec"]
    if _HINTS in (obj["metadata"].get("annotations") or {}):
        yield f"annotation {_HINTS} is deprecated, please use {_MODE} instead"
    external, kind = spec.get("externalIPs") or (), spec.get("type")
    named, headless = kind == "ExternalName", kind == "ClusterIP" and spec.get("clusterIP") == "None"
    balancer = spec.get("loadBalancerIP")
    if headless:
        if balancer:
            yield "spec.loadBalancerIP is ignored for headless services"
        if external:
            yield "spec.externalIPs is ignored for headless services"
        if spec.get("sessionAffinity", "None") != "None":
            yield "spec.SessionAffinity is ignored for headless services"
    else:
        yield from _each(spec.get("clusterIPs") or (), "clusterIPs")
    yield from _each(external, "externalIPs")
    if external and not headless and not named:
        yield "spec.externalIPs is deprecated and may no longer be implemented in some clusters"
    if balancer:
        yield from address(balancer, "spec.loadBalancerIP")
    for i, value in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        yield from network(value, f"spec.loadBalancerSourceRanges[{i}]")
    if named and external:
        yield 'spec.externalIPs is ignored when spec.type is "ExternalName"'
    if not named and spec.get("externalName"):
        yield 'spec.externalName is ignored when spec.type is not "ExternalName"'
    if spec.get("trafficDistribution") == "PreferClose":
        yield 'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"'


def _each(values: list[str] | tuple[()], field: str) -> Iterator[str]:
    for i, value in enumerate(values):
        yield from address(value, f"spec.{field}[{i}]")

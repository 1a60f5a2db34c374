"""Defaults of networking: NetworkPolicy, IngressClass, Endpoints. Source: API reference of each kind."""

from __future__ import annotations

from hawser.api.types import Obj


def network_policy(policy: Obj) -> None:
    """Ports are TCP; a policy is for ingress, and for egress when it has rules for that."""
    spec = policy.setdefault("spec", {})
    for rule in (*(spec.get("ingress") or ()), *(spec.get("egress") or ())):
        for port in rule.get("ports") or ():
            port.setdefault("protocol", "TCP")
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def ingress_class(obj: Obj) -> None:
    """Parameters are of the whole cluster."""
    parameters = (obj.get("spec") or {}).get("parameters")
    if parameters is not None:
        parameters.setdefault("scope", "Cluster")


def endpoints(obj: Obj) -> None:
    """Ports are TCP."""
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            if not port.get("protocol"):
                port["protocol"] = "TCP"

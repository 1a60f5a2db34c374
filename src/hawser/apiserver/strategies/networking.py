"""Networking: what clients are told of it.

Source: Kubernetes documentation, "Ingress", deprecated annotation.
"""

from __future__ import annotations

from collections.abc import Iterable

from hawser.api.types import Obj
from hawser.api.warnings.addresses import network
from hawser.apiserver.strategies.base import Strategy

_CLASS = "kubernetes.io/ingress.class"


class IngressStrategy(Strategy):
    """An Ingress says its class in the spec."""

    def prepare_create(self, obj: Obj) -> None:
        """No load balancer yet."""
        obj["status"] = {"loadBalancer": {}}

    def warnings(self, obj: Obj, old: Obj | None) -> Iterable[str]:
        """Of new ones that say it in an annotation only."""
        annotated = _CLASS in (obj["metadata"].get("annotations") or {})
        if old is None and annotated and obj["spec"].get("ingressClassName") is None:
            yield f"annotation \"{_CLASS}\" is deprecated, please use 'spec.ingressClassName' instead"


class PolicyStrategy(Strategy):
    """NetworkPolicies."""

    def warnings(self, obj: Obj, old: Obj | None) -> Iterable[str]:
        """Of networks that are written in unusual ways."""
        for field, peers in (("ingress", "from"), ("egress", "to")):
            for i, rule in enumerate(obj["spec"].get(field) or ()):
                for j, peer in enumerate(rule.get(peers) or ()):
                    block, at = peer.get("ipBlock") or {}, f"spec.{field}[{i}].{peers}[{j}].ipBlock"
                    yield from network(block.get("cidr", ""), f"{at}.cidr")
                    for k, without in enumerate(block.get("except") or ()):
                        yield from network(without, f"{at}.except[{k}]")

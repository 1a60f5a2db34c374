"""Networking: what clients are told of it.

Source: Kubernetes documentation, "Ingress", deprecated annotation.
"""

from __future__ import annotations

from collections.abc import Iterable

from hawser.api.types import Obj
from hawser.apiserver.strategies.base import Strategy

_CLASS = "kubernetes.io/ingress.class"


class IngressStrategy(Strategy):
    """An Ingress says its class in the spec."""

    def warnings(self, obj: Obj, old: Obj | None) -> Iterable[str]:
        """Of new ones that say it in an annotation only."""
        annotated = _CLASS in (obj["metadata"].get("annotations") or {})
        if old is None and annotated and obj["spec"].get("ingressClassName") is None:
            yield f"annotation \"{_CLASS}\" is deprecated, please use 'spec.ingressClassName' instead"

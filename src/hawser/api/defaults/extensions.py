"""Defaults of apiextensions.k8s.io: the names that a CustomResourceDefinition may leave out, and no conversion."""

from __future__ import annotations

from hawser.api.types import Obj


def custom_resource_definition(crd: Obj) -> None:
    """singular, listKind and the conversion strategy, in place."""
    spec = crd.get("spec") or {}
    names = spec.get("names")
    if isinstance(names, dict) and names.get("kind"):
        names.setdefault("singular", names["kind"].lower())
        names.setdefault("listKind", f"{names['kind']}List")
    if isinstance(spec, dict) and spec:
        conversion = spec.setdefault("conversion", {"strategy": "None"})
        service = ((conversion.get("webhook") or {}).get("clientConfig") or {}).get("service")
        if isinstance(service, dict):
            service.setdefault("port", 443)

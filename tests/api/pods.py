"""Pods as tests of validation make them."""

import copy
from typing import Any

from hawser.api import kinds, schema
from hawser.api.defaults import apply_defaults


def container(name: str = "a", **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "b", **fields}


def pod(meta: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    spec.setdefault("containers", [container()])
    obj = {"metadata": {"name": "p", "namespace": "default", **(meta or {})}, "spec": copy.deepcopy(spec)}
    assert schema.decode(kinds.POD, obj) == []
    apply_defaults(kinds.POD, obj)
    return obj

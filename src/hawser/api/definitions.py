"""Kubernetes' published type definitions: fields, list types, merge keys and GVKs of every kind.

Source: the definitions of Kubernetes' OpenAPI document as PyPI's ``kubernetes-validate`` ships them
(``_definitions.json``). At run time only what is served or sent is kept, without descriptions; anything else is loaded
when it is asked for. ``raw_document`` is the whole, for OpenAPI.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import orjson

from hawser.api import kinds
from hawser.api.types import Obj

VERSION = "1.36.0"
"""The Kubernetes version that is served."""

GVK = tuple[str, str, str]

_PREFIX = "#/$defs/"
_SENT = (("", "v1", "DeleteOptions"), ("autoscaling", "v1", "Scale"), ("policy", "v1", "Eviction"))
_SERVED = frozenset((*kinds.BY_GVK, *_SENT))

_definitions: dict[str, Obj] = {}
_names: dict[GVK, str] = {}


def definition(gvk: GVK) -> Obj:
    """The definition of a kind, without descriptions.

    Where several definitions carry a GVK (DeleteOptions and WatchEvent are of every group), any of them is the same.
    Raises KeyError when Kubernetes has no such kind.
    """
    return resolve(definition_name(gvk))


def definition_name(gvk: GVK) -> str:
    """The definition's name: ``io.k8s.api.core.v1.Pod``. Raises KeyError when Kubernetes has no such kind."""
    _load()
    return _names[gvk]


def resolve(name: str) -> Obj:
    """The definition of that name or ``$ref``, without descriptions. Raises KeyError when there is none."""
    name = name.removeprefix(_PREFIX)
    found = _definitions.get(name)
    if found is None:
        _load()
        found = _definitions.get(name)
    if found is None:
        _keep(raw_document()["$defs"], [name])
        found = _definitions[name]
    return found


def raw_document() -> Obj:
    """The document as published, descriptions and all: ``{"$defs": {name: definition}}``.

    It is read anew at each call (10 to 30 ms, about 5 MB): keep what you make of it, not the document.
    """
    return cast(Obj, orjson.loads(_path().read_bytes()))


def _path() -> Path:
    # The package is located, not imported: its own imports (jsonschema, yaml) cost more than the document.
    spec = importlib.util.find_spec("kubernetes_validate")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("package kubernetes-validate is not installed: reinstall hawser")
    folder = Path(spec.submodule_search_locations[0])
    return folder / "kubernetes-json-schema" / f"v{VERSION}-local" / "_definitions.json"


def _load() -> None:
    """Fills the tables at first use."""
    if _names:
        return
    document = raw_document()["$defs"]
    wanted = []
    for name, schema in document.items():
        for gvk in _gvks(schema):
            _names.setdefault(gvk, name)
            if gvk in _SERVED:
                wanted.append(name)
    _keep(document, wanted)


def _gvks(schema: Obj) -> Iterator[GVK]:
    for entry in schema.get("x-kubernetes-group-version-kind", ()):
        yield (entry["group"], entry["version"], entry["kind"])


def _keep(document: dict[str, Obj], names: list[str]) -> None:
    """Adds the named definitions and what they refer to, stripped of descriptions."""
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in _definitions:
            _definitions[name] = _strip(document[name], todo)


def _strip(schema: Any, refs: list[str]) -> Any:
    """A copy without descriptions; names that ``$ref`` points to are appended to refs."""
    if isinstance(schema, dict):
        kept = {}
        for key, value in schema.items():
            if key == "$ref" and isinstance(value, str):
                refs.append(value.removeprefix(_PREFIX))
            # A property may be called "description" too, but then its value is a schema.
            if key != "description" or not isinstance(value, str):
                kept[key] = _strip(value, refs)
        return kept
    if isinstance(schema, list):
        return [_strip(value, refs) for value in schema]
    return schema

"""Decoding: a JSON object becomes an object of its kind, or an error in kube-apiserver's words.

What is checked is what Kubernetes' decoder checks: types, integer sizes, base64, times, quantities, unknown and
duplicate fields. What values mean is checked by ``hawser.api.validation``.
"""

from __future__ import annotations

import json
from typing import Any

from hawser.api import decoding, definitions, kinds, scalars
from hawser.api.crd import objects
from hawser.api.crd.kinds import CustomKind
from hawser.api.errors import APIError, Cause, FieldError, Unfit
from hawser.api.kinds import Kind
from hawser.api.types import Obj

_roots: dict[tuple[str, str, str], decoding.Node] = {}


def decode(kind: Kind, obj: Obj) -> list[str]:
    """Checks the types of obj and brings it, in place, to the form that Kubernetes would write.

    Unknown fields and nulls are dropped; times, quantities and base64 become canonical. Returns what strict decoding
    complains of: ``unknown field "spec.containers[0].foo"``; see ``strict_error``.
    Raises APIError 400 BadRequest when a value is of the wrong type; KeyError when Kubernetes has no such kind.
    """
    if isinstance(kind, CustomKind):
        return objects.decode(kind, obj)
    root = _roots.get(kind.gvk)
    if root is None:
        root = _roots[kind.gvk] = decoding.node(definitions.definition_name(kind.gvk))
    if root.check(obj):
        return []
    complaints: list[str] = []
    try:
        root.clean(obj, decoding.At(), complaints)
    except scalars.DecodeError as error:
        raise _unfit(kind, str(error)) from None
    return complaints


def strict_error(kind: Kind, complaints: list[str]) -> APIError:
    """The error of a request with fieldValidation=Strict and complaints of ``decode`` or ``duplicates``."""
    return _unfit(kind, "strict decoding error: " + ", ".join(complaints))


def _unfit(kind: Kind, error: str) -> APIError:
    return Unfit(kind.kind, kind.version, error)


def duplicates(raw: bytes) -> list[str]:
    """Complaints of fields that occur twice in one JSON object: ``duplicate field "spec.replicas"``.

    A second parse (about 10 µs for a kilobyte), for requests with fieldValidation Strict or Warn. raw is valid JSON.
    """
    repeated: dict[int, list[str]] = {}
    kept: list[Obj] = []

    def build(pairs: list[tuple[str, Any]]) -> Obj:
        made = dict(pairs)
        if len(made) != len(pairs):
            seen: set[str] = set()
            repeated[id(made)] = [key for key, _ in pairs if key in seen or seen.add(key)]  # type: ignore[func-returns-value]
            kept.append(made)  # An id is only good while the object lives.
        return made

    document = json.loads(raw, object_pairs_hook=build)
    if not repeated:
        return []
    found: list[str] = []
    _walk_duplicates(document, "", repeated, found)
    return found


def _walk_duplicates(value: Any, path: str, repeated: dict[int, list[str]], found: list[str]) -> None:
    if isinstance(value, dict):
        prefix = f"{path}." if path else ""
        names = dict.fromkeys(repeated.get(id(value), ()))
        found.extend(f"duplicate field {scalars.quote(prefix + name)}" for name in names)
        for key, item in value.items():
            _walk_duplicates(item, prefix + key, repeated, found)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _walk_duplicates(item, f"{path}[{index}]", repeated, found)


def required(kind: Kind, obj: Obj) -> list[FieldError]:
    """Fields that the definition requires and obj lacks, for kinds that have no validation of their own.

    Those are the kinds that are only posted (Binding, SubjectAccessReview); kinds whose objects are stored answer [],
    their validation knows better. Lists and maps are never missed: Kubernetes cannot tell an absent from an empty one.
    """
    row = kinds.BY_GVK.get(kind.gvk)
    if row is not None and "watch" in row.verbs:
        return []
    errors: list[FieldError] = []
    _walk_required(decoding.node(definitions.definition_name(kind.gvk)), obj, "", errors)
    return errors


def _walk_required(node: decoding.Node, value: Any, path: str, errors: list[FieldError]) -> None:
    match node, value:
        case decoding.Struct(), dict():
            prefix = f"{path}." if path else ""
            errors.extend(
                FieldError(Cause.REQUIRED, prefix + name)
                for name in node.required
                if name not in value and not isinstance(node.fields[name], decoding.Array | decoding.Map)
            )
            for name, item in value.items():
                if name in node.fields:
                    _walk_required(node.fields[name], item, prefix + name, errors)
        case decoding.Array(), list():
            for index, item in enumerate(value):
                _walk_required(node.item, item, f"{path}[{index}]", errors)
        case decoding.Map(), dict():
            for key, item in value.items():
                _walk_required(node.item, item, f"{path}[{key}]", errors)

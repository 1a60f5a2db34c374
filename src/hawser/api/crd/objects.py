"""Custom resources: decoding, defaulting and validation by the schema of their version.

The counterparts of ``hawser.api.schema``, ``defaults`` and ``validation`` for rows that a CRD made.
"""

from __future__ import annotations

from typing import Any

import orjson

from hawser.api import decoding, scalars
from hawser.api.crd import checks
from hawser.api.crd.kinds import CustomKind
from hawser.api.crd.schema import ABSENT, drop_nulls, fill, prune
from hawser.api.errors import FieldError, Unfit
from hawser.api.types import Obj
from hawser.api.validation.metadata import metadata, metadata_update
from hawser.api.validation.rules import subdomain_errors

_OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


def decode(kind: CustomKind, obj: Obj) -> list[str]:
    """Drops, in place, the fields that its version does not know. Returns what strict decoding complains of.

    Raises APIError 400 when the metadata is of another type.
    """
    complaints: list[str] = []
    if obj.get("metadata") is None:
        obj.pop("metadata", None)
    else:
        node = decoding.node(_OBJECT_META)
        try:
            obj["metadata"] = node.clean(obj["metadata"], decoding.At("metadata", "metadata"), complaints)
        except scalars.DecodeError as error:
            raise Unfit(kind.kind, kind.version, str(error)) from None
    complaints += [f"unknown field {scalars.quote(path)}" for path in prune(kind.model.schema, obj)]
    return complaints


def complete(kind: CustomKind, obj: Obj) -> None:
    """Drops nulls and fills in defaults, in place."""
    drop_nulls(kind.model.schema, obj)
    fill(kind.model.schema, obj)


def read_stored(kind: CustomKind, value: bytes) -> Obj:
    """A stored object as its version shows it: conversion changes nothing but apiVersion (strategy None)."""
    obj: Obj = orjson.loads(value)
    obj["apiVersion"] = kind.api_version
    return settle(kind, obj)


def settle(kind: CustomKind, obj: Obj) -> Obj:
    """An object that comes from elsewhere made to fit its version's schema, in place: pruned and defaulted."""
    prune(kind.model.schema, obj)
    complete(kind, obj)
    return obj


def validate_create(kind: CustomKind, obj: Obj) -> list[FieldError]:
    """What is wrong with an object that is to be created; its metadata holds the final name and namespace."""
    return [
        *metadata(obj["metadata"], kind.namespaced, subdomain_errors, any_finalizer=True),
        *_check(kind, obj, ABSENT),
    ]


def validate_update(kind: CustomKind, obj: Obj, old: Obj, told: list[str] | None = None) -> list[FieldError]:
    """What is wrong with replacing old by obj; values that stay as they were are not asked about.

    told: takes warnings of rules that are broken as they were before.
    """
    meta = obj["metadata"]
    return [
        *metadata_update(meta, old["metadata"]),
        *metadata(meta, kind.namespaced, subdomain_errors, any_finalizer=True),
        *_check(kind, obj, old, told),
    ]


def validate_status(kind: CustomKind, obj: Obj, old: Obj, told: list[str] | None = None) -> list[FieldError]:
    """What is wrong with writing obj's status over old's."""
    return list(_check(kind, obj, old, told))


def _check(kind: CustomKind, obj: Obj, old: Any, told: list[str] | None = None) -> list[FieldError]:
    schema = kind.model.schema
    errors = _schema_errors(kind, obj, old)
    tree = schema.tree()
    if tree is None:
        return errors
    from hawser.api.cel.patience import PATIENCE
    from hawser.api.crd.rules import Evaluation, blocked

    if (skipped := blocked(errors)) is not None:
        return [*errors, skipped]
    evaluation = Evaluation(patience=PATIENCE.get())
    evaluation.run(tree, obj, old)
    if told is not None:
        told += [text for text in evaluation.warnings if text not in told]
    return errors + evaluation.errors


def _schema_errors(kind: CustomKind, obj: Obj, old: Any) -> list[FieldError]:
    if old is not ABSENT and old.get("metadata") != obj.get("metadata"):
        # An object whose metadata alone changed is not asked about the rest.
        old = {**old, "metadata": obj.get("metadata")} if "metadata" not in kind.model.schema.properties else old
    return list(checks.check(kind.model.schema, obj, "", old))

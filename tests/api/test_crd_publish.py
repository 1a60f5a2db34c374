"""Definitions of custom resources in the OpenAPI documents: all of a schema in version 3, less of it in version 2."""

from __future__ import annotations

from typing import Any

import pytest

from hawser.api.crd import kinds
from hawser.api.crd.publish import definitions
from hawser.api.types import Obj

KEEPS = "x-kubernetes-preserve-unknown-fields"
OWN = {"apiVersion", "kind", "metadata"}


def published(schema: Obj, *, v2: bool) -> Obj:
    """The definition of a kind with this schema."""
    crd = {
        "metadata": {"name": "shirts.example.com", "uid": "u"},
        "spec": {
            "group": "example.com",
            "names": {"plural": "shirts", "singular": "shirt", "kind": "Shirt", "listKind": "ShirtList"},
            "scope": "Namespaced",
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }
    made = definitions([kinds.storage_row(crd)], v2=v2)["com.example.v1.Shirt"]
    assert made.pop("x-kubernetes-group-version-kind") == [{"group": "example.com", "kind": "Shirt", "version": "v1"}]
    return made


def test_old_clients_are_told_nothing_of_objects_with_unknown_fields() -> None:
    schema = {"type": "object", KEEPS: True, "properties": {"spec": {"type": "object"}}}
    assert published(schema, v2=True) == {"type": "object"}
    whole = published(schema, v2=False)
    assert whole[KEEPS] is True and set(whole["properties"]) == {"spec", *OWN}
    bare = published({"type": "object", KEEPS: True}, v2=False)
    assert set(bare["properties"]) == OWN


@pytest.mark.parametrize(
    ("part", "seen"),
    [
        ({"type": "string", "default": "red"}, {"type": "string", "default": "red"}),
        ({"type": "object", KEEPS: True, "properties": {"a": {"type": "string"}}}, {KEEPS: True}),
        ({"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}]}, {"x-kubernetes-int-or-string": True}),
        ({"type": "string", "nullable": True, "description": "d"}, {"description": "d"}),
        ({"type": "array", "items": {"type": "string", "not": {}}}, {"type": "array", "items": {"type": "string"}}),
        (
            {
                "type": "object",
                "required": ["a", "b"],
                "properties": {"a": {"nullable": True}, "b": {"type": "integer"}},
            },
            {"type": "object", "required": ["b"], "properties": {"a": {}, "b": {"type": "integer"}}},
        ),
        (
            {"type": "object", "additionalProperties": {"type": "integer", "oneOf": []}},
            {"type": "object", "additionalProperties": {"type": "integer"}},
        ),
    ],
)
def test_what_openapi_2_cannot_say_is_left_out(part: Any, seen: Any) -> None:
    schema = {"type": "object", "properties": {"spec": part}}
    assert published(schema, v2=True)["properties"]["spec"] == seen
    assert published(schema, v2=False)["properties"]["spec"] == part

"""Structural schemas: pruning, nulls, defaults and what validation says, in kube-apiserver's words."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawser.api.crd.checks import check
from hawser.api.crd.schema import Schema, drop_nulls, fill, prune

STRING = {"type": "string"}


def spec(**properties: Any) -> dict[str, Any]:
    """A root schema whose spec has these properties."""
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}


@pytest.mark.parametrize(
    ("schema", "given", "left", "dropped"),
    [
        (spec(a=STRING), {"a": "x", "b": 1}, {"a": "x"}, ["spec.b"]),
        (spec(a={"type": "object"}), {"a": {"b": {"c": 1}}}, {"a": {}}, ["spec.a.b"]),
        (
            spec(a={"type": "object", "x-kubernetes-preserve-unknown-fields": True}),
            {"a": {"b": {"c": 1}}},
            {"a": {"b": {"c": 1}}},
            [],
        ),
        (
            spec(
                a={
                    "type": "object",
                    "x-kubernetes-preserve-unknown-fields": True,
                    "properties": {"k": {"type": "object", "properties": {"x": STRING}}},
                }
            ),
            {"a": {"other": 1, "k": {"x": "", "y": 1}}},
            {"a": {"other": 1, "k": {"x": ""}}},
            ["spec.a.k.y"],
        ),
        (
            spec(a={"type": "object", "additionalProperties": {"type": "object", "properties": {"x": STRING}}}),
            {"a": {"k": {"x": "", "y": 1}}},
            {"a": {"k": {"x": ""}}},
            ["spec.a.k.y"],
        ),
        (
            spec(a={"type": "array", "items": {"type": "object", "properties": {"x": STRING}}}),
            {"a": [{"x": ""}, {"y": 1}]},
            {"a": [{"x": ""}, {}]},
            ["spec.a[1].y"],
        ),
        (
            spec(a={"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"spec": STRING}}),
            {"a": {"apiVersion": "v1", "kind": "X", "metadata": {"name": "n"}, "spec": "", "z": 1}},
            {"a": {"apiVersion": "v1", "kind": "X", "metadata": {"name": "n"}, "spec": ""}},
            ["spec.a.z"],
        ),
        (spec(a={"x-kubernetes-int-or-string": True}), {"a": "80%"}, {"a": "80%"}, []),
    ],
)
def test_pruning(schema: Any, given: Any, left: Any, dropped: list[str]) -> None:
    obj = {"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "n", "labels": {"a": "b"}}, "spec": given}
    assert prune(Schema(schema), obj) == dropped
    assert obj == {"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "n", "labels": {"a": "b"}}, "spec": left}


@pytest.mark.parametrize(
    ("properties", "given", "made"),
    [
        ({"a": {"type": "string", "default": "d"}}, {}, {"a": "d"}),
        ({"a": {"type": "string", "default": "d"}}, {"a": None}, {"a": "d"}),
        ({"a": {"type": "string", "default": "d", "nullable": True}}, {"a": None}, {"a": None}),
        ({"a": STRING}, {"a": None}, {}),
        ({"a": {"type": "string", "nullable": True}}, {"a": None}, {"a": None}),
        (
            {"a": {"type": "object", "default": {}, "properties": {"b": {"type": "integer", "default": 3}}}},
            {},
            {"a": {"b": 3}},
        ),
        (
            {"a": {"type": "object", "properties": {"b": {"type": "integer", "default": 3}}}},
            {},
            {},
        ),
        (
            {
                "a": {
                    "type": "array",
                    "items": {"type": "object", "properties": {"b": {"type": "integer", "default": 3}}},
                }
            },
            {"a": [{}, {"b": 1}]},
            {"a": [{"b": 3}, {"b": 1}]},
        ),
        (
            {"a": {"type": "object", "additionalProperties": {"type": "object", "properties": {"b": {"default": 1}}}}},
            {"a": {"k": {}}},
            {"a": {"k": {"b": 1}}},
        ),
    ],
)
def test_nulls_and_defaults(properties: Any, given: Any, made: Any) -> None:
    obj = {"spec": given}
    schema = Schema(spec(**properties))
    drop_nulls(schema, obj)
    fill(schema, obj)
    assert obj == {"spec": made}


def test_defaults_are_copies() -> None:
    schema = Schema(spec(a={"type": "array", "items": STRING, "default": ["x"]}))
    one: Any = {"spec": {}}
    other: Any = {"spec": {}}
    fill(schema, one)
    one["spec"]["a"].append("y")
    fill(schema, other)
    assert other["spec"]["a"] == ["x"]


CHECKS: list[tuple[dict[str, Any], Any, list[str]]] = [
    (STRING, 1, ['spec.x: Invalid value: "integer": spec.x in body must be of type string: "integer"']),
    (
        {"type": "integer"},
        "string",
        ['spec.x: Invalid value: "string": spec.x in body must be of type integer: "string"'],
    ),
    ({"type": "integer"}, 3.0, []),
    ({"type": "number"}, 3, []),
    (
        {"type": "integer"},
        True,
        ['spec.x: Invalid value: "boolean": spec.x in body must be of type integer: "boolean"'],
    ),
    ({"type": "object"}, None, ['spec.x: Invalid value: "null": spec.x in body must be of type object: "null"']),
    ({"type": "object", "nullable": True}, None, []),
    ({"type": "object", "required": ["a", "b"]}, {"a": 1}, ["spec.x.b: Required value"]),
    (
        {"type": "string", "enum": ["a", "b"]},
        "c",
        ['spec.x: Unsupported value: "c": supported values: "a", "b"'],
    ),
    ({"enum": [1]}, True, ['spec.x: Unsupported value: true: supported values: "1"']),
    (
        {"type": "integer", "maximum": 10},
        30,
        ["spec.x: Invalid value: 30: spec.x in body should be less than or equal to 10"],
    ),
    (
        {"type": "integer", "maximum": 10, "exclusiveMaximum": True},
        10,
        ["spec.x: Invalid value: 10: spec.x in body should be less than 10"],
    ),
    (
        {"type": "integer", "minimum": 1},
        0,
        ["spec.x: Invalid value: 0: spec.x in body should be greater than or equal to 1"],
    ),
    (
        {"type": "integer", "multipleOf": 5},
        7,
        ["spec.x: Invalid value: 7: spec.x in body should be a multiple of 5"],
    ),
    (
        {"type": "string", "pattern": "^a+$"},
        "b",
        ["spec.x: Invalid value: \"b\": spec.x in body should match '^a+$'"],
    ),
    (
        {"type": "string", "pattern": "^a+$"},
        "a\n",
        ["spec.x: Invalid value: \"a\n\": spec.x in body should match '^a+$'"],
    ),
    (
        {"type": "string", "minLength": 2},
        "a",
        ['spec.x: Invalid value: "a": spec.x in body should be at least 2 chars long'],
    ),
    ({"type": "string", "maxLength": 2}, "abc", ["spec.x: Too long: may not be more than 2 bytes"]),
    (
        {"type": "string", "format": "date-time"},
        "yesterday",
        ['spec.x: Invalid value: "yesterday": spec.x in body must be of type date-time: "yesterday"'],
    ),
    (
        {"type": "array", "items": STRING, "minItems": 1},
        [],
        ["spec.x: Invalid value: 0: spec.x in body should have at least 1 items"],
    ),
    (
        {"type": "array", "items": STRING, "maxItems": 1},
        ["a", "b"],
        ["spec.x: Too many: 2: must have at most 1 items"],
    ),
    (
        {"type": "array", "items": {"type": "object", "required": ["name"]}},
        [{"name": 1}, {}],
        ["spec.x[1].name: Required value"],
    ),
    (
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"k": "v"},
        ['spec.x.k: Invalid value: "string": spec.x.k in body must be of type integer: "string"'],
    ),
    (
        {"type": "array", "items": STRING, "x-kubernetes-list-type": "set"},
        ["a", "b", "a"],
        ['spec.x[2]: Duplicate value: "a"'],
    ),
    (
        {
            "type": "array",
            "items": {"type": "object"},
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
        [{"name": "a"}, {"name": "a", "v": 1}],
        ['spec.x[1]: Duplicate value: {"name":"a"}'],
    ),
    (
        {"x-kubernetes-int-or-string": True},
        True,
        ['spec.x: Invalid value: "boolean": spec.x in body must be of type integer,string: "boolean"'],
    ),
    (
        {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
        {"a": 1, "b": 1},
        [
            (
                '<nil>: Invalid value: "": "spec.x" must validate one and only one schema (oneOf). '
                "Found 2 valid alternatives"
            )
        ],
    ),
    (
        {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b", "c"]}]},
        {},
        [
            '<nil>: Invalid value: "": "spec.x" must validate one and only one schema (oneOf). Found none valid',
            "spec.x.a: Required value",
        ],
    ),
    (
        {"type": "object", "anyOf": [{"required": ["a"]}]},
        {},
        [
            '<nil>: Invalid value: "": "spec.x" must validate at least one schema (anyOf)',
            "spec.x.a: Required value",
        ],
    ),
    (
        {"type": "object", "not": {"required": ["a"]}},
        {"a": 1},
        ['<nil>: Invalid value: "": "spec.x" must not validate the schema (not)'],
    ),
    (
        {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
        {"kind": "A"},
        ["spec.x.apiVersion: Required value: must not be empty"],
    ),
]


@pytest.mark.parametrize(("schema", "value", "errors"), CHECKS)
def test_what_is_wrong_with_a_value(schema: Any, value: Any, errors: list[str]) -> None:
    assert [str(error) for error in check(Schema(spec(x=schema)), {"spec": {"x": value}})] == errors


def test_an_update_is_not_asked_about_what_it_leaves_as_it_was() -> None:
    schema = Schema(
        spec(
            a={"type": "integer", "maximum": 1},
            b=STRING,
            l={
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "properties": {"name": STRING, "n": {"type": "integer", "maximum": 1}}},
            },
        )
    )
    old = {"spec": {"a": 5, "b": "x", "l": [{"name": "p", "n": 9}]}}
    assert not list(check(schema, {"spec": {"a": 5, "b": "y", "l": [{"name": "q"}, {"name": "p", "n": 9}]}}, "", old))
    changed = {"spec": {"a": 6, "b": "x", "l": [{"name": "p", "n": 8}]}}
    assert [e.field for e in check(schema, changed, "", old)] == ["spec.a", "spec.l[0].n"]


def schemas(depth: int = 3) -> st.SearchStrategy[dict[str, Any]]:
    """Structural schemas with defaults, of fields a to c."""
    leaf = st.sampled_from(
        [
            {"type": "string"},
            {"type": "string", "default": "d"},
            {"type": "integer", "nullable": True},
            {"type": "integer", "default": 1, "nullable": True},
            {"x-kubernetes-int-or-string": True},
            {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        ]
    )
    if not depth:
        return leaf
    below = schemas(depth - 1)
    return st.one_of(
        leaf,
        st.dictionaries(st.sampled_from("abc"), below).map(lambda p: {"type": "object", "properties": p}),
        st.dictionaries(st.sampled_from("abc"), below).map(
            lambda p: {"type": "object", "properties": p, "default": {}}
        ),
        below.map(lambda s: {"type": "object", "additionalProperties": s}),
        below.map(lambda s: {"type": "array", "items": s}),
    )


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(0, 2), st.sampled_from(["", "x"])),
    lambda below: st.one_of(st.lists(below, max_size=2), st.dictionaries(st.sampled_from("abcd"), below)),
    max_leaves=12,
)


@given(schemas(), VALUES)
@settings(deadline=None)
def test_pruning_and_defaulting_again_changes_nothing(source: dict[str, Any], value: Any) -> None:
    schema = Schema({"type": "object", "properties": {"spec": source}})
    obj = {"spec": value}
    prune(schema, obj)
    drop_nulls(schema, obj)
    fill(schema, obj)
    once = copy.deepcopy(obj)
    assert prune(schema, obj) == []
    drop_nulls(schema, obj)
    fill(schema, obj)
    assert obj == once
    for error in check(schema, obj):
        assert str(error)

"""JSON patches (RFC 6902) and JSON merge patches (RFC 7386)."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.api.errors import APIError
from hawser.api.patch import MAX_OPERATIONS, json_patch, merge_diff, merge_patch, same

RFC_7386_APPENDIX_A = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("doc", "patch", "result"), RFC_7386_APPENDIX_A)
def test_merge_patches_do_what_the_rfc_shows(doc: Any, patch: Any, result: Any) -> None:
    assert merge_patch(doc, patch) == result


RFC_6902_APPENDIX_A = [
    ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
    ({"foo": ["bar", "baz"]}, [{"op": "add", "path": "/foo/1", "value": "q"}], {"foo": ["bar", "q", "baz"]}),
    ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
    ({"foo": ["bar", "qux", "baz"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["bar", "baz"]}),
    ({"baz": "q", "foo": "bar"}, [{"op": "replace", "path": "/baz", "value": "b"}], {"baz": "b", "foo": "bar"}),
    (
        {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
        [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
        {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
    ),
    (
        {"foo": ["all", "grass", "cows", "eat"]},
        [{"op": "move", "from": "/foo/1", "path": "/foo/3"}],
        {"foo": ["all", "cows", "eat", "grass"]},
    ),
    (
        {"baz": "qux", "foo": ["a", 2, "c"]},
        [{"op": "test", "path": "/baz", "value": "qux"}, {"op": "test", "path": "/foo/1", "value": 2}],
        {"baz": "qux", "foo": ["a", 2, "c"]},
    ),
    ({"foo": "bar"}, [{"op": "add", "path": "/child", "value": {"g": {}}}], {"foo": "bar", "child": {"g": {}}}),
    ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "q", "xyz": 123}], {"foo": "bar", "baz": "q"}),
    ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
    ({"foo": ["bar"]}, [{"op": "add", "path": "/foo/-", "value": ["a", "d"]}], {"foo": ["bar", ["a", "d"]]}),
    ({"a": {"b": 1}}, [{"op": "copy", "from": "/a", "path": "/c"}], {"a": {"b": 1}, "c": {"b": 1}}),
    ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
    ({"a": 1}, [{"op": "test", "path": "", "value": {"a": 1}}], {"a": 1}),
    ({"a": 1}, [{"op": "test", "path": "/gone", "value": None}], {"a": 1}),
    ({"a": 1}, [{"op": "test", "path": "/a", "value": 1.0}], {"a": 1}),
    ({"a": None}, [{"op": "replace", "path": "/a", "value": 1}], {"a": 1}),
]


@pytest.mark.parametrize(("doc", "ops", "result"), RFC_6902_APPENDIX_A)
def test_json_patches_do_what_the_rfc_shows(doc: Any, ops: Any, result: Any) -> None:
    assert json_patch(doc, ops) == result


@pytest.mark.parametrize(
    ("doc", "op"),
    [
        ({"baz": "qux"}, {"op": "test", "path": "/baz", "value": "bar"}),
        ({"a": 1}, {"op": "test", "path": "/a", "value": True}),
        ({"a": 10}, {"op": "test", "path": "/a", "value": "10"}),
        ({"foo": "bar"}, {"op": "add", "path": "/baz/bat", "value": "qux"}),
        ({"foo": "bar"}, {"op": "add", "path": "/foo/bat", "value": "qux"}),
        ({"foo": [1]}, {"op": "add", "path": "/foo/2", "value": 1}),
        ({"foo": [1]}, {"op": "add", "path": "/foo/x", "value": 1}),
        ({"foo": [1, 2]}, {"op": "remove", "path": "/foo/01"}),
        ({"foo": [1, 2]}, {"op": "remove", "path": "/foo/-1"}),
        ({"foo": [1, 2]}, {"op": "remove", "path": "/foo/-"}),
        ({}, {"op": "remove", "path": "/foo"}),
        ({}, {"op": "remove", "path": ""}),
        ({}, {"op": "replace", "path": "/foo", "value": 1}),
        ({}, {"op": "add", "path": "foo", "value": 1}),
        ({}, {"op": "add", "path": "/foo"}),
        ({}, {"op": "add", "value": 1}),
        ({"a": 1}, {"op": "move", "path": "/b"}),
        ({"a": {"b": {}}}, {"op": "move", "from": "/a", "path": "/a/b/c"}),
        ({}, {"op": "frobnicate", "path": "/foo"}),
    ],
)
def test_an_operation_that_does_not_apply_is_unprocessable(doc: Any, op: Any) -> None:
    before = copy.deepcopy(doc)
    with pytest.raises(APIError) as caught:
        json_patch(doc, [{"op": "add", "path": "/new", "value": 1}, op])
    assert (caught.value.code, caught.value.reason) == (422, "Invalid")
    assert caught.value.message == "the server rejected our request due to an error in our request"
    assert caught.value.status["details"]["causes"][0]["message"]
    assert doc == before


@pytest.mark.parametrize("ops", [{"op": "add"}, "add", None, [1]])
def test_what_is_no_json_patch_is_a_bad_request(ops: Any) -> None:
    with pytest.raises(APIError, match="json: cannot unmarshal") as caught:
        json_patch({}, ops)
    assert caught.value.code == 400


def test_patches_are_bounded_in_operations_and_in_what_they_copy() -> None:
    with pytest.raises(APIError) as caught:
        json_patch({}, [{"op": "add", "path": "/a", "value": 1}] * (MAX_OPERATIONS + 1))
    assert caught.value.code == 413
    with pytest.raises(APIError) as caught:
        json_patch({"a": ["x" * 1000]}, [{"op": "copy", "from": "/a", "path": "/a/-"}] * 50)
    assert caught.value.code == 422


_SCALARS = st.booleans() | st.integers(-5, 5) | st.text("ab/~", max_size=3)
_VALUES = st.recursive(
    _SCALARS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text("ab/~", max_size=2), below, max_size=3),
)
_OBJECTS = st.dictionaries(st.text("ab", max_size=2), _VALUES, max_size=4)


@given(_OBJECTS, _OBJECTS)
def test_a_merge_diff_leads_from_one_object_to_the_other(doc: dict[str, Any], new: dict[str, Any]) -> None:
    assert same(merge_patch(doc, merge_diff(doc, new)), new)
    assert merge_diff(doc, doc) == {}


@given(_OBJECTS, st.dictionaries(st.text("ab", max_size=2), _VALUES | st.none(), max_size=4))
def test_merging_twice_is_merging_once_and_leaves_the_inputs_alone(doc: dict[str, Any], patch: dict[str, Any]) -> None:
    inputs = copy.deepcopy((doc, patch))
    once = merge_patch(doc, patch)
    assert same(merge_patch(once, patch), once)
    assert (doc, patch) == inputs


@given(_OBJECTS, _VALUES)
def test_removing_undoes_adding(doc: dict[str, Any], value: Any) -> None:
    added = json_patch(
        doc, [{"op": "add", "path": "/new", "value": value}, {"op": "test", "path": "/new", "value": value}]
    )
    assert same(json_patch(added, [{"op": "remove", "path": "/new"}]), doc)

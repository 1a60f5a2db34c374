"""The algebra of field sets, held against plain Python sets of paths."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.api.apply import fields
from hawser.api.apply.fields import Fields

Path = tuple[str, ...]
elements = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'k:{"name":"y"}', 'v:"x"', "i:1"])
members = st.sets(st.lists(elements, min_size=1, max_size=4).map(tuple), max_size=8)


def made(paths: set[Path]) -> Fields:
    return fields.from_paths(sorted(paths))


def listed(found: Fields) -> set[Path]:
    paths = list(fields.paths(found))
    assert len(paths) == len(set(paths))
    return set(paths)


@given(members)
def test_a_set_has_the_members_it_was_made_of(paths: set[Path]) -> None:
    assert listed(made(paths)) == paths


@given(members, members)
def test_union_intersection_and_difference_are_those_of_sets(left: set[Path], right: set[Path]) -> None:
    one, other = made(left), made(right)
    before = orjson.dumps([one, other])
    assert listed(fields.union(one, other)) == left | right
    assert listed(fields.intersection(one, other)) == left & right
    assert listed(fields.difference(one, other)) == left - right
    assert fields.covers(one, other) == (right <= left)
    assert orjson.dumps([one, other]) == before


@given(members, members)
def test_results_are_in_normal_form(left: set[Path], right: set[Path]) -> None:
    one, other = made(left), made(right)
    assert fields.union(one, other) == made(left | right)
    assert fields.intersection(one, other) == made(left & right)
    assert fields.difference(one, other) == made(left - right)


@given(members, members)
def test_what_changes_nothing_returns_its_operand(left: set[Path], right: set[Path]) -> None:
    one = made(left)
    assert fields.union(one, made(left & right)) is one
    assert fields.difference(one, made(right - left)) is one


@given(members)
def test_reading_what_was_written_gives_the_same_set(paths: set[Path]) -> None:
    written = orjson.dumps(fields.encode(made(paths)))
    assert fields.parse(orjson.loads(written)) == made(paths)


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ({"f:a": {".": {}}}, {"f:a": {}}),
        ({'k:{"b": 1, "a": "x"}': {}}, {'k:{"a":"x","b":1}': {}}),
        ({'v: "x"': {}}, {'v:"x"': {}}),
        ({"i:07": {}}, {"i:7": {}}),
        ({}, {}),
    ],
)
def test_sets_of_clients_are_brought_to_normal_form(written: Any, normal: Fields) -> None:
    assert fields.parse(written) == normal


@pytest.mark.parametrize(
    "wrong", [None, [], {"a": {}}, {"x:a": {}}, {"k:[]": {}}, {"k:{": {}}, {"i:a": {}}, {"f:a": 1}]
)
def test_what_is_no_set_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError):
        fields.parse(wrong)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("f:spec", "f:replicas"), ".spec.replicas"),
        (("f:spec", "f:containers", 'k:{"name":"web"}', "f:image"), '.spec.containers[name="web"].image'),
        (("f:ports", 'k:{"containerPort":80,"protocol":"TCP"}'), '.ports[containerPort=80,protocol="TCP"]'),
        (("f:metadata", "f:finalizers", 'v:"x/y"'), '.metadata.finalizers[="x/y"]'),
        (("f:a", "i:3"), ".a[3]"),
    ],
)
def test_paths_read_as_kubernetes_writes_them(path: Path, text: str) -> None:
    assert fields.text(path) == text

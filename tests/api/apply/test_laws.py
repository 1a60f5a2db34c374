"""Merging, comparing and owning, of any objects: the laws that hold for all."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hawser.api.apply import extract, fields, types
from hawser.api.apply.merge import merge, remove
from hawser.api.apply.ownable import ownable
from hawser.api.errors import APIError
from hawser.api.kinds import POD

from .cluster import Cluster, Obj, spoken

values = st.sampled_from(["1", "2"])
configs = st.builds(
    lambda data, labels, finalizers: {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "c", "labels": labels, "finalizers": finalizers},
        "spec": {"containers": [{"name": name, "image": image} for name, image in data.items()]},
    },
    st.dictionaries(st.sampled_from("abc"), values, max_size=3),
    st.dictionaries(st.sampled_from("xyz"), values, max_size=2),
    st.lists(st.sampled_from("pqr"), max_size=3, unique=True),
)
NODE = types.root(POD.gvk)


@given(configs, configs)
def test_merging_is_idempotent_and_changes_neither_side(live: Obj, config: Obj) -> None:
    before = copy.deepcopy((live, config))
    merged = merge(NODE, live, config)
    assert (live, config) == before
    assert merge(NODE, merged, config) == merged
    assert merge(NODE, live, live) == live


@given(configs, configs)
def test_a_merge_has_every_field_of_both(live: Obj, config: Obj) -> None:
    merged = extract.present(NODE, merge(NODE, live, config))
    both = fields.union(extract.present(NODE, live), extract.applied(NODE, config))
    # An empty object is a field only as long as it is empty.
    lost = [path for path in fields.paths(fields.difference(both, merged)) if path[-1] not in _CONTAINERS]
    assert lost == []


_CONTAINERS = ("f:labels", "f:finalizers", "f:containers")


@given(configs)
def test_what_is_equal_does_not_differ_and_removing_everything_leaves_nothing(obj: Obj) -> None:
    assert not extract.compare(NODE, obj, copy.deepcopy(obj))
    assert _lean(remove(NODE, obj, extract.everything(NODE, obj, True))) == {}


@given(configs, configs)
def test_comparing_backwards_swaps_added_and_removed(old: Obj, new: Obj) -> None:
    forth, back = extract.compare(NODE, old, new), extract.compare(NODE, new, old)
    assert (forth.added, forth.modified, forth.removed) == (back.removed, back.modified, back.added)


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), configs, st.booleans()), max_size=5))
def test_appliers_own_what_they_apply_and_applying_again_changes_nothing(steps: list[tuple[str, Obj, bool]]) -> None:
    cluster = Cluster(NODE)
    for name, config, force in steps:
        try:
            cluster.apply(name, config, force)
        except APIError:
            continue
        assert set(cluster.owned(name)) == set(spoken(ownable(extract.applied(NODE, config), ("status",))))
        for path in fields.paths(ownable(extract.applied(NODE, config))):
            assert fields.covers(extract.present(NODE, cluster.object), fields.from_paths([path])) or (
                path[-1] in _CONTAINERS
            )
        state = copy.deepcopy((cluster.object, cluster.entries))
        cluster.apply(name, config, False)
        assert (cluster.object, cluster.entries) == state


@given(configs, configs)
def test_a_lone_applier_gets_just_what_it_applies(first: Obj, second: Obj) -> None:
    cluster = Cluster(NODE)
    cluster.apply("a", first)
    assert _lean(cluster.apply("a", second)) == _lean(second)


def _lean(value: Any) -> Any:
    """Without empty objects and lists, and lists without their order."""
    if isinstance(value, dict):
        return {k: lean for k, item in value.items() if (lean := _lean(item)) not in ({}, [])}
    if isinstance(value, list):
        return sorted((_lean(item) for item in value), key=str)
    return value

"""Groups of pods that are placed as a whole or not at all: pure."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.scheduler.cache import Cache
from hawser.scheduler.deciding import Decider
from hawser.scheduler.placement import Placement
from hawser.scheduler.shapes import GANG_LABEL

from .conftest import make_node, make_pod


def cluster(*cpus):
    cache = Cache()
    for number, cpu in enumerate(cpus):
        cache.set_node(make_node(f"n{number}", cpu=str(cpu)))
    return cache, Decider(cache, {"default-scheduler": Placement(cache, random.Random(1))})


def gang(cache, count, cpu="1", name="g"):
    return [cache.shapes.pod(make_pod(f"{name}{n}", cpu=cpu, labels={GANG_LABEL: name})) for n in range(count)]


def test_all_or_none(pod):
    cache, decider = cluster(2, 1)
    placed, refused = decider.together(gang(cache, 3), 3)
    assert (len(placed), refused) == (3, [])
    cache, decider = cluster(1, 1)
    placed, refused = decider.together(gang(cache, 3), 3)
    assert placed == []
    rejected = "PodGroup default/g gets rejected due to Pod g2 is unschedulable even after PostFilter"
    assert [decision.message for _, decision in refused] == [
        "0/2 nodes are available: 2 Insufficient cpu.",
        *[f"0/2 nodes are available: {rejected}."] * 2,
    ]
    assert not list(cache.placed())


def test_more_than_the_minimum_get_what_is_left():
    cache, decider = cluster(1, 1)
    placed, refused = decider.together(gang(cache, 3), 2)
    assert (len(placed), len(refused)) == (2, 1)


def test_members_that_have_a_node_already_count():
    cache, decider = cluster(1, 1)
    first, second = gang(cache, 2)
    cache.set_pod(first, "n0")
    assert len(decider.together([second], 2)[0]) == 1


def test_a_group_is_not_begun_before_it_is_whole():
    cache, decider = cluster(4)
    placed, refused = decider.together(gang(cache, 2), 3)
    assert placed == []
    assert refused[0][1].message == (
        "0/1 nodes are available: pre-filter pod g0 cannot find enough sibling pods, "
        "current pods number: 2, minMember of group: 3."
    )


@pytest.mark.parametrize("order", [["a", "b"], ["b", "a"]])
def test_two_groups_that_do_not_fit_together_do_not_stop_each_other(order):
    cache, decider = cluster(1, 1, 1)
    groups = {name: gang(cache, 2, name=name) for name in order}
    whole = [len(decider.together(groups[name], 2)[0]) for name in order]
    assert whole == [2, 0]


@given(st.lists(st.integers(1, 3), max_size=4), st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), max_size=4))
def test_no_group_ever_has_a_part_of_its_minimum(cpus, groups):
    cache, decider = cluster(*cpus)
    for number, (count, least) in enumerate(groups):
        pods = gang(cache, count, name=f"g{number}")
        placed, refused = decider.together(pods, least)
        assert len(placed) + len(refused) == count
        assert not placed or len(placed) >= least
        assert cache.gangs.get(f"default/g{number}", 0) == len(placed)

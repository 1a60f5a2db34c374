"""Groups of pods that are placed as a whole or not at all: pure."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.scheduler.cache import Cache
from hawser.scheduler.deciding import Decider
from hawser.scheduler.group_status import status
from hawser.scheduler.mustering import muster
from hawser.scheduler.placement import Placement
from hawser.scheduler.preemption import NOT_STARTED, preempt
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


def preemptor(cache):
    """Asks pods for their places as the live scheduler does."""
    decider = Decider(cache, {"default-scheduler": Placement(cache, random.Random(1))})

    def consider(pod, decision):
        placement = decider.placement(pod)
        outlook = placement.outlook(pod)
        outlook.refresh()
        return preempt(pod, outlook, cache, (), lambda victim: NOT_STARTED)

    return decider, consider


def team(cache, count, priority=10, cpu="1"):
    names = [f"g{n}" for n in range(count)]
    return [cache.shapes.pod(make_pod(n, cpu=cpu, labels={GANG_LABEL: "g"}, priority=priority)) for n in names]


def placed_in(cache):
    return {pod.key: (node, cache.is_assumed(pod.key)) for node, pod in cache.placed()}


def test_others_leave_for_a_group_that_is_whole_then():
    cache, _ = cluster(2, 1)
    for name, node in (("low-a", "n0"), ("low-b", "n0"), ("low-c", "n1")):
        cache.set_pod(cache.shapes.pod(make_pod(name, cpu="1", priority=1)), node)
    before = placed_in(cache)
    decider, consider = preemptor(cache)
    plan = muster(cache, decider, team(cache, 3), 2, consider)
    assert plan is not None
    assert len(plan.seats) == 2, "nobody leaves for more than the group needs"
    assert sum(len(candidate.victims) for _, candidate in plan.preempting) == 2
    assert placed_in(cache) == before


def test_nobody_leaves_for_a_group_that_would_not_be_whole():
    cache, _ = cluster(1, 1)
    cache.set_pod(cache.shapes.pod(make_pod("low", cpu="1", priority=1)), "n0")
    cache.assume(cache.shapes.pod(make_pod("high", cpu="1", priority=100)), "n1")
    before = placed_in(cache)
    decider, consider = preemptor(cache)
    assert muster(cache, decider, team(cache, 2), 2, consider) is None
    assert placed_in(cache) == before


def test_pods_that_join_a_whole_group_preempt_by_themselves():
    cache, _ = cluster(1, 1)
    first, second = team(cache, 2)
    cache.set_pod(first, "n0")
    cache.set_pod(cache.shapes.pod(make_pod("low", cpu="1", priority=1)), "n1")
    decider, consider = preemptor(cache)
    plan = muster(cache, decider, [second], 1, consider)
    assert plan is not None
    assert dict(plan.seats) == {second.key: "n1"}


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3)), min_size=1, max_size=4),
    st.integers(1, 5),
    st.integers(1, 5),
)
def test_a_plan_seats_the_minimum_within_what_nodes_have(nodes, count, least):
    cache, _ = cluster(*(cpu for cpu, _ in nodes))
    for number, (cpu, low) in enumerate(nodes):
        for n in range(min(cpu, low)):
            cache.set_pod(cache.shapes.pod(make_pod(f"low-{number}-{n}", cpu="1", priority=n)), f"n{number}")
    before = placed_in(cache)
    decider, consider = preemptor(cache)
    plan = muster(cache, decider, team(cache, count), least, consider)
    assert placed_in(cache) == before
    if plan is None:
        return
    assert len(plan.seats) >= least
    left = Counter({f"n{number}": cpu - min(cpu, low) for number, (cpu, low) in enumerate(nodes)})
    for _, candidate in plan.preempting:
        left[candidate.node] += len(candidate.victims)
    seats = Counter(plan.seats.values())
    assert all(seats[node] <= left[node] for node in seats)


@pytest.mark.parametrize(
    ("before", "phases", "after"),
    [
        ({}, [], {"phase": "Pending"}),
        ({"phase": "Pending"}, ["Pending"], {"phase": "Pending"}),
        ({"phase": "Pending"}, ["Pending"] * 2, {"phase": "Scheduling"}),
        ({"phase": "Scheduling"}, ["Running", "Pending"], {"phase": "Scheduling", "running": 1}),
        ({"phase": "Scheduling"}, ["Running"] * 2, {"phase": "Running", "running": 2}),
        (
            {"phase": "Running", "running": 2},
            ["Succeeded", "Running"],
            {"phase": "Running", "running": 1, "succeeded": 1},
        ),
        ({"phase": "Running", "running": 2}, ["Running"], {"phase": "Pending", "running": 1}),
        ({"phase": "Running", "running": 2}, ["Succeeded"] * 2, {"phase": "Finished", "succeeded": 2}),
        ({"phase": "Running"}, ["Failed", "Running"], {"phase": "Failed", "failed": 1, "running": 1}),
        ({"phase": "Finished", "succeeded": 2}, [], {"phase": "Finished", "succeeded": 2}),
    ],
)
def test_the_status_of_a_group_follows_its_pods(before, phases, after):
    pods = [{"metadata": {"name": f"p{n}", "namespace": "a"}, "status": {"phase": p}} for n, p in enumerate(phases)]
    assert status({"spec": {"minMember": 2}, "status": before}, pods) == after


def test_a_group_says_whose_pods_fill_it():
    owners = [{"name": "web"}, {"name": "batch"}]
    pods = [{"metadata": {"name": f"p{n}", "namespace": "a", "ownerReferences": owners}} for n in range(2)]
    made = status({"spec": {"minMember": 2}, "status": {"phase": "Pending"}}, pods)
    assert made == {"phase": "Scheduling", "occupiedBy": "a/batch,a/web"}

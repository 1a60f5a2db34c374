"""Which node is chosen, and that the cache counts right."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.scheduler.cache import Cache
from hawser.scheduler.placement import Placement
from hawser.scheduler.profile import CPU_AND_MEMORY
from hawser.scheduler.scores import (
    balance_of,
    balanced,
    images_present,
    inverted,
    least_allocated,
    normalized,
    stretched,
)
from hawser.scheduler.terms import selector_of

from .conftest import make_node, make_pod

HOST = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"


@pytest.fixture
def cache():
    return Cache()


@pytest.fixture
def place(cache):
    """Decides, and counts the pod in when there is a node."""
    web = selector_of({"matchLabels": {"app": "web"}})
    placement = Placement(cache, random.Random(1), siblings=lambda pod: web if pod.owner else None)

    def place(obj):
        info = cache.shapes.pod(obj)
        decision = placement.decide(info)
        if decision.node:
            cache.assume(info, decision.node)
        return decision.node or decision.message

    return place


def test_the_emptier_node_is_chosen(cache, place, pod, node):
    for name in "abc":
        cache.set_node(node(name))
    cache.set_pod(cache.shapes.pod(pod(cpu="1", memory="1Gi")), "a")
    cache.set_pod(cache.shapes.pod(pod(cpu="1", memory="1Gi")), "c")
    assert place(pod()) == "b"


def test_ties_are_broken_by_the_given_randomness(cache, pod, node):
    for name in "abcd":
        cache.set_node(node(name))
    info = cache.shapes.pod(pod())
    chosen = {Placement(cache, random.Random(seed)).decide(info).node for seed in range(40)}
    assert chosen == set("abcd")
    again = [Placement(cache, random.Random(7)).decide(info).node for _ in range(3)]
    assert len(set(again)) == 1


def test_an_owners_pods_are_spread(cache, place, pod, node):
    for name in "abc":
        cache.set_node(node(name))
    # Without spreading, c would stay the emptiest for a long time.
    for name in "ab":
        cache.set_pod(cache.shapes.pod(pod(cpu="100m", memory="100Mi")), name)
    one = {"labels": {"app": "web"}, "owner": "rs", "cpu": "10m", "memory": "10Mi"}
    assert sorted(place(pod(**one)) for _ in range(3)) == ["a", "b", "c"]


def test_an_unwanted_taint_and_a_preferred_label_outweigh_room(cache, place, pod, node):
    cache.set_node(node("avoided", cpu="64", taints=[{"key": "k", "effect": "PreferNoSchedule"}]))
    cache.set_node(node("plain"))
    assert place(pod()) == "plain"
    cache.set_node(node("liked", cpu="2", labels={"fast": "yes"}))
    term = {"weight": 1, "preference": {"matchExpressions": [{"key": "fast", "operator": "Exists"}]}}
    liking = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}}
    assert place(pod(affinity=liking)) == "liked"


def test_a_node_that_has_the_image_is_better(cache, place, pod, node):
    cache.set_node(node("a"))
    cache.set_node(node("b", images=[("app:latest", 900 * 2**20)]))
    assert place(pod(image="app")) == "b"


def test_reasons_are_counted_over_all_nodes(cache, place, pod, node):
    cache.set_node(node("a", cpu="1"))
    cache.set_node(node("b", taints=[{"key": "k", "effect": "NoSchedule"}]))
    cache.set_node(node("c", taints=[{"key": "k", "effect": "NoExecute"}]))
    assert place(pod(cpu="2")) == ("0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s).")


def test_without_nodes_that_is_said(place, pod):
    assert place(pod()) == "no nodes available to schedule pods"


def test_pods_of_a_node_that_is_not_known_yet_count_once_it_is(cache, place, pod, node):
    cache.set_pod(cache.shapes.pod(pod(cpu="4")), "a")
    assert place(pod()) == "no nodes available to schedule pods"
    cache.set_node(node("a"))
    assert place(pod(cpu="1")) == "0/1 nodes are available: 1 Insufficient cpu."


def test_a_failed_binding_frees_its_room_unless_it_succeeded_after_all(cache, pod, node):
    cache.set_node(node("a"))
    info = cache.shapes.pod(pod(cpu="4"))
    cache.assume(info, "a")
    cache.forget(info)
    assert cache.nodes["a"].requested.get("cpu") == 0
    cache.assume(info, "a")
    cache.set_pod(info, "a")
    cache.forget(info)
    assert cache.nodes["a"].requested["cpu"] == 4000


def test_a_thousand_alike_fill_a_hundred_nodes_evenly(cache, place, pod, node):
    for number in range(100):
        cache.set_node(node(f"n{number}"))
    counts = Counter(place(pod(cpu="10m", owner="rs", labels={"app": "web"})) for _ in range(1000))
    assert set(counts.values()) == {10}


# Topology


def spread(key=ZONE, max_skew=1, when="DoNotSchedule", **extra):
    return {
        "topologyKey": key,
        "maxSkew": max_skew,
        "whenUnsatisfiable": when,
        "labelSelector": {"matchLabels": {"app": "web"}},
        **extra,
    }


def web(pod, **spec):
    return pod(labels={"app": "web"}, **spec)


def zones(cache, node, **per_zone):
    for zone, count in per_zone.items():
        for number in range(count):
            cache.set_node(node(f"{zone}{number}", labels={ZONE: zone}))


def test_zones_stay_within_max_skew_however_many_nodes_they_have(cache, place, pod, node):
    zones(cache, node, a=3, b=1)
    placed = Counter(place(web(pod, topologySpreadConstraints=[spread()]))[0] for _ in range(8))
    assert placed == {"a": 4, "b": 4}


def test_a_full_zone_stops_the_spread(cache, place, pod, node):
    zones(cache, node, a=1)
    cache.set_node(node("b0", labels={ZONE: "b"}, pods="1"))
    cache.set_node(node("nowhere"))
    constraint = {"topologySpreadConstraints": [spread()]}
    for _ in range(3):
        place(web(pod, **constraint))
    assert place(web(pod, **constraint)) == (
        "0/3 nodes are available: 1 Too many pods, 1 node(s) didn't match pod topology spread constraints, "
        "1 node(s) didn't match pod topology spread constraints (missing required label)."
    )


def test_min_domains_counts_missing_zones_as_empty(cache, place, pod, node):
    zones(cache, node, a=1)
    constraint = {"topologySpreadConstraints": [spread(minDomains=2)]}
    assert place(web(pod, **constraint)) == "a0"
    assert "topology spread" in place(web(pod, **constraint))


def test_match_label_keys_count_only_the_same_revision(cache, place, pod, node):
    zones(cache, node, a=1, b=1)
    constraint = {"topologySpreadConstraints": [spread(matchLabelKeys=["rev"])]}
    cache.set_pod(cache.shapes.pod(pod(labels={"app": "web", "rev": "1"})), "a0")
    cache.set_pod(cache.shapes.pod(pod(labels={"app": "web", "rev": "1"})), "a0")
    placed = [place(pod(labels={"app": "web", "rev": "2"}, **constraint)) for _ in range(2)]
    assert sorted(placed) == ["a0", "b0"]


def test_a_soft_spread_prefers_but_does_not_insist(cache, place, pod, node):
    zones(cache, node, a=1, b=1)
    constraint = {"topologySpreadConstraints": [spread(when="ScheduleAnyway")]}
    assert Counter(place(web(pod, **constraint)) for _ in range(4)) == {"a0": 2, "b0": 2}
    cache.remove_node("b0")
    assert place(web(pod, **constraint)) == "a0"


def test_terminating_pods_do_not_count(cache, place, pod, node):
    zones(cache, node, a=1, b=1)
    leaving = web(pod)
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    cache.set_pod(cache.shapes.pod(leaving), "a0")
    placed = {place(web(pod, topologySpreadConstraints=[spread()])) for _ in range(2)}
    assert placed == {"a0", "b0"}


def term(key=HOST, **extra):
    return {"topologyKey": key, "labelSelector": {"matchLabels": {"app": "web"}}, **extra}


def pod_affinity(kind, *terms):
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": list(terms)}}


def preferring(kind, weight, a_term):
    return {kind: {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": weight, "podAffinityTerm": a_term}]}}


def test_anti_affinity_takes_one_node_each_and_then_none(cache, place, pod, node):
    zones(cache, node, a=3)
    alone = {"affinity": pod_affinity("podAntiAffinity", term())}
    assert {place(web(pod, **alone)) for _ in range(3)} == {"a0", "a1", "a2"}
    assert place(web(pod, **alone)) == ("0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules.")


def test_a_placed_pods_anti_affinity_holds_for_newcomers_without_any(cache, place, pod, node):
    zones(cache, node, a=2)
    first = place(pod(affinity=pod_affinity("podAntiAffinity", term(ZONE))))
    assert first in ("a0", "a1")
    assert place(web(pod)) == "0/2 nodes are available: 2 node(s) didn't satisfy existing pods anti-affinity rules."
    assert place(web(pod, namespace="other")) in ("a0", "a1")


def test_affinity_goes_where_the_others_are(cache, place, pod, node):
    zones(cache, node, a=1, b=2)
    near = {"affinity": pod_affinity("podAffinity", term(ZONE))}
    assert place(pod(**near)) == "0/3 nodes are available: 3 node(s) didn't match pod affinity rules."
    cache.set_pod(cache.shapes.pod(web(pod)), "b0")
    assert {place(pod(**near)) for _ in range(6)} == {"b0", "b1"}


def test_the_first_of_a_group_that_wants_to_be_together_may_start_anywhere(cache, place, pod, node):
    zones(cache, node, a=1, b=1)
    together = {"affinity": pod_affinity("podAffinity", term(ZONE))}
    first = place(web(pod, **together))
    assert [place(web(pod, **together)) for _ in range(3)] == [first] * 3


def test_namespaces_of_a_term_are_named_or_selected(cache, place, pod, node):
    zones(cache, node, a=1)
    cache.set_pod(cache.shapes.pod(web(pod, namespace="other")), "a0")

    def near(**extra):
        return pod(affinity=pod_affinity("podAffinity", term(**extra)))

    assert "affinity" in place(near())
    assert place(near(namespaces=["other"])) == "a0"
    assert place(near(namespaceSelector={})) == "a0"
    by_name = {"matchLabels": {"kubernetes.io/metadata.name": "other"}}
    assert place(near(namespaceSelector=by_name)) == "a0"


def test_preferences_for_other_pods_attract_and_repel(cache, place, pod, node):
    zones(cache, node, a=1, b=1)
    cache.set_pod(cache.shapes.pod(web(pod)), "a0")
    assert place(pod(affinity=preferring("podAffinity", 50, term()))) == "a0"
    assert place(pod(affinity=preferring("podAntiAffinity", 50, term()))) == "b0"


def test_a_placed_pods_preference_works_on_newcomers(cache, place, pod, node):
    zones(cache, node, a=1, b=1)
    cache.set_pod(cache.shapes.pod(pod(affinity=preferring("podAffinity", 100, term()))), "a0")
    assert place(web(pod)) == "a0"


# Scores


@pytest.mark.parametrize(
    ("function", "values", "scores"),
    [
        (normalized, [0, 5, 10], [0, 50, 100]),
        (normalized, [0, 0], [0, 0]),
        (inverted, [0, 5, 10], [100, 50, 0]),
        (stretched, [-10, 0, 10], [0, 50, 100]),
        (stretched, [3, 3], [0, 0]),
        (normalized, [], []),
    ],
)
def test_values_become_scores(function, values, scores):
    assert function(values) == scores


@given(
    st.integers(0, 8000),
    st.integers(0, 16 * 2**30),
    st.integers(0, 4000),
    st.integers(0, 8 * 2**30),
    st.integers(0, 10),
)
def test_scores_stay_within_bounds(used_cpu, used_memory, cpu, memory, image_gigabytes):
    cache = Cache()
    cache.set_node(make_node("n", images=[("app:latest", image_gigabytes * 2**30)]))
    node = cache.nodes["n"]
    node.scored[:] = [used_cpu, used_memory]
    shape = cache.shapes.pod(make_pod(cpu=f"{cpu}m", memory=str(memory))).shape
    for score in (least_allocated, balanced):
        assert 0 <= score(shape, node) <= 100
    assert 0 <= images_present({"app:latest": 1.0}, shape.images_wanted, node) <= 100


@pytest.mark.parametrize(
    ("used", "wanted", "score"),
    [
        ({}, {"cpu": "1", "memory": "2Gi"}, 75),
        ({}, {"cpu": "4"}, 50),
        ({"cpu": "4"}, {"memory": "8Gi"}, 100),
        ({"cpu": "1"}, {"memory": "2Gi"}, 81),
        ({"cpu": "2"}, {"cpu": "1", "memory": "2Gi"}, 75),
        ({"cpu": "2"}, {}, 0),
    ],
)
def test_a_node_is_good_for_a_pod_that_makes_its_use_more_even(pod, node, used, wanted, score):
    cache = Cache()
    cache.set_node(node("n"))
    cache.set_pod(cache.shapes.pod(pod(**used)), "n")
    shape = cache.shapes.pod(pod(**wanted)).shape
    assert [rate(shape, cache.nodes["n"]) for rate in (balanced, balance_of(CPU_AND_MEMORY))] == [score, score]


def test_images_of_volumes_draw_a_pod_where_they_are(pod, node):
    cache = Cache()
    cache.set_node(node("without"))
    cache.set_node(node("with", images=[("model:1", 900 * 2**20)]))
    volumes = [{"name": "m", "image": {"reference": "model:1"}}]
    shape = cache.shapes.pod(pod(volumes=volumes)).shape
    assert (shape.images, shape.images_wanted) == (("app", "model:1"), 2)
    assert Placement(cache).decide(cache.shapes.pod(pod(volumes=volumes))).node == "with"

"""Who has to leave for a more important pod: pure."""

from __future__ import annotations

import random

import pytest

from hawser.scheduler.cache import Cache
from hawser.scheduler.deciding import Checks
from hawser.scheduler.placement import Placement
from hawser.scheduler.preemption import HOPELESS, NEVER, TERMINATING, Candidate, best, ineligible, preempt, violating


@pytest.fixture
def cluster(pod, node):
    """Nodes of one CPU (by name) with pods: (name, cpu, priority) each."""

    def cluster(**nodes):
        cache = Cache()
        for name, pods in nodes.items():
            cache.set_node(node(name, cpu="1"))
            for each, cpu, priority in pods:
                obj = pod(each, cpu=cpu, priority=priority, labels={"app": each})
                cache.set_pod(cache.shapes.pod(obj), name)
        return cache

    return cluster


def attempt(cache, obj, budgets=(), started=lambda pod: "2026", check=None):
    info = cache.shapes.pod(obj)
    outlook = Placement(cache, random.Random(1)).outlook(info)
    outlook.refresh()
    result = preempt(info, outlook, cache, budgets, started, check=check)
    if result.chosen is None:
        return result.message
    return result.chosen.node, [victim.name for victim in result.chosen.victims]


def budget(app, allowed, disrupted=()):
    return {
        "metadata": {"namespace": "default", "name": app},
        "spec": {"selector": {"matchLabels": {"app": app}}},
        "status": {"disruptionsAllowed": allowed, "disruptedPods": dict.fromkeys(disrupted, "")},
    }


def test_the_least_important_pods_leave_and_no_more_than_needed(cluster, pod):
    cache = cluster(a=[("low", "300m", 0), ("lower", "300m", -5), ("high", "300m", 5)])
    assert attempt(cache, pod(cpu="400m", priority=10)) == ("a", ["lower"])
    assert attempt(cache, pod(cpu="700m", priority=10)) == ("a", ["low", "lower"])
    assert attempt(cache, pod(cpu="1", priority=10)) == ("a", ["high", "low", "lower"])


def test_the_node_whose_victims_matter_least_is_chosen(cluster, pod):
    cache = cluster(a=[("x", "1", 5)], b=[("y", "1", 3)], c=[("z", "500m", 3), ("w", "500m", 3)])
    assert attempt(cache, pod(cpu="1", priority=10)) == ("b", ["y"])


def test_of_equal_victims_those_leave_that_started_last(cluster, pod):
    cache = cluster(a=[("old", "1", 0)], b=[("young", "1", 0)])
    started = {"old": "2026-01-01T00:00:00Z", "young": "2026-01-02T00:00:00Z"}
    wish = pod(cpu="1", priority=10)
    assert attempt(cache, wish, started=lambda p: started[p.name]) == ("b", ["young"])
    cache = cluster(a=[("old", "500m", 0), ("young", "500m", 0)])
    assert attempt(cache, pod(cpu="500m", priority=10), started=lambda p: started[p.name]) == ("a", ["young"])


def test_a_node_without_protected_victims_is_preferred_and_otherwise_budgets_are_broken(cluster, pod):
    cache = cluster(a=[("x", "1", 0)], b=[("y", "1", 5)])
    wish = pod(cpu="1", priority=10)
    assert attempt(cache, wish) == ("a", ["x"])
    assert attempt(cache, wish, [budget("x", 0)]) == ("b", ["y"])
    assert attempt(cache, wish, [budget("x", 0), budget("y", 0)]) == ("a", ["x"])
    assert attempt(cache, wish, [budget("x", 0, disrupted=["x"])]) == ("a", ["x"])


def test_pods_beyond_what_a_budget_allows_violate_it(cluster, shapes, pod):
    pods = [shapes.pod(pod(f"p{n}", labels={"app": "web"})) for n in range(3)]
    assert violating(pods, [budget("web", 2)]) == {"default/p2"}
    assert violating(pods, [budget("other", 0)]) == frozenset()
    assert violating(pods, [{**budget("web", 0), "spec": {"selector": {}}}]) == frozenset()


def test_why_nobody_can_help_is_said_in_kube_schedulers_words(cluster, pod, node):
    cache = cluster(a=[("x", "1", 10)], b=[("y", "1", 0)])
    cache.set_node(node("c", cpu="1", taints=[{"key": "k", "effect": "NoSchedule"}]))
    assert attempt(cache, pod(cpu="1", priority=0)) == (
        "0/3 nodes are available: 1 Preemption is not helpful for scheduling, "
        "2 No preemption victims found for incoming pod."
    )
    cache = cluster(a=[("x", "600m", 10), ("y", "300m", 0)])
    assert attempt(cache, pod(cpu="1", priority=5)) == "0/1 nodes are available: 1 Insufficient cpu."


def test_what_a_node_lacks_besides_excludes_it(cluster, pod):
    cache = cluster(a=[("x", "1", 0)], b=[("y", "1", 5)])
    refused = {"a": HOPELESS}
    assert attempt(cache, pod(cpu="1", priority=10), check=Checks(devices=refused.get)) == ("b", ["y"])


def test_anti_affinity_to_pods_that_can_leave_is_resolved_by_preemption(cluster, pod):
    cache = cluster(a=[("x", "100m", 0)])
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "x"}}}
    anti = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    assert attempt(cache, pod(affinity=anti, priority=10)) == ("a", ["x"])
    assert attempt(cache, pod(affinity=anti, priority=0)) == (
        "0/1 nodes are available: 1 No preemption victims found for incoming pod."
    )


def test_pods_leave_until_the_spread_is_even_again(pod, node):
    """kube's end-to-end test "validates proper pods are preempted": one victim makes room, two make it even."""
    cache = Cache()
    for name in "ab":
        made = node(name, labels={"zone": name})
        made["status"]["allocatable"]["example.com/r"] = "10"
        cache.set_node(made)

    def wants(name, number, priority, **spec):
        obj = pod(name, labels={"app": "x"}, priority=priority, **spec)
        obj["spec"]["containers"][0]["resources"] = {"requests": {"example.com/r": str(number)}}
        return obj

    cache.set_pod(cache.shapes.pod(wants("high", 9, 1000)), "a")
    for number in range(3):
        cache.set_pod(cache.shapes.pod(wants(f"low{number}", 3, 1)), "b")
    constraint = {
        "topologyKey": "zone",
        "maxSkew": 1,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "x"}},
    }
    found, victims = attempt(cache, wants("medium", 3, 100, topologySpreadConstraints=[constraint]))
    assert (found, len(victims)) == ("b", 2)


def test_the_sum_of_priorities_and_then_the_number_decides(shapes, pod):
    def victims(*priorities):
        return tuple(shapes.pod(pod(priority=p)) for p in priorities)

    def chosen(*candidates):
        return best([Candidate(str(n), v, 0) for n, v in enumerate(candidates)], lambda p: "").node

    assert chosen(victims(5, 1), victims(5, -3)) == "1"
    assert chosen(victims(-1), victims(-1, -1)) == "0"


def test_who_may_not_preempt(cluster, pod):
    cache = cluster(a=[("x", "1", 0)])
    placement = Placement(cache)

    def why(obj, promised="", preempted=False):
        info = cache.shapes.pod(obj)
        outlook = placement.outlook(info)
        outlook.refresh()
        return ineligible(info, promised, outlook, cache, lambda p: preempted)

    assert why(pod(cpu="1", priority=5, preemptionPolicy="Never")) == NEVER
    assert why(pod(cpu="1", priority=5)) == ""
    assert why(pod(cpu="1", priority=5), promised="a", preempted=True) == TERMINATING
    assert why(pod(cpu="1", priority=5), promised="a") == ""
    # More than the node has: waiting there would be in vain.
    assert why(pod(cpu="2", priority=5), promised="a", preempted=True) == ""


def test_room_that_was_promised_is_kept_from_less_important_pods(cluster, pod):
    cache = cluster(a=[])
    promised = cache.shapes.pod(pod("promised", cpu="1", priority=5))
    cache.nominate(promised, "a")
    placement = Placement(cache)
    assert placement.decide(cache.shapes.pod(pod(cpu="1", priority=0))).node is None
    assert placement.decide(cache.shapes.pod(pod(cpu="1", priority=9))).node == "a"
    cache.nominate(promised, "")
    assert placement.decide(cache.shapes.pod(pod(cpu="1", priority=0))).node == "a"

"""What is kept up to date node by node is what would be found anew, and what the rules say."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from hawser.scheduler.cache import Cache
from hawser.scheduler.placement import Placement
from hawser.scheduler.terms import selector_of

from .conftest import make_node, make_pod
from .naive import REQUIRED, allowed

HOST, ZONE, RACK = "kubernetes.io/hostname", "topology.kubernetes.io/zone", "rack"
NAMES = ["n0", "n1", "n2", "n3"]
APPS = ["web", "db"]
TAINT = {"key": "k", "value": "v", "effect": "NoSchedule"}

selectors = st.sampled_from(APPS).map(lambda app: {"matchLabels": {"app": app}}) | st.just({})
keys = st.sampled_from([HOST, ZONE, RACK])
terms = st.fixed_dictionaries({"topologyKey": keys, "labelSelector": selectors})
spreads = st.fixed_dictionaries(
    {
        "topologyKey": keys,
        "labelSelector": selectors,
        "maxSkew": st.integers(1, 2),
        "whenUnsatisfiable": st.sampled_from(["DoNotSchedule", "ScheduleAnyway"]),
    },
    optional={
        "nodeAffinityPolicy": st.sampled_from(["Honor", "Ignore"]),
        "nodeTaintsPolicy": st.sampled_from(["Honor", "Ignore"]),
    },
)


@st.composite
def nodes(draw):
    name = draw(st.sampled_from(NAMES))
    labels = {ZONE: draw(st.sampled_from("ab"))} if draw(st.booleans()) else {}
    if draw(st.booleans()):
        labels[RACK] = draw(st.sampled_from("xyz"))
    # Sometimes two nodes claim one host name.
    if draw(st.integers(0, 9)) == 0:
        labels[HOST] = "n0"
    node = make_node(
        name,
        cpu=draw(st.sampled_from(["1", "2", "4"])),
        pods=draw(st.sampled_from(["2", "110"])),
        labels=labels,
        taints=[TAINT] if draw(st.integers(0, 4)) == 0 else (),
        unschedulable=draw(st.integers(0, 9)) == 0,
        images=[("app:latest", 500 * 2**20)] if draw(st.booleans()) else (),
    )
    if draw(st.integers(0, 9)) == 0:
        del node["metadata"]["labels"][HOST]
    return node


@st.composite
def pods(draw, name="probe"):
    spec = {"cpu": draw(st.sampled_from(["0", "200m", "1", "3"]))}
    affinity = {}
    for kind in ("podAffinity", "podAntiAffinity"):
        parts = {}
        if draw(st.integers(0, 2)) == 0:
            parts[REQUIRED] = draw(st.lists(terms, min_size=1, max_size=2))
        if draw(st.integers(0, 2)) == 0:
            weighted = st.fixed_dictionaries({"weight": st.integers(1, 100), "podAffinityTerm": terms})
            parts["preferredDuringSchedulingIgnoredDuringExecution"] = draw(st.lists(weighted, min_size=1, max_size=2))
        if parts:
            affinity[kind] = parts
    if affinity:
        spec["affinity"] = affinity
    if draw(st.booleans()):
        spec["topologySpreadConstraints"] = draw(st.lists(spreads, min_size=1, max_size=2))
    if draw(st.booleans()):
        spec["tolerations"] = [{"operator": "Exists"}]
    if draw(st.integers(0, 4)) == 0:
        spec["nodeSelector"] = {ZONE: "a"}
    if draw(st.integers(0, 4)) == 0:
        spec["ports"] = [{"hostPort": 80}]
    pod = make_pod(name, labels={"app": draw(st.sampled_from(APPS))}, owner=draw(st.sampled_from(["", "o"])), **spec)
    if draw(st.integers(0, 9)) == 0:
        pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return pod


steps = st.one_of(
    st.tuples(st.just("node"), nodes()),
    st.tuples(st.just("gone"), st.sampled_from(NAMES)),
    st.tuples(st.just("pod"), st.tuples(pods(), st.integers(0, 9), st.sampled_from(NAMES))),
    st.tuples(st.just("delete"), st.integers(0, 9)),
    st.tuples(st.just("place"), st.integers(0, 9)),
)


def siblings(pod):
    return selector_of({"matchLabels": {"app": pod.labels["app"]}}) if pod.owner else None


def placement_of(cache):
    return Placement(cache, random.Random(0), siblings=siblings)


def seen(placement, info):
    """All that a decision is made of."""
    outlook = placement.outlook(info)
    outlook.refresh()
    parts = [w.part for w in outlook.wishes]
    classes = {
        name: (
            kind.disliked,
            kind.preferred,
            score,
            refused,
            sorted(
                (parts[n], outlook.wishes[n].key, outlook.amount(kind, n) or 0)
                for n in range(len(parts))
                if outlook.amount(kind, n)
            ),
        )
        for kind, refused in outlook.verdicts()
        for score, names in kind.nodes.items()
        for name in names
    }
    return classes, dict(outlook.refusals()), dict(outlook.refused)


class World:
    """The same history in the scheduler's cache and in plain objects."""

    def __init__(self):
        self.cache = Cache()
        self.placement = placement_of(self.cache)
        self.nodes = {}
        self.placed = {}

    def step(self, what, value, probe):
        match what:
            case "node":
                self.nodes[value["metadata"]["name"]] = value
                self.cache.set_node(value)
            case "gone":
                self.nodes.pop(value, None)
                self.cache.remove_node(value)
            case "pod":
                obj, number, name = value
                obj["metadata"]["name"] = f"p{number}"
                self.placed[f"p{number}"] = (obj, name)
                self.cache.set_pod(self.cache.shapes.pod(obj), name)
            case "delete":
                self.placed.pop(f"p{value}", None)
                self.cache.remove_pod(f"default/p{value}")
            case "place":
                obj = {**probe, "metadata": {**probe["metadata"], "name": f"q{value}"}}
                info = self.cache.shapes.pod(obj)
                if not self.cache.is_placed(info.key):
                    decision = self.placement.decide(info)
                    self.check(obj, decision)
                    if decision.node:
                        self.cache.assume(info, decision.node)
                        self.placed[f"q{value}"] = (obj, decision.node)

    def check(self, obj, decision):
        every, placed = list(self.nodes.values()), list(self.placed.values())
        possible = {n["metadata"]["name"] for n in every if allowed(obj, n, every, placed)}
        assert decision.node in possible if decision.node else not possible


@settings(max_examples=300, deadline=None)
@given(pods(), st.lists(steps, max_size=30))
def test_decisions_keep_every_rule_and_nothing_is_remembered_wrongly(probe, history):
    world = World()
    info = world.cache.shapes.pod(probe)
    for what, value in history:
        world.step(what, value, probe)
        assert seen(world.placement, info) == seen(placement_of(world.cache), info)
        world.check(probe, world.placement.decide(info))


@settings(max_examples=200, deadline=None)
@given(st.lists(steps, max_size=30))
def test_the_cache_counts_what_is_there(history):
    world = World()
    probe = make_pod("probe", labels={"app": "web"})
    for what, value in history:
        world.step(what, value, probe)
    for node in world.cache.nodes.values():
        there = list(node.pods.values())
        assert node.requested.get("cpu", 0) == sum(p.shape.requests.get("cpu", 0) for p in there)
        assert sum(node.groups.values()) == len(there)
        assert all(node.groups[p.group] for p in there)
        assert sum(node.ports.values()) == sum(len(p.shape.ports) for p in there)
    assert {key.split("/")[1]: name for name, p in world.cache.placed() for key in [p.key]} == {
        key: name for key, (_, name) in world.placed.items()
    }
    assert world.cache.ready == len(world.nodes)
    assert world.cache.holding == sum(bool(p.group.holds) for _, p in world.cache.placed())


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(0, 50))
def test_what_has_changed_since_is_told_as_long_as_it_is_known(touched, since):
    cache = Cache()
    for number in touched:
        cache.set_node(make_node(f"n{number}"))
    changed = cache.changed_since(since) if since <= cache.generation else None
    if changed is not None:
        assert changed == {f"n{number}" for number in touched[since:]}

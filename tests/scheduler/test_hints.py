"""No pod waits that could be placed: whatever happens in a cluster, hints wake everybody whom it helps."""

from __future__ import annotations

import copy
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawser.api.kinds import NAMESPACE, NODE, POD
from hawser.scheduler.cache import Cache
from hawser.scheduler.hints import Hints
from hawser.scheduler.placement import Placement
from hawser.scheduler.preparing import Preparations
from hawser.scheduler.profile import Profile
from hawser.scheduler.queue import SchedulingQueue
from hawser.scheduler.watching import Watching

from .conftest import make_node, make_pod
from .naive import REQUIRED
from .test_outlook import NAMES, ZONE, nodes, pods


class Told:
    """An informer that is told what happens by the test."""

    def __init__(self):
        self.objects = {}
        self.handlers = []

    def on_change(self, handler):
        self.handlers.append(handler)

    def get(self, namespace, name):
        return self.objects.get(name)

    def put(self, name, obj):
        old = self.objects.pop(name, None)
        if obj is not None:
            self.objects[name] = obj
        elif old is None:
            return
        for handler in self.handlers:
            handler(old, obj)


class World:
    """A scheduler without an API: what is decided is told back to it as the API would."""

    def __init__(self, clock):
        self.told = {kind: Told() for kind in (NODE, POD, NAMESPACE)}
        self.cache = Cache()
        self.queue = SchedulingQueue(clock)
        self.placement = Placement(self.cache, random.Random(0))
        forget, refusal = self.placement.forget, self.placement.refusal
        self.watching = Watching(self, self.cache, self.queue, ["default-scheduler"], forget, Preparations(), refusal)
        self.versions = 0

    def informer(self, kind):
        return self.told[kind]

    def put(self, kind, name, obj):
        if obj is not None:
            self.versions += 1
            obj = copy.deepcopy(obj)
            obj["metadata"]["generation"] = self.versions
        self.told[kind].put(name, obj)

    def step(self, what, name, value):
        pods = self.told[POD].objects
        match what:
            case "node":
                self.put(NODE, value["metadata"]["name"], value)
            case "no node":
                self.put(NODE, name, None)
            case "pod":
                value = copy.deepcopy(value)
                value["metadata"]["name"] = name
                if name in pods:
                    self.put(POD, name, None)
                self.put(POD, name, value)
            case "gone":
                self.put(POD, name, None)
            case "ended" if name in pods:
                self.put(POD, name, {**pods[name], "status": {"phase": "Succeeded"}})
            case "labels" if name in pods:
                metadata = {**pods[name]["metadata"], "labels": {"app": value}}
                self.put(POD, name, {**pods[name], "metadata": metadata})
            case "leaving" if name in pods:
                metadata = {**pods[name]["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}
                self.put(POD, name, {**pods[name], "metadata": metadata})
        self.drain()

    def drain(self):
        # Pods in back-off are tried early, but not for ever.
        for _ in range(200):
            entry = self.queue.pop_now()
            if entry is None:
                return
            decision = self.placement.decide(entry.pod)
            if decision.node is None:
                self.queue.park(entry, decision.plugins)
                continue
            self.cache.assume(entry.pod, decision.node)
            obj = self.told[POD].objects[entry.pod.name]
            self.put(POD, entry.pod.name, {**obj, "spec": {**obj["spec"], "nodeName": decision.node}})
        raise AssertionError("pods are woken although nothing happens")

    def check(self):
        for entry in self.queue.entries():
            fresh = Placement(self.cache, random.Random(0))
            assert fresh.decide(entry.pod).node is None, f"{entry.pod.key} waits in vain, {sorted(entry.plugins)}"


POD_NAMES = [f"p{number}" for number in range(6)]
arrivals = st.tuples(st.just("pod"), st.sampled_from(POD_NAMES), pods())
large = st.tuples(
    st.just("pod"), st.sampled_from(POD_NAMES), st.sampled_from(["600m", "1"]).map(lambda cpu: make_pod(cpu=cpu))
)
steps = st.one_of(
    arrivals,
    large,
    st.tuples(st.just("node"), st.just(""), nodes()),
    st.tuples(st.just("no node"), st.sampled_from(NAMES), st.none()),
    arrivals,
    st.tuples(st.sampled_from(["gone", "ended", "leaving"]), st.sampled_from(POD_NAMES), st.none()),
    st.tuples(st.just("labels"), st.sampled_from(POD_NAMES), st.sampled_from(["web", "db"])),
)


class Still:
    """A clock that stands still: nothing is flushed, nothing comes out of back-off by itself."""

    def monotonic(self):
        return 0.0

    def call_later(self, seconds, call):
        class Timer:
            def cancel(self):
                pass

        return Timer()


@settings(max_examples=300, deadline=None)
@given(st.lists(nodes(), min_size=1, max_size=3), st.lists(steps, max_size=30))
def test_whoever_could_be_placed_has_been_woken(first, history):
    world = World(Still())
    for node in first:
        world.step("node", "", node)
    for what, name, value in history:
        world.step(what, name, value)
        world.check()


@pytest.fixture
def world():
    return World(Still())


def term(kind, app, key):
    one = {"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}}
    return {"affinity": {kind: {REQUIRED: [one]}}}


def test_a_node_that_moves_takes_its_pods_along(world):
    """The node itself is full: it is the others in its zone that the pod may go to, or need not keep away from."""
    world.step("node", "", make_node("n0", cpu="1"))
    world.step("pod", "p0", make_pod(cpu="1", labels={"app": "db"}))
    world.step("node", "", make_node("n1", labels={ZONE: "a"}))
    world.step("pod", "p1", make_pod(cpu="1", **term("podAffinity", "db", ZONE)))
    assert "default/p1" in world.queue
    world.step("node", "", make_node("n0", cpu="1", labels={ZONE: "a"}))
    assert "default/p1" not in world.queue
    world.step("pod", "p2", make_pod(cpu="1", **term("podAntiAffinity", "db", ZONE)))
    assert "default/p2" in world.queue
    world.step("node", "", make_node("n0", cpu="1"))
    assert "default/p2" not in world.queue
    world.step("node", "", make_node("n0", cpu="1", labels={ZONE: "a"}))
    world.step("pod", "p3", make_pod(cpu="1", **term("podAntiAffinity", "db", ZONE)))
    assert "default/p3" in world.queue
    world.step("no node", "n0", None)
    assert "default/p3" not in world.queue


def test_who_could_preempt_now_is_tried_again(world):
    world.step("node", "", make_node("n0", cpu="2"))
    for name, priority in (("p0", 0), ("p1", 9)):
        world.step("pod", name, make_pod(cpu="1", priority=priority))
    world.step("node", "", make_node("n0", cpu="2", unschedulable=True))
    world.step("pod", "p2", make_pod(cpu="2", priority=5))
    world.step("pod", "p3", make_pod(cpu="2", priority=5, preemptionPolicy="Never"))
    urgent, patient = (world.queue.get(f"default/{name}") for name in ("p2", "p3"))

    def woken(step, *args):
        before = urgent.tries, patient.tries
        world.step(step, *args)
        return urgent.tries - before[0], patient.tries - before[1]

    assert woken("node", "", make_node("n0", cpu="2")) == (1, 0)
    assert woken("node", "", make_node("n0", cpu="2", images=[("app", 5)])) == (0, 0)
    assert woken("pod", "p4", make_pod(cpu="2", priority=-1)) == (0, 0)
    # Who is more important than they had to go before others are made to.
    assert woken("gone", "p1", None) == (1, 0)
    assert woken("gone", "p0", None) == (1, 1)


def test_whose_promised_place_another_has_taken_is_tried_again_when_the_last_has_left(world):
    world.step("node", "", make_node("n0", cpu="2"))
    for name in ("p0", "p1"):
        world.step("pod", name, make_pod(cpu="1", priority=0))
    world.step("pod", "p2", make_pod(cpu="2", priority=5))
    waiting = world.queue.get("default/p2")
    world.cache.nominate(waiting.pod, "n0")
    for name in ("p0", "p1"):
        world.step("leaving", name, None)
    before = waiting.tries
    world.step("gone", "p0", None)
    world.step("pod", "p3", make_pod(cpu="1", priority=9))
    assert "default/p3" not in world.queue
    assert waiting.tries == before
    world.step("gone", "p1", None)
    assert waiting.tries == before + 1


def test_a_profile_that_ignores_what_a_node_lacks_is_told_of_the_node(clock):
    world = World(Still())
    world.placement = Placement(world.cache, random.Random(0), profile=Profile(ignored=("example.com/gpu",)))
    world.watching.hints = Hints(world.placement.refusal, world.watching.namespace_labels)
    world.step("node", "", make_node("n0", unschedulable=True))
    pod = make_pod(cpu="1")
    pod["spec"]["containers"][0]["resources"]["requests"]["example.com/gpu"] = "1"
    world.step("pod", "p0", pod)
    assert "default/p0" in world.queue
    world.step("node", "", make_node("n0"))
    assert "default/p0" not in world.queue


tight = st.one_of(
    large,
    st.tuples(st.sampled_from(["gone", "ended"]), st.sampled_from(POD_NAMES), st.none()),
    st.tuples(st.just("no node"), st.sampled_from(NAMES[:2]), st.none()),
    st.tuples(st.just("node"), st.just(""), st.sampled_from(NAMES[:2]).map(lambda name: make_node(name, cpu="1"))),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(tight, min_size=3, max_size=20))
def test_room_that_comes_free_is_used(history):
    world = World(Still())
    world.step("node", "", make_node("n0", cpu="1"))
    for what, name, value in history:
        world.step(what, name, value)
        world.check()


small = st.builds(
    lambda name, cpu, zone: make_node(name, cpu=cpu, labels={ZONE: zone} if zone else {}),
    st.sampled_from(NAMES[:3]),
    st.sampled_from(["1", "2"]),
    st.sampled_from(["", "a", "b"]),
)
choosy = st.builds(
    lambda kind, app, own, cpu: make_pod(cpu=cpu, labels={"app": own}, **(term(kind, app, ZONE) if kind else {})),
    st.sampled_from(["podAffinity", "podAntiAffinity", ""]),
    st.sampled_from(["web", "db"]),
    st.sampled_from(["web", "db"]),
    st.sampled_from(["100m", "1"]),
)
moves = st.one_of(
    st.tuples(st.just("node"), st.just(""), small),
    st.tuples(st.just("pod"), st.sampled_from(POD_NAMES[:4]), choosy),
    st.tuples(st.just("no node"), st.sampled_from(NAMES[:3]), st.none()),
    st.tuples(st.just("gone"), st.sampled_from(POD_NAMES[:4]), st.none()),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(moves, min_size=4, max_size=16))
def test_pods_that_look_at_zones_hear_of_all_that_moves_there(history):
    world = World(Still())
    for what, name, value in history:
        world.step(what, name, value)
        world.check()

"""No pod waits that could be placed: whatever happens in a cluster, hints wake everybody whom it helps."""

from __future__ import annotations

import copy
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from hawser.api.kinds import NAMESPACE, NODE, POD
from hawser.scheduler.cache import Cache
from hawser.scheduler.placement import Placement
from hawser.scheduler.queue import SchedulingQueue
from hawser.scheduler.watching import Watching

from .conftest import make_node, make_pod
from .test_outlook import NAMES, nodes, pods


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
        self.watching = Watching(self, self.cache, self.queue, ["default-scheduler"], self.placement.forget)
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

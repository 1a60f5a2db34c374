"""Whatever happens in a cluster, lists after gaps included: the cache counts what one that is made anew counts."""

from __future__ import annotations

import copy
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from hawser.api.kinds import NAMESPACE, NODE, POD
from hawser.scheduler.cache import HOSTNAME, Cache
from hawser.scheduler.placement import Placement
from hawser.scheduler.preparing import Preparations
from hawser.scheduler.queue import SchedulingQueue
from hawser.scheduler.shapes import GANG_LABEL
from hawser.scheduler.watching import Watching

from .conftest import make_node, make_pod
from .test_hints import Still, Told
from .test_outlook import NAMES, nodes, pods

POD_NAMES = [f"p{number}" for number in range(2)]


def seen(cache):
    """All that a cache says of nodes, pods and what they use."""
    return (
        {
            node.name: (
                (node.known, node.labels, node.taints, node.unschedulable, node.allocatable, node.images)
                if node.known
                else None,
                {key: (pod.uid, pod.shape, pod.group) for key, pod in node.pods.items()},
                {name: amount for name, amount in node.requested.items() if amount},
                node.scored,
                dict(node.ports),
                dict(node.groups),
                {key: (pod.shape, pod.group) for key, pod in node.nominated.items()},
            )
            for node in cache.nodes.values()
        },
        (cache.ready, cache.holding, dict(cache.images), dict(cache.claims), dict(cache.gangs)),
        (cache.hosts_are_nodes, cache.sizes()),
    )


class World:
    """Objects, and a scheduler that is told of their changes; told late, when lists replace watches."""

    def __init__(self):
        self.told = {kind: Told() for kind in (NODE, POD, NAMESPACE)}
        self.cache = Cache()
        self.queue = SchedulingQueue(Still())
        placement = Placement(self.cache, random.Random(0))
        self.watching = Watching(
            self, self.cache, self.queue, ["default-scheduler"], placement.forget, Preparations(), placement.refusal
        )
        self.objects = {NODE: {}, POD: {}}
        self.assumed = {}
        self.behind = False
        self.versions = 0

    def informer(self, kind):
        return self.told[kind]

    def put(self, kind, name, obj):
        self.versions += 1
        if obj is None:
            self.objects[kind].pop(name, None)
        else:
            obj = copy.deepcopy(obj)
            # Nothing is taken for a change of the status alone.
            obj["metadata"]["generation"] = self.versions
            self.objects[kind][name] = obj
        if not self.behind:
            self.tell(kind, name)

    def tell(self, kind, name):
        """What an informer does with the object as it is now."""
        told, obj = self.told[kind], self.objects[kind].get(name)
        old = told.objects.get(name)
        if obj is old:
            return
        if obj is not None and old is not None and old["metadata"].get("uid") != obj["metadata"].get("uid"):
            told.put(name, None)
        told.put(name, obj)

    def catch_up(self):
        self.behind = False
        for kind, objects in self.objects.items():
            for name in {**self.told[kind].objects, **objects}:
                self.tell(kind, name)

    def step(self, what, name, value):
        pod = self.objects[POD].get(name)
        match what:
            case "node":
                self.put(NODE, value["metadata"]["name"], value)
            case "no node":
                self.put(NODE, value, None)
            case "pod":
                made = {**value, "metadata": {**value["metadata"], "name": name, "uid": f"u{self.versions}"}}
                self.put(POD, name, made)
            case "gone":
                self.put(POD, name, None)
            case "gap":
                self.behind = True
            case "list":
                self.catch_up()
            case "assume":
                self.assume(name, value)
            case "give up" if name in self.assumed:
                self.cache.forget(self.assumed[name])
            case _ if pod is not None:
                self.put(POD, name, self.changed(pod, what, value))

    def assume(self, name, node):
        entry = self.queue.get(f"default/{name}")
        if entry is not None and not self.cache.is_placed(entry.pod.key):
            self.assumed[name] = entry.pod
            self.cache.assume(entry.pod, node)

    @staticmethod
    def changed(pod, what, value):
        pod = copy.deepcopy(pod)
        status = pod.setdefault("status", {})
        match what:
            case "bound":
                pod["spec"].setdefault("nodeName", value)
            case "ended":
                status["phase"] = "Succeeded"
            case "leaving":
                pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            case "labels":
                pod["metadata"]["labels"] = {"app": value}
            case "group":
                pod["metadata"]["labels"] = {**pod["metadata"]["labels"], GANG_LABEL: value}
            case "resized":
                container = pod["spec"]["containers"][0]
                container["resources"] = {"requests": {"cpu": value}}
        return pod

    def anew(self):
        """A cache that is told what there is, in one go."""
        cache = Cache(self.cache.shapes)
        for node in self.told[NODE].objects.values():
            cache.set_node(node)
        for name, pod in self.told[POD].objects.items():
            info = cache.shapes.pod(pod)
            if (pod.get("status") or {}).get("phase") == "Succeeded":
                continue
            if pod["spec"].get("nodeName"):
                cache.set_pod(info, pod["spec"]["nodeName"])
            elif self.cache.is_assumed(info.key) and not info.group.leaving:
                assumed = self.assumed[name]
                assert assumed.uid == info.uid
                cache.assume(assumed, self.cache.node_of(info.key).name)
        return cache


@st.composite
def varied(draw):
    """Pods with claims, groups and all that they may ask for."""
    pod = draw(pods())
    pod["metadata"].pop("deletionTimestamp", None)
    if draw(st.booleans()):
        names = draw(st.lists(st.sampled_from(["c0", "c1"]), unique=True))
        pod["spec"]["volumes"] = [{"name": n, "persistentVolumeClaim": {"claimName": n}} for n in names]
    if draw(st.booleans()):
        pod["metadata"]["labels"] = {**pod["metadata"]["labels"], GANG_LABEL: draw(st.sampled_from(["g", "h"]))}
    return pod


one, some = st.sampled_from(POD_NAMES), st.sampled_from(NAMES[:2])
happens = st.one_of(
    st.tuples(st.just("pod"), one, varied()),
    st.tuples(st.sampled_from(["assume", "assume", "bound"]), one, some),
    st.tuples(st.sampled_from(["gone", "ended", "leaving", "give up"]), one, st.none()),
    st.tuples(st.just("labels"), one, st.sampled_from(["web", "db"])),
    st.tuples(st.just("group"), one, st.sampled_from(["g", "h"])),
    st.tuples(st.just("resized"), one, st.sampled_from(["100m", "3"])),
    st.one_of(st.tuples(st.just("node"), st.none(), nodes()), st.tuples(st.just("no node"), st.none(), some)),
    st.tuples(st.sampled_from(["gap", "list"]), st.none(), st.none()),
)
first = st.tuples(*(st.tuples(st.just("pod"), st.just(name), varied()) for name in POD_NAMES))


@settings(max_examples=100, deadline=None)
@given(first, st.lists(happens, min_size=4, max_size=24))
def test_no_history_leaves_anything_behind(begin, history):
    world = World()
    for what, name, value in (*begin, *history):
        world.step(what, name, value)
        assert seen(world.cache) == seen(world.anew())
    world.catch_up()
    assert seen(world.cache) == seen(world.anew())
    # Everybody who has no place waits for one, once.
    waiting = {
        f"default/{name}"
        for name, pod in world.objects[POD].items()
        if not pod["spec"].get("nodeName")
        and "deletionTimestamp" not in pod["metadata"]
        and (pod.get("status") or {}).get("phase") != "Succeeded"
    }
    assert {entry.pod.key for entry in world.queue.entries()} == waiting
    for entry in world.queue.entries():
        now = world.cache.shapes.pod(world.objects[POD][entry.pod.name])
        assert (entry.pod.uid, entry.pod.shape, entry.pod.group) == (now.uid, now.shape, now.group)
    for group in ("default/g", "default/h"):
        of_it = {entry.pod.key for entry in world.queue.entries() if entry.pod.gang == group}
        assert {entry.pod.key for entry in world.queue.gang(group)} == of_it
    for name in POD_NAMES:
        world.step("gone", name, None)
    for name in NAMES:
        world.step("no node", None, name)
    assert seen(world.cache) == seen(Cache())
    assert not world.queue.entries()


def test_two_nodes_of_one_host_name_are_seen(shapes):
    cache = Cache(shapes)
    for name in "ab":
        cache.set_node(make_node(name, labels={HOSTNAME: "same"}))
    assert not cache.hosts_are_nodes
    cache.remove_node("a")
    assert cache.hosts_are_nodes
    cache.set_pod(shapes.pod(make_pod("p")), "a")
    assert cache.ready == 1

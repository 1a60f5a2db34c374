"""Which nodes a pod's claims allow, and which volumes they take."""

from __future__ import annotations

import pytest

from hawser.api import storage
from hawser.scheduler import volumes
from hawser.scheduler.cache import Cache
from hawser.scheduler.deciding import Checks, Decider
from hawser.scheduler.filters import Refusal
from hawser.scheduler.placement import Placement
from hawser.scheduler.preemption import preempt
from hawser.scheduler.promises import Promises
from hawser.scheduler.volumes import Binding, Stock

ZONE = "topology.kubernetes.io/zone"


def claim(name, *, size="1Gi", cls="local", volume="", modes=("ReadWriteOnce",), annotations=None, **spec):
    annotations = dict(annotations or {})
    if volume:
        annotations[storage.BIND_COMPLETED] = "yes"
        spec["volumeName"] = volume
    return {
        "metadata": {"name": name, "namespace": "default", "uid": f"u-{name}", "annotations": annotations},
        "spec": {
            "storageClassName": cls,
            "accessModes": list(modes),
            "resources": {"requests": {"storage": size}},
            **spec,
        },
        "status": {"phase": "Bound" if volume else "Pending"},
    }


def volume(name, *, size="1Gi", cls="local", node="", labels=None, phase="Available", **spec):
    if node:
        requirement = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [{"matchExpressions": [requirement]}]}}
    return {
        "metadata": {"name": name, "uid": f"u-{name}", "labels": labels or {}},
        "spec": {"storageClassName": cls, "accessModes": ["ReadWriteOnce"], "capacity": {"storage": size}, **spec},
        "status": {"phase": phase},
    }


def cls(name, provisioner=volumes.NO_PROVISIONER, mode="WaitForFirstConsumer", **fields):
    return {"metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": mode, **fields}


def stock(claims=(), every=(), classes=(), **more):
    return Stock(
        {volumes.key(c): c for c in claims},
        {v["metadata"]["name"]: v for v in every},
        {c["metadata"]["name"]: c for c in (*classes, cls("local"))},
        **more,
    )


@pytest.fixture
def using(pod):
    def using(*names, **spec):
        listed = [{"name": f"v{i}", "persistentVolumeClaim": {"claimName": n}} for i, n in enumerate(names)]
        return pod(volumes=listed, **spec)

    return using


@pytest.fixture
def cluster(node):
    cache = Cache()
    for name in "ab":
        cache.set_node(node(name, labels={ZONE: name}))
    return cache


def decide(cache, store, obj):
    decider = Decider(cache, {"default-scheduler": Placement(cache)})
    decider.promises = Promises(store, cache)
    info = cache.shapes.pod(obj)
    decision = decider.decide(info)
    if decision.node is None:
        return decision.message
    placed = decider.place(info, decision.node)
    return placed.node, [v["metadata"]["name"] for _, v in placed.binding.static], len(placed.binding.dynamic)


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ([], 'persistentvolumeclaim "data" not found'),
        ([claim("data", cls="now")], "pod has unbound immediate PersistentVolumeClaims"),
        ([claim("data", cls="none")], 'storageclass.storage.k8s.io "none" not found'),
        (
            [{**claim("data", volume="gone"), "status": {"phase": "Lost"}}],
            'persistentvolumeclaim "data" bound to non-existent persistentvolume "gone"',
        ),
    ],
)
def test_why_no_node_can_be_tried_is_said_once(cluster, using, claims, reason):
    store = stock(claims, classes=[cls("now", "p", "Immediate")])
    assert decide(cluster, store, using("data")) == f"0/2 nodes are available: {reason}."


def test_a_claim_of_the_pods_own_is_waited_for_and_must_be_its_own(cluster, pod):
    obj = pod("p", volumes=[{"name": "tmp", "ephemeral": {}}])
    assert decide(cluster, stock(), obj) == (
        '0/2 nodes are available: waiting for ephemeral volume controller to create the persistentvolumeclaim "p-tmp".'
    )
    assert "was not created for pod default/p (pod is not owner)" in decide(cluster, stock([claim("p-tmp")]), obj)


def test_bound_volumes_keep_the_pod_where_they_are(cluster, using):
    store = stock([claim("data", volume="x")], [volume("x", node="b")])
    assert decide(cluster, store, using("data")) == ("b", [], 0)
    store = stock([claim("data", volume="x")], [volume("x", node="c")])
    assert decide(cluster, store, using("data")) == f"0/2 nodes are available: 2 {volumes.ELSEWHERE}."
    store = stock([claim("data", volume="gone")])
    assert decide(cluster, store, using("data")) == f"0/2 nodes are available: 2 {volumes.NO_VOLUME}."


def test_zones_of_volumes_are_kept(cluster, using):
    store = stock([claim("data", volume="x")], [volume("x", labels={ZONE: "b"})])
    assert decide(cluster, store, using("data")) == ("b", [], 0)
    store = stock([claim("data", volume="x")], [volume("x", labels={ZONE: "c__d"})])
    assert decide(cluster, store, using("data")) == "0/2 nodes are available: 2 node(s) had no available volume zone."


def test_the_smallest_volume_that_will_do_is_taken_and_only_once(cluster, using):
    every = [volume("small", size="1Gi", node="b"), volume("large", size="9Gi", node="b"), volume("far", node="x")]
    store = stock([claim("one"), claim("two"), claim("three")], every)
    assert decide(cluster, store, using("one")) == ("b", ["small"], 0)
    assert decide(cluster, store, using("two")) == ("b", ["large"], 0)
    assert decide(cluster, store, using("three")) == f"0/2 nodes are available: 2 {volumes.NONE_TO_BIND}."


def test_two_claims_of_one_pod_need_two_volumes_of_one_node(cluster, using):
    every = [volume("a1", node="a"), volume("b1", node="b"), volume("b2", size="2Gi", node="b")]
    store = stock([claim("one", size="2Gi"), claim("two")], every)
    assert decide(cluster, store, using("one", "two")) == ("b", ["b1", "b2"], 0)


@pytest.mark.parametrize(
    "other",
    [
        volume("v", size="1Mi"),
        volume("v", cls="other"),
        volume("v", phase="Released"),
        volume("v", volumeMode="Block"),
        volume("v", claimRef={"namespace": "default", "name": "someone"}),
        volume("v", labels={"disk": "hdd"}),
    ],
)
def test_volumes_that_are_not_what_is_asked_for_are_left(cluster, using, other):
    asked = claim("data", selector={"matchLabels": {"disk": "ssd"}}) if other["metadata"]["labels"] else claim("data")
    assert decide(cluster, stock([asked], [other]), using("data")).endswith(f"{volumes.NONE_TO_BIND}.")


def test_a_volume_that_names_the_claim_goes_first(cluster, using):
    own = volume("own", size="5Gi", claimRef={"namespace": "default", "name": "data"})
    assert decide(cluster, stock([claim("data")], [volume("v"), own]), using("data"))[1] == ["own"]


def test_what_is_not_there_is_provisioned_where_topology_and_capacity_allow(cluster, using):
    terms = [{"matchLabelExpressions": [{"key": ZONE, "values": ["b"]}]}]
    made = cls("made", "csi.example", allowedTopologies=terms)
    store = stock([claim("data", cls="made"), claim("more", cls="made")], classes=[made])
    assert decide(cluster, store, using("data")) == ("b", [], 1)
    store.drivers = {"csi.example": {"spec": {"storageCapacity": True}}}
    assert decide(cluster, store, using("more")) == (
        f"0/2 nodes are available: 1 {volumes.NO_SPACE}, 1 {volumes.NONE_TO_BIND}."
    )
    topology = {"matchLabels": {ZONE: "b"}}
    store.capacities = [{"storageClassName": "made", "nodeTopology": topology, "capacity": "10Gi"}]
    assert decide(cluster, store, using("more")) == ("b", [], 1)


def test_a_node_that_was_selected_stays_selected(cluster, using):
    asked = claim("data", cls="made", annotations={storage.SELECTED_NODE: "a"})
    store = stock([asked], classes=[cls("made", "csi.example")])
    assert decide(cluster, store, using("data")) == ("a", [], 1)
    # Another pod with the claim, while its volume is being made.
    store = stock([claim("data", cls="made")], classes=[cls("made", "csi.example")])
    first = decide(cluster, store, using("data"))
    assert decide(cluster, store, using("data")) == first


def test_a_claim_for_one_pod_only_is_not_shared(cluster, using):
    store = stock([claim("data", volume="x", modes=["ReadWriteOncePod"])], [volume("x")])
    assert decide(cluster, store, using("data"))[1:] == ([], 0)
    assert decide(cluster, store, using("data")) == f"0/2 nodes are available: 2 {volumes.IN_USE.reasons[0]}."


def test_no_node_gets_more_volumes_than_its_driver_attaches(cluster, using):
    def of(number):
        return volume(f"v{number}", csi={"driver": "csi.example", "volumeHandle": f"h{number}"})

    claims = [claim(f"c{n}", volume=f"v{n}") for n in range(3)]
    limit = {"spec": {"drivers": [{"name": "csi.example", "allocatable": {"count": 1}}]}}
    store = stock(claims, [of(n) for n in range(3)], csi_nodes={"a": limit, "b": limit})
    assert {decide(cluster, store, using("c0"))[0], decide(cluster, store, using("c1"))[0]} == {"a", "b"}
    assert decide(cluster, store, using("c2")) == "0/2 nodes are available: 2 node(s) exceed max volume count."
    assert decide(cluster, store, using("c0"))[1:] == ([], 0)


def test_what_is_attached_still_takes_its_place_and_what_is_attached_already_needs_none(cluster, using):
    def of(number):
        return volume(f"v{number}", csi={"driver": "csi.example", "volumeHandle": f"h{number}"})

    attachment = {"spec": {"nodeName": "a", "source": {"persistentVolumeName": "v0"}}}
    limit = {"spec": {"drivers": [{"name": "csi.example", "allocatable": {"count": 1}}]}}
    store = stock(
        [claim(f"c{n}", volume=f"v{n}") for n in range(3)],
        [of(n) for n in range(3)],
        csi_nodes={"a": limit, "b": limit},
        attached=lambda node: [attachment] if node == "a" else [],
    )
    assert decide(cluster, store, using("c1"))[0] == "b"
    assert decide(cluster, store, using("c2")) == "0/2 nodes are available: 2 node(s) exceed max volume count."
    assert decide(cluster, store, using("c0"))[0] == "a"


def test_less_important_pods_leave_for_the_place_of_a_volume(cluster, using, shapes):
    def of(number, driver):
        return volume(f"v{number}", csi={"driver": driver, "volumeHandle": f"h{number}"})

    limit = {"spec": {"drivers": [{"name": "csi.example", "allocatable": {"count": 1}}]}}
    every = [of(0, "csi.example"), of(1, "other"), of(2, "csi.example")]
    claims = [claim(f"c{n}", volume=f"v{n}") for n in range(3)]
    store = stock(claims, every, csi_nodes={"a": limit, "b": limit})
    for name, node in (("c0", "a"), ("c1", "a")):
        cluster.set_pod(shapes.pod(using(name)), node)
    cluster.remove_node("b")
    wanted = shapes.pod(using("c2", priority=5))
    outlook = Placement(cluster).outlook(wanted)
    outlook.refresh()
    check = Promises(store, cluster).check(wanted)
    result = preempt(wanted, outlook, cluster, [], lambda pod: "2026", check=Checks(check))
    assert [victim.claims[0][0] for victim in result.chosen.victims] == ["c0"]
    store.attached = lambda node: [{"spec": {"nodeName": node, "source": {"persistentVolumeName": "v0"}}}]
    refused = preempt(wanted, outlook, cluster, [], lambda pod: "2026", check=Checks(check))
    assert refused.message == "0/1 nodes are available: 1 node(s) exceed max volume count."


def test_a_promise_that_is_taken_back_is_free_again(cluster, using, shapes):
    store = stock([claim("one")], [volume("v", node="a")])
    promises = Promises(store, cluster)
    info = shapes.pod(using("one"))
    binding = promises.make(info, "a")
    assert store.promised == {"v": "default/one"}
    promises.end(binding)
    assert (store.promised, store.selected) == ({}, {})
    assert isinstance(volumes.plan(volumes.wanted(info, store), cluster.nodes["a"], store), Binding)
    assert isinstance(volumes.plan(volumes.wanted(info, store), cluster.nodes["b"], store), Refusal)

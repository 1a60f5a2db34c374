"""Each filter by itself: a pod, a node with something on it, and kube-scheduler's words."""

from __future__ import annotations

import pytest

from hawser.api.node_affinity import preference
from hawser.api.pod_resources import pod_requests
from hawser.api.taints import tolerates
from hawser.scheduler.cache import Cache
from hawser.scheduler.filters import Refusal, refusal, unavailable
from hawser.scheduler.placement import Placement

CORDONED = "node(s) were unschedulable"
TAINTED = "node(s) had untolerated taint(s)"
AFFINITY = "node(s) didn't match Pod's node affinity/selector"
NOT_NAMED = "node(s) didn't satisfy plugin(s) [NodeAffinity]"
PORTS = "node(s) didn't have free ports for the requested pod ports"
MASTER = {"key": "master", "effect": "NoSchedule"}


def required(*expressions, fields=()):
    term = {"matchExpressions": list(expressions), "matchFields": list(fields)}
    terms = {"nodeSelectorTerms": [term]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


def expression(key, operator, *values):
    return {"key": key, "operator": operator, "values": list(values)}


def test_a_node_has_to_declare_what_a_pod_depends_on(node, pod, shapes):
    cache, wants = Cache(shapes), pod()
    wants["spec"]["containers"][0]["restartPolicyRules"] = [{"action": "RestartAllContainers"}]
    cache.set_node(node("old"))
    new = node("new")
    new["status"]["declaredFeatures"] = ["RestartAllContainersOnContainerExits"]
    cache.set_node(new)
    why = "node declared features check failed - unsatisfied requirements: RestartAllContainersOnContainerExits"
    refused = Refusal("NodeDeclaredFeatures", (why,), True)
    assert [refusal(shapes.pod(wants).shape, cache.nodes[name]) for name in ("old", "new")] == [refused, None]
    assert refusal(shapes.pod(pod()).shape, cache.nodes["old"]) is None
    decision = Placement(cache).decide(shapes.pod(wants))
    assert decision.node == "new"


@pytest.mark.parametrize(
    ("node_args", "pod_args", "reasons"),
    [
        ({}, {}, ()),
        ({"unschedulable": True}, {}, (CORDONED,)),
        (
            {"unschedulable": True},
            {"tolerations": [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]},
            (),
        ),
        ({"taints": [MASTER]}, {}, (TAINTED,)),
        ({"taints": [MASTER]}, {"tolerations": [{"operator": "Exists"}]}, ()),
        ({"taints": [MASTER]}, {"tolerations": [{"key": "master", "effect": "NoExecute"}]}, (TAINTED,)),
        ({"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}, {}, ()),
        ({"taints": [{"key": "k", "effect": "NoExecute"}]}, {}, (TAINTED,)),
        ({"labels": {"disk": "ssd"}}, {"nodeSelector": {"disk": "ssd"}}, ()),
        ({"labels": {"disk": "hdd"}}, {"nodeSelector": {"disk": "ssd"}}, (AFFINITY,)),
        ({"labels": {"disk": "ssd"}}, {"affinity": required(expression("disk", "In", "ssd", "nvme"))}, ()),
        ({}, {"affinity": required(expression("disk", "In", "ssd"))}, (AFFINITY,)),
        ({}, {"affinity": required(expression("disk", "NotIn", "ssd"))}, ()),
        ({}, {"affinity": required(expression("disk", "Exists"))}, (AFFINITY,)),
        ({}, {"affinity": required(expression("disk", "DoesNotExist"))}, ()),
        ({"labels": {"cores": "8"}}, {"affinity": required(expression("cores", "Gt", "4"))}, ()),
        ({"labels": {"cores": "8"}}, {"affinity": required(expression("cores", "Lt", "4"))}, (AFFINITY,)),
        ({"labels": {"cores": "many"}}, {"affinity": required(expression("cores", "Gt", "4"))}, (AFFINITY,)),
        ({}, {"affinity": required(fields=[expression("metadata.name", "In", "n")])}, ()),
        ({}, {"affinity": required(fields=[expression("metadata.name", "In", "other")])}, (NOT_NAMED,)),
        ({}, {"affinity": required()}, (AFFINITY,)),
        ({"cpu": "1"}, {"cpu": "600m"}, ("Insufficient cpu",)),
        ({"cpu": "1"}, {"cpu": "500m"}, ()),
        ({"cpu": "1", "memory": "1Gi"}, {"cpu": "2", "memory": "2Gi"}, ("Insufficient cpu", "Insufficient memory")),
        ({"pods": "1"}, {}, ("Too many pods",)),
        ({}, {"ports": [{"hostPort": 80}]}, (PORTS,)),
        ({}, {"ports": [{"hostPort": 80, "hostIP": "10.0.0.1"}]}, (PORTS,)),
        ({}, {"ports": [{"hostPort": 80, "protocol": "UDP"}]}, ()),
        ({}, {"ports": [{"containerPort": 80}]}, ()),
        ({"unschedulable": True, "taints": [MASTER], "pods": "0"}, {}, (CORDONED,)),
    ],
)
def test_a_node_is_refused_for_the_first_reason_that_holds(pod, node, node_args, pod_args, reasons):
    cache = Cache()
    cache.set_node(node("n", **node_args))
    cache.set_pod(cache.shapes.pod(pod("there", cpu="500m", ports=[{"hostPort": 80}])), "n")
    refused = refusal(cache.shapes.pod(pod("new", **pod_args)).shape, cache.nodes["n"])
    assert (refused.reasons if refused else ()) == reasons


def container(cpu, **extra):
    return {"resources": {"requests": {"cpu": cpu}}, **extra}


SIDECAR = {"restartPolicy": "Always"}


@pytest.mark.parametrize(
    ("spec", "milli_cpu"),
    [
        ({"containers": [container("100m"), container("200m")]}, 300),
        ({"containers": [container("100m")], "overhead": {"cpu": "10m"}}, 110),
        ({"containers": [container("100m")], "initContainers": [container("500m"), container("300m")]}, 500),
        ({"containers": [container("500m")], "initContainers": [container("100m")]}, 500),
        ({"containers": [container("500m")], "initContainers": [container("100m", **SIDECAR)]}, 600),
        # An init container runs beside the sidecars started before it, not beside those that come later.
        (
            {
                "containers": [container("100m")],
                "initContainers": [container("100m", **SIDECAR), container("500m"), container("300m", **SIDECAR)],
            },
            600,
        ),
        ({"containers": [container("100m")], "resources": {"requests": {"cpu": "1"}}, "overhead": {"cpu": "5m"}}, 1005),
        ({"containers": [{}]}, 0),
    ],
)
def test_what_a_pod_requests_as_a_whole(spec, milli_cpu):
    assert pod_requests(spec).get("cpu", 0) == milli_cpu


@pytest.mark.parametrize(
    ("toleration", "tolerated"),
    [
        ({"key": "k", "value": "v", "effect": "NoSchedule"}, True),
        ({"key": "k", "value": "v"}, True),
        ({"key": "k", "operator": "Equal", "value": "w"}, False),
        ({"key": "k", "operator": "Exists"}, True),
        ({"operator": "Exists", "effect": "NoExecute"}, False),
        ({"operator": "Exists"}, True),
        ({"value": "v"}, False),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_what_a_toleration_tolerates(toleration, tolerated):
    assert tolerates(toleration, {"key": "k", "value": "v", "effect": "NoSchedule"}) is tolerated


def test_weights_of_preferred_terms_add_up_and_an_empty_term_fits_all():
    terms = [
        {"weight": 10, "preference": {"matchExpressions": [expression("a", "Exists")]}},
        {"weight": 20, "preference": {"matchExpressions": [expression("b", "Exists")]}},
        {"weight": 5, "preference": {}},
    ]
    spec = {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": terms}}}
    assert preference(spec, "n", {"a": ""}) == 15


def test_the_sentence_is_kube_schedulers():
    full = Refusal("NodeResourcesFit", ("Insufficient cpu",))
    assert unavailable(3, {Refusal("TaintToleration", (TAINTED,)): 2, full: 1}) == (
        "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s)."
    )
    assert unavailable(0, {}) == "no nodes available to schedule pods"

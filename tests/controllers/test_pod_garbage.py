"""Which pods are garbage, and that they go."""

from __future__ import annotations

import pytest

from hawser.api.errors import APIError
from hawser.api.kinds import NODE, POD
from hawser.controllers import pod_garbage
from hawser.controllers.pod_garbage import Garbage, PodGarbageCollector, Why, plan

from .running import eventually, running


def node(ready="True", *taints):
    return {
        "spec": {"taints": [{"key": t} for t in taints]},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


def pod(name, on="n", phase="Running", *, leaving=False, created="2026-01-01", reason=""):
    metadata = {"name": name, "namespace": "ns", "creationTimestamp": created}
    if leaving:
        metadata["deletionTimestamp"] = "2026-01-02"
    return {
        "metadata": metadata,
        "spec": {"nodeName": on} if on else {},
        "status": {"phase": phase, "reason": reason},
    }


OUT = "node.kubernetes.io/out-of-service"


@pytest.mark.parametrize(
    ("a_pod", "why"),
    [
        (pod("a"), None),
        (pod("a", leaving=True), None),
        (pod("a", "gone"), Why.ORPHANED),
        (pod("a", "gone", "Succeeded"), Why.ORPHANED),
        (pod("a", "unknown"), None),
        (pod("a", "", "Pending"), None),
        (pod("a", "", "Pending", leaving=True), Why.UNSCHEDULED),
        (pod("a", "dead", leaving=True), Why.OUT_OF_SERVICE),
        (pod("a", "dead"), None),
        (pod("a", "silent", leaving=True), None),
        (pod("a", "marked", leaving=True), None),
    ],
)
def test_a_pod_is_garbage_when_nobody_will_ever_stop_it(a_pod, why):
    nodes = {"n": node(), "dead": node("Unknown", OUT), "silent": node("Unknown"), "marked": node("True", OUT)}
    assert plan([a_pod], nodes, frozenset({"gone"}), 10) == ([Garbage(a_pod, why)] if why else [])


def test_of_too_many_that_ended_the_evicted_and_then_the_oldest_go():
    ended = [
        pod("new", phase="Succeeded", created="2026-01-09"),
        pod("old", phase="Failed", created="2026-01-01"),
        pod("evicted", phase="Failed", created="2026-01-08", reason="Evicted"),
        pod("runs", created="2025-01-01"),
    ]
    assert [g.pod["metadata"]["name"] for g in plan(ended, {"n": node()}, frozenset(), 1)] == ["evicted", "old"]
    assert plan(ended, {"n": node()}, frozenset(), 0) == []


async def test_pods_of_a_node_that_is_no_more_end_and_go(api_server, monkeypatch):
    monkeypatch.setattr(pod_garbage, "PERIOD", 0.05)
    monkeypatch.setattr(pod_garbage, "QUARANTINE", 0.0)
    async with running(api_server.kubeconfig, PodGarbageCollector()) as client:
        await client.create(NODE, {"metadata": {"name": "here"}})

        def bound(name, on):
            spec = {"nodeName": on, "automountServiceAccountToken": False, "serviceAccountName": "default"}
            metadata = {"name": name, "namespace": "default", "finalizers": ["test/seen"]}
            spec["containers"] = [{"name": "c", "image": "i"}]
            return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}

        async def created(name, on):
            try:
                await client.create(POD, bound(name, on))
            except APIError as err:
                return err.reason == "AlreadyExists"
            return True

        await eventually(lambda: created("stays", "here"))
        await eventually(lambda: created("orphan", "nowhere"))

        async def ended():
            found = await client.get(POD, "orphan", "default")
            return found if "deletionTimestamp" in found["metadata"] else None

        found = await eventually(ended)
        assert found["status"]["phase"] == "Failed"
        (condition,) = [c for c in found["status"]["conditions"] if c["type"] == "DisruptionTarget"]
        assert (condition["reason"], condition["message"]) == ("DeletionByPodGC", "PodGC: node no longer exists")
        assert "deletionTimestamp" not in (await client.get(POD, "stays", "default"))["metadata"]

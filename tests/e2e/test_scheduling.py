"""Preemption from the manifest to the containers, as kube's end-to-end tests walk it; and what a simulation says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import Engine, Obj, eventually, pod

RESOURCE = "example.com/fakecpu"


@pytest.fixture
def node(engine: Engine) -> Iterator[str]:
    """The node, which offers 1,000 of a resource that nobody else wants."""
    name = str(json.loads(engine.kubectl("get", "nodes", "-o", "json").stdout)["items"][0]["metadata"]["name"])
    _advertise(engine, name, "1000")
    eventually(lambda: RESOURCE in engine.get("node", name, "default")["status"]["allocatable"], "the resource")
    for number in range(1, 5):
        priority = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": number}
        engine.apply(json.dumps({**priority, "metadata": {"name": f"level{number}"}}), "default")
    yield name
    engine.kubectl("delete", "priorityclass", *(f"level{number}" for number in range(1, 5)), check=False)
    _advertise(engine, name, None)


def _advertise(engine: Engine, node: str, amount: str | None) -> None:
    body = json.dumps({"status": {"capacity": {RESOURCE: amount}}})
    engine.kubectl("patch", "node", node, "--subresource=status", "--type=strategic", "-p", body)


def wants(amount: int, level: int) -> Obj:
    resources = {"requests": {RESOURCE: str(amount)}, "limits": {RESOURCE: str(amount)}}
    return pod(f"level{level}", container={"resources": resources}, priorityClassName=f"level{level}")


def replica_set(amount: int, level: int) -> Obj:
    template: dict[str, Any] = wants(amount, level)
    labels = template["metadata"]["labels"]
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": f"level{level}"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": template["spec"]},
        },
    }


def test_an_important_pod_takes_the_place_of_as_few_as_possible(engine: Engine, namespace: str, node: str) -> None:
    for amount, level in ((200, 1), (300, 2), (450, 3)):
        engine.apply(json.dumps(replica_set(amount, level)), namespace)
    sets = [f"rs/level{level}" for level in (1, 2, 3)]
    engine.kubectl("wait", "--for=jsonpath={.status.readyReplicas}=1", *sets, "-n", namespace, "--timeout=120s")
    before = {level: engine.list("pods", namespace, f"app=level{level}") for level in (1, 2, 3)}

    engine.apply(json.dumps(wants(500, 4)), namespace)
    important = engine.wait_ready("level4", namespace)
    assert "nominatedNodeName" not in important["status"]
    for level in (1, 2):
        name = before[level][0]["metadata"]["name"]
        message = engine.wait_event(namespace, name, "Preempted")
        assert message == f"Preempted by pod {important['metadata']['uid']} on node {node}"
    unmoved = engine.list("pods", namespace, "app=level3")
    assert [p["metadata"]["name"] for p in unmoved] == [p["metadata"]["name"] for p in before[3]]

    def waiting() -> list[Obj]:
        found = [p for level in (1, 2) for p in engine.list("pods", namespace, f"app=level{level}")]
        return found if len(found) == 2 and all(not p["spec"].get("nodeName") for p in found) else []

    left = eventually(waiting, "successors of the preempted pods, without a place")
    said = engine.hawser("schedule", "--simulate", "live", "-o", "json", check=False)
    assert said.returncode == 3
    answers = {p["name"]: p["message"] for p in json.loads(said.stdout)["pods"] if p["namespace"] == namespace}
    assert set(answers) == {p["metadata"]["name"] for p in left}
    assert all(
        message.startswith(f"0/1 nodes are available: 1 Insufficient {RESOURCE}.") for message in answers.values()
    )

    engine.kubectl("delete", "pod", "level4", "-n", namespace)
    engine.kubectl("wait", "--for=jsonpath={.status.readyReplicas}=1", *sets, "-n", namespace, "--timeout=120s")

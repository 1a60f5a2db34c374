"""What a resize changes, and what an agent that starts anew knows of it from the API."""

from __future__ import annotations

from typing import Any

import pytest

from hawser.node.cri.model import Container, ContainerState, Labels, Sandbox
from hawser.node.pod import resizing
from hawser.node.pod.actions import KillContainer, ResizePod
from hawser.node.pod.observed import Memory, Observed
from hawser.node.pod.plan import plan
from hawser.node.pod.resources import pod_resources

Obj = dict[str, Any]


def amounts(cpu: str, memory: str = "1Gi", limits: Obj | None = None) -> Obj:
    return {"requests": {"cpu": cpu, "memory": memory}, **({"limits": limits} if limits else {})}


BOTH = {"cpu": "2", "memory": "2Gi"}


def pod(**containers: Obj) -> Obj:
    listed = [{"name": name, "image": "i", "resources": resources} for name, resources in containers.items()]
    return {"metadata": {"name": "p", "uid": "u"}, "spec": {"containers": listed}, "status": {}}


def running(name: str) -> Container:
    labels = {Labels.CONTAINER_NAME.value: name}
    return Container(f"{name}0", name, 0, "s", ContainerState.RUNNING, 1, labels=labels, detailed=True)


@pytest.mark.parametrize(
    ("have", "want", "differs"),
    [
        (amounts("1"), amounts("1000m"), set()),
        (amounts("1", "1024Mi"), amounts("1", "1Gi"), set()),
        (amounts("1"), amounts("2"), {"cpu"}),
        (amounts("1"), amounts("1", limits=BOTH), {"cpu", "memory"}),
        ({}, {"requests": {"ephemeral-storage": "1Gi"}}, set()),
    ],
)
def test_amounts_are_compared_by_value(have: Obj, want: Obj, differs: set[str]) -> None:
    assert resizing.differing(have, want) == differs


def test_a_pod_goes_on_with_what_it_was_granted() -> None:
    before, after = pod(a=amounts("1"), b=amounts("1")), pod(a=amounts("2"), b=amounts("1"))
    assert resizing.resized(before, after)
    assert resizing.with_grant(after, resizing.grant(before))["spec"] == before["spec"]
    assert resizing.with_grant(after, None) is after


def test_a_new_agent_learns_the_grant_from_the_status() -> None:
    obj = pod(a=amounts("2"), b=amounts("1"))
    rows = [{"name": name, "resources": amounts("1"), "allocatedResources": amounts("1")["requests"]} for name in "ab"]
    obj["status"] = {"containerStatuses": rows}
    known = resizing.known_grant(obj)
    assert known is not None
    assert resizing.with_grant(obj, known)["spec"]["containers"][0]["resources"]["requests"]["cpu"] == "1"
    rows[0]["allocatedResources"] = amounts("2")["requests"]
    assert resizing.known_grant(obj) is None


@pytest.mark.parametrize(
    ("policy", "actions"),
    [
        ([], [ResizePod((("a0", "a"),))]),
        ([{"resourceName": "memory", "restartPolicy": "RestartContainer"}], [ResizePod((("a0", "a"),))]),
        (
            [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}],
            [KillContainer("a0", "a", "Container a resize requires restart", None, True)],
        ),
    ],
)
def test_a_policy_decides_whether_a_container_is_started_anew(policy: list[Obj], actions: list[Any]) -> None:
    obj = pod(a=amounts("2"), b=amounts("1"))
    obj["spec"]["containers"][0]["resizePolicy"] = policy
    memory = Memory(actual={"a0": amounts("1"), "b0": amounts("1")})
    observed = Observed.of([Sandbox("s", "p", "n", "u", 0, True, 0)], [running("a"), running("b")])
    assert list(plan(obj, observed, memory, 100.0).actions) == actions


@pytest.mark.parametrize(
    ("spec", "limits"),
    [
        ({"containers": [{"resources": amounts("1")}]}, {"cpu_shares": 1024}),
        (
            {
                "containers": [{"resources": amounts("1", limits=BOTH)}],
                "overhead": {"cpu": "1", "memory": "1Gi"},
            },
            {"cpu_shares": 2048, "cpu_period": 100000, "cpu_quota": 300000, "memory_limit_in_bytes": 3 << 30},
        ),
        (
            {
                "containers": [{"name": "a"}, {"resources": amounts("1")}],
                "resources": amounts("2", limits={"memory": "2Gi"}),
            },
            {"cpu_shares": 2048, "memory_limit_in_bytes": 2 << 30},
        ),
        ({"containers": [{"resources": amounts("1", limits={"cpu": "1"})}, {"name": "b"}]}, {"cpu_shares": 1024}),
    ],
)
def test_the_pods_own_cgroup(spec: Obj, limits: Obj) -> None:
    assert pod_resources({"metadata": {"uid": "u"}, "spec": spec}) == limits

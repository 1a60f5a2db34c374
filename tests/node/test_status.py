"""The status that follows from what is observed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hawser.node.pod.observed import SHUTDOWN, Memory, Observed, Waiting
from hawser.node.pod.status import status

from .test_plan import DOWN, NOW, UP, box, pod, sandbox

Obj = dict[str, Any]


def made(obj: Obj, sandboxes: list[Any], containers: list[Any], *, ended: bool = False, **memory: Any) -> Obj:
    return status(obj, Observed.of(sandboxes, containers), Memory(**memory), {}, NOW, ("1.2.3.4",), ended=ended)


def condition(of: Obj, kind: str) -> str:
    return str(next(c["status"] for c in of["conditions"] if c["type"] == kind))


PHASES = [
    ("nothing started", pod("a"), [], "Pending"),
    ("running", pod("a"), [box("a", UP)], "Running"),
    ("one of two started", pod("a", "b"), [box("a", UP)], "Pending"),
    ("crashed, to be restarted", pod("a"), [box("a", DOWN, code=1)], "Running"),
    ("success for good", pod("a", policy="Never"), [box("a", DOWN)], "Succeeded"),
    ("failure for good", pod("a", policy="Never"), [box("a", DOWN, code=1)], "Failed"),
    ("one failed, one runs", pod("a", "b", policy="Never"), [box("a", DOWN, code=1), box("b", UP)], "Running"),
    ("failure to be retried", pod("a", policy="OnFailure"), [box("a", DOWN, code=1)], "Running"),
    ("initializing", pod("a", inits=("i",)), [box("i", UP)], "Pending"),
    ("init failed for good", pod("a", inits=("i",), policy="Never"), [box("i", DOWN, code=1)], "Failed"),
]


@pytest.mark.parametrize(("title", "obj", "containers", "phase"), PHASES, ids=[p[0] for p in PHASES])
def test_phase(title: str, obj: Obj, containers: list[Any], phase: str) -> None:
    assert made(obj, [sandbox()], containers)["phase"] == phase


def test_a_pod_without_probes_is_ready_as_it_runs() -> None:
    of = made(pod("a"), [sandbox()], [box("a", UP)], started={"a0": True}, ready={"a0": True})
    kinds = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    assert {kind: condition(of, kind) for kind in kinds} == dict.fromkeys(kinds, "True")
    assert of["containerStatuses"][0]["ready"] is True


def test_a_container_that_has_not_started_is_not_ready() -> None:
    of = made(pod("a"), [sandbox()], [box("a", UP)], started={"a0": False}, ready={"a0": True})
    assert condition(of, "Ready") == "False"


@pytest.mark.parametrize(("why", "ready"), [(SHUTDOWN, "False"), (Waiting("Evicted", "low on memory"), "True")])
def test_a_pod_whose_node_shuts_down_is_not_ready_while_it_still_runs(why: Waiting, ready: str) -> None:
    known = {"started": {"a0": True}, "ready": {"a0": True}, "evicted": why, "disruption": "TerminationByKubelet"}
    of = made(pod("a"), [sandbox()], [box("a", UP)], **known)
    assert (of["phase"], condition(of, "Ready"), condition(of, "DisruptionTarget")) == ("Running", ready, "True")


def test_readiness_gates_hold_a_ready_pod_back() -> None:
    obj = pod("a")
    obj["spec"]["readinessGates"] = [{"conditionType": "example.org/lb"}]
    known = {"started": {"a0": True}, "ready": {"a0": True}}
    of = made(obj, [sandbox()], [box("a", UP)], **known)
    assert (condition(of, "ContainersReady"), condition(of, "Ready")) == ("True", "False")
    obj["status"] = {"conditions": [{"type": "example.org/lb", "status": "True"}]}
    assert condition(made(obj, [sandbox()], [box("a", UP)], **known), "Ready") == "True"


@pytest.mark.parametrize(
    ("runtime", "code", "reason"),
    [("rich", 137, "OOMKilled"), ("rich", 0, "Completed"), ("rich", 143, "Error"), ("other", 0, "OOMKilled")],
)
def test_what_ran_out_of_memory_is_the_end_of_a_rich_container_only_if_it_ended_with_it(
    runtime: str, code: int, reason: str
) -> None:
    obj = pod("a", policy="Never")
    obj["spec"]["runtimeClassName"] = runtime
    (row,) = made(obj, [sandbox()], [replace(box("a", DOWN, code=code), reason="OOMKilled")])["containerStatuses"]
    assert row["state"]["terminated"]["reason"] == reason


def test_a_crash_loop_shows_the_last_state() -> None:
    memory = Memory(messages={"a1": "why"})
    why = {"a": Waiting("CrashLoopBackOff", "back-off")}
    observed = Observed.of([sandbox()], [box("a", DOWN, 1, code=3), box("a", DOWN, 0, code=2)])
    (row,) = status(pod("a"), observed, memory, why, NOW, ("1.2.3.4",))["containerStatuses"]
    assert row["state"] == {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
    assert (row["lastState"]["terminated"]["exitCode"], row["lastState"]["terminated"]["message"]) == (3, "why")
    assert row["restartCount"] == 1


def test_transition_times_stay_until_the_status_changes() -> None:
    obj = pod("a")
    obj["status"] = {
        "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "2020-01-01T00:00:00Z"}],
        "startTime": "2019-01-01T00:00:00Z",
    }
    of = made(obj, [sandbox()], [])
    assert of["startTime"] == "2019-01-01T00:00:00Z"
    times = {c["type"]: c["lastTransitionTime"] for c in of["conditions"]}
    assert times["Ready"] == "2020-01-01T00:00:00Z"
    assert times["Initialized"] == "1970-01-12T13:46:40Z"


def test_a_deleted_pod_ends_in_success_or_failure() -> None:
    assert made(pod("a"), [], [box("a", DOWN)], ended=True)["phase"] == "Succeeded"
    assert made(pod("a"), [], [box("a", DOWN, code=143)], ended=True)["phase"] == "Failed"


def test_what_the_runtime_lost_stays_as_the_api_knew_it() -> None:
    obj = pod("a", policy="Never")
    row = {"name": "a", "restartCount": 2, "containerID": "containerd://x", "state": {"terminated": {"exitCode": 0}}}
    obj["status"] = {"containerStatuses": [row]}
    of = made(obj, [], [])
    assert of["phase"] == "Succeeded"
    assert of["containerStatuses"][0]["restartCount"] == 2


LOST = [
    ("never started", pod("a", deleting=True), [], {"a": True}),
    (
        "initializing",
        pod("a", inits=("i", "j"), deleting=True),
        [box("i", DOWN, code=1)],
        {"i": True, "j": False, "a": False},
    ),
    ("initialized", pod("a", inits=("i",), deleting=True), [box("i", DOWN)], {"i": True, "a": True}),
]


@pytest.mark.parametrize(("title", "obj", "containers", "ended"), LOST, ids=[c[0] for c in LOST])
def test_containers_of_a_pod_that_has_ended(
    title: str, obj: Obj, containers: list[Any], ended: dict[str, bool]
) -> None:
    of = made(obj, [sandbox()], containers, ended=True)
    rows = {r["name"]: r for r in (*of.get("initContainerStatuses", ()), *of["containerStatuses"])}
    assert {name: "terminated" in row["state"] for name, row in rows.items()} == ended
    assert of["phase"] == "Failed"


def test_a_crashed_container_of_a_pod_that_ends_does_not_wait() -> None:
    obj = pod("a", deleting=True)
    waits = Waiting("CrashLoopBackOff")
    of = status(obj, Observed.of([sandbox()], [box("a", DOWN, code=2)]), Memory(), {"a": waits}, NOW, "1.2.3.4")
    assert of["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 2

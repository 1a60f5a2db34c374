"""What the plan does in each situation."""

from __future__ import annotations

from typing import Any

import pytest

from hawser.node.cri.model import Container, ContainerState, Labels, Sandbox
from hawser.node.pod.actions import (
    CreateSandbox,
    FinishDeletion,
    KillContainer,
    RemoveContainer,
    StartContainer,
    StopSandbox,
)
from hawser.node.pod.observed import Memory, Observed, Waiting
from hawser.node.pod.plan import crash_key, plan
from hawser.node.pod.restarts import complete

NOW = 1_000_000.0
Obj = dict[str, Any]


def pod(*names: str, inits: tuple[str, ...] = (), policy: str = "Always", deleting: bool = False) -> Obj:
    metadata: Obj = {"name": "p", "namespace": "ns", "uid": "u"}
    if deleting:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    spec: Obj = {"containers": [{"name": n, "image": "i"} for n in names], "restartPolicy": policy}
    if inits:
        spec["initContainers"] = [
            {"name": n.removesuffix("*"), "image": "i"} | ({"restartPolicy": "Always"} if n.endswith("*") else {})
            for n in inits
        ]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {}}


def sandbox(attempt: int = 0, *, ready: bool = True) -> Sandbox:
    return Sandbox(f"s{attempt}", "p", "ns", "u", attempt, ready, NOW - 100 + attempt)


def box(name: str, state: ContainerState, attempt: int = 0, code: int = 0, of: str = "s0", ago: float = 1) -> Container:
    labels = {Labels.CONTAINER_NAME.value: name, Labels.POD_UID.value: "u"}
    return Container(
        f"{name}{attempt}",
        name,
        attempt,
        of,
        state,
        NOW - 50 + attempt,
        labels=labels,
        exit_code=code,
        finished_at=NOW - ago if state == ContainerState.EXITED else 0,
        detailed=True,
    )


UP, DOWN, MADE = ContainerState.RUNNING, ContainerState.EXITED, ContainerState.CREATED

CASES = [
    ("nothing is there yet", pod("a"), [], [], [CreateSandbox(0)]),
    (
        "all app containers start together",
        pod("a", "b"),
        [sandbox()],
        [],
        [StartContainer("a", 0), StartContainer("b", 0)],
    ),
    ("a running pod is left alone", pod("a"), [sandbox()], [box("a", UP)], []),
    (
        "a crashed container is restarted",
        pod("a"),
        [sandbox()],
        [box("a", DOWN, code=1)],
        [StartContainer("a", 1, NOW - 1)],
    ),
    ("Always restarts success too", pod("a"), [sandbox()], [box("a", DOWN)], [StartContainer("a", 1, NOW - 1)]),
    ("Never restarts nothing", pod("a", policy="Never"), [sandbox()], [box("a", DOWN, code=1)], [StopSandbox("s0")]),
    (
        "OnFailure is content with success",
        pod("a", policy="OnFailure"),
        [sandbox()],
        [box("a", DOWN)],
        [StopSandbox("s0")],
    ),
    (
        "OnFailure restarts a failure",
        pod("a", policy="OnFailure"),
        [sandbox()],
        [box("a", DOWN, code=2)],
        [StartContainer("a", 1, NOW - 1)],
    ),
    ("a dead sandbox's containers are killed first", pod("a"), [sandbox(ready=False)], [box("a", UP)], ["kill a0"]),
    ("a dead sandbox is replaced", pod("a"), [sandbox(ready=False)], [box("a", DOWN)], [CreateSandbox(1)]),
    ("a finished pod needs no new sandbox", pod("a", policy="Never"), [sandbox(ready=False)], [box("a", DOWN)], []),
    ("init containers go one by one", pod("a", inits=("i", "j")), [sandbox()], [], [StartContainer("i", 0)]),
    (
        "the next init container follows success",
        pod("a", inits=("i", "j")),
        [sandbox()],
        [box("i", DOWN)],
        [StartContainer("j", 0)],
    ),
    ("a running init container is waited for", pod("a", inits=("i",)), [sandbox()], [box("i", UP)], []),
    (
        "apps follow the last init container",
        pod("a", inits=("i",)),
        [sandbox()],
        [box("i", DOWN)],
        [StartContainer("a", 0)],
    ),
    (
        "a failed init container is tried again",
        pod("a", inits=("i",)),
        [sandbox()],
        [box("i", DOWN, code=1)],
        [StartContainer("i", 1, NOW - 1)],
    ),
    (
        "a failed init container ends a pod that never restarts",
        pod("a", inits=("i",), policy="Never"),
        [sandbox()],
        [box("i", DOWN, code=1)],
        [StopSandbox("s0")],
    ),
    (
        "in a new sandbox init containers run again",
        pod("a", inits=("i",)),
        [sandbox(1), sandbox(0, ready=False)],
        [box("i", DOWN), box("a", DOWN, code=1)],
        [StartContainer("i", 1, NOW - 1)],
    ),
    (
        "init containers whose records are gone do not run again",
        pod("a", inits=("i",)),
        [sandbox()],
        [box("a", DOWN, code=1)],
        [StartContainer("a", 1, NOW - 1)],
    ),
    ("a sidecar that has not started holds the apps back", pod("a", inits=("s*",)), [sandbox()], [box("s", UP)], []),
    (
        "sidecars end after the apps",
        pod("a", inits=("s*",), policy="Never"),
        [sandbox()],
        [box("s", UP), box("a", DOWN)],
        ["kill s0"],
    ),
    (
        "deletion kills apps before sidecars",
        pod("a", inits=("s*",), deleting=True),
        [sandbox()],
        [box("s", UP), box("a", UP)],
        ["kill a0"],
    ),
    ("deletion then stops the sandbox", pod("a", deleting=True), [sandbox()], [box("a", DOWN)], [StopSandbox("s0")]),
    ("deletion ends in the API", pod("a", deleting=True), [sandbox(ready=False)], [box("a", DOWN)], [FinishDeletion()]),
    (
        "a container left between create and start is made anew",
        pod("a"),
        [sandbox()],
        [box("a", MADE)],
        [RemoveContainer("a0"), StartContainer("a", 1)],
    ),
    (
        "two instances are kept",
        pod("a"),
        [sandbox()],
        [box("a", UP, 3), box("a", DOWN, 2), box("a", DOWN, 1), box("a", DOWN, 0)],
        [RemoveContainer("a1"), RemoveContainer("a0")],
    ),
]


@pytest.mark.parametrize(("title", "obj", "sandboxes", "containers", "actions"), CASES, ids=[c[0] for c in CASES])
def test_plan(title: str, obj: Obj, sandboxes: list[Any], containers: list[Any], actions: list[Any]) -> None:
    done = plan(obj, Observed.of(sandboxes, containers), Memory(), NOW).actions
    assert [f"kill {a.id}" if isinstance(a, KillContainer) else a for a in done] == actions


def test_a_crash_loop_waits_with_kubelets_words() -> None:
    memory = Memory()
    memory.crashes.next(crash_key({"name": "a", "image": "i"}), NOW - 2, NOW - 2)
    decided = plan(pod("a"), Observed.of([sandbox()], [box("a", DOWN, code=1)]), memory, NOW)
    assert decided.actions == ()
    assert decided.wake_at == NOW + 9
    assert decided.waiting["a"] == Waiting("CrashLoopBackOff", "back-off 10s restarting failed container=a pod=p_ns(u)")


def test_a_failed_probe_dooms_the_container() -> None:
    memory = Memory(doomed={"a0": "Container a failed liveness probe"})
    (action,) = plan(pod("a"), Observed.of([sandbox()], [box("a", UP)]), memory, NOW).actions
    assert action == KillContainer("a0", "a", "Container a failed liveness probe, will be restarted")


def test_a_probes_own_grace_period_goes_before_the_pods() -> None:
    memory = Memory(doomed={"a0": "words"}, graces={"a0": 5})
    (action,) = plan(pod("a"), Observed.of([sandbox()], [box("a", UP)]), memory, NOW).actions
    assert action == KillContainer("a0", "a", "words", 5)


def test_memory_drops_instances_that_are_gone() -> None:
    memory = Memory(doomed={"a": ""}, ready={"a": True, "b": True}, messages={"b": "x"}, hooked={"a", "b"})
    memory.keep_containers(["b"])
    left = (memory.doomed, memory.ready, memory.messages, memory.hooked)
    assert left == ({}, {"b": True}, {"b": "x"}, {"b"})


def test_what_is_being_started_is_not_started_twice() -> None:
    memory = Memory(busy={"a"})
    assert plan(pod("a"), Observed.of([sandbox()], []), memory, NOW).actions == ()
    assert plan(pod("a"), Observed.of([], []), Memory(busy={""}), NOW).actions == ()


def test_a_started_sidecar_lets_the_apps_start() -> None:
    memory = Memory(started={"s0": True})
    done = plan(pod("a", inits=("s*",)), Observed.of([sandbox()], [box("s", UP)]), memory, NOW).actions
    assert done == (StartContainer("a", 0),)


def test_restart_counts_survive_a_runtime_that_lost_its_records() -> None:
    obj = pod("a")
    obj["status"] = {"containerStatuses": [{"name": "a", "restartCount": 4, "containerID": "containerd://x"}]}
    assert plan(obj, Observed.of([sandbox()], []), Memory(), NOW).actions == (StartContainer("a", 5),)


def test_completion_by_policy() -> None:
    done = Observed.of([sandbox()], [box("a", DOWN)])
    assert not complete(pod("a"), done)
    assert complete(pod("a", policy="OnFailure"), done)
    assert not complete(pod("a", "b", policy="Never"), done)


def test_another_image_forgets_the_crashes_of_the_one_before() -> None:
    memory = Memory()
    memory.crashes.next(crash_key({"name": "a", "image": "old"}), NOW - 2, NOW - 2)
    decided = plan(pod("a"), Observed.of([sandbox()], [box("a", DOWN, code=1)]), memory, NOW)
    assert decided.actions == (StartContainer("a", 1, NOW - 1),)


def ending(running: str, memory: Memory) -> list[tuple[str, int | None]]:
    """Names and grace of what is stopped next; s1 and s2 are sidecars, a is the app."""
    obj = pod("a", inits=("s1*", "s2*"), deleting=True)
    obj["metadata"]["deletionGracePeriodSeconds"] = 10
    actions = plan(obj, Observed.of([sandbox()], [box(name, UP) for name in running.split()]), memory, NOW).actions
    return [(action.name, action.grace) for action in actions if isinstance(action, KillContainer)]


def test_sidecars_stop_after_the_apps_the_last_one_first_in_what_is_left_of_the_time() -> None:
    assert ending("s1 s2 a", Memory()) == [("a", None)]
    assert ending("s1 s2", Memory(ending=NOW - 4)) == [("s2", 6)]
    assert ending("s1", Memory(ending=NOW - 60)) == [("s1", 2)]

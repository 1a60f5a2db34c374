"""How pods end on a real containerd: order, hooks, readiness meanwhile; and what an agent that was killed repeats."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from hawser.api.kinds import POD
from hawser.client.client import Client

from .engine import Engine
from .running import FOREVER, Obj, gone, phase, pod, ready, reason, seen, state, until
from .test_pod_life import box, row

pytestmark = pytest.mark.containerd


def notes(folder: Path) -> Obj:
    """A volume of the node's, in which containers leave words that outlive them."""
    return {"name": "notes", "hostPath": {"path": str(folder)}}


MOUNT = {"volumeMounts": [{"name": "notes", "mountPath": "/notes"}]}


def says(word: str) -> str:
    """Runs until told to end, and notes when it was."""
    return f"trap 'echo {word} >> /notes/said; exit' TERM; while :; do sleep 0.1; done"


async def test_sidecars_end_after_the_app_in_reverse_order(client: Client, tmp_path: Path) -> None:
    last = {"preStop": {"exec": {"command": ["/bin/sh", "-c", "echo hook >> /notes/said"]}}}
    spec = {
        "initContainers": [
            box("first", says("first"), restartPolicy="Always", lifecycle=last, **MOUNT),
            box("second", says("second"), restartPolicy="Always", **MOUNT),
        ],
        "containers": [box("app", says("app"), **MOUNT)],
        "volumes": [notes(tmp_path)],
        "terminationGracePeriodSeconds": 20,
    }
    await client.create(POD, pod("ordered", **spec))
    await seen(client, "ordered", ready)
    await client.delete(POD, "ordered", "default")
    await gone(client, "ordered")
    assert (tmp_path / "said").read_text().split() == ["app", "second", "hook", "first"]


async def test_an_app_that_is_done_ends_its_sidecars(client: Client, tmp_path: Path) -> None:
    side = box("side", says("side"), restartPolicy="Always", **MOUNT)
    app = box("app", "exit 0")
    spec = {"initContainers": [side], "containers": [app], "volumes": [notes(tmp_path)], "restartPolicy": "Never"}
    await client.create(POD, pod("job", **spec))
    obj = await seen(client, "job", phase("Succeeded"))
    assert (tmp_path / "said").read_text() == "side\n"
    assert row(obj, "side")["restartCount"] == 0


async def test_a_container_may_have_its_own_stop_signal(client: Client, tmp_path: Path) -> None:
    script = "trap 'echo usr1 >> /notes/said; exit' USR1; trap 'echo term >> /notes/said; exit' TERM;"
    own = box("c", f"{script} sleep 3600 & wait", lifecycle={"stopSignal": "SIGUSR1"}, **MOUNT)
    spec = {"containers": [own], "volumes": [notes(tmp_path)], "os": {"name": "linux"}}
    await client.create(POD, pod("signalled", **spec))
    await seen(client, "signalled", ready)
    await client.delete(POD, "signalled", "default", grace_period=10)
    await gone(client, "signalled")
    assert (tmp_path / "said").read_text() == "usr1\n"


async def test_a_pod_that_ends_is_asked_whether_it_is_ready_but_not_whether_it_lives(client: Client) -> None:
    own = {
        "readinessProbe": {"exec": {"command": ["ls", "/tmp/up"]}, "periodSeconds": 1, "failureThreshold": 1},
        "livenessProbe": {"exec": {"command": ["ls", "/tmp/up"]}, "periodSeconds": 1, "failureThreshold": 1},
        "lifecycle": {"preStop": {"exec": {"command": ["/bin/sh", "-c", "rm /tmp/up; sleep 4"]}}},
    }
    script = f"touch /tmp/up; {FOREVER}"
    await client.create(POD, pod("leaves", script, own, terminationGracePeriodSeconds=8))
    await seen(client, "leaves", ready)
    await client.delete(POD, "leaves", "default")
    obj = await seen(client, "leaves", lambda p: not ready(p))
    assert "running" in state(obj)["state"]
    await gone(client, "leaves")


HOOKS = [
    ("post-fails", {"postStart": {"exec": {"command": ["false"]}}}, "FailedPostStartHook", "PostStartHook failed"),
    ("post-tcp", {"postStart": {"tcpSocket": {"port": 1}}}, "FailedPostStartHook", "PostStartHook failed"),
    ("pre-fails", {"preStop": {"exec": {"command": ["false"]}}}, "FailedPreStopHook", "PreStopHook failed"),
]


@pytest.mark.parametrize(("name", "lifecycle", "why", "words"), HOOKS, ids=[h[0] for h in HOOKS])
async def test_hooks_that_fail_are_told(client: Client, name: str, lifecycle: Obj, why: str, words: str) -> None:
    await client.create(POD, pod(name, container={"lifecycle": lifecycle}, restartPolicy="Never"))
    if "preStop" in lifecycle:
        await seen(client, name, ready)
        await client.delete(POD, name, "default")
        await gone(client, name)
    else:
        # The hook's container is killed, and its restart policy decides.
        await seen(client, name, phase("Failed"))
    await reason(client, name, why, words)


async def test_nothing_that_succeeded_runs_twice_whenever_the_agent_is_killed(
    client: Client, engine: Engine, tmp_path: Path
) -> None:
    def once(name: str, **more: Any) -> Obj:
        return box(name, f"echo {name} >> /notes/ran; sleep 0.3", **MOUNT, **more)

    spec = {
        "initContainers": [once("one"), once("two")],
        "containers": [box("app", f"echo app >> /notes/ran; {FOREVER}", **MOUNT)],
        "volumes": [notes(tmp_path)],
    }
    said = tmp_path / "ran"

    async def ran(word: str) -> bool:
        return said.exists() and word in said.read_text().split()

    async def killed_after(word: str) -> None:
        await until(lambda: ran(word))
        engine.stop_agent(9)
        engine.start_agent()

    await client.create(POD, pod("sturdy", **spec))
    await killed_after("one")
    await killed_after("two")
    await killed_after("app")
    await seen(client, "sturdy", ready)
    debugger = {"spec": {"ephemeralContainers": [once("look")]}}
    await client.patch(POD, "sturdy", "default", debugger, subresource="ephemeralcontainers")
    await killed_after("look")
    await seen(client, "sturdy", lambda p: "terminated" in row(p, "look").get("state", {}))
    engine.stop_agent(9)
    engine.start_agent()
    await asyncio.gather(seen(client, "sturdy", ready), seen(client, "sturdy", phase("Running")))
    await client.delete(POD, "sturdy", "default", grace_period=1)
    await gone(client, "sturdy")
    assert said.read_text().split() == ["one", "two", "app", "look"]


async def test_all_containers_start_anew_although_the_agent_is_killed_meanwhile(
    client: Client, engine: Engine, tmp_path: Path
) -> None:
    rule = {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}
    source = box("source", f"echo ran >> /notes/ran; [ $(wc -l < /notes/ran) -gt 1 ] || exit 42; {FOREVER}", **MOUNT)
    source |= {"restartPolicy": "Never", "restartPolicyRules": [rule]}
    spec = {"containers": [source, box("other")], "volumes": [notes(tmp_path)], "restartPolicy": "Never"}
    await client.create(POD, pod("anew", **spec))

    async def ran(times: int) -> bool:
        return (tmp_path / "ran").exists() and (tmp_path / "ran").read_text() == "ran\n" * times

    await until(lambda: ran(1))
    engine.stop_agent(9)
    engine.start_agent()
    await until(lambda: ran(2))
    obj = await seen(client, "anew", lambda p: ready(p) and row(p, "other")["restartCount"] == 1)
    assert row(obj, "source")["restartCount"] == 1
    assert await ran(2)

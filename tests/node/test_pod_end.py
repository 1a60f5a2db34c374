"""How pods end on a real containerd: order, hooks, readiness meanwhile; and what an agent that was killed repeats."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from hawser.api.kinds import POD
from hawser.client.client import Client
from hawser.client.informer import Informer

from .engine import Engine
from .running import FOREVER, Obj, gone, phase, pod, ready, reason, seen, state, until
from .test_pod_life import box, row

pytestmark = pytest.mark.containerd


def notes(folder: Path) -> Obj:
    """A volume of the node's, in which containers leave words that outlive them."""
    return {"name": "notes", "hostPath": {"path": str(folder)}}


MOUNT = {"volumeMounts": [{"name": "notes", "mountPath": "/notes"}]}


def says(word: str) -> str:
    """Runs until told to end, and notes when it was; and that it can be told."""
    return f"trap 'echo {word} >> /notes/said; exit' TERM; touch /notes/up-{word}; while :; do sleep 0.1; done"


async def up(folder: Path, *words: str) -> None:
    """Waits until these can be told to end: Ready is a container before its shell has heard of any signal."""

    async def look() -> bool:
        return all((folder / f"up-{word}").exists() for word in words)

    await until(look)


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
    await up(tmp_path, "first", "second", "app")
    await client.delete(POD, "ordered", "default")
    await gone(client, "ordered")
    assert (tmp_path / "said").read_text().split() == ["app", "second", "hook", "first"]


async def test_an_app_that_is_done_ends_its_sidecars(client: Client, tmp_path: Path) -> None:
    side = box("side", says("side"), restartPolicy="Always", **MOUNT)
    app = box("app", "until [ -e /notes/up-side ]; do sleep 0.1; done", **MOUNT)
    spec = {"initContainers": [side], "containers": [app], "volumes": [notes(tmp_path)], "restartPolicy": "Never"}
    await client.create(POD, pod("job", **spec))
    obj = await seen(client, "job", phase("Succeeded"))
    assert (tmp_path / "said").read_text() == "side\n"
    assert row(obj, "side")["restartCount"] == 0


async def test_a_container_may_have_its_own_stop_signal(client: Client, tmp_path: Path) -> None:
    script = "trap 'echo usr1 >> /notes/said; exit' USR1; trap 'echo term >> /notes/said; exit' TERM;"
    own = box("c", f"{script} touch /notes/up-c; sleep 3600 & wait", lifecycle={"stopSignal": "SIGUSR1"}, **MOUNT)
    spec = {"containers": [own], "volumes": [notes(tmp_path)], "os": {"name": "linux"}}
    await client.create(POD, pod("signalled", **spec))
    await seen(client, "signalled", ready)
    await up(tmp_path, "c")
    await client.delete(POD, "signalled", "default", grace_period=10)
    await gone(client, "signalled")
    assert (tmp_path / "said").read_text() == "usr1\n"


async def test_a_pod_that_ends_is_asked_whether_it_is_ready_but_not_whether_it_lives(
    client: Client, tmp_path: Path
) -> None:
    probe = {"exec": {"command": ["ls", "/tmp/up"]}, "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 20}
    leave = "rm /tmp/up; until [ -e /notes/go ]; do sleep 0.1; done"
    own = {
        "startupProbe": {**probe, "failureThreshold": 100},
        "readinessProbe": probe,
        "livenessProbe": probe,
        "lifecycle": {"preStop": {"exec": {"command": ["/bin/sh", "-c", leave]}}},
        **MOUNT,
    }
    spec = {"volumes": [notes(tmp_path)], "terminationGracePeriodSeconds": 120}
    await client.create(POD, pod("leaves", f"touch /tmp/up; {FOREVER}", own, **spec))
    await seen(client, "leaves", ready)
    await client.delete(POD, "leaves", "default")
    obj = await seen(client, "leaves", lambda p: not ready(p))
    assert "running" in state(obj)["state"]
    (tmp_path / "go").touch()
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


async def history(client: Client, make: Any, count: int) -> dict[str, list[Obj]]:
    """Every version of pods that ``await make(number)`` makes and deletes, by name, until all are gone."""
    seen_of: dict[str, list[Obj]] = {}
    informer = Informer(client, POD, "default")

    def changed(_: Obj | None, new: Obj | None) -> None:
        if new is not None:
            seen_of.setdefault(new["metadata"]["name"], []).append(new)

    informer.on_change(changed)
    task = asyncio.create_task(informer.run())
    try:
        await informer.synced()
        names = await asyncio.gather(*(make(number) for number in range(count)))
        await asyncio.gather(*(gone(client, name) for name in names))
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return {name: seen_of[name] for name in names}


async def test_pods_deleted_at_any_moment_never_say_what_is_not_so(client: Client) -> None:
    async def make(number: int) -> str:
        name = f"fast-{number}"
        spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1}
        if number % 3 == 0:
            spec |= {"initContainers": [box("init", "exit 1")]}
        await client.create(POD, pod(name, "exit 1", **spec))
        await asyncio.sleep(number * 0.04)
        await client.delete(POD, name, "default")
        return name

    for name, versions in (await history(client, make, 18)).items():
        over, ended = False, False
        for obj in versions:
            now = (obj.get("status") or {}).get("phase") in ("Failed", "Succeeded")
            assert now or not over, f"{name} came back"
            over = now
            assert obj["status"].get("phase") != "Succeeded"
            terminated = (state(obj).get("state") or {}).get("terminated")
            assert terminated or not ended, f"the end of {name} was taken back"
            ended = terminated is not None
            if terminated:
                assert terminated["exitCode"] in (1, 128, 137), terminated
                assert terminated["exitCode"] == 128 or bool(terminated.get("finishedAt")) == bool(
                    terminated.get("startedAt")
                )
        # Who is gone before a container was made never was anything but Pending.
        last = versions[-1]["status"]
        assert over or last["phase"] == "Pending"
        assert "running" not in (state(versions[-1]).get("state") or {})


async def test_restarts_by_the_node_are_never_shown_as_ends(client: Client) -> None:
    probe = {
        "exec": {"command": ["false"]},
        "failureThreshold": 1,
        "periodSeconds": 1,
        "terminationGracePeriodSeconds": 1,
    }

    async def make(number: int) -> str:
        name = f"unwell-{number}"
        await client.create(POD, pod(name, "sleep 1800", {"startupProbe": probe}, terminationGracePeriodSeconds=1))
        await seen(client, name, lambda p: state(p).get("restartCount"))
        await client.delete(POD, name, "default")
        return name

    for versions in (await history(client, make, 2)).values():
        assert not [
            obj["status"]
            for obj in versions
            if "terminated" in (state(obj).get("state") or {}) and obj["status"]["phase"] != "Failed"
        ]


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

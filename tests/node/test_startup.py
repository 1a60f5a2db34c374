"""Pods that need much CPU to start do so in turns, and everybody has one."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.api.kinds import POD
from hawser.client.client import Client
from hawser.node.cri.model import Container, ContainerState, Labels
from hawser.node.pod.observed import Memory, Observed
from hawser.node.startup import ANNOTATION, HUNGRY, REASON, TURN_SECONDS, UNPROBED_SECONDS, Answer, Gate, up_in

from . import batch
from .private_containerd import Containerd
from .running import Obj, events, ready, seen, state, until

NOW = 1000.0
PROBE = {"periodSeconds": 1}


def hungry(name: str, **container: Any) -> Obj:
    metadata = {"name": name, "namespace": "ns", "uid": name, "annotations": {ANNOTATION: HUNGRY}}
    return {"metadata": metadata, "spec": {"containers": [{"name": "c", **container}]}, "status": {}}


def running(started: float = NOW) -> Observed:
    labels = {Labels.CONTAINER_NAME: "c"}
    made = Container("i", "c", 0, "s", ContainerState.RUNNING, created_at=started, started_at=started, labels=labels)
    return Observed.of((), [made])


@pytest.mark.parametrize(
    ("container", "memory", "age", "expected"),
    [
        ({"startupProbe": PROBE}, Memory(), 99, None),
        ({"startupProbe": PROBE, "readinessProbe": PROBE}, Memory(started={"i": True}), 0, 0),
        ({"readinessProbe": PROBE}, Memory(started={"i": True}), 99, None),
        ({"readinessProbe": PROBE}, Memory(ready={"i": True}), 0, 0),
        ({}, Memory(), 0, UNPROBED_SECONDS),
        ({}, Memory(), 5, UNPROBED_SECONDS - 5),
        ({}, Memory(), 99, 0),
    ],
)
def test_a_pod_is_up_when_its_probes_say_so(container: Obj, memory: Memory, age: float, expected: float | None) -> None:
    assert up_in(hungry("a", **container), running(NOW - age), memory, NOW) == expected
    assert up_in(hungry("a", **container), Observed(), memory, NOW) is None


@given(st.integers(1, 4), st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=60))
def test_never_more_than_the_limit_have_a_turn_and_the_first_comes_first(
    limit: int, steps: list[tuple[int, bool]]
) -> None:
    gate = Gate(limit)
    turns: list[str] = []
    queue: list[str] = []
    for number, ends in steps:
        uid = str(number)
        if ends:
            gate.release(uid)
            turns = [u for u in turns if u != uid]
            queue = [u for u in queue if u != uid]
        elif uid not in turns:
            goes = len(turns) < limit and (queue or [uid])[0] == uid
            answer = gate.ask(uid, lambda: None, NOW)
            assert (answer is Answer.GO) == goes
            queue = [u for u in queue if u != uid] if goes else [*queue, *([uid] if uid not in queue else [])]
            turns += [uid] if goes else []
        assert len(turns) <= limit


def test_whoever_waits_is_called_when_a_turn_ends() -> None:
    gate, called = Gate(1), []
    assert gate.ask("a", lambda: None, NOW) is Answer.GO
    assert gate.ask("b", lambda: called.append("b"), NOW) is Answer.QUEUED
    assert gate.ask("c", lambda: called.append("c"), NOW) is Answer.QUEUED
    gate.release("a")
    assert called == ["b"]
    assert gate.ask("c", lambda: None, NOW) is Answer.WAITING
    assert gate.ask("b", lambda: None, NOW) is Answer.GO


def test_a_turn_ends_with_its_time_and_what_an_earlier_agent_started_has_one() -> None:
    gate, slow = Gate(1), hungry("slow", readinessProbe=PROBE)
    assert gate.look(slow, running(NOW - 20), Memory(), NOW) == (None, TURN_SECONDS - 20)
    assert gate.ask("next", lambda: None, NOW) is Answer.QUEUED
    later = NOW + TURN_SECONDS
    assert gate.look(slow, running(NOW - 20), Memory(), later) == (None, None)
    assert gate.ask("next", lambda: None, later) is Answer.GO


async def test_no_turn_is_given_before_those_of_an_earlier_agent_are_known() -> None:
    gate = Gate(1)
    gate.expect({"old", "ordinary"})
    assert gate.ask("new", lambda: None, NOW) is Answer.QUEUED
    gate.look({"metadata": {"name": "o", "uid": "ordinary"}, "spec": {}}, Observed(), Memory(), NOW)
    gate.look(hungry("old", readinessProbe=PROBE), running(), Memory(), NOW)
    assert gate.ask("new", lambda: None, NOW) is Answer.WAITING
    gate.release("old")
    assert gate.ask("new", lambda: None, NOW) is Answer.GO


@pytest.mark.containerd
def test_pods_start_in_turns_also_when_the_agent_is_killed(tmp_path: Path, containerd: Containerd) -> None:
    with batch.running(tmp_path, containerd) as engine:
        engine.stop_agent()
        engine.flags = ("--max-starting", "2")
        engine.start_agent()
        asyncio.run(_turns(engine, tmp_path))


async def _turns(engine: batch.Engine, folder: Path) -> None:
    (folder / "up").mkdir()
    names = [f"hungry-{n}" for n in range(4)]

    def manifest(name: str) -> Obj:
        probe = {"exec": {"command": ["/bin/busybox", "test", "-e", f"/up/{name}"]}, "periodSeconds": 1}
        container = {"readinessProbe": probe, "volumeMounts": [{"name": "up", "mountPath": "/up"}]}
        volumes = [{"name": "up", "hostPath": {"path": str(folder / "up")}}]
        made = batch.pod(name, batch.SLEEP, container, hostNetwork=True, volumes=volumes)
        made["metadata"]["annotations"] = {ANNOTATION: HUNGRY}
        return made

    async with Client.from_kubeconfig(engine.kubeconfig) as client:

        async def states() -> dict[str, str]:
            pods = (await client.list(POD, "default")).items
            return {p["metadata"]["name"]: next(iter(state(p).get("state") or {"": ""})) for p in pods}

        async def shown(running: int) -> list[str]:
            found = await states()
            return (
                sorted(n for n, s in found.items() if s == "running")
                if list(found.values()).count("running") == running and "" not in found.values()
                else []
            )

        for name in names:
            await client.create(POD, manifest(name))
        first = await until(lambda: shown(2))
        waits = next(name for name in names if name not in first)
        found = await seen(client, waits, lambda p: "waiting" in (state(p).get("state") or {}))
        assert state(found)["state"]["waiting"]["reason"] == REASON

        async def told() -> bool:
            return REASON in {reason for reason, _ in await events(client, waits)}

        await until(told)
        engine.stop_agent(signal.SIGKILL)
        engine.start_agent()
        (folder / "up" / first[0]).touch()
        await seen(client, first[0], ready)
        await until(lambda: shown(3))
        for name in names:
            (folder / "up" / name).touch()
        for name in names:
            await seen(client, name, ready)

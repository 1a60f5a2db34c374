"""A pod's life on a real containerd: what Kubernetes' node conformance tests assert of each kind of pod."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hawser.api.kinds import POD
from hawser.client.client import Client
from hawser.node.cri.client import Runtime

from .engine import Engine
from .images import BUSYBOX
from .running import FOREVER, Obj, gone, log_of, phase, pod, ready, reason, seen, state, until

pytestmark = pytest.mark.containerd


def box(name: str, script: str = FOREVER, **more: Any) -> Obj:
    return {"name": name, "image": BUSYBOX, "command": ["/bin/sh", "-c", script], **more}


def row(obj: Obj, name: str) -> Obj:
    """The status of one container."""
    status = obj.get("status") or {}
    fields = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
    return next((r for field in fields for r in status.get(field) or () if r["name"] == name), {})


def rule(action: str, *codes: int, operator: str = "In") -> Obj:
    return {"restartPolicyRules": [{"action": action, "exitCodes": {"operator": operator, "values": list(codes)}}]}


def restarted(name: str) -> Any:
    return lambda obj: row(obj, name).get("restartCount", 0) > 0


# Restart policies: pod's, container's, script, and what the pod comes to (a phase, or "again").
RESTARTS = [
    ("pod-always", "Always", {}, "exit 1", "again"),
    ("own-never", "Always", {"restartPolicy": "Never"}, "exit 1", "Failed"),
    ("own-never-done", "Always", {"restartPolicy": "Never"}, "exit 0", "Succeeded"),
    ("own-always", "Never", {"restartPolicy": "Always"}, "exit 0", "again"),
    ("own-failure", "Never", {"restartPolicy": "OnFailure"}, "exit 0", "Succeeded"),
    ("rule-match", "Never", {"restartPolicy": "Never", **rule("Restart", 42)}, "exit 42", "again"),
    ("rule-miss", "Never", {"restartPolicy": "Never", **rule("Restart", 42)}, "exit 1", "Failed"),
    ("rule-not-in", "Never", {"restartPolicy": "Never", **rule("Restart", 1, operator="NotIn")}, "exit 3", "again"),
]


async def test_restart_policies_and_rules_of_containers(client: Client) -> None:
    async def one(name: str, policy: str, own: Obj, script: str, wanted: str) -> None:
        await client.create(POD, pod(name, containers=[box("c", script, **own)], restartPolicy=policy))
        obj = await seen(client, name, restarted("c") if wanted == "again" else phase(wanted))
        assert wanted == "again" or state(obj)["restartCount"] == 0

    await asyncio.gather(*(one(*case) for case in RESTARTS))


async def test_a_rule_may_restart_all_containers(client: Client) -> None:
    script = f"if [ -f /m/done ]; then {FOREVER}; else touch /m/done; exit 42; fi"
    own = {"restartPolicy": "Never", "volumeMounts": [{"name": "m", "mountPath": "/m"}]}
    spec = {
        "initContainers": [box("init", "exit 0"), box("side", restartPolicy="Always")],
        "containers": [box("source", script, **own, **rule("RestartAllContainers", 42)), box("other")],
        "volumes": [{"name": "m", "emptyDir": {}}],
        "restartPolicy": "Never",
    }
    await client.create(POD, pod("all-anew", **spec))
    names = ("init", "side", "source", "other")
    obj = await seen(client, "all-anew", lambda p: ready(p) and all(restarted(n)(p) for n in names))
    assert [row(obj, name)["restartCount"] for name in names] == [1, 1, 1, 1]
    assert all("terminated" in row(obj, name)["lastState"] for name in names)
    assert {c["type"]: c["status"] for c in obj["status"]["conditions"]}["AllContainersRestarting"] == "False"


async def test_init_containers_that_fail(client: Client) -> None:
    inits = [box("init1", "false"), box("init2", "true")]
    await client.create(POD, pod("init-always", initContainers=inits))
    await client.create(POD, pod("init-never", initContainers=inits, restartPolicy="Never"))
    failed = await seen(client, "init-never", phase("Failed"))
    looping = await seen(client, "init-always", lambda p: row(p, "init1").get("restartCount", 0) >= 1)
    for obj, why in ((failed, "PodFailed"), (looping, "ContainersNotReady")):
        conditions = {c["type"]: c for c in obj["status"]["conditions"]}
        assert conditions["Ready"]["reason"] == why
        assert conditions["Initialized"]["reason"] == "ContainersNotInitialized"
        assert conditions["Initialized"]["message"] == "containers with incomplete status: [init1 init2]"
        assert row(obj, "c")["state"]["waiting"]["reason"] == "PodInitializing"
        assert row(obj, "init2")["state"]["waiting"]["reason"] == "PodInitializing"
    assert row(failed, "init1")["state"]["terminated"]["exitCode"] == 1
    assert looping["status"]["phase"] == "Pending"


async def test_ephemeral_containers_join_a_running_pod(client: Client, engine: Engine) -> None:
    own = [box("web", f"export MARK=here; {FOREVER}"), box("other")]
    made = await client.create(POD, pod("debugged", containers=own, hostNetwork=True))
    await seen(client, "debugged", ready)
    debuggers = [
        box("plain", "echo polo; sleep 3600"),
        box("aimed", "cat /proc/1/cmdline | tr '\\0' ' '; exit 3", targetContainerName="web"),
        box("lost"),
    ]
    debuggers[0] |= {"stdin": True, "tty": True}
    debuggers[2]["image"] = "hawser.invalid/none:1"
    body = {"spec": {"ephemeralContainers": debuggers}}
    await client.patch(POD, "debugged", "default", body, subresource="ephemeralcontainers")
    await seen(client, "debugged", lambda p: "running" in row(p, "plain").get("state", {}))
    obj = await seen(client, "debugged", lambda p: "terminated" in row(p, "aimed").get("state", {}))
    assert row(obj, "aimed")["state"]["terminated"]["exitCode"] == 3
    # It saw the other container's first process.
    assert "trap exit TERM" in log_of(engine, made, "aimed")
    obj = await seen(client, "debugged", lambda p: "Pull" in row(p, "lost")["state"]["waiting"]["reason"])
    assert ready(obj)
    assert obj["status"]["phase"] == "Running"
    await reason(client, "debugged", "Started", "Container started")

    async def polo() -> bool:
        return log_of(engine, made, "plain").strip() == "polo"

    await until(polo)
    runtime = Runtime(engine.containerd.endpoint)
    containers = await runtime.list_containers(made["metadata"]["uid"])
    await runtime.close()
    # One that has ended is not started again, whatever the pod's restart policy.
    assert sorted(c.name for c in containers) == ["aimed", "other", "plain", "web"]
    await client.delete(POD, "debugged", "default", grace_period=1)
    await gone(client, "debugged")

"""A pod's life on a real containerd: what Kubernetes' node conformance tests assert of each kind of pod."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from hawser.api.kinds import POD
from hawser.client.client import STRATEGIC, Client
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


def why_waiting(obj: Obj) -> str:
    return str((state(obj).get("state") or {}).get("waiting", {}).get("reason"))


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


# What the node refuses: the pod's spec, kubelet's reason, and its words.
REFUSALS = [
    ("cpu", {"resources": {"requests": {"cpu": "1k"}}}, {}, "OutOfcpu", "resource: cpu, requested: 1000000, used: "),
    ("mem", {"resources": {"requests": {"memory": "9Ti"}}}, {}, "OutOfmemory", "resource: memory, requested: 98956"),
    ("affinity", {}, {"nodeSelector": {"a": "b"}}, "NodeAffinity", "node(s) didn't match Pod's node affinity/selector"),
    (
        "sysctl",
        {},
        {"hostNetwork": False, "securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}},
        "SysctlForbidden",
        'forbidden sysctl: "kernel.msgmax" not allowlisted',
    ),
    ("os", {}, {"os": {"name": "windows"}, "hostNetwork": False}, "PodOSNotSupported", "Failed to admit pod as the OS"),
]


@pytest.mark.parametrize(("name", "own", "spec", "why", "words"), REFUSALS, ids=[r[0] for r in REFUSALS])
async def test_a_pod_that_the_node_refuses_has_failed(
    client: Client, name: str, own: Obj, spec: Obj, why: str, words: str
) -> None:
    await client.create(POD, pod(f"no-{name}", container=own, **spec))
    status = (await seen(client, f"no-{name}", phase("Failed")))["status"]
    assert (status["reason"], status["observedGeneration"]) == (why, 1)
    assert status["message"].startswith("Pod was rejected: ")
    assert words in status["message"]
    assert "containerStatuses" not in status
    await reason(client, f"no-{name}", why, words)


async def test_a_host_port_is_one_pods(client: Client) -> None:
    ports = {"ports": [{"containerPort": 39181, "hostPort": 39181}]}
    await client.create(POD, pod("port-one", container=ports))
    await seen(client, "port-one", ready)
    await client.create(POD, pod("port-two", container=ports))
    assert (await seen(client, "port-two", phase("Failed")))["status"]["reason"] == "NodePorts"
    await client.delete(POD, "port-one", "default", grace_period=0)
    await client.create(POD, pod("port-three", container=ports))
    await seen(client, "port-three", ready)


async def test_a_critical_pod_drives_others_away(client: Client) -> None:
    cpus = (os.cpu_count() or 1) * 1000
    modest = {"resources": {"requests": {"cpu": f"{cpus - 300}m"}}}
    await client.create(POD, pod("modest", container=modest, terminationGracePeriodSeconds=1))
    await seen(client, "modest", ready)
    vital = {"resources": {"requests": {"cpu": "400m"}}}
    await client.create(POD, pod("vital", container=vital, priorityClassName="system-node-critical"))
    await seen(client, "vital", ready)
    status = (await seen(client, "modest", phase("Failed")))["status"]
    assert (status["reason"], status["message"]) == ("Preempting", "Preempted in order to admit critical pod")
    assert any(c["type"] == "DisruptionTarget" and c["status"] == "True" for c in status["conditions"])
    await reason(client, "modest", "Preempting", "Preempted in order to admit critical pod")


async def test_bad_commands_and_missing_runtimes_are_named(client: Client) -> None:
    bad = {"command": ["/no/such"]}
    await client.create(POD, pod("bad-loop", container=bad))
    await client.create(POD, pod("bad-never", container=bad, restartPolicy="Never"))
    failed = await seen(client, "bad-never", phase("Failed"))
    ended = state(failed)["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("StartError", 128)
    words = 'unable to start container process: exec: "/no/such": stat /no/such: no such file or directory: unknown'
    assert ended["message"].endswith(words)
    reasons = ("RunContainerError", "CrashLoopBackOff")
    looping = await seen(
        client, "bad-loop", lambda p: (state(p).get("state") or {}).get("waiting", {}).get("reason") in reasons
    )
    assert state(looping)["lastState"]["terminated"]["reason"] == "StartError"
    await reason(client, "bad-loop", "BackOff", "Back-off restarting failed container c in pod bad-loop_default(")


# Last words: script, settings, and the message that the status has.
FALL_BACK = {"terminationMessagePolicy": "FallbackToLogsOnError"}
WORDS = [
    ("file", "echo -n DONE > /dev/custom; exit 1", {"terminationMessagePath": "/dev/custom"}, "DONE"),
    ("user", "echo -n DONE > /dev/termination-log", {"securityContext": {"runAsUser": 1000}}, "DONE"),
    ("log", "echo -n DONE; exit 1", FALL_BACK, "DONE"),
    (
        "both",
        "echo -n OK > /dev/termination-log; echo no; exit 1",
        {"terminationMessagePolicy": "FallbackToLogsOnError"},
        "OK",
    ),
    ("fine", "echo no", FALL_BACK, None),
    ("long", "head -c 9000 /dev/zero | tr '\\0' x > /dev/termination-log", {}, "x" * 4096),
]


async def test_last_words_are_in_the_status(client: Client) -> None:
    async def one(name: str, script: str, own: Obj, wanted: str | None) -> None:
        await client.create(POD, pod(f"words-{name}", script, own, restartPolicy="Never"))
        obj = await seen(client, f"words-{name}", lambda p: phase("Succeeded")(p) or phase("Failed")(p))
        assert state(obj)["state"]["terminated"].get("message") == wanted

    await asyncio.gather(*(one(*case) for case in WORDS))


# How containers end: script, settings, reason and exit code.
ENDS = [
    ("done", "exit 0", {}, "Completed", 0),
    ("error", "exit 7", {}, "Error", 7),
    # $$$$ is the shell's $$: Kubernetes takes two for one. A first process hears no signal without a handler.
    ("killed", "sh -c 'kill -9 $$$$'; exit $?", {}, "Error", 137),
    ("ended", "trap 'exit 143' TERM; kill -TERM $$$$; sleep 1", {}, "Error", 143),
    ("oom", "tail /dev/zero", {"resources": {"limits": {"memory": "24Mi"}}}, "OOMKilled", 137),
]


async def test_reasons_and_exit_codes(client: Client) -> None:
    async def one(name: str, script: str, own: Obj, why: str, code: int) -> None:
        await client.create(POD, pod(f"end-{name}", script, own, restartPolicy="Never"))
        obj = await seen(client, f"end-{name}", lambda p: phase("Succeeded")(p) or phase("Failed")(p))
        ended = state(obj)["state"]["terminated"]
        assert (ended["reason"], ended["exitCode"]) == (why, code), name

    await asyncio.gather(*(one(*case) for case in ENDS))


async def test_a_deadline_may_be_set_later(client: Client) -> None:
    await client.create(POD, pod("late-deadline"))
    await seen(client, "late-deadline", ready)
    await client.patch(POD, "late-deadline", "default", {"spec": {"activeDeadlineSeconds": 1}})
    status = (await seen(client, "late-deadline", phase("Failed")))["status"]
    assert status["reason"] == "DeadlineExceeded"
    assert status["message"] == "Pod was active on the node longer than the specified deadline"
    assert "terminated" in status["containerStatuses"][0]["state"]


async def test_a_gate_holds_a_ready_pod_back(client: Client) -> None:
    gates = [{"conditionType": "k8s.io/one"}, {"conditionType": "k8s.io/two"}]
    await client.create(POD, pod("gated", readinessGates=gates))

    def condition(obj: Obj, kind: str) -> Obj:
        return next((c for c in obj["status"].get("conditions") or () if c["type"] == kind), {})

    obj = await seen(client, "gated", lambda p: condition(p, "ContainersReady").get("status") == "True")
    assert condition(obj, "Ready")["reason"] == "ReadinessGatesNotReady"

    async def give(kind: str, status: str) -> None:
        body = {"status": {"conditions": [{"type": kind, "status": status}]}}
        await client.patch(POD, "gated", "default", body, STRATEGIC, "status")

    await asyncio.gather(give("k8s.io/one", "True"), give("k8s.io/two", "True"))
    await seen(client, "gated", ready)
    await give("k8s.io/one", "False")
    obj = await seen(client, "gated", lambda p: not ready(p))
    wanted = 'the status of pod readiness gate "k8s.io/one" is not "True", but False'
    assert condition(obj, "Ready")["message"] == wanted


async def test_a_path_that_can_not_be_expanded_may_be_mended(client: Client) -> None:
    """Conformance: a failing subpath expansion can be modified during the lifecycle of a container."""
    own = {
        "env": [{"name": "PLACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['place']"}}}],
        "volumeMounts": [{"name": "v", "mountPath": "/v", "subPathExpr": "$(PLACE)"}],
    }
    made = pod("mended", container=own, volumes=[{"name": "v", "emptyDir": {}}])
    made["metadata"]["annotations"] = {"place": "/absolute"}
    await client.create(POD, made)
    await seen(client, "mended", lambda p: why_waiting(p) == "CreateContainerConfigError")
    await client.patch(POD, "mended", "default", {"metadata": {"annotations": {"place": "mypath"}}})
    await seen(client, "mended", ready)


async def test_who_has_spoilt_its_hosts_file_starts_with_a_whole_one_again(client: Client, engine: Engine) -> None:
    spoil = "touch /keep/spoilt; printf '\\377\\376x' >> /etc/hosts; exit 1"
    script = f"[ -e /keep/spoilt ] || {{ {spoil}; }}; cat /etc/hosts; echo all; exec sleep 1000"
    kept: Obj = {"volumeMounts": [{"name": "keep", "mountPath": "/keep"}]}
    await client.create(POD, pod("spoilt", script, kept, volumes=[{"name": "keep", "emptyDir": {}}]))
    obj = await seen(client, "spoilt", lambda obj: restarted("c")(obj) and ready(obj))

    async def told() -> bool:
        return log_of(engine, obj, count=1).endswith("all")

    await until(told)
    found = log_of(engine, obj, count=1)
    assert found.startswith("# Kubernetes-managed hosts file (host network).\n")
    assert not found.endswith("x\nall")

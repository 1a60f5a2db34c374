"""Pods on a real containerd: their life, their files, and an agent that is killed meanwhile."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from hawser.api.kinds import CONFIG_MAP, NODE, POD, SECRET
from hawser.client.client import Client
from hawser.node.cri.client import Runtime

from . import engine as engines
from .engine import Engine
from .images import BUSYBOX, USER
from .running import FOREVER, events, gone, log_of, phase, pod, ready, reason, seen, state, until

pytestmark = pytest.mark.containerd
MOUNTED = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
Obj = dict[str, Any]


async def test_the_node_is_registered_and_ready(client: Client) -> None:
    node = await client.get(NODE, engines.NODE)
    assert {c["type"]: c["status"] for c in node["status"]["conditions"]}["MemoryPressure"] == "False"
    assert node["status"]["nodeInfo"]["containerRuntimeVersion"].startswith("containerd://")
    assert "RestartAllContainersOnContainerExits" in node["status"]["declaredFeatures"]
    assert node["metadata"]["labels"]["kubernetes.io/os"] == "linux"


async def test_a_pod_runs_and_is_deleted(client: Client, engine: Engine) -> None:
    made = await client.create(POD, pod("life"))
    running = await seen(client, "life", ready)
    assert state(running)["containerID"].startswith("containerd://")
    for wanted in ("Pulled", "Created", "Started"):
        await reason(client, "life", wanted)
    await client.delete(POD, "life", "default")
    await gone(client, "life")
    await reason(client, "life", "Killing", "Stopping container c")

    async def cleaned() -> bool:
        return not (engine.folder / "agent/pods" / made["metadata"]["uid"]).exists()

    await until(cleaned)


async def test_exit_codes_messages_and_phases(client: Client) -> None:
    await client.create(POD, pod("fails", "echo bye > /dev/termination-log; exit 3", restartPolicy="Never"))
    await client.create(POD, pod("works", "true", restartPolicy="OnFailure"))
    failed = await seen(client, "fails", phase("Failed"))
    ended = state(failed)["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"], ended["message"]) == (3, "Error", "bye\n")
    worked = await seen(client, "works", phase("Succeeded"))
    assert state(worked)["state"]["terminated"]["reason"] == "Completed"


async def test_a_crashing_container_is_restarted_and_backs_off(client: Client) -> None:
    await client.create(POD, pod("crash", "exit 1"))
    looping = await seen(
        client, "crash", lambda p: (state(p).get("state") or {}).get("waiting", {}).get("reason") == "CrashLoopBackOff"
    )
    assert state(looping)["restartCount"] >= 1
    assert state(looping)["lastState"]["terminated"]["exitCode"] == 1
    await reason(client, "crash", "BackOff", "Back-off restarting failed container c in pod crash_default(")


async def test_init_containers_and_sidecars_come_first(client: Client, engine: Engine) -> None:
    shared = {"name": "v", "emptyDir": {}}
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    side = {"name": "side", "image": BUSYBOX, "restartPolicy": "Always", "command": ["/bin/sh", "-c", FOREVER]}
    init = {"name": "init", "image": BUSYBOX, "command": ["/bin/sh", "-c", "echo made > /v/f"], **mount}
    made = await client.create(
        POD,
        pod("inits", "cat /v/f", mount, initContainers=[side, init], volumes=[shared], restartPolicy="Never"),
    )
    done = await seen(client, "inits", phase("Succeeded"))
    assert log_of(engine, made) == "made"
    rows = {r["name"]: r["state"] for r in done["status"]["initContainerStatuses"]}
    assert rows["init"]["terminated"]["exitCode"] == 0


async def test_environment_and_volumes_reach_the_container(client: Client, engine: Engine) -> None:
    meta = {"name": "conf", "namespace": "default"}
    await client.create(CONFIG_MAP, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"k": "one"}})
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": {"s": base64.b64encode(b"x").decode()}}
    await client.create(SECRET, secret)
    container = {
        "env": [
            {"name": "K", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "k"}}},
            {"name": "S", "valueFrom": {"secretKeyRef": {"name": "conf", "key": "s"}}},
            {"name": "BOTH", "value": "$(K)$(S)"},
        ],
        "volumeMounts": [
            {"name": "m", "mountPath": "/m"},
            {"name": "t", "mountPath": "/t"},
            {"name": "h", "mountPath": "/h", "readOnly": True},
            {"name": "t", "mountPath": "/sub", "subPath": "a/b"},
        ],
    }
    volumes = [
        {"name": "m", "configMap": {"name": "conf"}},
        {"name": "t", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "h", "hostPath": {"path": "/etc", "type": "Directory"}},
    ]
    script = f"echo $BOTH; cat /m/k; echo; stat -f -c %T /t; ls /h/hostname; touch /sub/x; ls /t/a/b; {FOREVER}"
    made = await client.create(POD, pod("files", script, container, volumes=volumes))
    await seen(client, "files", ready)

    async def written() -> bool:
        return log_of(engine, made).splitlines() == ["onex", "one", "tmpfs", "/h/hostname", "x"]

    await until(written)
    await client.patch(CONFIG_MAP, "conf", "default", {"data": {"k": "two"}})
    path = engine.folder / "agent/pods" / made["metadata"]["uid"] / "volumes/kubernetes.io~configmap/m/k"

    async def updated() -> bool:
        return path.read_text() == "two"

    await until(updated)


async def test_missing_configuration_is_named_and_then_found(client: Client) -> None:
    ref = {"envFrom": [{"configMapRef": {"name": "late"}}]}
    await client.create(POD, pod("waits", container=ref))
    waiting = await seen(client, "waits", lambda p: (state(p).get("state") or {}).get("waiting", {}).get("message"))
    assert state(waiting)["state"]["waiting"] == {
        "reason": "CreateContainerConfigError",
        "message": 'configmap "late" not found',
    }
    meta = {"name": "late", "namespace": "default"}
    await client.create(CONFIG_MAP, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {}})
    await seen(client, "waits", ready)


@pytest.mark.parametrize(
    ("image", "policy", "why"),
    [
        ("hawser.invalid/none:1", "IfNotPresent", "ErrImagePull"),
        ("hawser.invalid/none:1", "Never", "ErrImageNeverPull"),
        ("Bad Name", "IfNotPresent", "InvalidImageName"),
    ],
)
async def test_images_that_cannot_be_had(client: Client, image: str, policy: str, why: str) -> None:
    name = f"image-{why.lower()}"
    await client.create(POD, pod(name, container={"image": image, "imagePullPolicy": policy}))
    wanted = {why, "ImagePullBackOff"} if why == "ErrImagePull" else {why}
    await seen(client, name, lambda p: (state(p).get("state") or {}).get("waiting", {}).get("reason") in wanted)
    await reason(client, name, "Failed", f"Error: {why}")


async def test_security_contexts(client: Client, engine: Engine) -> None:
    context = {"runAsUser": 1234, "runAsGroup": 55, "fsGroup": 77, "supplementalGroups": [88]}
    own = {
        "securityContext": {"readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "v", "mountPath": "/v"}],
    }
    script = "id -u; id -G; touch /x 2>/dev/null || echo readonly; touch /v/x && stat -c %g /v/x"
    spec = {"securityContext": context, "volumes": [{"name": "v", "emptyDir": {}}], "restartPolicy": "Never"}
    made = await client.create(POD, pod("secure", script, own, **spec))
    await seen(client, "secure", phase("Succeeded"))
    uid, groups, *rest = log_of(engine, made).splitlines()
    assert (uid, set(groups.split()), rest) == ("1234", {"55", "77", "88"}, ["readonly", "77"])
    await client.create(POD, pod("root", container={"securityContext": {"runAsNonRoot": True}}))
    await reason(client, "root", "Failed", "container has runAsNonRoot and image will run as root")
    made = await client.create(POD, pod("user", "id -u", {"image": USER}, restartPolicy="Never"))
    await seen(client, "user", phase("Succeeded"))
    assert log_of(engine, made) == "1000"


async def test_probes_decide_ready_started_and_alive(client: Client, tmp_path: Path) -> None:
    often = {"periodSeconds": 1, "timeoutSeconds": 20}
    probes = {
        "startupProbe": {"exec": {"command": ["ls", "/tmp/started"]}, **often, "failureThreshold": 100},
        "readinessProbe": {"exec": {"command": ["ls", "/v/ready"]}, **often},
    }
    told = {"name": "v", "hostPath": {"path": str(tmp_path)}}
    await client.create(POD, pod("probed", f"touch /tmp/started; {FOREVER}", {**probes, **MOUNTED}, volumes=[told]))
    await seen(client, "probed", lambda p: state(p).get("started") and not state(p).get("ready"))
    await reason(client, "probed", "Unhealthy", "Readiness probe failed: ")
    (tmp_path / "ready").touch()
    await seen(client, "probed", ready)
    liveness = {"livenessProbe": {"tcpSocket": {"port": 1}, "periodSeconds": 1, "failureThreshold": 1}}
    await client.create(POD, pod("unwell", container=liveness))
    await seen(client, "unwell", lambda p: state(p).get("restartCount"))
    await reason(client, "unwell", "Unhealthy", "Liveness probe failed: dial tcp ")
    await reason(client, "unwell", "Killing", "Container c failed liveness probe, will be restarted")


async def test_hooks_run_around_a_container(client: Client, engine: Engine) -> None:
    out = "/proc/1/fd/1"
    hooks = {
        "postStart": {"exec": {"command": ["/bin/sh", "-c", f"echo post > {out}"]}},
        "preStop": {"exec": {"command": ["/bin/sh", "-c", f"echo pre > {out}"]}},
    }
    made = await client.create(POD, pod("hooks", container={"lifecycle": hooks}))
    await seen(client, "hooks", ready)
    meta = made["metadata"]
    log = engine.folder / f"agent/logs/pods/default_hooks_{meta['uid']}/c/0.log"
    keep = engine.folder / "hooks.log"
    os.link(log, keep)
    await client.delete(POD, "hooks", "default")
    await gone(client, "hooks")
    assert [line.split()[-1] for line in keep.read_text().splitlines()] == ["post", "pre"]


async def test_a_killed_agent_takes_running_pods_over(client: Client, engine: Engine, tmp_path: Path) -> None:
    await client.create(POD, pod("stays"))
    before = state(await seen(client, "stays", ready))
    told = {"name": "v", "hostPath": {"path": str(tmp_path)}}
    ends = "while [ ! -e /v/end ]; do sleep 0.1; done; exit 4"
    await client.create(POD, pod("ends", ends, MOUNTED, volumes=[told], restartPolicy="Never"))
    await seen(client, "ends", ready)
    await client.create(POD, pod("orphan"))
    orphan = await seen(client, "orphan", ready)
    engine.stop_agent(signal.SIGKILL)
    (tmp_path / "end").touch()
    await client.delete(POD, "orphan", "default", grace_period=0)
    await client.create(POD, pod("new"))
    await asyncio.sleep(1)
    engine.start_agent()
    await seen(client, "new", ready)
    ended = await seen(client, "ends", phase("Failed"))
    assert state(ended)["state"]["terminated"]["exitCode"] == 4
    after = state(await seen(client, "stays", ready))
    assert (after["containerID"], after["restartCount"]) == (before["containerID"], 0)
    async with Runtime(engine.containerd.endpoint) as runtime:

        async def swept() -> bool:
            return not await runtime.list_pod_sandboxes(orphan["metadata"]["uid"])

        await until(swept)


async def test_an_agent_that_was_away_catches_up_with_volumes(client: Client, engine: Engine) -> None:
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "caught-up", "namespace": "default"}}
    await client.create(CONFIG_MAP, {**config_map, "data": {"k": "one"}})
    volume = {"name": "v", "configMap": {"name": "caught-up"}}
    made = await client.create(POD, pod("catches-up", container=MOUNTED, volumes=[volume]))
    await seen(client, "catches-up", ready)
    file = engine.folder / "agent/pods" / made["metadata"]["uid"] / "volumes/kubernetes.io~configmap/v/k"

    async def reads(text: str) -> bool:
        return file.read_text() == text

    await until(lambda: reads("one"))
    engine.stop_agent(signal.SIGKILL)
    await client.patch(CONFIG_MAP, "caught-up", "default", {"data": {"k": "two"}})
    engine.start_agent()
    await until(lambda: reads("two"))
    await client.patch(CONFIG_MAP, "caught-up", "default", {"data": {"k": "three"}})
    await until(lambda: reads("three"))


async def test_labels_that_change_show_in_volumes(client: Client, engine: Engine) -> None:
    items = [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]
    volume = {"name": "v", "downwardAPI": {"items": items}}
    made = await client.create(POD, pod("labelled", container=MOUNTED, volumes=[volume]))
    await seen(client, "labelled", ready)
    await client.patch(POD, "labelled", "default", {"metadata": {"labels": {"colour": "blue"}}})
    file = engine.folder / "agent/pods" / made["metadata"]["uid"] / "volumes/kubernetes.io~downward-api/v/labels"

    async def shown() -> bool:
        return file.read_text() == 'colour="blue"'

    await until(shown)


@pytest.mark.parametrize("grace", [1, 0])
async def test_a_second_deletion_may_shorten_the_first(client: Client, engine: Engine, grace: int) -> None:
    name = f"stubborn-{grace}"
    await client.create(POD, pod(name, "trap '' TERM; while :; do sleep 1; done", terminationGracePeriodSeconds=300))
    made = await seen(client, name, ready)
    await client.delete(POD, name, "default")
    await reason(client, name, "Killing")
    await asyncio.sleep(0.5)
    await client.delete(POD, name, "default", grace_period=grace)
    await gone(client, name)
    async with Runtime(engine.containerd.endpoint) as runtime:

        async def ended() -> bool:
            return not await runtime.list_containers(made["metadata"]["uid"])

        await until(ended)
    assert len([m for r, m in await events(client, name) if r == "Killing"]) == 1


async def test_a_probe_may_have_a_grace_period_of_its_own(client: Client) -> None:
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
    probe["terminationGracePeriodSeconds"] = 1
    stubborn = pod("own-grace", "trap '' TERM; while :; do sleep 1; done", {"livenessProbe": probe})
    stubborn["spec"]["terminationGracePeriodSeconds"] = 300
    await client.create(POD, stubborn)
    await seen(client, "own-grace", lambda obj: state(obj).get("restartCount"))
    await client.delete(POD, "own-grace", "default", grace_period=0)


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.06, 0.1, 0.15, 0.2])
async def test_an_agent_killed_while_a_pod_starts_leaves_nothing_twice(
    client: Client, engine: Engine, delay: float
) -> None:
    name = f"cut-{int(delay * 1000)}"
    await client.create(POD, pod(name))
    await asyncio.sleep(delay)
    engine.stop_agent(signal.SIGKILL)
    engine.start_agent()
    running = await seen(client, name, ready)
    async with Runtime(engine.containerd.endpoint) as runtime:
        uid = running["metadata"]["uid"]
        assert len([s for s in await runtime.list_pod_sandboxes(uid) if s.ready]) == 1
        assert len([c for c in await runtime.list_containers(uid) if c.running]) == 1


async def test_a_dead_sandbox_is_replaced(client: Client, engine: Engine) -> None:
    made = await client.create(POD, pod("resand"))
    await seen(client, "resand", ready)
    async with Runtime(engine.containerd.endpoint) as runtime:
        (old,) = await runtime.list_pod_sandboxes(made["metadata"]["uid"])
        await runtime.stop_pod_sandbox(old.id)
        await seen(client, "resand", lambda p: state(p)["restartCount"] == 1 and ready(p))
        assert [s.attempt for s in await runtime.list_pod_sandboxes(made["metadata"]["uid"]) if s.ready] == [1]


async def test_a_pod_ends_at_its_deadline(client: Client) -> None:
    await client.create(POD, pod("deadline", activeDeadlineSeconds=1))
    ended = await seen(client, "deadline", phase("Failed"))
    assert ended["status"]["reason"] == "DeadlineExceeded"

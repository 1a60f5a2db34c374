"""Pods come and go while the agent and containerd are killed: all converges, and nothing of what went is left."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Iterator
from functools import partial
from ipaddress import IPv4Network
from typing import Any

import kubernetes
import pytest

from hawser.cli.engine import nodes, settings
from hawser.cli.engine.roles import role_name

from .conftest import HOST_PORTS, Engine, Obj, engine_of_its_own, eventually, pod
from .machine import Node, assert_clean, reboot
from .test_crash import container_pid, identity, process, processes

ROUNDS = 8
KINDS = 9
SEED = int(os.environ.get("HAWSER_STORM_SEED", "0")) or random.randrange(1 << 30)


@pytest.fixture
def node(engine: Engine) -> Node:
    found = settings.load(engine.data_dir)
    assert found is not None
    return Node(found)


@pytest.fixture(scope="module")
def pair() -> Iterator[Engine]:
    """An engine of two nodes."""
    with engine_of_its_own() as made:
        made.hawser("up", "--detach", "--nodes", "2", timeout=300)
        yield made


def kinds(number: int) -> Obj:
    """One of several sorts of pods."""
    name = f"s{number % KINDS}"
    match number % KINDS:
        case 0:
            volumes = [{"name": "ram", "emptyDir": {"medium": "Memory"}}]
            return pod(name, volumes=volumes, container={"volumeMounts": [{"name": "ram", "mountPath": "/ram"}]})
        case 1:
            first = {"name": "first", "image": "docker.io/library/busybox:1.36", "command": ["true"]}
            return pod(name, initContainers=[first])
        case 2:
            return pod(name, container={"ports": [{"containerPort": 80, "hostPort": HOST_PORTS + 3 + number % 20}]})
        case 3:
            probe = {"exec": {"command": ["true"]}, "periodSeconds": 1, "timeoutSeconds": 20}
            return pod(name, container={"readinessProbe": probe, "livenessProbe": probe})
        case 4:
            return pod(name, "exit 0", restartPolicy="Never")
        case 5:
            side = {"name": "side", "image": "docker.io/library/busybox:1.36", "command": ["sleep", "100000"]}
            return pod(name, initContainers=[{**side, "restartPolicy": "Always"}])
        case 7:
            files = {"name": "files", "projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt"}}]}}
            disk = {"name": "disk", "hostPath": {"path": "/etc"}}
            mounts = [
                {"name": "files", "mountPath": "/files"},
                {"name": "disk", "mountPath": "/disk", "readOnly": True},
            ]
            return pod(name, volumes=[files, disk], container={"volumeMounts": mounts})
        case 8:
            return pod(name, hostNetwork=True)
    return pod(name, "sleep 2; exit 1", restartPolicy="OnFailure")


class Storm:
    """Random creates, updates and deletions through one client."""

    def __init__(self, api: Any, namespace: str, dice: random.Random) -> None:
        self.api, self.namespace, self.dice = api, namespace, dice
        self.number = 0

    def step(self) -> None:
        with contextlib.suppress(kubernetes.client.ApiException):
            match self.dice.randrange(5):
                case 0 | 1 | 2:
                    self.number += 1
                    self.api.create_namespaced_pod(self.namespace, kinds(self.number))
                case 3:
                    name = f"s{self.dice.randrange(KINDS)}"
                    grace = self.dice.choice([0, 0, 1, None])
                    options = {} if grace is None else {"grace_period_seconds": grace}
                    self.api.delete_namespaced_pod(name, self.namespace, **options)
                    # A namesake comes at once, as from a StatefulSet.
                    self.api.create_namespaced_pod(self.namespace, kinds(int(name[1:]) + KINDS * self.number))
                case 4:
                    name = f"s{self.dice.randrange(KINDS)}"
                    body = {"metadata": {"labels": {"n": str(self.number)}}}
                    self.api.patch_namespaced_pod(name, self.namespace, body)


def keeper(name: str, node: str) -> Obj:
    """A pod that must never notice anything, behind a Service."""
    manifest = pod(name, "mkdir /www; echo kept > /www/index.html; exec httpd -f -p 8080 -h /www", nodeName=node)
    manifest["metadata"]["labels"] = {"app": "keeper"}
    return manifest


def test_a_storm_of_changes_and_kills_converges_and_leaves_nothing(pair: Engine) -> None:
    namespace, dice = "storm", random.Random(SEED)
    engine = settings.load(pair.data_dir)
    assert engine is not None
    listed = nodes.load(engine)
    pair.kubectl("create", "namespace", namespace)
    port = {"port": 80, "targetPort": 8080}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "keeper"}}
    pair.apply({**service, "spec": {"selector": {"app": "keeper"}, "ports": [port]}}, namespace)
    keepers = [f"keeper-{node.number}" for node in listed]
    for name, node in zip(keepers, listed, strict=True):
        pair.apply(keeper(name, node.name), namespace)
    before = [identity(pair.wait_ready(name, namespace)) for name in keepers]
    started = [container_pid(pair, namespace, name) for name in keepers]
    agents, runtimes = ([role_name(name, node) for node in listed] for name in ("agent", "containerd"))
    with pair.client() as client:
        storm = Storm(kubernetes.client.CoreV1Api(client), namespace, dice)
        for round_number in range(ROUNDS):
            victims = [agents, runtimes, agents + runtimes, agents[:1] + runtimes[1:]][round_number % 4]
            running = processes(pair)
            pids = [running.get(name, 0) for name in victims]
            end = time.monotonic() + dice.uniform(0.2, 1.5)
            while time.monotonic() < end:
                storm.step()
                time.sleep(dice.uniform(0, 0.1))
            for pid in filter(None, pids):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for _ in range(5):
                storm.step()
            eventually(lambda: {*agents, *runtimes} <= {*processes(pair)}, "all processes")

        def settled() -> bool:
            pods = pair.list("pods", namespace)
            return all(_as_wanted(p) for p in pods) and not any(p["metadata"].get("deletionTimestamp") for p in pods)

        eventually(settled, f"every pod as wanted (seed {SEED})", 300)
    machines = [Node(nodes.view(engine, node), nodes.namespace(engine, node)) for node in listed]
    for machine in machines:
        assert_clean(pair, machine, hint=f"seed {SEED}")
    blamed = [m for n in range(KINDS) for _, m in pair.events(namespace, f"s{n}") if "code = Unavailable" in m]
    assert not blamed, "a runtime that is being started again is no fault of the pod's"
    assert [identity(pair.get("pod", name, namespace)) for name in keepers] == before
    assert [container_pid(pair, namespace, name) for name in keepers] == started
    address = pair.get("service", "keeper", namespace)["spec"]["clusterIP"]
    for name in keepers:
        script = f'for i in 1 2 3 4; do printf "GET / HTTP/1.0\\r\\n\\r\\n" | nc -w 20 {address} 80 | tail -n 1; done'
        assert pair.kubectl("exec", name, "-n", namespace, "--", "sh", "-c", script).stdout.split() == ["kept"] * 4
    pair.kubectl("delete", "namespace", namespace, timeout=300)
    for machine in machines:
        assert_clean(pair, machine, hint=f"seed {SEED}")


def _as_wanted(manifest: Obj) -> bool:
    name, status = manifest["metadata"]["name"], manifest["status"]
    if name.startswith("keeper"):
        return True
    if name == "s4":
        return bool(status.get("phase") == "Succeeded")
    if name == "s6":
        return bool(status.get("phase") == "Running" and status["containerStatuses"][0]["restartCount"])
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or ()}
    return conditions.get("Ready") == "True"


def _booted(engine: Engine, *command: str) -> str:
    """What a command in a container says whose last word is that pid 1 is systemd; "" before."""
    said = engine.kubectl(*command, check=False).stdout
    return said if said.endswith("\nsystemd\n") else ""


@contextlib.contextmanager
def agent_away(engine: Engine) -> Iterator[None]:
    """Kills the agent; it stays away meanwhile, as its supervisor is frozen."""
    supervisor, agent = (eventually(lambda n=n: process(engine, n), n) for n in ("supervisor", "agent"))
    os.kill(supervisor, signal.SIGSTOP)
    try:
        os.kill(agent, signal.SIGKILL)
        yield
    finally:
        os.kill(supervisor, signal.SIGCONT)


def test_what_is_deleted_while_the_agent_is_away_goes_when_it_is_back(
    engine: Engine, node: Node, namespace: str
) -> None:
    volumes = [{"name": "ram", "emptyDir": {"medium": "Memory"}}]
    mounted = {"volumeMounts": [{"name": "ram", "mountPath": "/ram"}]}
    names = ("forced", "graceful", "replaced", "kept")
    for name in names:
        engine.apply(pod(name, volumes=volumes, container=mounted), namespace)
    uids = {name: engine.wait_ready(name, namespace)["metadata"]["uid"] for name in names}
    before = identity(engine.get("pod", "kept", namespace))
    with agent_away(engine):
        engine.kubectl("delete", "pod", "forced", "replaced", "-n", namespace, "--force", "--grace-period=0")
        engine.kubectl("delete", "pod", "graceful", "-n", namespace, "--wait=false")
        engine.apply(pod("replaced"), namespace)
    assert engine.wait_ready("replaced", namespace)["metadata"]["uid"] != uids["replaced"]
    assert_clean(engine, node, hint=f"seed {SEED}")
    assert {p["metadata"]["name"] for p in engine.list("pods", namespace)} == {"replaced", "kept"}
    assert identity(engine.get("pod", "kept", namespace)) == before


def test_every_pod_comes_back_after_a_reboot(engine: Engine, node: Node, namespace: str, image: str) -> None:
    done = pod("done", "echo ready > /dev/termination-log", restartPolicy="Never")
    fixed = pod("fixed")
    address = str(IPv4Network(node.settings.pod_cidr)[2345])
    fixed["metadata"]["annotations"] = {"cni.projectcalico.org/ipAddrs": json.dumps([address])}
    machine = pod("machine", runtimeClassName="rich")
    rich = {"init": "minimal", "rootfs": "keep", "rootfs-size": "20Mi"}
    machine["metadata"]["annotations"] = {f"rich.hawser.dev/{key}": value for key, value in rich.items()}
    legacy = pod("legacy", runtimeClassName="rich", container={"image": image, "imagePullPolicy": "Never"})
    for manifest in (
        *(kinds(n) for n in (0, 1, 2, 3, 5, 7, 8)),
        legacy,
        pod("plain"),
        fixed,
        machine,
        pod("once", restartPolicy="Never"),
        done,
    ):
        engine.apply(manifest, namespace)
    names = ["s0", "s1", "s2", "s3", "s5", "s7", "s8", "plain", "fixed", "machine", "legacy"]
    before = {name: engine.wait_ready(name, namespace) for name in (*names, "once")}
    engine.kubectl("exec", "machine", "-n", namespace, "--", "sh", "-c", "echo mine >/etc/motd; sync")
    itself = ("exec", "legacy", "-n", namespace, "--", "cat", "/etc/machine-id", "/proc/1/comm")
    # Pid 1 becomes systemd a moment after the container's start.
    identified = eventually(partial(_booted, engine, *itself), "systemd")
    eventually(lambda: engine.get("pod", "done", namespace)["status"]["phase"] == "Succeeded", "its end")
    ended = engine.get("pod", "done", namespace)["status"]["containerStatuses"]

    reboot(node)
    engine.hawser("up", "--detach")

    def restarted(name: str) -> bool:
        statuses = engine.get("pod", name, namespace)["status"]["containerStatuses"]
        return all(s["ready"] and s["restartCount"] == 1 for s in statuses)

    for name in names:
        eventually(partial(restarted, name), f"{name} again", 180)
        after = engine.get("pod", name, namespace)
        assert after["metadata"]["uid"] == before[name]["metadata"]["uid"]
        assert [s["restartCount"] for s in after["status"]["containerStatuses"]] == [1]
    assert before["fixed"]["status"]["podIP"] == address
    assert engine.get("pod", "fixed", namespace)["status"]["podIP"] == address
    motd = ("exec", "machine", "-n", namespace, "--", "cat", "/etc/motd")
    assert engine.kubectl(*motd).stdout == "mine\n"
    assert eventually(partial(_booted, engine, *itself), "systemd again") == identified
    units = ("exec", "legacy", "-n", namespace, "--", "systemctl", "is-active", "hawser-app", "cron", "ssh")
    eventually(lambda: engine.kubectl(*units, check=False).stdout.split() == ["active"] * 3, "its services")
    engine.kubectl("delete", "pod", "machine", "legacy", "-n", namespace, "--now")  # and all that it had mounted
    eventually(lambda: engine.get("pod", "once", namespace)["status"]["phase"] == "Failed", "the end of once")
    assert engine.get("pod", "done", namespace)["status"]["phase"] == "Succeeded"
    assert engine.get("pod", "done", namespace)["status"]["containerStatuses"] == ended
    assert_clean(engine, node, hint=f"seed {SEED}")

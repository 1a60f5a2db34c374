"""Pods come and go while the agent and containerd are killed: all converges, and nothing of what went is left."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import kubernetes
import pytest

from hawser.cli.engine import cleanup, settings
from hawser.node.cri.client import Runtime
from hawser.node.cri.model import Container, Labels, Sandbox
from hawser.node.network import netlink

from .conftest import Engine, Obj, eventually, pod
from .test_crash import container_pid, identity, process

ROUNDS = 8
SEED = int(os.environ.get("HAWSER_STORM_SEED", "0")) or random.randrange(1 << 30)
_RESULTS = Path("/var/lib/cni/results")


@dataclass(frozen=True)
class Node:
    """The engine's traces on this machine."""

    settings: settings.Settings

    @property
    def tag(self) -> str:
        return sha256(self.settings.instance.encode()).hexdigest()[:5]

    @property
    def agent(self) -> Path:
        return self.settings.data_dir / "agent"

    def runtime(self) -> tuple[list[Sandbox], list[Container]]:
        async def ask() -> tuple[list[Sandbox], list[Container]]:
            async with Runtime(self.settings.cri_endpoint) as runtime:
                await runtime.ready(20)
                listed, containers = await runtime.list_pod_sandboxes(), await runtime.list_containers()
                # A list does not tell addresses.
                sandboxes = [await runtime.pod_sandbox_status(s.id) if s.ready else s for s in listed]
                return sandboxes, containers

        return asyncio.run(ask())

    def leftovers(self, uids: set[str], running: set[str]) -> dict[str, list[str]]:
        """Whatever belongs to no pod of ``uids``, or to no sandbox that runs in one of ``running``, by kind."""
        sandboxes, containers = self.runtime()
        live = {s.id for s in sandboxes if s.ready and s.labels.get(Labels.POD_UID) in running}
        kept = {s.id for s in sandboxes} | {c.id for c in containers}
        addresses = {ip for s in sandboxes if s.id in live for ip in s.ips}
        found = {
            "sandboxes": [s.id for s in sandboxes if s.labels.get(Labels.POD_UID) not in uids],
            "ready sandboxes": [s.id for s in sandboxes if s.ready and s.id not in live],
            "containers": [c.id for c in containers if c.pod_uid not in uids],
            "records": [n for n in _names(self.settings.run_dir / "network") if n not in live],
            "links": self._links(live),
            "routes": [a for a in self._routes() if a not in addresses],
            "host ports": [w for w in self._host_ports() if w not in addresses],
            "folders": [n for n in _names(self.agent / "pods") if n not in uids],
            "logs": [n for n in _names(self.agent / "logs/pods") if n.rpartition("_")[2] not in uids],
            "cgroups": [str(p) for p in self._cgroups() if p.name.removeprefix("pod") not in uids],
            "mounts": [m for m in self._mounts() if not any(word in m for word in (*uids, *kept, "/netns/"))],
            "namespaces": self._namespaces(live),
            "results": [n for n in _names(_RESULTS) if n.startswith(f"hawser-{self.tag}-") and not _in(n, live)],
            "shims": [i for i in self._shims() if i not in kept],
        }
        return {kind: names for kind, names in found.items() if names}

    def _links(self, live: set[str]) -> list[str]:
        with netlink.Socket() as socket:
            links = [name for name in socket.links() if name.startswith(f"hw{self.tag}v")]
        return links if len(links) > len(live) else []

    def _routes(self) -> list[str]:
        lines = [line.split() for line in Path("/proc/net/route").read_text().splitlines()[1:]]
        hexed = [fields[1] for fields in lines if fields[0].startswith(f"hw{self.tag}v")]
        return [".".join(str(b) for b in reversed(bytes.fromhex(h))) for h in hexed]

    def _host_ports(self) -> list[str]:
        table = f"hawser-{self.tag}-pods"
        done = subprocess.run(["nft", "-j", "list", "table", "ip", table], capture_output=True, text=True, check=False)
        found: list[str] = []

        def walk(value: Any) -> None:
            if isinstance(value, dict):
                found.extend([value["dnat"]["addr"]] if isinstance(value.get("dnat"), dict) else [])
                value = list(value.values())
            for part in value if isinstance(value, list) else ():
                walk(part)

        walk(json.loads(done.stdout or "{}"))
        return [a for a in found if isinstance(a, str)]

    def _cgroups(self) -> Iterator[Path]:
        for root in Path("/sys/fs/cgroup").glob(f"*/{self.settings.cgroup_root}"):
            for tier in (root, root / "besteffort", root / "burstable"):
                yield from tier.glob("pod*")

    def _mounts(self) -> list[str]:
        return cleanup.mounts_below(*cleanup.mount_dirs(self.settings))

    def _namespaces(self, live: set[str]) -> list[str]:
        mounts = [m for m in self._mounts() if "/netns/" in m]
        return mounts if len(mounts) > len(live) else []

    def _shims(self) -> list[str]:
        result = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if words[0].endswith("containerd-shim-runc-v2") and str(self.settings.run_dir) in " ".join(words):
                    result.append(words[words.index("-id") + 1] if "-id" in words else words[0])
        return result


def _names(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()] if folder.is_dir() else []


def _in(name: str, ids: set[str]) -> bool:
    return any(i in name for i in ids)


@pytest.fixture
def node(engine: Engine) -> Node:
    found = settings.load(engine.data_dir)
    assert found is not None
    return Node(found)


def assert_clean(engine: Engine, node: Node, seconds: float = 150) -> None:
    """Waits until what is on the machine is what the API knows."""
    last: dict[str, list[str]] = {}

    def clean() -> bool:
        nonlocal last
        items = json.loads(engine.kubectl("get", "pods", "-A", "-o", "json").stdout)["items"]
        uids = {p["metadata"]["uid"] for p in items}
        running = {p["metadata"]["uid"] for p in items if p["status"].get("phase") in ("Pending", "Running")}
        last = node.leftovers(uids, running)
        return not last and all(not p["metadata"].get("deletionTimestamp") for p in items)

    deadline = time.monotonic() + seconds
    while not clean():
        assert time.monotonic() < deadline, f"seed {SEED}: left on the node: {json.dumps(last, indent=1)}"
        time.sleep(0.5)


def kinds(number: int) -> Obj:
    """One of several sorts of pods."""
    name = f"s{number % 7}"
    match number % 7:
        case 0:
            volumes = [{"name": "ram", "emptyDir": {"medium": "Memory"}}]
            return pod(name, volumes=volumes, container={"volumeMounts": [{"name": "ram", "mountPath": "/ram"}]})
        case 1:
            first = {"name": "first", "image": "docker.io/library/busybox:1.36", "command": ["true"]}
            return pod(name, initContainers=[first])
        case 2:
            return pod(name, container={"ports": [{"containerPort": 80, "hostPort": 31080 + number % 20}]})
        case 3:
            probe = {"exec": {"command": ["true"]}, "periodSeconds": 1}
            return pod(name, container={"readinessProbe": probe, "livenessProbe": probe})
        case 4:
            return pod(name, "exit 0", restartPolicy="Never")
        case 5:
            side = {"name": "side", "image": "docker.io/library/busybox:1.36", "command": ["sleep", "100000"]}
            return pod(name, initContainers=[{**side, "restartPolicy": "Always"}])
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
                    name = f"s{self.dice.randrange(7)}"
                    grace = self.dice.choice([0, 0, 1, None])
                    options = {} if grace is None else {"grace_period_seconds": grace}
                    self.api.delete_namespaced_pod(name, self.namespace, **options)
                    # A namesake comes at once, as from a StatefulSet.
                    self.api.create_namespaced_pod(self.namespace, kinds(int(name[1:]) + 7 * self.number))
                case 4:
                    name = f"s{self.dice.randrange(7)}"
                    body = {"metadata": {"labels": {"n": str(self.number)}}}
                    self.api.patch_namespaced_pod(name, self.namespace, body)


def test_a_storm_of_changes_and_kills_converges_and_leaves_nothing(engine: Engine, node: Node, namespace: str) -> None:
    dice = random.Random(SEED)
    engine.apply(pod("keeper"), namespace)
    engine.wait_ready("keeper", namespace)
    before, started = identity(engine.get("pod", "keeper", namespace)), container_pid(engine, namespace, "keeper")
    with engine.client() as client:
        api = kubernetes.client.CoreV1Api(client)
        storm = Storm(api, namespace, dice)
        for round_number in range(ROUNDS):
            victims = [["agent"], ["containerd"], ["agent", "containerd"]][round_number % 3]
            pids = [process(engine, name) for name in victims]
            end = time.monotonic() + dice.uniform(0.2, 1.5)
            while time.monotonic() < end:
                storm.step()
                time.sleep(dice.uniform(0, 0.1))
            for pid in filter(None, pids):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for _ in range(5):
                storm.step()
            eventually(lambda: all(process(engine, n) for n in ("agent", "containerd")), "both processes")

        def settled() -> bool:
            pods = engine.list("pods", namespace)
            return all(_as_wanted(p) for p in pods) and not any(p["metadata"].get("deletionTimestamp") for p in pods)

        eventually(settled, f"every pod as wanted (seed {SEED})", 120)
    assert_clean(engine, node)
    blamed = [m for n in range(7) for _, m in engine.events(namespace, f"s{n}") if "code = Unavailable" in m]
    assert not blamed, "a runtime that is being started again is no fault of the pod's"
    assert identity(engine.get("pod", "keeper", namespace)) == before
    assert container_pid(engine, namespace, "keeper") == started
    engine.kubectl("delete", "namespace", namespace, timeout=120)
    assert_clean(engine, node)


def _as_wanted(manifest: Obj) -> bool:
    name, status = manifest["metadata"]["name"], manifest["status"]
    if name == "s4":
        return bool(status.get("phase") == "Succeeded")
    if name == "s6":
        return bool(status.get("phase") == "Running" and status["containerStatuses"][0]["restartCount"])
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or ()}
    return conditions.get("Ready") == "True"


@contextlib.contextmanager
def agent_away(engine: Engine) -> Iterator[None]:
    """Kills the agent; it stays away meanwhile, as its supervisor is frozen."""
    supervisor, agent = process(engine, "supervisor"), process(engine, "agent")
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
    assert_clean(engine, node)
    assert {p["metadata"]["name"] for p in engine.list("pods", namespace)} == {"replaced", "kept"}
    assert identity(engine.get("pod", "kept", namespace)) == before


def reboot(node: Node) -> None:
    """What a boot does: no process, mount, link, cgroup or file below /run is left."""
    for _ in range(100):
        pids = cleanup.engine_pids(node.settings)
        if not pids:
            break
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    for mount in cleanup.mounts_below(*cleanup.mount_dirs(node.settings)):
        subprocess.run(["umount", "-l", mount], check=False)
    shutil.rmtree(node.settings.run_dir)
    with netlink.Socket() as socket:
        for name, index in socket.links().items():
            if name.startswith(f"hw{node.tag}"):
                with contextlib.suppress(OSError):
                    socket.send([netlink.delete_link(index)])
    for root in Path("/sys/fs/cgroup").glob(f"*/{node.settings.cgroup_root}"):
        for base, folders, _ in os.walk(root, topdown=False):
            for folder in folders:
                with contextlib.suppress(OSError):
                    (Path(base) / folder).rmdir()


def test_every_pod_comes_back_after_a_reboot(engine: Engine, node: Node, namespace: str) -> None:
    done = pod("done", "echo ready > /dev/termination-log", restartPolicy="Never")
    for manifest in (*(kinds(n) for n in (0, 1, 2, 3, 5)), pod("plain"), pod("once", restartPolicy="Never"), done):
        engine.apply(manifest, namespace)
    names = ["s0", "s1", "s2", "s3", "s5", "plain"]
    before = {name: engine.wait_ready(name, namespace) for name in (*names, "once")}
    eventually(lambda: engine.get("pod", "done", namespace)["status"]["phase"] == "Succeeded", "its end")
    ended = engine.get("pod", "done", namespace)["status"]["containerStatuses"]

    reboot(node)
    engine.hawser("up", "--detach")

    def restarted(name: str) -> bool:
        statuses = engine.get("pod", name, namespace)["status"]["containerStatuses"]
        return all(s["ready"] and s["restartCount"] == 1 for s in statuses)

    for name in names:
        eventually(partial(restarted, name), f"{name} again", 90)
        after = engine.get("pod", name, namespace)
        assert after["metadata"]["uid"] == before[name]["metadata"]["uid"]
        assert [s["restartCount"] for s in after["status"]["containerStatuses"]] == [1]
    eventually(lambda: engine.get("pod", "once", namespace)["status"]["phase"] == "Failed", "the end of once")
    assert engine.get("pod", "done", namespace)["status"]["phase"] == "Succeeded"
    assert engine.get("pod", "done", namespace)["status"]["containerStatuses"] == ended
    assert_clean(engine, node)

"""What a node leaves on this machine: looked for by kind, compared with the API, and taken away as a boot does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from hawser.cli.engine import cleanup, settings
from hawser.node.cri.client import Runtime
from hawser.node.cri.errors import NotFound
from hawser.node.cri.model import Container, Labels, Sandbox
from hawser.node.network import netlink, netns

from .conftest import PATIENCE, Engine

_RESULTS = Path("/var/lib/cni/results")


@dataclass(frozen=True)
class Node:
    """The traces of one node on this machine. namespace: of its network; None for the machine's."""

    settings: settings.Settings
    namespace: Path | None = None

    @property
    def tag(self) -> str:
        return sha256(self.settings.instance.encode()).hexdigest()[:5]

    @property
    def agent(self) -> Path:
        return self.settings.data_dir / "agent"

    def runtime(self) -> tuple[list[Sandbox], list[Container]]:
        async def ask() -> tuple[list[Sandbox], list[Container]]:
            async with Runtime(self.settings.cri_endpoint) as runtime:
                await runtime.ready(60)
                listed, containers = await runtime.list_pod_sandboxes(), await runtime.list_containers()
                return [await with_addresses(runtime, sandbox) for sandbox in listed], containers

        async def with_addresses(runtime: Runtime, sandbox: Sandbox) -> Sandbox:
            # A list does not tell them. What is listed may be gone by now.
            with contextlib.suppress(NotFound):
                return await runtime.pod_sandbox_status(sandbox.id) if sandbox.ready else sandbox
            return sandbox

        return asyncio.run(ask())

    def leftovers(self, uids: set[str], running: set[str]) -> dict[str, list[str]]:
        """Whatever belongs to no pod of ``uids``, or to no sandbox that runs in one of ``running``, by kind."""
        if self.namespace is None:
            return self._leftovers(uids, running)
        descriptor = os.open(self.namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return netns.call_in(descriptor, lambda: self._leftovers(uids, running))
        finally:
            os.close(descriptor)

    def _leftovers(self, uids: set[str], running: set[str]) -> dict[str, list[str]]:
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
        lines = [line.split() for line in Path("/proc/thread-self/net/route").read_text().splitlines()[1:]]
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
        # The agent's own folders are shared mounts as long as the engine is there, and containerd's state may be in
        # memory; images of operation agents stay mounted for some minutes after the last container that had them.
        own = {*(str(self.agent / name) for name in ("pods", "plugins")), str(self.settings.cri_socket.parent)}
        images = f"{self.agent / 'agents'}/"
        found = cleanup.mounts_below(*cleanup.mount_dirs(self.settings))
        return [m for m in found if m not in own and not m.startswith(images)]

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


def assert_clean(engine: Engine, node: Node, seconds: float = 300, hint: str = "") -> None:
    """Waits until what is on a node is what the API knows. hint: what to say besides, when that does not come."""
    last: dict[str, list[str]] = {}

    def clean() -> bool:
        nonlocal last
        items = json.loads(engine.kubectl("get", "pods", "-A", "-o", "json").stdout)["items"]
        items = [p for p in items if p["spec"].get("nodeName") == node.settings.node_name]
        uids = {p["metadata"]["uid"] for p in items}
        running = {p["metadata"]["uid"] for p in items if p["status"].get("phase") in ("Pending", "Running")}
        last = node.leftovers(uids, running)
        return not last and all(not p["metadata"].get("deletionTimestamp") for p in items)

    deadline = time.monotonic() + seconds * PATIENCE
    while not clean():
        assert time.monotonic() < deadline, f"{hint} left on {node.settings.node_name}: {json.dumps(last, indent=1)}"
        time.sleep(0.5)


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
    if node.namespace is not None:
        netns.release(str(node.namespace))
    for root in Path("/sys/fs/cgroup").glob(f"*/{node.settings.cgroup_root}"):
        for base, folders, _ in os.walk(root, topdown=False):
            for folder in folders:
                with contextlib.suppress(OSError):
                    (Path(base) / folder).rmdir()

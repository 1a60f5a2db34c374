"""An API server and a node agent for tests, against the private containerd."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from hawser.api.kinds import CONFIG_MAP
from hawser.cli.engine import pki
from hawser.cli.engine.ranges import joined
from hawser.cli.engine.roles import EVICTION
from hawser.cli.engine.settings import Settings, free_port
from hawser.client.client import Client
from hawser.controllers import root_ca
from hawser.node.cgroups import Cgroups
from hawser.node.network.agent import NetworkAgent
from hawser.node.network.config import NetworkConfig
from hawser.node.volumes.mounts import unmount_below

from .private_containerd import Containerd

NODE = "node-1"


@dataclass
class Engine:
    """A running pair. network: whether pods get addresses of their own."""

    folder: Path
    containerd: Containerd
    settings: Settings
    network: bool
    agent: subprocess.Popen[bytes] | None = None
    cgroup_root: str = field(default="")
    flags: tuple[str, ...] = ()

    @property
    def kubeconfig(self) -> Path:
        return self.settings.kubeconfig("admin")

    @property
    def manifests(self) -> Path:
        """The folder of static pods."""
        return self.folder / "manifests"

    def start_agent(self) -> None:
        """Starts the agent; returns at once."""
        s, flags = self.settings, []
        if self.network:
            flags = ["--pod-cidr", joined((s.pod_cidr, s.pod_cidr6))]
        command = [
            *(sys.executable, "-m", "hawser.node", "--verbose"),
            *("--kubeconfig", str(s.kubeconfig("agent")), "--node-name", NODE),
            *("--root-dir", str(self.folder / "agent"), "--run-dir", str(self.folder / "run")),
            *("--runtime-endpoint", self.containerd.endpoint, "--listen", s.kubelet_listen),
            *("--tls-cert", str(s.pki_dir / "kubelet.crt"), "--tls-key", str(s.pki_dir / "kubelet.key")),
            *("--client-ca", str(s.pki_dir / "ca.crt"), "--cgroup-root", self.cgroup_root),
            *("--cni-conf-dir", str(self.containerd.folder / "cni/conf")),
            *("--cni-bin-dir", str(self.containerd.folder / "cni/bin")),
            *("--service-cluster-ip-range", joined((s.service_cidr, s.service_cidr6)), "--instance", s.instance),
            *("--pod-manifest-path", str(self.manifests)),
            *("--cluster-dns", s.cluster_dns),
            *("--eviction-hard", EVICTION),
            *flags,
            *self.flags,
        ]
        with (self.folder / "agent.log").open("a") as log:
            self.agent = subprocess.Popen(command, stdout=log, stderr=log)

    def stop_agent(self, number: int = signal.SIGTERM) -> None:
        """Ends the agent by a signal and waits for it."""
        assert self.agent is not None
        self.agent.send_signal(number)
        self.agent.wait(60)


@contextmanager
def running(
    folder: Path,
    containerd: Containerd,
    *,
    network: bool = False,
    dual_stack: bool = False,
    agent_flags: tuple[str, ...] = (),
) -> Iterator[Engine]:
    """Starts both; at the end stops them, ends what pods they left, removes cgroups and links.

    agent_flags: further ones.
    """
    (folder / "manifests").mkdir(parents=True, exist_ok=True)
    # Runs beside others of this kind: what it takes is made of its number.
    port = free_port("127.0.0.1", 26000 + os.getpid() % 1000)
    settings = Settings(
        data_dir=folder,
        instance=f"t{port}",
        listen=f"127.0.0.1:{port}",
        kubelet_listen=f"127.0.0.1:{free_port('127.0.0.1', port + 1000)}",
        node_name=NODE,
        pod_cidr=f"10.251.{port % 256}.0/24",
        service_cidr=f"10.252.{port % 256}.0/24",
        pod_cidr6=f"fd25:1:{port:x}::/64" if dual_stack else "",
        service_cidr6=f"fd25:2:{port:x}::/112" if dual_stack else "",
    )
    pki.prepare(settings)
    arguments = {
        "data-dir": folder / "store",
        "listen": settings.listen,
        "tls-cert": settings.pki_dir / "apiserver.crt",
        "tls-key": settings.pki_dir / "apiserver.key",
        "client-ca": settings.pki_dir / "ca.crt",
        "token-auth-file": settings.pki_dir / "tokens.csv",
        "service-cluster-ip-range": joined((settings.service_cidr, settings.service_cidr6)),
    }
    if network:
        arguments["advertise-address"] = settings.gateway
    flags = [text for key, value in arguments.items() for text in (f"--{key}", str(value))]
    with (folder / "apiserver.log").open("w") as log:
        server = subprocess.Popen([sys.executable, "-m", "hawser.apiserver", *flags], stdout=log, stderr=log)
    engine = Engine(folder, containerd, settings, network, cgroup_root=f"hawser-t{port}", flags=agent_flags)
    try:
        _wait_for_port(port, server, folder / "apiserver.log")
        asyncio.run(_publish_ca(settings))
        engine.start_agent()
        yield engine
    finally:
        if engine.agent is not None and engine.agent.poll() is None:
            engine.stop_agent()
        server.terminate()
        server.wait(60)
        _remove_cgroups(engine.cgroup_root)
        unmount_below(folder)
        if network:
            asyncio.run(_remove_network(engine))


async def _publish_ca(settings: Settings) -> None:
    """What a controller does, which does not run here; pods' token volumes hold it."""
    async with Client.from_kubeconfig(settings.kubeconfig("admin")) as client:
        made = root_ca.wanted(None, "default", client.ca.decode())
        assert made is not None
        await client.create(CONFIG_MAP, made)


async def _remove_network(engine: Engine) -> None:
    settings, cni = engine.settings, engine.containerd.folder / "cni"
    config = NetworkConfig(
        instance=settings.instance,
        pod_cidr=IPv4Network(settings.pod_cidr),
        service_cidr=IPv4Network(settings.service_cidr),
        state_dir=engine.folder / "run/network",
        socket=engine.folder / "run/cni.sock",
        cni_bin_dir=cni / "bin",
        cni_conf_dir=cni / "conf",
        pod_cidr6=IPv6Network(settings.pod_cidr6) if settings.pod_cidr6 else None,
        service_cidr6=IPv6Network(settings.service_cidr6) if settings.service_cidr6 else None,
    )
    agent = NetworkAgent(config)
    await agent.start()
    await agent.teardown()


def _remove_cgroups(root: str) -> None:
    """Ends the processes of pods that were deleted by force just before the agent ended; removes their cgroups."""
    cgroups = Cgroups(root)
    for _ in range(300):
        if cgroups.remove(f"/{root}"):
            return
        for top in (hierarchy.path / root for hierarchy in cgroups.hierarchies):
            for group, _, _ in os.walk(top):
                with suppress(OSError):
                    for pid in Path(group, "cgroup.procs").read_text().split():
                        os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.1)


def _wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    import socket

    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"the API server did not start: {log.read_text()[-2000:]}")


def remove(folder: Path) -> None:
    """Removes an engine's folder."""
    shutil.rmtree(folder, ignore_errors=True)

"""What the network's tests share: an agent's configuration, the plugin run as containerd does, pods that answer."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import threading
from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path

from hawser.node.network.agent import NetworkAgent
from hawser.node.network.config import NetworkConfig

from .conftest import Pod

NewPod = Callable[[], Pod]


def config(folder: Path) -> NetworkConfig:
    return NetworkConfig(
        instance="test",
        pod_cidr=IPv4Network("10.77.0.0/24"),
        service_cidr=IPv4Network("10.78.0.0/16"),
        balancers=(IPv4Network("10.79.0.0/24"),),
        state_dir=folder / "state",
        socket=folder / "cni.sock",
        cni_bin_dir=folder / "bin",
        cni_conf_dir=folder / "conf",
    )


async def plugin(
    folder: Path, command: str, container_id: str, netns: str = "", ports: object = None, **args: str
) -> tuple[int, dict[str, object] | None]:
    """Run the installed plugin as containerd does; its exit status and what it printed."""
    (listed,) = json.loads((folder / "conf" / "10-hawser.conflist").read_text())["plugins"]
    conf = {"cniVersion": "1.0.0", "name": "n", **listed, "runtimeConfig": {"portMappings": ports or []}}
    process = await asyncio.create_subprocess_exec(
        str(folder / "bin" / "hawser"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container_id,
            "CNI_NETNS": netns,
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(folder / "bin"),
            "CNI_ARGS": ";".join(f"{k}={v}" for k, v in args.items()),
        },
    )
    output, _ = await process.communicate(json.dumps(conf).encode())
    return process.returncode or 0, json.loads(output) if output else None


def answer_with(pod: Pod, word: bytes, port: int = 80) -> None:
    """Serve TCP in a pod: each connection gets the peer's address and word."""
    listener = pod.run(socket.socket)
    listener.bind(("0.0.0.0", port))
    listener.listen()
    pod.closing.append(listener)

    def serve() -> None:
        while True:
            try:
                connection, peer = listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(peer[0].encode() + b" " + word)

    threading.Thread(target=serve, daemon=True).start()


def ask(address: str, port: int = 80) -> str:
    with socket.create_connection((address, port), timeout=3) as connection:
        return connection.recv(100).decode()


def what_is_there() -> str:
    return subprocess.run("ip -o link; nft list tables", shell=True, capture_output=True, text=True).stdout


async def add(agent: NetworkAgent, folder: Path, new_pod: NewPod, name: str, ports: object = None) -> tuple[Pod, str]:
    pod = new_pod()
    status, result = await plugin(folder, "ADD", name, pod.path, ports, K8S_POD_NAMESPACE="default", K8S_POD_NAME=name)
    assert status == 0, result
    record = agent.record(name)
    assert record is not None
    return pod, str(record.address)

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
from typing import Any

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


def answer_with(pod: Pod, word: bytes, port: int = 80, family: int = socket.AF_INET) -> None:
    """Serve TCP in a pod: each connection gets the peer's address and word. AF_INET6: over both families."""
    listener = pod.run(lambda: socket.socket(family))
    listener.bind(("0.0.0.0" if family == socket.AF_INET else "::", port))
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


def answer_datagrams(pod: Pod, word: bytes, port: int = 8080) -> None:
    """Serve UDP in a pod: each datagram is answered with the word."""
    bound = pod.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    bound.bind(("0.0.0.0", port))
    pod.closing.append(bound)

    def serve() -> None:
        while True:
            try:
                _, peer = bound.recvfrom(100)
                bound.sendto(word, peer)
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()


def say(bound: socket.socket, to: tuple[str, int]) -> str:
    """The answer to a datagram, or why there is none."""
    # A link that has just been made may lose one.
    for _ in range(4):
        try:
            bound.sendto(b"hello", to)
            return bound.recv(100).decode()
        except TimeoutError:
            continue
        except ConnectionRefusedError:
            return "refused"
    return "nothing"


def ask(address: str, port: int = 80) -> str:
    with socket.create_connection((address, port), timeout=30) as connection:
        return connection.recv(100).decode()


def what_is_there() -> str:
    return subprocess.run("ip -o link; nft list tables", shell=True, capture_output=True, text=True).stdout


def named(name: str) -> dict[str, str]:
    """What a runtime tells of the pod of a sandbox."""
    return {"K8S_POD_NAMESPACE": "default", "K8S_POD_NAME": name, "K8S_POD_UID": f"uid-{name}"}


def known(name: str, annotations: dict[str, str] | None = None) -> dict[str, Any]:
    """A pod as the API has it."""
    metadata = {"namespace": "default", "name": name, "uid": f"uid-{name}", "annotations": annotations or {}}
    return {"metadata": metadata, "spec": {}, "status": {}}


class Known:
    """Pods of an informer."""

    def __init__(self, *pods: dict[str, Any]) -> None:
        self._pods = {pod["metadata"]["name"]: pod for pod in pods}

    def get(self, namespace: str | None, name: str) -> dict[str, Any] | None:
        return self._pods.get(name)

    def list(self, namespace: str | None = None) -> list[dict[str, Any]]:
        return [*self._pods.values()]


async def add(agent: NetworkAgent, folder: Path, new_pod: NewPod, name: str, ports: object = None) -> tuple[Pod, str]:
    pod = new_pod()
    status, result = await plugin(folder, "ADD", name, pod.path, ports, **named(name))
    assert status == 0, result
    record = agent.record(name)
    assert record is not None
    return pod, str(record.address)

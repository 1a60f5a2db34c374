"""Pods under NetworkPolicies, for tests with real packets."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path
from typing import Any

from hawser.node.network.agent import NetworkAgent
from hawser.node.network.policy.enforcer import Enforcer

from .conftest import Pod
from .support import NewPod, answer_with, plugin
from .test_proxy import Objects

Obj = dict[str, Any]
PORTS = [{"name": "serve-80", "containerPort": 80}, {"name": "serve-81", "containerPort": 81}]


def policy(name: str = "p", namespace: str = "x", pods: Obj | None = None, **spec: Any) -> Obj:
    types = [word.capitalize() for word in ("ingress", "egress") if word in spec]
    metadata = {"namespace": namespace, "name": name}
    return {"metadata": metadata, "spec": {"podSelector": pods or {}, "policyTypes": types, **spec}}


def labelled(**labels: str) -> Obj:
    return {"matchLabels": labels}


def connects(pod: Pod, address: str, port: int = 80, *, udp: bool = False, patience: float = 5.0) -> bool:
    def attempt() -> bool:
        kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as opened:
            opened.settimeout(patience)
            try:
                opened.connect((address, port))
                if udp:
                    opened.send(b"?")
                    opened.recv(10)
            except TimeoutError:
                return False
            return True

    return pod.run(attempt)


def answer_datagrams(pod: Pod, port: int) -> None:
    opened = pod.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    opened.bind(("0.0.0.0", port))
    pod.closing.append(opened)

    def serve() -> None:
        while True:
            try:
                _, peer = opened.recvfrom(10)
                opened.sendto(b"!", peer)
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()


class Cluster:
    """Pods x/a, x/b and y/a that answer at 80 and 81 (TCP) and 53 (UDP)."""

    def __init__(self, agent: NetworkAgent, folder: Path, new_pod: NewPod) -> None:
        self.agent, self.folder, self.new_pod = agent, folder, new_pod
        self.policies, self.local, self.remote, self.namespaces = Objects(), Objects(), Objects(), Objects()
        self.pods: dict[str, Pod] = {}
        self.addresses: dict[str, str] = {}
        self.transactions: list[str] = []
        self.watching = 0
        for name in "xy":
            self.namespace(name)
        config = agent.config
        self.enforcer = Enforcer(
            config.policies_table,
            config.link_prefix,
            self.transact,
            self.policies,
            self.local,
            self.further,
            agent.records,
            lambda: [str(config.gateway)],
        )

    def further(self) -> Any:
        return Running(self, self.remote), Running(self, self.namespaces)

    async def transact(self, commands: str) -> str:
        self.transactions.append(commands)
        return await self.agent.transact(commands)

    def namespace(self, name: str, **labels: str) -> None:
        labels = {"kubernetes.io/metadata.name": name, **labels}
        self.namespaces.put({"metadata": {"namespace": "", "name": name, "labels": labels}})

    def describe(self, namespace: str, name: str, **labels: str) -> None:
        metadata = {"namespace": namespace, "name": name, "uid": f"{namespace}/{name}", "labels": labels}
        self.local.put({"metadata": metadata, "spec": {"containers": [{"ports": PORTS}]}})

    async def add(self, namespace: str, name: str) -> Pod:
        key = f"{namespace}/{name}"
        self.describe(namespace, name, pod=name)
        self.pods[key] = pod = self.new_pod()
        container = f"{namespace}{name}"
        args = {"K8S_POD_NAMESPACE": namespace, "K8S_POD_NAME": name, "K8S_POD_UID": key}
        status, result = await plugin(self.folder, "ADD", container, pod.path, **args)
        assert status == 0, result
        record = self.agent.record(container)
        assert record is not None
        self.addresses[key] = str(record.address)
        for port in (80, 81):
            answer_with(pod, b"ok", port)
        answer_datagrams(pod, 53)
        return pod

    async def apply(self, *wanted: Obj) -> None:
        """These policies and no others, in force when it returns."""
        for old in self.policies.list():
            self.policies.remove(old)
        for one in wanted:
            self.policies.put(one)
        await self.settled()

    async def translate(self, arriving: str, leaving: str = "accept") -> None:
        """What a Service of the address 10.78.0.9 does."""
        await self.agent.transact(f"""
            table ip turn {{
              chain pre {{ type nat hook prerouting priority -100; ip daddr 10.78.0.9 {arriving}; }}
              chain post {{ type nat hook postrouting priority 99; {leaving}; }}
            }}
            """)

    async def settled(self) -> None:
        """What was changed is in the kernel. Of a pod that exists, asking again changes nothing."""
        record = next(iter(self.agent.records()))
        await self.enforcer.cover(record)

    async def check(self, port: int = 80, *, udp: bool = False, **wanted: bool) -> None:
        """Whether pods reach each other: ``xa_xb=False`` for x/a to x/b, all at a time."""
        cases = []
        for key, expected in wanted.items():
            source, target = (f"{word[0]}/{word[1]}" for word in key.split("_"))
            patience = 5.0 if expected else 0.4
            work = (self.pods[source], self.addresses[target], port)
            cases.append(asyncio.to_thread(connects, *work, udp=udp, patience=patience))
        found = dict(zip(wanted, await asyncio.gather(*cases), strict=True))
        assert found == wanted


class Running(Objects):
    """An informer that is known to run."""

    def __init__(self, cluster: Cluster, known: Objects) -> None:
        self.__dict__.update(known.__dict__)
        self._cluster = cluster

    async def run(self) -> None:
        self._cluster.watching += 1
        try:
            await asyncio.Event().wait()
        finally:
            self._cluster.watching -= 1

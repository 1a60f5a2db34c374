from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from hawser.node.network.agent import NetworkAgent
from hawser.node.network.conntrack import Flow
from hawser.node.network.endpoints import Place
from hawser.node.network.proxy import ServiceProxy

from .conftest import Pod
from .support import NewPod, add, answer_datagrams, answer_with, ask, say
from .test_services import DOWN, LEAVING, READY, service, slice_of

Obj = dict[str, Any]
Objs = list[Obj]
ADDRESS = "10.78.0.10"


class Objects:
    """An informer without a server."""

    def __init__(self) -> None:
        self._objects: dict[str, Obj] = {}
        self._handlers: list[Callable[[Obj | None, Obj | None], None]] = []
        self._index: Callable[[Obj], Iterable[str]] = lambda _obj: ()

    def put(self, obj: Obj) -> None:
        key = f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"
        old = self._objects.get(key)
        self._objects[key] = obj
        for handler in self._handlers:
            handler(old, obj)

    def remove(self, obj: Obj) -> None:
        old = self._objects.pop(f"{obj['metadata']['namespace']}/{obj['metadata']['name']}")
        for handler in self._handlers:
            handler(old, None)

    def get(self, namespace: str | None, name: str) -> Obj | None:
        return self._objects.get(f"{namespace}/{name}")

    def list(self, namespace: str | None = None) -> Objs:
        return [*self._objects.values()]

    def by_index(self, index: str, value: str) -> Objs:
        return [obj for obj in self._objects.values() if value in self._index(obj)]

    def add_index(self, index: str, function: Callable[[Obj], Iterable[str]]) -> None:
        self._index = function

    def on_change(self, handler: Callable[[Obj | None, Obj | None], None]) -> None:
        self._handlers.append(handler)
        for obj in self._objects.values():
            handler(None, obj)

    async def synced(self) -> None:
        return None


class Cluster:
    def __init__(self, agent: NetworkAgent, folder: Path, new_pod: NewPod) -> None:
        self.services, self.slices = Objects(), Objects()
        self.applied = 0
        self.done = asyncio.Event()
        self.agent, self._folder, self._new_pod = agent, folder, new_pod
        self.place = Place("here", "z1")
        self.proxy = ServiceProxy(agent.config.service_tables, self, self.services, self.slices, lambda: self.place)

    async def add(self, name: str) -> tuple[Pod, str]:
        """A pod that joins the network, and its address."""
        return await add(self.agent, self._folder, self._new_pod, name)

    async def transact(self, commands: str) -> str:
        answer = await self.agent.transact(commands)
        self.applied += 1
        self.done.set()
        return answer

    async def forget_flows(self, version: int, flows: Mapping[Flow, frozenset[str]]) -> None:
        await self.agent.forget_flows(version, flows)

    async def change(self, *changes: Callable[[], None]) -> float:
        """Make changes and wait until the kernel has them; seconds that took."""
        before = self.applied
        started = time.perf_counter()
        for one in changes:
            one()
        async with asyncio.timeout(120):
            while self.applied == before:
                await self.done.wait()
                self.done.clear()
        seconds = time.perf_counter() - started
        await self.proxy.settled()
        return seconds


@pytest.fixture
async def cluster(agent: NetworkAgent, short_path: Path, new_pod: NewPod) -> AsyncIterator[Cluster]:
    made = Cluster(agent, short_path, new_pod)
    task = asyncio.create_task(made.proxy.run())
    await made.change()
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def words(address: str, port: int, count: int = 40) -> set[str]:
    return {ask(address, port).split()[1] for _ in range(count)}


async def test_a_cluster_address_reaches_every_endpoint_from_pods_and_node(cluster: Cluster) -> None:
    one, one_ip = await cluster.add("c1")
    two, two_ip = await cluster.add("c2")
    answer_with(one, b"one", 8080)
    answer_with(two, b"two", 8080)
    endpoints = slice_of((one_ip, READY), (two_ip, READY))
    await cluster.change(lambda: cluster.services.put(service()), lambda: cluster.slices.put(endpoints))
    assert words(ADDRESS, 80) == {"one", "two"}
    assert one.run(lambda: words(ADDRESS, 80)) == {"one", "two"}, "its own answer included"
    client, client_ip = await cluster.add("c3")
    assert client.run(lambda: ask(ADDRESS)).split()[0] == client_ip, "pods see each other's address"


async def test_node_ports_answer_on_every_address_of_the_node(cluster: Cluster) -> None:
    one, one_ip = await cluster.add("c1")
    answer_with(one, b"one", 8080)
    node_port = service(type="NodePort", ports=[{"name": "http", "port": 80, "nodePort": 30080}])
    await cluster.change(lambda: cluster.services.put(node_port), lambda: cluster.slices.put(slice_of((one_ip, READY))))
    assert words("127.0.0.1", 30080, 1) == words("10.77.0.1", 30080, 1) == {"one"}
    assert one.run(lambda: words("10.77.0.1", 30080, 1)) == {"one"}


async def test_without_endpoints_connections_are_refused_at_once(cluster: Cluster) -> None:
    pod, pod_ip = await cluster.add("c1")
    await cluster.change(lambda: cluster.services.put(service()), lambda: cluster.slices.put(slice_of((pod_ip, READY))))
    await cluster.change(lambda: cluster.slices.put(slice_of((pod_ip, DOWN))))
    for run in (pod.run, lambda work: work()):
        with pytest.raises(ConnectionRefusedError):
            run(lambda: ask(ADDRESS))


async def test_a_rolling_update_breaks_no_connection_and_sends_new_ones_elsewhere(cluster: Cluster) -> None:
    one, one_ip = await cluster.add("c1")
    two, two_ip = await cluster.add("c2")
    listener = one.run(socket.socket)
    listener.bind(("0.0.0.0", 8080))
    listener.listen()
    one.closing.append(listener)
    answer_with(two, b"two", 8080)
    await cluster.change(lambda: cluster.services.put(service()), lambda: cluster.slices.put(slice_of((one_ip, READY))))
    with socket.create_connection((ADDRESS, 80), timeout=30) as old:
        served, _ = listener.accept()
        with served:
            await cluster.change(lambda: cluster.slices.put(slice_of((one_ip, LEAVING), (two_ip, READY))))
            assert words(ADDRESS, 80, 10) == {"two"}
            served.sendall(b"still one")
            assert old.recv(100) == b"still one"


async def test_client_affinity_keeps_a_client_on_its_endpoint(cluster: Cluster) -> None:
    pods = [await cluster.add(f"c{i}") for i in range(3)]
    for number, (pod, _) in enumerate(pods):
        answer_with(pod, b"pod%d" % number, 8080)
    sticky = service(sessionAffinity="ClientIP")
    await cluster.change(
        lambda: cluster.services.put(sticky),
        lambda: cluster.slices.put(slice_of(*((ip, READY) for _, ip in pods))),
    )
    (chosen,) = words(ADDRESS, 80)
    kept = [(ip, READY) for i, (_, ip) in enumerate(pods) if f"pod{i}" == chosen or i == 0]
    await cluster.change(lambda: cluster.slices.put(slice_of(*kept)))
    assert words(ADDRESS, 80) == {chosen}
    await cluster.change(lambda: cluster.services.remove(sticky))
    assert "svc-" not in await cluster.agent.transact(f"list table ip {cluster.agent.config.services_table}")


async def test_an_address_may_move_to_another_service_and_a_lost_table_returns(cluster: Cluster) -> None:
    pod, pod_ip = await cluster.add("c1")
    answer_with(pod, b"one", 8080)
    old = service()
    await cluster.change(lambda: cluster.services.put(old), lambda: cluster.slices.put(slice_of((pod_ip, READY))))
    moved = service()
    moved["metadata"]["name"] = "other"
    endpoints = slice_of((pod_ip, READY))
    endpoints["metadata"] = {**endpoints["metadata"], "name": "o-1", "labels": {"kubernetes.io/service-name": "other"}}
    await cluster.change(
        lambda: cluster.services.remove(old),
        lambda: cluster.services.put(moved),
        lambda: cluster.slices.put(endpoints),
    )
    assert words(ADDRESS, 80, 1) == {"one"}
    await cluster.agent.transact("flush ruleset\n")
    cluster.services.put(service(ports=[{"name": "http", "port": 81}]))
    async with asyncio.timeout(120):
        while "svc-default/web" not in await cluster.agent.transact("list ruleset\n"):
            await cluster.done.wait()
            cluster.done.clear()
    assert words(ADDRESS, 81, 1) == words(ADDRESS, 80, 1) == {"one"}


async def test_the_longest_names_are_served(cluster: Cluster) -> None:
    pod, pod_ip = await cluster.add("c1")
    answer_with(pod, b"one", 8080)
    longest = service(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 86400}})
    longest["metadata"] = {"namespace": "n" * 63, "name": "s" * 63}
    endpoints = slice_of((pod_ip, READY), ("10.77.255.255", DOWN))
    endpoints["metadata"] = {
        "namespace": "n" * 63,
        "name": "x",
        "labels": {"kubernetes.io/service-name": "s" * 63},
    }
    await cluster.change(lambda: cluster.services.put(longest), lambda: cluster.slices.put(endpoints))
    assert words(ADDRESS, 80, 2) == {"one"}
    await cluster.change(lambda: cluster.services.remove(longest))
    assert "svc-" not in await cluster.agent.transact(f"list table ip {cluster.agent.config.services_table}")


async def test_one_port_may_serve_several_protocols(cluster: Cluster) -> None:
    pod, pod_ip = await cluster.add("c1")
    answer_with(pod, b"tcp", 8080)
    answer_datagrams(pod, b"udp", 8081)
    ports = [{"name": p.lower(), "port": 80, "protocol": p} for p in ("TCP", "UDP", "SCTP")]
    targets = [{**port, "port": 8080 + number} for number, port in enumerate(ports)]
    every = service(ports=ports)
    await cluster.change(
        lambda: cluster.services.put(every), lambda: cluster.slices.put(slice_of((pod_ip, READY), ports=targets))
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        assert words(ADDRESS, 80, 1) == {"tcp"} and say(client, (ADDRESS, 80)) == "udp"
        # Whether anything can speak it is the kernel's affair (CONFIG_IP_SCTP); it is translated in any case.
        table = cluster.agent.config.services_table
        assert "meta l4proto sctp dnat" in await cluster.agent.transact(f"list table ip {table}")
        await cluster.change(lambda: cluster.services.put(service(ports=ports[1:])))
        assert say(client, (ADDRESS, 80)) == "udp"
        with pytest.raises(ConnectionRefusedError):
            words(ADDRESS, 80, 1)

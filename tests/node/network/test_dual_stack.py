"""Pods and Services with an IPv6 address beside the IPv4 one, with real packets."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import IPv6Network
from pathlib import Path
from typing import Any

import pytest

from hawser.node.network.agent import NetworkAgent
from hawser.node.network.config import NetworkConfig

from .support import NewPod, add, answer_with, config, plugin, what_is_there
from .test_proxy import Cluster, cluster, words
from .test_services import DOWN, READY, service, slice_of

__all__ = ["cluster"]
Obj = dict[str, Any]
V4, V6 = "10.78.0.10", "fd78::10"
GATEWAY = "fd77::1"


def dual(folder: Path) -> NetworkConfig:
    return replace(config(folder), pod_cidr6=IPv6Network("fd77::/64"), service_cidr6=IPv6Network("fd78::/112"))


@pytest.fixture
async def agent(host: None, short_path: Path) -> AsyncIterator[NetworkAgent]:
    agent = NetworkAgent(dual(short_path))
    await agent.start()
    yield agent
    await agent.teardown()
    left = what_is_there()
    assert "hw" not in left and "hawser" not in left


async def pod_of(agent: NetworkAgent, folder: Path, new_pod: NewPod, name: str, ports: Any = None) -> Any:
    """A pod that says its name, and its IPv6 address."""
    pod, _ = await add(agent, folder, new_pod, name, ports)
    record = agent.record(name)
    assert record is not None
    answer_with(pod, name.encode(), 8080, socket.AF_INET6)
    return pod, str(record.of(6))


async def test_a_pod_has_an_address_of_each_family(agent: NetworkAgent, short_path: Path, new_pod: NewPod) -> None:
    status, result = await plugin(short_path, "ADD", "c1", new_pod().path)
    assert status == 0 and result is not None
    assert result["ips"] == [
        {"address": "10.77.0.2/32", "gateway": "10.77.0.1", "interface": 1},
        {"address": "fd77::2/128", "gateway": "fd77::1", "interface": 1},
    ]


async def test_pods_and_node_reach_each_other_by_both(agent: NetworkAgent, short_path: Path, new_pod: NewPod) -> None:
    ports = [{"hostPort": 9090, "containerPort": 8080}]
    one, _ = await pod_of(agent, short_path, new_pod, "one", ports)
    two, two_six = await pod_of(agent, short_path, new_pod, "two")
    assert one.run(lambda: words(two_six, 8080, 1)) == words(two_six, 8080, 1) == {"two"}
    assert two.run(lambda: words(GATEWAY, 9090, 1)) == one.run(lambda: words(GATEWAY, 9090, 1)) == {"one"}
    assert words("10.77.0.1", 9090, 1) == {"one"}


async def test_a_service_has_an_address_of_each_family(
    cluster: Cluster, agent: NetworkAgent, short_path: Path, new_pod: NewPod
) -> None:
    pods = [await pod_of(agent, short_path, new_pod, name) for name in ("one", "two")]
    ports = [{"name": "http", "port": 80, "nodePort": 30080}]
    both = service(type="NodePort", ports=ports, clusterIPs=[V4, V6], sessionAffinity="ClientIP")
    six = slice_of(*((six, READY) for _, six in pods), addressType="IPv6")
    six["metadata"] = {**six["metadata"], "name": "web-six"}
    four = slice_of(("10.77.0.2", READY))
    await cluster.change(
        lambda: cluster.services.put(both), lambda: cluster.slices.put(six), lambda: cluster.slices.put(four)
    )
    (chosen,) = words(V6, 80)
    assert chosen in ("one", "two") and words(V4, 80, 1) == {"one"}
    for pod, _ in pods:
        (own,) = pod.run(lambda: words(V6, 80, 10))
        assert pod.run(lambda: words(GATEWAY, 30080, 10)) == {own}
    six["endpoints"] = slice_of((pods[0][1], DOWN))["endpoints"]
    await cluster.change(lambda: cluster.slices.put(dict(six)))
    with pytest.raises(ConnectionRefusedError):
        words(V6, 80, 1)
    assert words(V4, 80, 1) == {"one"}


async def test_an_engine_that_goes_on_with_one_family_drops_the_other(host: None, short_path: Path) -> None:
    first, second = NetworkAgent(dual(short_path)), NetworkAgent(config(short_path))
    await first.start()
    assert "table ip6 hawser" in what_is_there()
    await first.stop()
    await second.start()
    assert "table ip6 hawser" not in what_is_there() and "table ip hawser" in what_is_there()
    await second.teardown()

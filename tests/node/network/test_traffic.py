"""Service traffic with real packets: a node with pods, and a client outside of it."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hawser.node.network.agent import NetworkAgent
from hawser.node.network.proxystatus import ProxyStatus

from .conftest import Pod
from .support import NewPod, add, answer_datagrams, answer_with, ask, say
from .test_proxy import ADDRESS, Cluster, cluster, words
from .test_services import DOWN, LEAVING, READY, service, slice_of

__all__ = ["cluster"]
Obj = dict[str, Any]
NODE, OUTSIDE, VIRTUAL, BALANCER = "192.0.2.1", "192.0.2.9", "198.51.100.7", "10.79.0.1"
_RECVERR = 11
BALANCED = {"loadBalancer": {"ingress": [{"ip": BALANCER, "ipMode": "VIP"}]}}


def run(text: str) -> None:
    subprocess.run(text, shell=True, check=True)


@pytest.fixture
def outside(new_pod: NewPod) -> Pod:
    """A machine beside the node, which sends everything to it."""
    client = new_pod()
    client.run(lambda: run("ip link set lo up"))
    run("ip link add lan type veth peer name out")
    run(f"ip link set out netns {client.path}")
    run(f"ip addr add {NODE}/24 dev lan; ip link set lan up; ip route add default via {OUTSIDE}")
    client.run(lambda: run(f"ip addr add {OUTSIDE}/24 dev out; ip link set out up; ip route add default via {NODE}"))
    return client


class Talker:
    """One UDP socket, so one flow."""

    def __init__(self, pod: Pod) -> None:
        self.socket = pod.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        # Without a connection only this lets a datagram's refusal be heard.
        self.socket.setsockopt(socket.IPPROTO_IP, _RECVERR, 1)
        self.socket.settimeout(1)
        pod.closing.append(self.socket)

    def say(self, address: str, port: int) -> str:
        return say(self.socket, (address, port))


def outcome(address: str, port: int = 80, patience: float = 10.0) -> str:
    """The word of the answer, or why there is none. patience: less is enough for what is to be dropped."""
    try:
        with socket.create_connection((address, port), timeout=patience) as connection:
            return connection.recv(100).decode().split()[1]
    except TimeoutError:
        return "dropped"
    except ConnectionRefusedError:
        return "refused"


def on(node: str, *given: tuple[str, Obj], **more: Any) -> Obj:
    made = slice_of(*given, **more)
    for endpoint in made["endpoints"]:
        endpoint["nodeName"] = node
    made["metadata"] = {**made["metadata"], "name": f"web-{node}"}
    return made


def balanced(**spec: Any) -> Obj:
    ports = [{"name": "http", "port": 80, "nodePort": 30080}]
    return {**service(type="LoadBalancer", ports=ports, externalIPs=[VIRTUAL], **spec), "status": BALANCED}


async def test_every_address_of_a_service_answers_those_outside_who_keep_their_address(
    cluster: Cluster, agent: NetworkAgent, short_path: Path, new_pod: NewPod, outside: Pod
) -> None:
    pod, ip = await add(agent, short_path, new_pod, "c1")
    answer_with(pod, b"web", 8080)
    await cluster.change(lambda: cluster.services.put(balanced()), lambda: cluster.slices.put(on("here", (ip, READY))))
    for address, port in ((NODE, 30080), (VIRTUAL, 80), (BALANCER, 80)):
        assert outside.run(lambda a=address, p=port: ask(a, p)) == f"{OUTSIDE} web"
        assert pod.run(lambda a=address, p=port: outcome(a, p)) == "web", "a pod reaches itself"
        assert outcome(address, port) == "web"


async def test_addresses_without_endpoints_refuse_and_local_policies_drop(
    cluster: Cluster, agent: NetworkAgent, short_path: Path, new_pod: NewPod, outside: Pod
) -> None:
    addresses = ((NODE, 30080), (VIRTUAL, 80), (BALANCER, 80))
    pod, ip = await add(agent, short_path, new_pod, "c1")
    answer_with(pod, b"web", 8080)
    await cluster.change(lambda: cluster.services.put(balanced()), lambda: cluster.slices.put(on("here", (ip, DOWN))))

    def outcomes(patience: float = 3.0) -> list[str]:
        return [outcome(address, port, patience) for address, port in addresses]

    assert outside.run(outcomes) == pod.run(outcomes) == outcomes() == ["refused"] * 3
    # An endpoint elsewhere: what comes from outside is not let through, the cluster itself is.
    local = balanced(externalTrafficPolicy="Local")
    await cluster.change(lambda: cluster.services.put(local), lambda: cluster.slices.put(on("there", (ip, READY))))
    cluster.slices.remove(on("here"))
    assert outside.run(lambda: outcomes(0.3)) == ["dropped"] * 3
    assert pod.run(outcomes) == outcomes() == ["web"] * 3
    inner = balanced(internalTrafficPolicy="Local")
    await cluster.change(lambda: cluster.services.put(inner))
    assert pod.run(lambda: outcome(ADDRESS, 80, 0.3)) == "dropped"
    # One that is leaving is better than none.
    await cluster.change(
        lambda: cluster.services.put(balanced(externalTrafficPolicy="Local", internalTrafficPolicy="Local")),
        lambda: cluster.slices.put(on("here", (ip, LEAVING))),
    )
    assert outside.run(outcomes) == ["web"] * 3
    assert pod.run(lambda: outcome(ADDRESS)) == "web"


async def test_a_balancer_is_open_to_its_source_ranges_only(
    cluster: Cluster, agent: NetworkAgent, short_path: Path, new_pod: NewPod, outside: Pod
) -> None:
    pod, ip = await add(agent, short_path, new_pod, "c1")
    answer_with(pod, b"web", 8080)
    slices = on("here", (ip, READY))
    for ranges, wanted, patience in (([f"{OUTSIDE}/32", "10.0.0.0/8"], "web", 3.0), (["10.0.0.0/8"], "dropped", 0.3)):
        guarded = balanced(loadBalancerSourceRanges=ranges)
        await cluster.change(lambda s=guarded: cluster.services.put(s), lambda: cluster.slices.put(slices))
        assert outside.run(lambda p=patience: outcome(BALANCER, 80, p)) == wanted
        assert outside.run(lambda: outcome(NODE, 30080)) == "web"
        assert pod.run(lambda: outcome(BALANCER)) == "web"


async def test_flows_of_datagrams_follow_their_service(
    cluster: Cluster, agent: NetworkAgent, short_path: Path, new_pod: NewPod, outside: Pod
) -> None:
    pods = {name: await add(agent, short_path, new_pod, name) for name in ("one", "two")}
    for name, (pod, _) in pods.items():
        answer_datagrams(pod, name.encode())
    client, _ = await add(agent, short_path, new_pod, "client")
    ports = [{"name": "dns", "port": 53, "protocol": "UDP", "nodePort": 30053}]
    named: Obj = {"ports": [{"name": "dns", "port": 8080, "protocol": "UDP"}]}
    inner, outer = Talker(client), Talker(outside)

    def heard() -> tuple[str, str]:
        return inner.say(ADDRESS, 53), outer.say(NODE, 30053)

    await cluster.change(lambda: cluster.services.put(service(type="NodePort", ports=ports)))
    assert heard() == ("refused", "refused")
    for name, (_, ip) in pods.items():
        slices = slice_of((ip, READY), **named)
        await cluster.change(lambda s=slices: cluster.slices.put(s))
        assert heard() == (name, name), "also a flow that began before"


async def test_a_service_that_loses_its_datagram_flow_to_the_node_wins_it_back(
    cluster: Cluster, agent: NetworkAgent, short_path: Path, new_pod: NewPod, outside: Pod
) -> None:
    """Datagrams that arrived before the Service was there went to the node itself, and are known as such."""
    pod, ip = await add(agent, short_path, new_pod, "c1")
    answer_datagrams(pod, b"pod")
    talker = Talker(outside)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind((NODE, 30053))
        own.settimeout(20)
        talker.socket.sendto(b"x", (NODE, 30053))
        own.sendto(b"node", own.recvfrom(10)[1])
        assert talker.socket.recv(10) == b"node"
        ports = [{"name": "dns", "port": 53, "protocol": "UDP", "nodePort": 30053}]
        slices = slice_of((ip, READY), ports=[{"name": "dns", "port": 8080, "protocol": "UDP"}])
        await cluster.change(
            lambda: cluster.services.put(service(type="NodePort", ports=ports)), lambda: cluster.slices.put(slices)
        )
        assert talker.say(NODE, 30053) == "pod"


async def test_an_endpoint_elsewhere_answers_by_way_of_the_node(
    cluster: Cluster, agent: NetworkAgent, short_path: Path, new_pod: NewPod, outside: Pod
) -> None:
    other = new_pod()
    other.run(lambda: run("ip link set lo up"))
    run(f"ip link add lan2 type veth peer name far; ip link set far netns {other.path}")
    run("ip addr add 203.0.113.1/24 dev lan2; ip link set lan2 up")
    # No route back to the client: whoever answers can only do so to the node.
    other.run(lambda: run("ip addr add 203.0.113.2/24 dev far; ip link set far up"))
    answer_with(other, b"far", 8080)
    await cluster.change(
        lambda: cluster.services.put(balanced()), lambda: cluster.slices.put(on("there", ("203.0.113.2", READY)))
    )
    assert outside.run(lambda: ask(NODE, 30080)) == "203.0.113.1 far"
    assert ask(ADDRESS) == "203.0.113.1 far"
    client, _ = await add(agent, short_path, new_pod, "c1")
    assert client.run(lambda: outcome(ADDRESS)) == "far"


async def test_two_services_with_one_external_address_do_not_spoil_the_table(
    cluster: Cluster, agent: NetworkAgent, short_path: Path, new_pod: NewPod, outside: Pod
) -> None:
    pod, ip = await add(agent, short_path, new_pod, "c1")
    answer_with(pod, b"web", 8080)
    second = service(clusterIP="10.78.0.11", externalIPs=[VIRTUAL])
    second["metadata"]["name"] = "second"
    theirs = slice_of((ip, READY))
    theirs["metadata"] = {**theirs["metadata"], "name": "s-1", "labels": {"kubernetes.io/service-name": "second"}}
    one = service(externalIPs=[VIRTUAL])
    await cluster.change(
        lambda: cluster.services.put(one),
        lambda: cluster.services.put(second),
        lambda: cluster.slices.put(theirs),
        lambda: cluster.slices.put(slice_of((ip, DOWN))),
    )
    assert outcome("10.78.0.11") == "web"
    assert outcome(VIRTUAL) == "web"


async def test_a_balancers_health_check_tells_of_ready_endpoints_on_the_node(
    cluster: Cluster, agent: NetworkAgent, short_path: Path, new_pod: NewPod
) -> None:
    checked = balanced(externalTrafficPolicy="Local", healthCheckNodePort=31999)

    async def health() -> tuple[str, Obj]:
        reader, writer = await asyncio.open_connection("127.0.0.1", 31999)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        writer.close()
        return head.split("\r\n")[0], json.loads(body)

    cluster.slices.put(on("here", ("10.77.0.9", READY)))
    await cluster.change(lambda: cluster.services.put(checked))
    name = {"namespace": "default", "name": "web"}
    assert await health() == (
        "HTTP/1.1 200 OK",
        {"service": name, "localEndpoints": 1, "serviceProxyHealthy": True},
    )
    cluster.slices.put(on("here", ("10.77.0.9", LEAVING)))
    await cluster.proxy.settled()
    status, found = await health()
    assert status == "HTTP/1.1 503 Service Unavailable" and found["localEndpoints"] == 0
    await cluster.change(lambda: cluster.services.remove(checked))
    with pytest.raises(OSError):
        await health()


async def test_a_node_in_another_zone_goes_to_other_endpoints(
    cluster: Cluster, agent: NetworkAgent, short_path: Path, new_pod: NewPod
) -> None:
    pods = [await add(agent, short_path, new_pod, f"c{i}") for i in range(2)]
    slices = slice_of(*((ip, READY) for _, ip in pods))
    for number, (pod, _) in enumerate(pods):
        answer_with(pod, b"pod%d" % number, 8080)
        slices["endpoints"][number]["hints"] = {"forZones": [{"name": f"z{number + 1}"}]}
    await cluster.change(lambda: cluster.services.put(service()), lambda: cluster.slices.put(slices))
    assert words(ADDRESS, 80, 10) == {"pod0"}


async def test_the_proxy_tells_how_it_is_as_kube_proxy_does(host: None, short_path: Path) -> None:
    eligible = True
    status = ProxyStatus(lambda: eligible)
    await status.start("0.0.0.0:10256", "127.0.0.1:10249")

    async def get(port: int, path: str) -> tuple[str, str]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        writer.close()
        return head.split("\r\n")[0], body

    try:
        status.changed(service=True)
        status.applied(0.002)
        line, body = await get(10256, "/healthz")
        assert line == "HTTP/1.1 200 OK" and json.loads(body)["nodeEligible"] is True
        eligible = False
        assert (await get(10256, "/healthz"))[0] == "HTTP/1.1 503 Service Unavailable"
        assert (await get(10256, "/livez"))[0] == "HTTP/1.1 200 OK"
        assert (await get(10256, "/other"))[0] == "HTTP/1.1 404 Not Found"
        assert (await get(10249, "/proxyMode"))[1] == "nftables"
        _, metrics = await get(10249, "/metrics")
        assert "kubeproxy_sync_proxy_rules_duration_seconds_count 1\n" in metrics
        assert "kubeproxy_sync_proxy_rules_service_changes_total 1\n" in metrics
        assert 'kubeproxy_proxy_healthz_total{code="503"} 1\n' in metrics
        other = ProxyStatus()
        await other.start("0.0.0.0:10256", "")
        other.close()
    finally:
        status.close()

"""NetworkPolicies against real packets between pods, through the kernel's nftables."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from ipaddress import IPv6Network
from pathlib import Path
from typing import Any

import pytest

from hawser.node.network.agent import NetworkAgent
from hawser.node.network.podtable import drop_table
from hawser.node.network.policy import enforcer
from hawser.node.network.policy.enforcer import Enforcer

from .conftest import Pod
from .policed import Cluster, Obj, connects, labelled, policy
from .support import NewPod, config, plugin


@pytest.fixture
async def cluster(agent: NetworkAgent, short_path: Path, new_pod: NewPod) -> AsyncIterator[Cluster]:
    made = Cluster(agent, short_path, new_pod)
    agent.guard = made.enforcer
    task = asyncio.create_task(made.enforcer.run())
    for namespace, name in (("x", "a"), ("x", "b"), ("y", "a")):
        await made.add(namespace, name)
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_without_policies_there_is_no_table_and_nothing_is_watched(cluster: Cluster) -> None:
    assert "policies" not in await cluster.agent.transact("list tables\n")
    before = len(cluster.transactions)
    await cluster.add("y", "b")
    assert (len(cluster.transactions), cluster.watching) == (before, 0)
    await cluster.apply(policy(ingress=[]))
    assert cluster.watching == 2
    await cluster.apply()
    assert cluster.watching == 0
    assert "policies" not in await cluster.agent.transact("list tables\n")
    await cluster.check(xa_xb=True, ya_xb=True)


async def test_default_deny_in_both_directions_and_exceptions_from_it_add_up(cluster: Cluster) -> None:
    deny_in, deny_out = policy("in", ingress=[]), policy("out", egress=[])
    await cluster.apply(deny_in)
    await cluster.check(xa_xb=False, ya_xb=False, xa_ya=True)
    await cluster.apply(deny_out)
    await cluster.check(xa_ya=False, xa_xb=False, ya_xb=True)
    from_b = [{"from": [{"podSelector": labelled(pod="b")}]}]
    await cluster.apply(deny_in, policy("b", pods=labelled(pod="a"), ingress=from_b))
    await cluster.check(xb_xa=True, ya_xa=False, xa_xb=False)
    from_y = [{"from": [{"namespaceSelector": labelled(**{"kubernetes.io/metadata.name": "y"})}]}]
    await cluster.apply(
        deny_in,
        policy("b", pods=labelled(pod="a"), ingress=from_b),
        policy("y", pods=labelled(pod="a"), ingress=from_y),
    )
    await cluster.check(xb_xa=True, ya_xa=True, ya_xb=False)
    await cluster.apply(deny_in, policy("all", ingress=[{}]))
    await cluster.check(xb_xa=True, ya_xa=True)


async def test_ports_by_number_range_name_and_protocol(cluster: Cluster) -> None:
    await cluster.apply(policy(ingress=[{"ports": [{"port": 81}]}]))
    await cluster.check(81, ya_xa=True)
    await cluster.check(80, ya_xa=False)
    await cluster.apply(
        policy(ingress=[{"ports": [{"port": "serve-80"}, {"port": 1, "endPort": 70, "protocol": "UDP"}]}])
    )
    await cluster.check(80, ya_xa=True)
    await cluster.check(81, ya_xa=False)
    await cluster.check(53, udp=True, ya_xa=True)
    to_a = [{"podSelector": labelled(pod="a"), "namespaceSelector": {}}]
    await cluster.apply(policy(pods=labelled(pod="b"), egress=[{"to": to_a, "ports": [{"port": "serve-81"}]}]))
    await cluster.check(81, xb_ya=True, xb_xa=True)
    await cluster.check(80, xb_ya=False, ya_xb=True)
    await cluster.check(53, udp=True, xb_ya=False)
    await cluster.apply(policy(ingress=[{"ports": [{"protocol": "SCTP", "port": 80}, {"protocol": "SCTP"}]}]))
    await cluster.check(80, ya_xa=False)
    await cluster.apply(policy(ingress=[{"ports": [{"protocol": "SCTP", "port": 80}]}]))
    await cluster.check(80, ya_xa=False)
    await cluster.apply(policy(ingress=[{"ports": [{"protocol": "UDP"}]}]))
    await cluster.check(80, ya_xa=False)
    await cluster.check(53, udp=True, ya_xa=True)


async def test_blocks_of_addresses_with_exceptions(cluster: Cluster) -> None:
    ya, xb = cluster.addresses["y/a"], cluster.addresses["x/b"]
    block = {"ipBlock": {"cidr": "10.77.0.0/24", "except": [f"{ya}/32"]}}
    await cluster.apply(policy(pods=labelled(pod="a"), egress=[{"to": [block]}]))
    await cluster.check(xa_xb=True, xa_ya=False, ya_xa=True)
    again = {"ipBlock": {"cidr": f"{ya}/32"}}
    await cluster.apply(policy(pods=labelled(pod="a"), egress=[{"to": [block, again]}]))
    await cluster.check(xa_xb=True, xa_ya=True)
    await cluster.apply(policy(pods=labelled(pod="a"), ingress=[{"from": [{"ipBlock": {"cidr": f"{xb}/32"}}]}]))
    await cluster.check(xb_xa=True, ya_xa=False)


async def test_changes_of_labels_and_policies_act_at_once(cluster: Cluster) -> None:
    allow = policy(pods=labelled(pod="a"), ingress=[{"from": [{"namespaceSelector": labelled(team="red")}]}])
    await cluster.apply(allow)
    await cluster.check(ya_xa=False)
    cluster.namespace("y", team="red")
    await cluster.settled()
    await cluster.check(ya_xa=True)
    cluster.describe("x", "a", pod="other")
    await cluster.settled()
    await cluster.check(xb_xa=True)
    cluster.describe("x", "a", pod="a")
    await cluster.settled()
    await cluster.check(xb_xa=False)
    await cluster.apply(policy(ingress=[{"from": [{"podSelector": labelled(pod="b")}]}]))
    await cluster.check(xb_xa=True, ya_xa=False)


async def test_the_node_reaches_its_pods_and_a_pod_itself(cluster: Cluster) -> None:
    await cluster.apply(policy("in", ingress=[]), policy("out", egress=[]))
    with socket.create_connection((cluster.addresses["x/a"], 80), timeout=30) as connection:
        assert connection.recv(100)
    # By way of a translated address, as a Service's: the packet leaves the pod and comes back.
    own = cluster.addresses["x/a"]
    await cluster.translate(f"dnat to {own}", f"ip saddr {own} ip daddr {own} snat to {cluster.agent.config.gateway}")
    assert await asyncio.to_thread(connects, cluster.pods["x/a"], "10.78.0.9")
    assert not await asyncio.to_thread(connects, cluster.pods["x/b"], "10.78.0.9", patience=0.4)


async def test_a_services_traffic_is_judged_by_the_pod_it_goes_to(cluster: Cluster) -> None:
    await cluster.translate(f"tcp dport 8080 dnat to {cluster.addresses['x/a']}:80")
    await cluster.apply(policy(pods=labelled(pod="b"), egress=[{"ports": [{"port": 80}]}]))
    assert await asyncio.to_thread(connects, cluster.pods["x/b"], "10.78.0.9", 8080)
    await cluster.apply(policy(pods=labelled(pod="b"), egress=[{"ports": [{"port": 8080}]}]))
    assert not await asyncio.to_thread(connects, cluster.pods["x/b"], "10.78.0.9", 8080, patience=0.4)


async def test_what_listens_on_the_node_is_reached_by_who_may_leave(cluster: Cluster) -> None:
    gateway = str(cluster.agent.config.gateway)
    with socket.create_server((gateway, 53)):
        await cluster.apply(policy(egress=[]))
        assert not await asyncio.to_thread(connects, cluster.pods["x/a"], gateway, 53, patience=0.4)
        dns = {"namespaceSelector": {}, "podSelector": labelled(**{"k8s-app": "kube-dns"})}
        await cluster.apply(policy(egress=[{"to": [dns], "ports": [{"port": 53}, {"port": 53, "protocol": "UDP"}]}]))
        assert await asyncio.to_thread(connects, cluster.pods["x/a"], gateway, 53)
        await cluster.check(xa_xb=False)


async def test_a_pod_is_covered_before_it_can_run_and_an_address_that_changes_hands_is_forgotten(
    cluster: Cluster,
) -> None:
    await cluster.apply(policy(ingress=[{"from": [{"podSelector": labelled(pod="d")}]}]))
    cluster.transactions.clear()
    await cluster.add("x", "c")
    assert any(cluster.agent.config.link_prefix in text for text in cluster.transactions)
    await cluster.check(ya_xc=False, xa_xc=False)
    await cluster.add("x", "d")
    await cluster.check(xd_xc=True, xd_xa=True)
    address = cluster.addresses["x/d"]
    await plugin(cluster.folder, "DEL", "xd")
    cluster.local.remove(cluster.local.get("x", "d") or {})
    await cluster.settled()
    listed = await cluster.agent.transact(f"list table inet {cluster.agent.config.policies_table}\n")
    assert f"{address} " not in listed.replace(",", " ")


async def test_pods_of_other_nodes_are_known_by_their_status(cluster: Cluster) -> None:
    def remote(phase: str = "Running", **spec: Any) -> Obj:
        ip = cluster.addresses["y/a"]
        metadata = {"namespace": "z", "name": "far", "labels": {"pod": "far"}}
        return {"metadata": metadata, "spec": spec, "status": {"phase": phase, "podIPs": [{"ip": ip}]}}

    cluster.namespace("z")
    await cluster.apply(policy(ingress=[{"from": [{"namespaceSelector": {}, "podSelector": labelled(pod="far")}]}]))
    await cluster.check(ya_xa=False)
    for obj, reaches in ((remote(), True), (remote("Succeeded"), False), (remote(hostNetwork=True), False)):
        cluster.remote.put(obj)
        await cluster.settled()
        await cluster.check(ya_xa=reaches)


async def test_both_address_families_are_under_the_same_policies(host: None, short_path: Path, new_pod: NewPod) -> None:
    two = replace(config(short_path), pod_cidr6=IPv6Network("fd77::/64"), service_cidr6=IPv6Network("fd78::/112"))
    agent = NetworkAgent(two)
    await agent.start()
    cluster = Cluster(agent, short_path, new_pod)
    agent.guard = cluster.enforcer
    task = asyncio.create_task(cluster.enforcer.run())
    try:
        for name in "abc":
            pod = await cluster.add("x", name)
            record = agent.record(f"x{name}")
            assert record is not None
            cluster.addresses[f"x/{name}"] = str(record.addresses[1])
            listener = pod.run(lambda: socket.create_server(("::", 90), family=socket.AF_INET6))
            pod.closing.append(listener)
        a, c = cluster.addresses["x/a"], cluster.addresses["x/c"]
        assert ":" in a
        await cluster.check(90, xb_xa=True)
        from_b = {"from": [{"podSelector": labelled(pod="b")}], "ports": [{"port": 90}]}
        await cluster.apply(policy(pods=labelled(pod="a"), ingress=[from_b]))
        await cluster.check(90, xb_xa=True, xc_xa=False, xa_xc=True)
        block = {"ipBlock": {"cidr": "fd77::/64", "except": [f"{c}/128"]}}
        await cluster.apply(policy(pods=labelled(pod="a"), egress=[{"to": [block]}]))
        await cluster.check(90, xa_xb=True, xa_xc=False)
        with socket.create_connection((a, 90), timeout=30):
            pass
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await agent.teardown()


async def test_static_pods_do_not_wait_for_an_api_server_and_are_covered_by_their_mirrors_labels(
    agent: NetworkAgent, short_path: Path, new_pod: NewPod
) -> None:
    cluster = Cluster(agent, short_path, new_pod)
    agent.guard = cluster.enforcer
    args = {"K8S_POD_NAMESPACE": "x", "K8S_POD_NAME": "static", "K8S_POD_UID": "file"}
    status, _ = await plugin(short_path, "ADD", "s", new_pod().path, **args)
    assert status == 0
    task = asyncio.create_task(cluster.enforcer.run())
    cluster.policies.put(policy(pods=labelled(pod="static"), ingress=[]))
    cluster.describe("x", "static", pod="static")
    await cluster.settled()
    listed = await agent.transact(f"list map inet {agent.config.policies_table} ingress\n")
    assert "elements" not in listed, "another pod of that name"
    mirror = cluster.local.get("x", "static") or {}
    mirrored = {**mirror["metadata"], "annotations": {"kubernetes.io/config.mirror": "file"}}
    cluster.local.put({**mirror, "metadata": mirrored})
    await cluster.settled()
    assert "elements" in await agent.transact(f"list map inet {agent.config.policies_table} ingress\n")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_policies_stay_in_force_while_no_agent_runs(
    cluster: Cluster, agent: NetworkAgent, short_path: Path, new_pod: NewPod
) -> None:
    await cluster.apply(policy(ingress=[]))
    before = await agent.transact(f"list table inet {agent.config.policies_table}\n")
    seen: list[str] = []
    again = Enforcer(
        agent.config.policies_table,
        agent.config.link_prefix,
        lambda text: _remembered(agent, seen, text),
        cluster.policies,
        cluster.local,
        cluster.further,
        agent.records,
    )
    task = asyncio.create_task(again.run())
    record = next(iter(agent.records()))
    await again.cover(record)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(seen) == 1, "one transaction takes the old table's place: there is no moment without"
    assert sorted((await agent.transact(f"list table inet {agent.config.policies_table}\n")).split()) == sorted(
        before.split()
    )


async def test_a_table_that_somebody_removed_comes_back(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enforcer, "_CHECK_SECONDS", 0.05)
    await cluster.apply(policy(ingress=[]))
    await cluster.agent.transact(drop_table(f"inet {cluster.agent.config.policies_table}"))
    async with asyncio.timeout(120):
        while cluster.agent.config.policies_table not in await cluster.agent.transact("list tables\n"):
            pass
    await cluster.check(ya_xa=False)


async def _remembered(agent: NetworkAgent, seen: list[str], text: str) -> str:
    seen.append(text)
    return await agent.transact(text)


async def test_a_pod_whose_policies_cannot_be_set_is_not_connected(
    agent: NetworkAgent, short_path: Path, new_pod: Callable[[], Pod]
) -> None:
    made = Cluster(agent, short_path, new_pod)

    async def refuse(commands: str) -> str:
        from hawser.node.network.nft import NftError

        raise NftError("no")

    made.enforcer._transact = refuse
    agent.guard = made.enforcer
    made.policies.put(policy(ingress=[]))
    task = asyncio.create_task(made.enforcer.run())
    made.describe("x", "a")
    status, result = await plugin(short_path, "ADD", "xa", new_pod().path, K8S_POD_NAMESPACE="x", K8S_POD_NAME="a")
    assert (status, result and result["code"]) == (1, 11)
    assert agent.record("xa") is None
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

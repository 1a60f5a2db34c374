"""Addresses of Services of type LoadBalancer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_network
from typing import Any

import pytest

from hawser.api.errors import APIError
from hawser.api.kinds import EVENT, SERVICE
from hawser.client.client import Client
from hawser.controllers.service_lb import FINALIZER, NoAddress, ServiceLBController, Wanted, plan

from .objects import Obj
from .running import running

RANGES = [ip_network("10.79.0.0/29"), ip_network("fd79::/125")]


def balanced(*addresses: str, finalizers: tuple[str, ...] = (), ending: bool = False, **spec: Any) -> Obj:
    metadata: Obj = {"name": "web", "namespace": "default", "finalizers": list(finalizers)}
    if ending:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    ingress = [{"ip": address} for address in addresses]
    return {
        "metadata": metadata,
        "spec": {"type": "LoadBalancer", **spec},
        "status": {"loadBalancer": {"ingress": ingress}},
    }


@pytest.mark.parametrize(
    ("service", "want"),
    [
        pytest.param(balanced(), Wanted(("10.79.0.2",), True), id="the first free address"),
        pytest.param(balanced("10.79.0.4"), Wanted(("10.79.0.4",), True), id="the one that it has"),
        pytest.param(balanced("10.79.0.1"), Wanted(("10.79.0.2",), True), id="not what is another's"),
        pytest.param(balanced("192.0.2.1"), Wanted(("10.79.0.2",), True), id="not what is of no range"),
        pytest.param(balanced(loadBalancerIP="10.79.0.5"), Wanted(("10.79.0.5",), True), id="the one that it asks for"),
        pytest.param(
            balanced(ipFamilies=["IPv6", "IPv4"]), Wanted(("fd79::1", "10.79.0.2"), True), id="one of each family"
        ),
        pytest.param(balanced(loadBalancerClass="x.io/y"), None, id="other classes are others' business"),
        pytest.param(balanced(ending=True, finalizers=(FINALIZER,)), Wanted(), id="nothing when it ends"),
        pytest.param(balanced(ending=True), None, id="what ends gets nothing new"),
        pytest.param(
            balanced("10.79.0.4", type="ClusterIP", finalizers=(FINALIZER,)), Wanted(), id="nor as another type"
        ),
    ],
)
def test_a_balancer_has(service: Obj, want: Wanted | None) -> None:
    assert plan(service, RANGES, {"10.79.0.1"}) == want


@pytest.mark.parametrize(
    ("service", "reason"),
    [
        (balanced(loadBalancerIP="10.79.0.1"), "spec.loadBalancerIP 10.79.0.1 is in use"),
        (balanced(loadBalancerIP="10.80.0.1"), "is not in the range 10.79.0.0/29"),
        (balanced(loadBalancerIP="x"), "is no address"),
    ],
)
def test_what_cannot_be_had_says_why(service: Obj, reason: str) -> None:
    with pytest.raises(NoAddress, match=reason):
        plan(service, RANGES, {"10.79.0.1"})


def test_a_full_range_says_so() -> None:
    with pytest.raises(NoAddress, match=r"no free address in the range 10.79.0.0/29"):
        plan(balanced(), RANGES[:1], {f"10.79.0.{n}" for n in range(1, 7)})


@pytest.fixture
async def client(api_server: Any) -> AsyncIterator[Client]:
    controller = ServiceLBController()
    controller.configure({"load_balancer_range": ["10.79.1.0/30"]})
    async with running(api_server.kubeconfig, controller) as made:
        yield made


async def seen(client: Client, name: str, holds: Callable[[Obj], bool]) -> Obj:
    async with asyncio.timeout(60):
        while True:
            found = await client.get(SERVICE, name, "default")
            if holds(found):
                return found
            await asyncio.sleep(0.02)


def ingress(service: Obj) -> list[Obj]:
    listed: list[Obj] = (service["status"].get("loadBalancer") or {}).get("ingress") or []
    return listed


async def test_addresses_come_with_a_finalizer_and_go_when_they_are_not_wanted(client: Client) -> None:
    body = {"apiVersion": "v1", "kind": "Service", "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}}
    for name in ("lb-one", "lb-two", "lb-three"):
        await client.create(SERVICE, {**body, "metadata": {"name": name, "namespace": "default"}})
    one = await seen(client, "lb-one", lambda s: bool(ingress(s)))
    assert ingress(one) == [{"ip": "10.79.1.1", "ipMode": "VIP"}] and one["metadata"]["finalizers"] == [FINALIZER]
    await seen(client, "lb-two", lambda s: bool(ingress(s)))

    async def told(name: str, *reasons: str) -> None:
        async with asyncio.timeout(60):
            while True:
                events = (await client.list(EVENT, "default")).items
                if {*reasons} <= {e["reason"] for e in events if e["involvedObject"]["name"] == name}:
                    return
                await asyncio.sleep(0.02)

    await told("lb-three", "SyncLoadBalancerFailed")
    await client.patch(SERVICE, "lb-one", "default", {"spec": {"type": "ClusterIP"}})
    freed = await seen(client, "lb-one", lambda s: not ingress(s))
    assert not freed["metadata"].get("finalizers")
    await seen(client, "lb-three", lambda s: bool(ingress(s)))
    await client.delete(SERVICE, "lb-two", "default")
    async with asyncio.timeout(60):
        while True:
            try:
                await client.get(SERVICE, "lb-two", "default")
            except APIError as error:
                assert error.code == 404
                break
            await asyncio.sleep(0.02)
    await told("lb-one", "EnsuringLoadBalancer", "EnsuredLoadBalancer", "DeletedLoadBalancer")
    await client.delete(SERVICE, "lb-three", "default")

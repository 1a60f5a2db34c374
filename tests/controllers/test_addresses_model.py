"""Addresses through random histories: of load balancers each is one Service's, and DNS is where the nodes are."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawser.api.kinds import ENDPOINT_SLICE, NAMESPACE, NODE, SERVICE
from hawser.client.controller import Controller
from hawser.controllers import cluster_dns, node_ttl
from hawser.controllers.cluster_dns import ClusterDNSController
from hawser.controllers.node_ttl import NodeTTLController
from hawser.controllers.service_lb import ServiceLBController, addresses_of, has_finalizer, wants

from .living import FakeClock, Living, interrupted
from .objects import Obj
from .world import Fault, World

RANGE = {"192.0.2.1", "192.0.2.2"}
DNS = cluster_dns.NAMESPACE, cluster_dns.NAME


def balancer() -> Controller:
    made = ServiceLBController()
    made.configure({"load_balancer_range": ["192.0.2.0/30"]})
    return made


def service(name: str, *, asked: str = "", other: bool = False) -> Obj:
    spec: Obj = {"type": "LoadBalancer", "ipFamilies": ["IPv4"], "ports": [{"port": 80, "protocol": "TCP"}]}
    if asked:
        spec["loadBalancerIP"] = asked
    if other:
        spec["loadBalancerClass"] = "example.com/other"
    return {"metadata": {"name": name}, "spec": spec}


NUMBERS = st.integers(0, 3)
ASKED = st.sampled_from(["", "", "192.0.2.2", "198.51.100.1"])
ACTIONS = st.one_of(
    st.tuples(st.just("service"), st.tuples(NUMBERS, ASKED, st.booleans())),
    st.tuples(st.sampled_from(["no service", "inside", "outside"]), NUMBERS),
    st.tuples(st.sampled_from(["dns", "no dns", "taken over", "given back", "no slice", "spoil"]), st.just(0)),
    st.tuples(st.sampled_from(["node", "no node", "ready", "unready"]), st.integers(0, 5)),
    st.tuples(st.sampled_from(["wait", "restart", "stale", "deliver"]), st.integers(1, 60)),
)


async def act(living: Living, what: str, value: Any) -> None:
    world = living.world

    def change(name: str, **spec: Any) -> None:
        living.change(SERVICE, name, lambda new: new["spec"].update(spec))

    dns = world.find(SERVICE, DNS[1], DNS[0])
    match what:
        case "service" if world.find(SERVICE, f"s{value[0]}") is None:
            world.create(SERVICE, service(f"s{value[0]}", asked=value[1], other=value[2]))
        case "no service" if world.find(SERVICE, f"s{value}") is not None:
            world.delete(SERVICE, f"s{value}")
        case "inside":
            change(f"s{value}", type="ClusterIP", loadBalancerClass=None)
        case "outside":
            change(f"s{value}", type="LoadBalancer")
        case "dns" if dns is None:
            ports = [{"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53}]
            metadata = {"name": DNS[1], "namespace": DNS[0]}
            world.create(SERVICE, {"metadata": metadata, "spec": {"type": "ClusterIP", "ports": ports}})
        case "no dns" if dns is not None:
            world.delete(SERVICE, DNS[1], DNS[0])
            while world.collect():
                pass
        case "taken over" | "given back" if dns is not None:
            selector = {"k8s-app": "kube-dns"} if what == "taken over" else None
            world.change(SERVICE, DNS[1], lambda new: new["spec"].update(selector=selector), DNS[0])
        case "no slice" | "spoil" if world.find(ENDPOINT_SLICE, cluster_dns.SLICE, DNS[0]) is not None:
            if what == "no slice":
                world.delete(ENDPOINT_SLICE, cluster_dns.SLICE, DNS[0])
            else:
                world.change(ENDPOINT_SLICE, cluster_dns.SLICE, lambda new: new.update(endpoints=[]), DNS[0])
        case "node" if world.find(NODE, f"m{value}") is None:
            living.add_node(f"m{value}", podCIDR=f"10.1.{value}.0/24")
        case "no node" if world.find(NODE, f"m{value}") is not None:
            world.remove(NODE, f"m{value}")
        case "ready" | "unready":
            condition = {"type": "Ready", "status": "True" if what == "ready" else "False"}
            living.change(NODE, f"m{value}", lambda new: new.update(status={"conditions": [condition]}))
        case "wait" | "restart" | "stale" | "deliver":
            await living.happens(what, value)
    await living.turn()


def gives_nothing_twice(world: World) -> None:
    """At every write: no address is two Services', and none is given back while its Service has it."""

    def check(verb: str, obj: Obj) -> None:
        given = [address for one in world.objects(SERVICE) for address in addresses_of(one)]
        assert len(given) == len(set(given)), "an address twice"
        assert set(given) <= RANGE
        for one in world.objects(SERVICE):
            assert has_finalizer(one) or not addresses_of(one), "nobody would give it back"

    world.on_write = check


def check_final(world: World) -> None:
    services = [one for one in world.objects(SERVICE) if one["metadata"]["name"] != DNS[1]]
    free = RANGE - {address for one in services for address in addresses_of(one)}
    for one in services:
        assert "deletionTimestamp" not in one["metadata"], "nothing holds it"
        asked = one["spec"].get("loadBalancerIP")
        if not wants(one):
            assert not addresses_of(one)
        elif addresses_of(one):
            assert asked in (None, *addresses_of(one))
        else:
            assert not free if asked is None else asked not in free, "it could have one"
    dns, found = world.find(SERVICE, DNS[1], DNS[0]), world.find(ENDPOINT_SLICE, cluster_dns.SLICE, DNS[0])
    nodes = world.objects(NODE)
    if dns is None or dns["spec"].get("selector"):
        assert found is None
    else:
        assert found is not None
        told = {one["nodeName"]: (one["addresses"], one["conditions"]["ready"]) for one in found["endpoints"]}
        wanted = {
            node["metadata"]["name"]: ([node["spec"]["podCIDR"].replace(".0/24", ".1")], _is_ready(node))
            for node in nodes
            if node["spec"].get("podCIDR")
        }
        assert told == wanted
    assert {node["metadata"]["annotations"][node_ttl.ANNOTATION] for node in nodes} <= {"0"}


def _is_ready(node: Obj) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


async def live(world: World, history: list[tuple[str, Any]]) -> None:
    world.create(NAMESPACE, {"metadata": {"name": DNS[0]}})
    gives_nothing_twice(world)
    await Living(world, balancer, ClusterDNSController, NodeTTLController, nodes=1).live(act, history)
    check_final(world)


@settings(max_examples=80)
@given(st.lists(ACTIONS, max_size=18), st.lists(st.sampled_from(Fault), max_size=20))
def test_any_history_ends_as_it_should(history: list[tuple[str, Any]], faults: list[Fault]) -> None:
    asyncio.run(live(World(FakeClock(), faults), history))


@pytest.mark.parametrize("fault", [Fault.CRASH, Fault.LOST, Fault.REFUSED])
def test_they_may_be_interrupted_at_every_write(fault: Fault) -> None:
    history: list[tuple[str, Any]] = [
        *(("service", (number, "", False)) for number in range(3)),
        *(("no service", 0), ("inside", 1), ("wait", 60), ("dns", 0), ("node", 1), ("ready", 1), ("taken over", 0)),
    ]

    async def all_of_it(world: World) -> None:
        await live(world, history)
        given = {one["metadata"]["name"]: addresses_of(one) for one in world.objects(SERVICE)}
        assert given["s2"] and not given["s1"] and "s0" not in given

    assert interrupted(fault, all_of_it) > 8

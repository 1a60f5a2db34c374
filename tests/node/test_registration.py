"""A node stays in the API whatever others do to what it has there."""

from __future__ import annotations

import pytest

from hawser.api.kinds import LEASE, NODE
from hawser.client.client import Client
from hawser.node import machine, registration
from hawser.node.cri.client import Runtime
from hawser.node.registration import Registration

from .engine import Engine
from .running import until

pytestmark = pytest.mark.containerd
NAME = "another"
LEASES = "kube-node-lease"


async def test_a_node_and_its_lease_that_were_deleted_come_back(engine: Engine, client: Client) -> None:
    wanted = registration.node(
        NAME, machine.facts(engine.folder), "192.0.2.9", 10250, "containerd://1", ["10.9.0.0/24"]
    )
    async with Runtime(engine.containerd.endpoint) as runtime:
        node = Registration(client, runtime, wanted, frozenset)
        await node.register()
        first = await client.get(LEASE, NAME, LEASES)
        await node._renew()
        renewed = await client.get(LEASE, NAME, LEASES)
        assert renewed["spec"]["renewTime"] > first["spec"]["renewTime"]
        await client.delete(LEASE, NAME, LEASES)
        await node._renew()
        assert (await client.get(LEASE, NAME, LEASES))["metadata"]["uid"] != first["metadata"]["uid"]
        uid = (await client.get(NODE, NAME))["metadata"]["uid"]
        await client.delete(NODE, NAME)
        await node._refresh()
        assert (await client.get(NODE, NAME))["metadata"]["uid"] != uid
        # An agent that is started again takes over what is there; a range of pods is given once.
        wanted["spec"] = {"podCIDR": "10.9.1.0/24", "podCIDRs": ["10.9.1.0/24"]}
        again = Registration(client, runtime, wanted, frozenset)
        await again.register()
        assert (await client.get(NODE, NAME))["spec"]["podCIDR"] == "10.9.0.0/24"
        await again._renew()
        await client.delete(NODE, NAME)


async def test_what_the_node_controller_wrote_is_set_right_at_the_next_look(engine: Engine, client: Client) -> None:
    wanted = registration.node(NAME, machine.facts(engine.folder), "192.0.2.9", 10250, "containerd://1", [])
    async with Runtime(engine.containerd.endpoint) as runtime:
        node = Registration(client, runtime, wanted, frozenset)
        await node.register()
        unknown = {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}
        await client.patch(NODE, NAME, None, {"status": {"conditions": [unknown]}}, subresource="status")
        await node._refresh()
        conditions = (await client.get(NODE, NAME))["status"]["conditions"]
        assert [c["status"] for c in conditions if c["type"] == "Ready"] == ["True"]
        await client.delete(NODE, NAME)


async def test_devices_that_change_while_the_node_is_reported_are_reported(engine: Engine, client: Client) -> None:
    wanted = registration.node(NAME, machine.facts(engine.folder), "192.0.2.9", 10250, "containerd://1", [])
    numbers = iter("2")

    def pressures() -> frozenset[str]:
        """Looked at in the middle of each report."""
        if has and (number := next(numbers, "")):
            node.advertise({"example.com/x": number}, {"example.com/x": number})
        return frozenset()

    async def last() -> bool:
        status = (await client.get(NODE, NAME))["status"]
        return status["capacity"].get("example.com/x") == status["allocatable"].get("example.com/x") == "2"

    async with Runtime(engine.containerd.endpoint) as runtime:
        has = False
        node = Registration(client, runtime, wanted, pressures)
        await node.register()
        has = True
        node.advertise({"example.com/x": "1"}, {"example.com/x": "1"})
        await until(last)
        await client.delete(NODE, NAME)


@pytest.mark.parametrize(
    ("capacity", "allocatable", "change"),
    [
        ({"cpu": "4"}, {"cpu": "3"}, {}),
        ({"cpu": "4", "example.com/x": "5"}, {"cpu": "4"}, {"example.com/x": "5"}),
        ({"example.com/x": "6"}, {"example.com/x": "5"}, {"example.com/x": "6"}),
        ({"example.com/x": "5"}, {"example.com/x": "5"}, {}),
        ({}, {"example.com/x": "5"}, {"example.com/x": None}),
    ],
)
def test_what_others_advertise_in_a_nodes_capacity_can_be_used(capacity, allocatable, change):
    node = {"status": {"capacity": capacity, "allocatable": allocatable}}
    assert registration.advertised(node, {"status": {"capacity": {"cpu": "4"}}}) == change

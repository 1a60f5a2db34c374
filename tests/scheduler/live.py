"""Pods and nodes in a real API server, and what becomes of them."""

from __future__ import annotations

import asyncio

from hawser.api.kinds import EVENT, NODE, POD

from .conftest import make_node, make_pod


async def eventually(check):
    """The first true result of an async check."""
    async with asyncio.timeout(300):
        while not (result := await check()):  # noqa: ASYNC110 - it becomes true on the server
            await asyncio.sleep(0.01)
        return result


async def add_node(client, name, **args):
    node = make_node(name, **args)
    status = node.pop("status")
    taints = node["spec"].pop("taints")
    made = await client.create(NODE, node)
    made["status"] = {"allocatable": status["allocatable"], "capacity": status["allocatable"]}
    # Servers may taint new nodes as not ready; the test's nodes are what the test says.
    made = await client.update(NODE, made, "status")
    await client.patch(NODE, name, None, {"spec": {"taints": taints or None}})


async def add_pod(client, name, **spec):
    obj = make_pod(name, **spec)
    for field in ("uid", "creationTimestamp"):
        del obj["metadata"][field]
    obj["spec"].setdefault("serviceAccountName", "default")
    obj["spec"]["automountServiceAccountToken"] = False
    return await client.create(POD, obj)


def bound(client, name):
    async def check():
        return (await client.get(POD, name, "default"))["spec"].get("nodeName")

    return check


def scheduled_condition(client, name):
    async def check():
        conditions = (await client.get(POD, name, "default")).get("status", {}).get("conditions") or ()
        return next((c for c in conditions if c["type"] == "PodScheduled" and c["status"] == "False"), None)

    return check


def event(client, name, reason):
    async def check():
        listing = await client.list(EVENT, "default", field_selector=f"involvedObject.name={name}")
        return next((e for e in listing.items if e["reason"] == reason), None)

    return check

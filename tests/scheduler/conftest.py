"""Pods and nodes as short as a test can say them."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from hawser.api.errors import APIError
from hawser.api.kinds import NAMESPACE, NODE, POD
from hawser.client.client import Client
from hawser.client.controller import Manager
from hawser.scheduler.scheduler import Scheduler
from hawser.scheduler.shapes import Shapes

_numbers = itertools.count()


def make_pod(name="", *, namespace="default", labels=None, owner="", node="", **spec):
    """A Pod object; cpu, memory, ports are its one container's, everything else goes into the spec."""
    number = next(_numbers)
    container = {"name": "c", "image": spec.pop("image", "app")}
    requests = {k: spec.pop(k) for k in ("cpu", "memory") if k in spec}
    if requests:
        container["resources"] = {"requests": requests}
    if "ports" in spec:
        container["ports"] = spec.pop("ports")
    metadata = {
        "name": name or f"p{number}",
        "namespace": namespace,
        "uid": f"uid-{number}",
        "labels": labels or {},
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    if owner:
        reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": owner, "controller": True}
        metadata["ownerReferences"] = [reference]
    if node:
        spec["nodeName"] = node
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container], **spec}}


def make_node(name, *, cpu="4", memory="8Gi", pods="110", labels=None, taints=(), unschedulable=False, images=()):
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": {"taints": [*taints], **({"unschedulable": True} if unschedulable else {})},
        "status": {
            "allocatable": {"cpu": cpu, "memory": memory, "pods": pods},
            "images": [{"names": [n], "sizeBytes": size} for n, size in images],
        },
    }


@pytest.fixture
def pod():
    return make_pod


@pytest.fixture
def node():
    return make_node


@pytest.fixture
def shapes():
    return Shapes()


@pytest.fixture
async def admin(api_server):
    async with Client.from_kubeconfig(api_server.kubeconfig) as client:
        try:
            await client.create(NAMESPACE, {"metadata": {"name": "default"}})
        except APIError as err:
            assert err.reason == "AlreadyExists"
        yield client
        await client.delete_collection(POD, "default", grace_period=0)
        await client.delete_collection(NODE)


@pytest.fixture
async def scheduler(admin):
    """A scheduler at work."""
    manager, made = Manager(admin), Scheduler()
    manager.add(made)
    task = asyncio.create_task(manager.run())
    yield made
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

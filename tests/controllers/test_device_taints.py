"""Pods leave when devices of theirs are tainted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hawser.api.kinds import EVENT, NAMESPACE, POD, RESOURCE_CLAIM, RESOURCE_SLICE
from hawser.controllers.device_taints import DeviceTaintEvictionController, deadline, execute_taints

from .objects import Obj
from .running import eventually, running

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DRIVER = "gpu.example.com"


def taint(**fields: Any) -> Obj:
    return {"key": "broken", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z", **fields}


def resource_slice(name: str, *taints: Obj, generation: int = 1, device: str = "a", pool: str = "p") -> Obj:
    spec = {
        "driver": DRIVER,
        "pool": {"name": pool, "generation": generation, "resourceSliceCount": 1},
        "allNodes": True,
        "devices": [{"name": device, "taints": [*taints]}],
    }
    return {"metadata": {"name": name}, "spec": spec}


def allocation(*tolerations: Obj, pool: str = "p") -> Obj:
    result = {"request": "gpu", "driver": DRIVER, "pool": pool, "device": "a", "tolerations": [*tolerations]}
    return {"devices": {"results": [result]}}


@pytest.mark.parametrize(
    ("taints", "tolerations", "expected"),
    [
        ([], [], None),
        ([taint()], [], 0),
        ([taint()], [{"key": "other", "operator": "Exists"}], 0),
        ([taint()], [{"key": "broken", "operator": "Exists"}], None),
        ([taint()], [{"operator": "Exists", "effect": "NoSchedule"}], 0),
        ([taint()], [{"operator": "Exists", "tolerationSeconds": 30}], 30),
        ([taint()], [{"operator": "Exists", "tolerationSeconds": 30}, {"operator": "Exists"}], 30),
        ([taint()], [{"operator": "Exists", "tolerationSeconds": -1}], 0),
        ([taint(), taint(key="hot")], [{"key": "broken", "operator": "Exists"}], 0),
    ],
)
def test_the_time_of_a_claim_is_over_when_a_taint_is_not_tolerated(
    taints: list[Obj], tolerations: list[Obj], expected: int | None
) -> None:
    claim = {"status": {"allocation": allocation(*tolerations)}}
    ends = deadline(claim, execute_taints([resource_slice("s", *taints)]), NOW + timedelta(hours=1))
    assert ends == (None if expected is None else NOW + timedelta(seconds=expected))


def test_only_the_newest_generation_of_a_pool_counts() -> None:
    old, new = resource_slice("old", taint()), resource_slice("new", generation=2)
    assert execute_taints([old]).keys() == {(DRIVER, "p", "a")}
    assert not execute_taints([old, new])
    assert not execute_taints([resource_slice("s", taint(effect="NoSchedule"))])


async def test_pods_are_evicted_unless_they_tolerate_the_taint(api_server: Any) -> None:
    async with running(api_server.kubeconfig, DeviceTaintEvictionController()) as client:
        await client.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tainted"}})
        await client.create(RESOURCE_SLICE, resource_slice("tainted", pool="tainted"))
        tolerant = [{"key": "broken", "operator": "Exists"}]
        requests = [{"name": "gpu", "exactly": {"deviceClassName": "gpu"}}]
        for name, tolerations in (("leaves", []), ("stays", tolerant)):
            metadata = {"name": name, "namespace": "tainted"}
            spec: Obj = {"devices": {"requests": requests}}
            await client.create(RESOURCE_CLAIM, {"metadata": metadata, "spec": spec})
            container = {"name": "c", "image": "a", "resources": {"claims": [{"name": "gpu"}]}}
            claims = [{"name": "gpu", "resourceClaimName": name}]
            wanted = {"containers": [container], "resourceClaims": claims, "nodeName": "n1"}
            pod = await client.create(POD, {"metadata": metadata, "spec": wanted})
            consumer = {"resource": "pods", "name": name, "uid": pod["metadata"]["uid"]}
            status = {"allocation": allocation(*tolerations, pool="tainted"), "reservedFor": [consumer]}
            await client.patch(RESOURCE_CLAIM, name, "tainted", {"status": status}, subresource="status")
        devices = [{"name": "a", "taints": [{"key": "broken", "effect": "NoExecute"}]}]
        await client.patch(RESOURCE_SLICE, "tainted", None, {"spec": {"devices": devices}})

        async def left() -> Obj | None:
            found = await client.get(POD, "leaves", "tainted")
            return found if "deletionTimestamp" in found["metadata"] else None

        gone = await eventually(left)
        (condition,) = [c for c in gone["status"]["conditions"] if c["type"] == "DisruptionTarget"]
        assert condition["reason"] == "DeletionByDeviceTaintManager"
        assert condition["message"] == "Device Taint manager: deleting due to NoExecute taint"

        async def told() -> bool:
            events = (await client.list(EVENT, "tainted")).items
            said = [(e["involvedObject"]["name"], e["reason"], e["message"]) for e in events]
            return ("leaves", "DeviceTaintManagerEviction", "Marking for deletion") in said

        await eventually(told)
        assert "deletionTimestamp" not in (await client.get(POD, "stays", "tainted"))["metadata"]

"""Allocations of claims are the scheduler's, the state of devices is their drivers'."""

from __future__ import annotations

from typing import Any

import pytest

from hawser.apiserver.authorization.claim_status import changed_drivers

from .conftest import Obj, Rules

GROUP = "resource.k8s.io"
MERGE = "application/merge-patch+json"
JOE: Obj = {"token": "joe-token"}
DEVICE = {"driver": "gpu.example.com", "pool": "p", "device": "a"}
ALLOCATION = {"devices": {"results": [{**DEVICE, "request": "r"}]}}


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        ({}, {}, set()),
        ({"devices": [DEVICE]}, {}, {"gpu.example.com"}),
        ({"devices": [DEVICE]}, {"devices": [DEVICE]}, set()),
        ({"devices": [{**DEVICE, "data": {}}]}, {"devices": [DEVICE]}, {"gpu.example.com"}),
        ({"allocation": ALLOCATION}, {"allocation": ALLOCATION, "devices": [DEVICE]}, {"gpu.example.com"}),
        # With the allocation goes what was said of its devices.
        ({}, {"allocation": ALLOCATION, "devices": [DEVICE]}, set()),
    ],
)
def test_drivers_answer_for_their_devices(new: Obj, old: Obj, expected: set[str]) -> None:
    assert changed_drivers(new, old) == expected


async def test_a_status_takes_more_than_the_right_to_write_it(rules: Rules, api: Any) -> None:
    await rules.grant("joe", rules.rule("get update patch", GROUP, "resourceclaims/status"))
    path = f"/apis/{GROUP}/v1/namespaces/{api.namespace}/resourceclaims"
    requests = [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]
    await api.create(path, {"metadata": {"name": "c"}, "spec": {"devices": {"requests": requests}}})
    allocated = {"status": {"allocation": ALLOCATION}}
    refused = await api.call("PATCH", f"{path}/c/status", allocated, content=MERGE, **JOE)
    assert refused.status == 422
    assert refused.message.startswith(
        'ResourceClaim.resource.k8s.io "c" is invalid: status: Forbidden: changing status.allocation or '
        'status.reservedFor requires resource="resourceclaims/binding", verb="patch" permission: '
        'resourceclaims.resource.k8s.io is forbidden: User "joe" cannot patch resource "resourceclaims/binding" in API '
        'group "resource.k8s.io" at the cluster scope'
    )
    assert (await api.call("PATCH", f"{path}/c/status", allocated, content=MERGE)).status == 200
    said = {"status": {"devices": [{**DEVICE, "data": {"ready": True}}]}}
    refused = await api.call("PATCH", f"{path}/c/status", said, content=MERGE, **JOE)
    assert refused.status == 422
    assert 'changing status.devices requires resource="resourceclaims/driver", verb="[arbitrary-node:patch]"' in (
        refused.message
    )
    driver = rules.rule("arbitrary-node:patch", GROUP, "resourceclaims/driver", "gpu.example.com")
    assert (await rules.role("driver", driver)).status == 201
    assert (await rules.bind("driver", "driver", "joe")).status == 201
    done = await api.call("PATCH", f"{path}/c/status", said, content=MERGE, **JOE)
    assert done.status == 200, done.body

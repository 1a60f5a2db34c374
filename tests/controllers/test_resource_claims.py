"""ResourceClaims of templates: made once for each pod, released and cleaned up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from hawser.api.kinds import EVENT, NAMESPACE, POD, RESOURCE_CLAIM, RESOURCE_CLAIM_TEMPLATE
from hawser.client.client import Client
from hawser.controllers import resource_claims
from hawser.controllers.resource_claims import POD_CLAIM, PROTECTION, ResourceClaimController

from .objects import Obj
from .running import eventually, running

DEVICES = {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu.example.com"}}]}


@pytest.mark.parametrize(
    ("pod", "claim", "expected"),
    [
        ("web", "gpu", "web-gpu-"),
        ("p" * 60, "c" * 20, f"{'p' * 41}-{'c' * 13}-"),
    ],
)
def test_both_names_have_their_share(pod: str, claim: str, expected: str) -> None:
    assert resource_claims.generate_name(pod, claim) == expected
    assert len(expected) <= 57


@pytest.fixture
async def client(api_server: Any) -> AsyncIterator[Client]:
    async with running(api_server.kubeconfig, ResourceClaimController()) as made:
        yield made


def wanting(name: str, namespace: str, **spec: Any) -> Obj:
    metadata = {"name": name, "namespace": namespace}
    claims = [{"name": "gpu", "resourceClaimTemplateName": "gpu"}]
    container = {"name": "main", "image": "a", "resources": {"claims": [{"name": "gpu"}]}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [container], "resourceClaims": claims, **spec},
    }


async def test_a_pod_has_a_claim_of_its_own_as_long_as_it_runs(client: Client) -> None:
    await client.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "dra"}})
    pod = await client.create(POD, wanting("worker", "dra"))

    async def told() -> bool:
        events = {(e["reason"], e["message"]) for e in (await client.list(EVENT, "dra")).items}
        message = (
            'PodResourceClaim gpu: resource claim template "gpu": resourceclaimtemplate.resource.k8s.io "gpu" not found'
        )
        return ("FailedResourceClaimCreation", message) in events

    await eventually(told)
    labels = {"made": "by-template"}
    template = {"metadata": {"labels": labels}, "spec": {"devices": DEVICES}}
    await client.create(RESOURCE_CLAIM_TEMPLATE, {"metadata": {"name": "gpu", "namespace": "dra"}, "spec": template})

    async def named() -> str:
        statuses = (await client.get(POD, "worker", "dra")).get("status", {}).get("resourceClaimStatuses")
        return statuses[0]["resourceClaimName"] if statuses else ""

    name = await eventually(named)
    claim = await client.get(RESOURCE_CLAIM, name, "dra")
    metadata = claim["metadata"]
    assert name.startswith("worker-gpu-")
    assert (metadata["labels"], metadata["annotations"]) == (labels, {POD_CLAIM: "gpu"})
    assert metadata["ownerReferences"][0]["uid"] == pod["metadata"]["uid"]
    assert len((await client.list(RESOURCE_CLAIM, "dra")).items) == 1
    # A scheduler allocates and reserves it.
    await client.patch(RESOURCE_CLAIM, name, "dra", {"metadata": {"finalizers": [PROTECTION]}})
    result = {"request": "gpu", "driver": "d.example.com", "pool": "p", "device": "one"}
    consumer = {"resource": "pods", "name": "worker", "uid": pod["metadata"]["uid"]}
    status = {"allocation": {"devices": {"results": [result]}}, "reservedFor": [consumer]}
    await client.patch(RESOURCE_CLAIM, name, "dra", {"status": status}, subresource="status")
    await client.patch(POD, "worker", "dra", {"status": {"phase": "Succeeded"}}, subresource="status")

    async def gone() -> bool:
        return not (await client.list(RESOURCE_CLAIM, "dra")).items

    await eventually(gone)


async def test_a_claim_of_a_users_own_is_only_released(client: Client) -> None:
    await client.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "own"}})
    metadata = {"name": "mine", "namespace": "own", "finalizers": [PROTECTION]}
    await client.create(RESOURCE_CLAIM, {"metadata": metadata, "spec": {"devices": DEVICES}})
    result = {"request": "gpu", "driver": "d.example.com", "pool": "p", "device": "one"}
    consumer = {"resource": "pods", "name": "gone", "uid": "00000000-0000-0000-0000-000000000001"}
    status = {"allocation": {"devices": {"results": [result]}}, "reservedFor": [consumer]}
    await client.patch(RESOURCE_CLAIM, "mine", "own", {"status": status}, subresource="status")

    async def released() -> bool:
        claim = await client.get(RESOURCE_CLAIM, "mine", "own")
        return not claim.get("status") and not claim["metadata"].get("finalizers")

    await eventually(released)


async def test_a_pod_that_was_assigned_past_the_scheduler_gets_its_claim_reserved(api_server: Any) -> None:
    controller = ResourceClaimController()
    async with running(api_server.kubeconfig, controller) as client:
        await client.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "past"}})
        metadata = {"name": "shared", "namespace": "past", "finalizers": [PROTECTION]}
        await client.create(RESOURCE_CLAIM, {"metadata": metadata, "spec": {"devices": DEVICES}})
        result = {"request": "gpu", "driver": "d.example.com", "pool": "p", "device": "one"}
        status = {"allocation": {"devices": {"results": [result]}}}
        await client.patch(RESOURCE_CLAIM, "shared", "past", {"status": status}, subresource="status")
        made = wanting("placed", "past", nodeName="n1")
        made["spec"]["resourceClaims"] = [{"name": "gpu", "resourceClaimName": "shared"}]
        pod = await client.create(POD, made)

        async def reserved() -> bool:
            claim = await client.get(RESOURCE_CLAIM, "shared", "past")
            uids = [one["uid"] for one in claim["status"].get("reservedFor") or ()]
            return uids == [pod["metadata"]["uid"]]

        await eventually(reserved)
        shown = '{allocated="true",admin_access="false",source=""} 1'
        assert f"resourceclaim_controller_resource_claims{shown}" in list(controller.exposed())

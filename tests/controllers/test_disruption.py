"""Disruption budgets: what they allow, and evictions under them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.api.errors import APIError
from hawser.api.kinds import CUSTOM_RESOURCE_DEFINITION, EVENT, POD, POD_DISRUPTION_BUDGET, REPLICA_SET, Kind
from hawser.api.status import condition
from hawser.client.client import Client
from hawser.controllers import disruption_plan, pods
from hawser.controllers.budgeted import Selected
from hawser.controllers.disruption import DisruptionController
from hawser.controllers.disruption_plan import Disrupted

from .objects import Obj, meta, pod, replica_set
from .running import eventually, running

NOW = datetime(2026, 1, 1, 0, 10, tzinfo=UTC)


def budget(*, status: Obj | None = None, **spec: Any) -> Obj:
    made: Obj = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta("pdb")}
    made["spec"] = {"selector": {"matchLabels": {"app": "web"}}, **spec}
    return {**made, "status": status or {}}


@pytest.mark.parametrize(
    ("spec", "count", "expected"),
    [
        ({"minAvailable": 2}, 3, (3, 2)),
        ({"minAvailable": "50%"}, 3, (3, 2)),
        ({"minAvailable": "0%"}, 3, (3, 0)),
        ({"minAvailable": "100%"}, 7, (7, 7)),
        ({"maxUnavailable": 1}, 3, (3, 2)),
        ({"maxUnavailable": "30%"}, 10, (10, 7)),
        ({"maxUnavailable": "1%"}, 10, (10, 9)),
        ({"maxUnavailable": 10}, 3, (3, 0)),
        ({}, 3, (0, 0)),
    ],
)
def test_how_many_pods_have_to_be_healthy(spec: Obj, count: int, expected: tuple[int, int]) -> None:
    assert disruption_plan.expected(budget(**spec), count) == expected


def test_the_status_says_what_is_allowed_and_why() -> None:
    made = budget(minAvailable=1)
    status = disruption_plan.status(made, Selected([pod("a"), pod("b"), pod("c", ready=False)]), Disrupted({}), 3, NOW)
    (condition,) = status.pop("conditions")
    assert status == {
        "currentHealthy": 2,
        "desiredHealthy": 1,
        "expectedPods": 3,
        "disruptionsAllowed": 1,
        "observedGeneration": 1,
    }
    assert (condition["status"], condition["reason"]) == ("True", "SufficientPods")
    made["status"] = {**status, "conditions": [condition]}
    less = disruption_plan.status(made, Selected([pod("a")]), Disrupted({}), 1, NOW)
    assert (less["disruptionsAllowed"], less["conditions"][0]["reason"]) == (0, "InsufficientPods")
    wrong = disruption_plan.failed(made, "what went wrong", NOW)
    assert (wrong["disruptionsAllowed"], wrong["expectedPods"]) == (0, 3)
    assert wrong["conditions"][0]["message"] == "what went wrong"


def test_evictions_under_way_count_until_their_pod_goes_or_they_are_overdue() -> None:
    told = {
        name: f"2026-01-01T00:{minute}:30Z" for name, minute in [("a", "09"), ("b", "07"), ("c", "09"), ("d", "09")]
    }
    made = budget(minAvailable=1, status={"disruptedPods": told})
    listed = [pod("a"), pod("b"), pod("c", deletionTimestamp="2026-01-01T00:09:40Z"), pod("e")]
    found = disruption_plan.disrupted(made, listed, NOW)
    assert (found.pods, found.look_again) == ({"a": told["a"]}, 90)
    assert [p["metadata"]["name"] for p in found.overdue] == ["b"]
    assert disruption_plan.status(made, Selected(listed), found, 4, NOW)["currentHealthy"] == 2


@given(
    st.one_of(st.integers(0, 12), st.integers(0, 100).map(lambda n: f"{n}%")),
    st.sampled_from(["minAvailable", "maxUnavailable"]),
    st.lists(st.booleans(), max_size=12),
)
def test_what_is_allowed_never_breaks_the_budget(amount: int | str, field: str, ready: list[bool]) -> None:
    made = budget(**{field: amount})
    listed = [pod(str(n), ready=one) for n, one in enumerate(ready)]
    status = disruption_plan.status(made, Selected(listed), Disrupted({}), len(listed), NOW)
    assert 0 <= status["disruptionsAllowed"] <= sum(ready)
    if status["disruptionsAllowed"]:
        assert status["currentHealthy"] - status["disruptionsAllowed"] >= status["desiredHealthy"]


def test_a_pod_that_nobody_deletes_is_no_longer_said_to_go() -> None:
    def told(**fields: Any) -> Obj:
        made = pod("a", **fields)
        condition = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
        made["status"]["conditions"].append({**condition, "lastTransitionTime": "2026-01-01T00:09:00Z"})
        return made

    assert disruption_plan.stale_in(told(), NOW) == 60
    assert disruption_plan.stale_in(told(phase="Failed"), NOW) is None
    assert disruption_plan.stale_in(told(deletionTimestamp="2026-01-01T00:09:00Z"), NOW) is None
    assert disruption_plan.stale_in(pod("a"), NOW) is None
    kubelet = told()
    kubelet["status"]["conditions"][-1]["reason"] = "TerminationByKubelet"
    assert disruption_plan.stale_in(kubelet, NOW) is None


def test_what_is_reported_names_the_selector_as_kubernetes_does() -> None:
    made = budget(minAvailable="50%")
    made["spec"]["selector"]["matchExpressions"] = [{"key": "a", "operator": "In", "values": ["b", "c"]}]
    assert (
        "(selector: &LabelSelector{MatchLabels:map[string]string{app: web,},MatchExpressions:[]LabelSelectorRequirement"
        "{LabelSelectorRequirement{Key:a,Operator:In,Values:[b c],},},})"
    ) in disruption_plan.unmanaged(made)


@pytest.fixture
async def client(api_server: Any) -> AsyncIterator[Client]:
    async with running(api_server.kubeconfig, DisruptionController()) as made:
        yield made


async def owned_pods(client: Client, owner: Obj, count: int) -> None:
    """Pods that are ready, as an owner's controller and a node make them."""
    namespace = owner["metadata"]["namespace"]
    for number in range(count):
        name = f"{owner['metadata']['name']}-{number}"
        metadata = {"name": name, "namespace": namespace, "labels": {"app": owner["metadata"]["name"]}}
        metadata["ownerReferences"] = [pods.owner_reference(owner)]
        spec = {"nodeName": "n", "terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "a"}]}
        await client.create(POD, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        status = {"phase": "Running", "conditions": [ready]}
        await client.patch(POD, name, namespace, {"status": status}, subresource="status")


async def guard(client: Client, namespace: str, name: str, **spec: Any) -> None:
    made = {"metadata": {"name": name, "namespace": namespace}, "spec": {"selector": {"matchLabels": {"app": name}}}}
    made["spec"].update(spec)
    await client.create(POD_DISRUPTION_BUDGET, {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", **made})


async def evict(client: Client, namespace: str, name: str) -> None:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace}}
    await client.post_subresource(POD, name, namespace, "eviction", body)


async def status_of(client: Client, namespace: str, name: str, **wanted: int) -> Obj:
    async def settled() -> Obj | None:
        status: Obj = (await client.get(POD_DISRUPTION_BUDGET, name, namespace)).get("status", {})
        return status if all(status.get(field) == value for field, value in wanted.items()) else None

    return await eventually(settled)


async def test_evictions_are_let_through_as_long_as_the_budget_allows(client: Client, namespace: str) -> None:
    made = replica_set("web", 3)
    made["metadata"] = {"name": "web", "namespace": namespace}
    owner = await client.create(REPLICA_SET, made)
    await owned_pods(client, owner, 3)
    await guard(client, namespace, "web", maxUnavailable="30%")
    await status_of(client, namespace, "web", disruptionsAllowed=1, expectedPods=3, desiredHealthy=2, currentHealthy=3)
    await evict(client, namespace, "web-0")
    await status_of(client, namespace, "web", disruptionsAllowed=0, currentHealthy=2)
    with pytest.raises(APIError) as refused:
        await evict(client, namespace, "web-1")
    assert refused.value.code == 429
    await client.patch(REPLICA_SET, "web", namespace, {"spec": {"replicas": 2}})
    await client.patch(POD, "web-1", namespace, {"metadata": {"annotations": {"look": "again"}}})
    await status_of(client, namespace, "web", disruptionsAllowed=1, expectedPods=2, desiredHealthy=1)


async def test_custom_resources_with_a_scale_count(client: Client, namespace: str) -> None:
    group = "budgets.example.com"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    scale = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema, "subresources": {"scale": scale}}
    names = {"plural": "farms", "kind": "Farm"}
    definition = {"group": group, "scope": "Namespaced", "names": names, "versions": [version]}
    await client.create(CUSTOM_RESOURCE_DEFINITION, {"metadata": {"name": f"farms.{group}"}, "spec": definition})
    kind = Kind(group, "v1", "Farm", "farms", True)
    farm = {"apiVersion": f"{group}/v1", "kind": "Farm", "metadata": {"name": "farm", "namespace": namespace}}
    owner = await client.create(kind, {**farm, "spec": {"replicas": 4}})
    await owned_pods(client, owner, 2)
    await guard(client, namespace, "farm", minAvailable="25%")
    await status_of(client, namespace, "farm", expectedPods=4, desiredHealthy=1, disruptionsAllowed=1)


async def test_pods_whose_controller_has_no_scale_may_not_go(client: Client, namespace: str) -> None:
    group = "still.example.com"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    definition = {"group": group, "scope": "Namespaced", "names": {"plural": "rocks", "kind": "Rock"}}
    await client.create(
        CUSTOM_RESOURCE_DEFINITION,
        {"metadata": {"name": f"rocks.{group}"}, "spec": {**definition, "versions": [version]}},
    )
    rock = {"apiVersion": f"{group}/v1", "kind": "Rock", "metadata": {"name": "rock", "namespace": namespace}}
    owner = await client.create(Kind(group, "v1", "Rock", "rocks", True), rock)
    await owned_pods(client, owner, 1)
    await guard(client, namespace, "rock", maxUnavailable=1)

    async def told() -> bool:
        budget = await client.get(POD_DISRUPTION_BUDGET, "rock", namespace)
        found = condition(budget, "DisruptionAllowed") or {}
        wanted = ("SyncFailed", f"rocks.{group} does not implement the scale subresource")
        return (found.get("reason"), found.get("message")) == wanted

    await eventually(told)

    async def reported() -> bool:
        events = (await client.list(EVENT, namespace)).items
        return "CalculateExpectedPodCountFailed" in {e["reason"] for e in events}

    await eventually(reported)

"""What Kubernetes' conformance suite asserts of the status of workloads: others' conditions are written, seen and stay.

Source: test/e2e/apps, "should validate … Status endpoints", "should apply changes to a job status", "should
update/patch PodDisruptionBudget status", "should support CronJob API operations"; test/e2e/apimachinery, "should apply
changes to a resourcequota status".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hawser.api.kinds import (
    CRON_JOB,
    DAEMON_SET,
    DEPLOYMENT,
    JOB,
    POD,
    POD_DISRUPTION_BUDGET,
    REPLICA_SET,
    REPLICATION_CONTROLLER,
    RESOURCE_QUOTA,
    STATEFUL_SET,
    Kind,
)
from hawser.api.status import condition
from hawser.client.client import MERGE, Client
from hawser.controllers import registry

from .objects import Obj
from .running import eventually, running

CONTROLLERS = (
    "deployment-controller",
    "replicaset-controller",
    "replicationcontroller-controller",
    "statefulset-controller",
    "daemonset-controller",
    "job-controller",
    "cronjob-controller",
    "disruption-controller",
    "resourcequota-controller",
)
LABELS = {"e2e": "testing"}
TEMPLATE: Obj = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "main", "image": "a"}]}}
ONCE: Obj = {**TEMPLATE, "spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}


def selected(kind: Kind) -> Obj:
    """A spec of its own labels: a Deployment adopts each ReplicaSet that it selects, and changes its spec."""
    own = {"kind": kind.kind}
    template = {**TEMPLATE, "metadata": {"labels": own}}
    return {"selector": own if kind is REPLICATION_CONTROLLER else {"matchLabels": own}, "template": template}


WORKLOADS: list[tuple[Kind, Obj]] = [
    (DEPLOYMENT, selected(DEPLOYMENT)),
    (REPLICA_SET, {**selected(REPLICA_SET), "replicas": 1}),
    (REPLICATION_CONTROLLER, {**selected(REPLICATION_CONTROLLER), "replicas": 1}),
    (STATEFUL_SET, {**selected(STATEFUL_SET), "serviceName": "s"}),
    (DAEMON_SET, selected(DAEMON_SET)),
    (JOB, {"template": ONCE}),
]
UPDATED: Obj = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}
PATCHED: Obj = {"type": "StatusPatched", "status": "True", "reason": "E2E", "message": "Set by e2e test"}


@pytest.fixture
async def client(api_server: Any) -> AsyncIterator[Client]:
    async with running(api_server.kubeconfig, *map(registry.make, CONTROLLERS)) as made:
        yield made


async def make(client: Client, kind: Kind, namespace: str, spec: Obj, name: str = "a") -> Obj:
    metadata = {"name": name, "namespace": namespace, "labels": LABELS}
    return await client.create(
        kind, {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec}
    )


async def updated(client: Client, kind: Kind, namespace: str, change: Any) -> Obj:
    """Updates the status, again after each conflict, as client-go's RetryOnConflict does."""

    async def tried() -> Obj | None:
        found = await client.get(kind, "a", namespace)
        change(found.setdefault("status", {}))
        try:
            return await client.update(kind, found, subresource="status")
        except Exception as error:
            assert getattr(error, "reason", "") == "Conflict"
            return None

    done = await eventually(tried)
    assert done is not None
    return done


async def seen(client: Client, kind: Kind, namespace: str, version: str, wanted: str) -> Obj:
    """Watches from a version on until the condition is told."""
    async with asyncio.timeout(60):
        async for event in client.watch(kind, namespace, version, label_selector="e2e=testing"):
            if (event.object["metadata"]["name"], event.type) == ("a", "MODIFIED") and condition(event.object, wanted):
                return event.object
    raise AssertionError("the watch ended")


async def test_conditions_of_others_are_written_told_and_kept(client: Client, namespace: str) -> None:
    await asyncio.gather(*(_conditions(client, namespace, kind, spec) for kind, spec in WORKLOADS))


async def _conditions(client: Client, namespace: str, kind: Kind, spec: Obj) -> None:
    made = await make(client, kind, namespace, spec)
    version = made["metadata"]["resourceVersion"]

    async def observed() -> bool:
        status = (await client.get(kind, "a", namespace)).get("status") or {}
        return ("startTime" if kind is JOB else "observedGeneration") in status

    await eventually(observed)
    written = await updated(
        client, kind, namespace, lambda status: status.update(conditions=[*status.get("conditions", ()), UPDATED])
    )
    assert condition(written, "StatusUpdate") is not None
    told = condition(await seen(client, kind, namespace, version, "StatusUpdate"), "StatusUpdate")
    assert told is not None and (told["status"], told["reason"], told["message"]) == ("True", "E2E", UPDATED["message"])
    patch = {"metadata": {"annotations": {"patchedstatus": "true"}}, "status": {"conditions": [PATCHED]}}
    patched = await client.patch(kind, "a", namespace, patch, type=MERGE, subresource="status")
    assert condition(patched, "StatusPatched") is not None
    assert "patchedstatus" in (patched["metadata"].get("annotations") or {})
    await seen(client, kind, namespace, version, "StatusPatched")
    # The controller writes the status again, and leaves what is not its own.
    await client.patch(kind, "a", namespace, {"metadata": {"annotations": {"touched": "yes"}}})
    if kind is not JOB:
        await client.patch(kind, "a", namespace, {"spec": {"minReadySeconds": 1}})
        generation = (await client.get(kind, "a", namespace))["metadata"]["generation"]

        async def looked_again() -> bool:
            return (await client.get(kind, "a", namespace))["status"]["observedGeneration"] == generation

        await eventually(looked_again)
    assert condition(await client.get(kind, "a", namespace), "StatusPatched") is not None


async def test_disrupted_pods_of_a_budget_are_written_and_taken_back(client: Client, namespace: str) -> None:
    await make(client, POD_DISRUPTION_BUDGET, namespace, {"minAvailable": 1, "selector": {"matchLabels": LABELS}})
    for number in range(2):
        await make(client, POD, namespace, TEMPLATE["spec"], f"p{number}")
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        up = {"status": {"phase": "Running", "conditions": [ready]}}
        await client.patch(POD, f"p{number}", namespace, up, subresource="status")

    async def processed() -> bool:
        status = (await client.get(POD_DISRUPTION_BUDGET, "a", namespace)).get("status") or {}
        return status.get("currentHealthy") == 2

    await eventually(processed)
    moment = (await client.get(POD, "p0", namespace))["metadata"]["creationTimestamp"]
    written = await updated(
        client, POD_DISRUPTION_BUDGET, namespace, lambda status: status.update(disruptedPods={"p0": moment})
    )
    assert written["status"]["disruptedPods"] == {"p0": moment}
    patch = {"status": {"disruptedPods": {"p0": None}}}
    patched = await client.patch(POD_DISRUPTION_BUDGET, "a", namespace, patch, type=MERGE, subresource="status")
    assert not patched["status"].get("disruptedPods")


async def test_the_last_run_of_a_cron_job_may_be_told_by_others(client: Client, namespace: str) -> None:
    spec = {"schedule": "*/1 * * * ?", "suspend": True, "jobTemplate": {"spec": {"template": ONCE}}}
    made = await make(client, CRON_JOB, namespace, spec)
    # Nothing has run yet: there is nothing to tell.
    assert made["status"] == {}
    moment = made["metadata"]["creationTimestamp"]
    patch = {"metadata": {"annotations": {"patchedstatus": "true"}}, "status": {"lastScheduleTime": moment}}
    patched = await client.patch(CRON_JOB, "a", namespace, patch, type=MERGE, subresource="status")
    assert patched["status"]["lastScheduleTime"] == moment
    assert patched["metadata"]["annotations"] == {"patchedstatus": "true"}
    later = moment.replace("20", "21", 1)
    written = await updated(client, CRON_JOB, namespace, lambda status: status.update(lastScheduleTime=later))
    assert written["status"]["lastScheduleTime"] == later


async def test_the_status_of_a_quota_is_put_right(client: Client, namespace: str) -> None:
    await make(client, RESOURCE_QUOTA, namespace, {"hard": {"cpu": "500m", "memory": "500Mi"}})

    async def counted() -> bool:
        status = (await client.get(RESOURCE_QUOTA, "a", namespace)).get("status") or {}
        hard = {"cpu": "500m", "memory": "500Mi"}
        return status == {"hard": hard, "used": {"cpu": "0", "memory": "0"}}

    await eventually(counted)
    wrong = {"status": {"hard": {"cpu": "1", "memory": "1Gi"}}}
    patched = await client.patch(RESOURCE_QUOTA, "a", namespace, wrong, type=MERGE, subresource="status")
    assert patched["status"]["hard"] == {"cpu": "1", "memory": "1Gi"}
    await eventually(counted)

"""What users get wrong is told in the words that they will search for: one table, a real API server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from hawser.api.kinds import (
    DEPLOYMENT,
    EVENT,
    HORIZONTAL_POD_AUTOSCALER,
    JOB,
    NAMESPACE,
    NODE,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    POD_DISRUPTION_BUDGET,
    REPLICA_SET,
    RESOURCE_QUOTA,
    SERVICE_ACCOUNT,
    STATEFUL_SET,
    Kind,
)
from hawser.api.kinds import of as kind_of
from hawser.api.status import condition
from hawser.client.client import Client
from hawser.client.controller import Controller
from hawser.controllers import registry

from .objects import Obj
from .running import eventually, running

CONTROLLERS = (
    "scheduler",
    "deployment-controller",
    "replicaset-controller",
    "statefulset-controller",
    "daemonset-controller",
    "job-controller",
    "disruption-controller",
    "horizontal-pod-autoscaler-controller",
    "persistentvolume-binder-controller",
    "resourcequota-controller",
    "serviceaccount-controller",
)
TEMPLATE: Obj = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "main", "image": "a"}]}}
SELECTOR: Obj = {"matchLabels": {"app": "a"}}


def made(kind: Kind, name: str = "a", **spec: Any) -> Obj:
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name}, "spec": spec}


def template(**spec: Any) -> Obj:
    return {**TEMPLATE, "spec": {**TEMPLATE["spec"], **spec}}


def pods(kind: Kind, **spec: Any) -> Obj:
    return made(kind, replicas=1, selector=SELECTOR, template=template(**spec))


def claim(name: str, **spec: Any) -> Obj:
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return made(PERSISTENT_VOLUME_CLAIM, name, **wanted, **spec)


def mounting(name: str) -> Obj:
    return made(POD, **template(volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": name}}])["spec"])


def storage_class(name: str, provisioner: str) -> Obj:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": provisioner,
    }


def autoscaler(target: str = "a") -> Obj:
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": target}
    metric = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 9}},
    }
    return made(HORIZONTAL_POD_AUTOSCALER, scaleTargetRef=reference, minReplicas=1, maxReplicas=3, metrics=[metric])


OVER = 'pods "a-??????????-?????" is forbidden: exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0'
CPU = {"resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}}
RANGE: Obj = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "r"}}
RANGE["spec"] = {"limits": [{"type": "Container", "max": {"cpu": "100m"}}]}

EVENTS: list[tuple[str, list[Obj], str, str]] = [
    (
        "quota-exceeded",
        [made(RESOURCE_QUOTA, "q", hard={"pods": "0"}), pods(DEPLOYMENT)],
        "FailedCreate",
        f"Error creating: {OVER}",
    ),
    (
        "quota-wants-limits",
        [made(RESOURCE_QUOTA, "q", hard={"limits.cpu": "1"}), pods(STATEFUL_SET)],
        "FailedCreate",
        (
            "create Pod a-0 in StatefulSet a failed error: "
            'pods "a-0" is forbidden: failed quota: q: must specify limits.cpu for: main'
        ),
    ),
    (
        "no-service-account",
        [pods(REPLICA_SET, serviceAccountName="nope")],
        "FailedCreate",
        (
            'Error creating: pods "a-" is forbidden: error looking up service account '
            'NAMESPACE/nope: serviceaccount "nope" not found'
        ),
    ),
    (
        "no-priority-class",
        [pods(REPLICA_SET, priorityClassName="nope")],
        "FailedCreate",
        'Error creating: pods "a-" is forbidden: no PriorityClass with name nope was found',
    ),
    (
        "over-the-limit-range",
        [RANGE, pods(REPLICA_SET, containers=[{"name": "main", "image": "a", **CPU}])],
        "FailedCreate",
        'Error creating: pods "a-?????" is forbidden: maximum cpu usage per Container is 100m, but limit is 1',
    ),
    (
        "job-of-no-service-account",
        [made(JOB, template=template(serviceAccountName="nope", restartPolicy="Never"))],
        "FailedCreate",
        (
            'Error creating: pods "a-" is forbidden: error looking up service account '
            'NAMESPACE/nope: serviceaccount "nope" not found'
        ),
    ),
    (
        "no-storage-class",
        [claim("a", storageClassName="nope")],
        "ProvisioningFailed",
        'storageclass.storage.k8s.io "nope" not found',
    ),
    (
        "no-class-at-all",
        [claim("a", storageClassName="")],
        "FailedBinding",
        "no persistent volumes available for this claim and no storage class is set",
    ),
    (
        "nobody-provisions",
        [storage_class("theirs", "else.where"), claim("a", storageClassName="theirs")],
        "ExternalProvisioning",
        (
            "Waiting for a volume to be created either by the external provisioner 'else.where' or manually by "
            "the system "
            "administrator. If volume creation is delayed, please verify that the provisioner is running and correctly "
            "registered."
        ),
    ),
    (
        "no-claim",
        [mounting("nope")],
        "FailedScheduling",
        '0/1 nodes are available: persistentvolumeclaim "nope" not found. not found',
    ),
    (
        "unbound-claim",
        [claim("c", storageClassName=""), mounting("c")],
        "FailedScheduling",
        "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found",
    ),
    (
        "no-such-node",
        [made(POD, **template(nodeSelector={"disk": "gold"})["spec"])],
        "FailedScheduling",
        (
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. "
            "no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for "
            "scheduling."
        ),
    ),
    (
        "budget-of-lone-pods",
        [
            made(POD_DISRUPTION_BUDGET, maxUnavailable=1, selector=SELECTOR),
            {**made(POD), **TEMPLATE, "metadata": {"name": "a", "labels": {"app": "a"}}},
        ],
        "UnmanagedPods",
        (
            "Pods selected by this PodDisruptionBudget (selector: "
            "&LabelSelector{MatchLabels:map[string]string{app: a,},"
            "MatchExpressions:[]LabelSelectorRequirement{},}) were found to be unmanaged. As a result, the "
            "status of the PDB"
            " cannot be calculated correctly, which may result in undefined behavior. To account for these pods "
            "please set "
            '".spec.minAvailable" field of the PDB to an integer value.'
        ),
    ),
    (
        "budget-of-nothing",
        [made(POD_DISRUPTION_BUDGET, minAvailable=1, selector=SELECTOR)],
        "NoPods",
        "No matching pods found",
    ),
    (
        "nothing-to-scale",
        [autoscaler("nope")],
        "FailedGetScale",
        'deployments.apps "nope" not found',
    ),
    (
        "no-metrics",
        [pods(DEPLOYMENT), autoscaler()],
        "FailedGetResourceMetric",
        (
            "failed to get cpu utilization: unable to get metrics for resource cpu: no metrics returned from resource "
            "metrics API"
        ),
    ),
]

CONDITIONS: list[tuple[str, Kind, str, str, str, str]] = [
    (
        "quota-exceeded",
        DEPLOYMENT,
        "ReplicaFailure",
        "True",
        "FailedCreate",
        OVER,
    ),
    (
        "quota-exceeded",
        DEPLOYMENT,
        "Available",
        "False",
        "MinimumReplicasUnavailable",
        "Deployment does not have minimum availability.",
    ),
    (
        "no-such-node",
        POD,
        "PodScheduled",
        "False",
        "Unschedulable",
        (
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. "
            "no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for "
            "scheduling."
        ),
    ),
    ("budget-of-nothing", POD_DISRUPTION_BUDGET, "DisruptionAllowed", "False", "InsufficientPods", ""),
    (
        "nothing-to-scale",
        HORIZONTAL_POD_AUTOSCALER,
        "AbleToScale",
        "False",
        "FailedGetScale",
        'the HPA controller was unable to get the target\'s current scale: deployments.apps "nope" not found',
    ),
    (
        "no-metrics",
        HORIZONTAL_POD_AUTOSCALER,
        "ScalingActive",
        "False",
        "FailedGetResourceMetric",
        (
            "the HPA was unable to compute the replica count: failed to get cpu utilization: unable to get metrics for "
            "resource cpu: no metrics returned from resource metrics API"
        ),
    ),
]


@pytest.fixture
async def client(api_server: Any) -> AsyncIterator[Client]:
    async with running(api_server.kubeconfig, *map(_controller, CONTROLLERS)) as found:
        yield found


def _controller(name: str) -> Controller:
    return registry.make(name)


def _fits(message: str, wanted: str) -> bool:
    """A ? stands for any character."""
    return len(message) == len(wanted) and all(w in ("?", m) for m, w in zip(message, wanted, strict=True))


async def _make(client: Client, namespace: str, objects: list[Obj]) -> None:
    """Makes them one after the other, as soon as what admits them is there."""

    async def account() -> bool:
        return bool((await client.list(SERVICE_ACCOUNT, namespace)).items)

    async def counted() -> bool:
        return all("used" in q.get("status", {}) for q in (await client.list(RESOURCE_QUOTA, namespace)).items)

    await eventually(account)
    for obj in objects:
        kind = kind_of(obj["apiVersion"], obj["kind"])
        assert kind is not None
        within = {"namespace": namespace} if kind.namespaced else {}
        await client.create(kind, {**obj, "metadata": {**obj["metadata"], **within}})
        await eventually(counted)


async def _one_node(client: Client) -> None:
    await client.create(NODE, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})
    await client.patch(NODE, "n", None, {"spec": {"taints": None}})
    has = {"cpu": "1", "memory": "1Gi", "pods": "10"}
    await client.patch(NODE, "n", None, {"status": {"capacity": has, "allocatable": has}}, subresource="status")


async def test_events_and_conditions_tell_what_is_wrong(client: Client) -> None:
    await _one_node(client)
    for name, objects, *_ in EVENTS:
        await client.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        await _make(client, name, objects)
    for name, _, reason, message in EVENTS:

        async def said(name: str = name, reason: str = reason) -> list[str]:
            return [e["message"] for e in (await client.list(EVENT, name)).items if e["reason"] == reason]

        messages = await eventually(said)
        assert any(_fits(told, message.replace("NAMESPACE", name)) for told in messages), f"{name}: {messages}"
    for name, kind, cause, status, reason, message in CONDITIONS:

        async def shown(name: str = name, kind: Kind = kind, cause: str = cause) -> Obj | None:
            return condition(await client.get(kind, "a", name), cause)

        found = await eventually(shown)
        assert found is not None
        assert (found["status"], found["reason"]) == (status, reason), name
        assert _fits(found["message"], message), f"{name}: {found['message']}"

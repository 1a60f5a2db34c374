"""Autoscalers against Hawser's own API server, with metrics from an adapter behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from hawser.api.kinds import (
    API_SERVICE,
    CUSTOM_RESOURCE_DEFINITION,
    EVENT,
    HORIZONTAL_POD_AUTOSCALER,
    NAMESPACE,
    POD,
    REPLICA_SET,
    Kind,
)
from hawser.api.status import condition
from hawser.client.client import Client
from hawser.controllers.autoscaler.controller import AutoscalerController

from ..objects import replica_set
from ..running import eventually, running
from .adapter import GROUPS, Adapter, serving

Obj = dict[str, Any]
_OPTIONS = {"sync_period": 0.1, "downscale_stabilization": 0.0, "tolerance": 0.1}
_OPTIONS |= {"cpu_initialization_period": 0.0, "initial_readiness_delay": 0.0}


@pytest.fixture
async def metrics(api_server: Any) -> AsyncIterator[tuple[Client, Adapter]]:
    controller = AutoscalerController()
    controller.configure({f"horizontal_pod_autoscaler_{name}": value for name, value in _OPTIONS.items()})
    async with running(api_server.kubeconfig, controller) as client, serving(client, api_server.folder) as adapter:

        async def available() -> bool:
            services = [await client.get(API_SERVICE, f"{version}.{group}") for group, version in GROUPS.items()]
            return all((condition(s, "Available") or {}).get("status") == "True" for s in services)

        await eventually(available)
        yield client, adapter


async def target(client: Client, namespace: str, replicas: int = 2) -> None:
    """A ReplicaSet with pods that run; nobody makes more of them."""
    await client.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    made = replica_set("web", replicas)
    made["metadata"] = {"name": "web", "namespace": namespace}
    await client.create(REPLICA_SET, made)
    await client.patch(REPLICA_SET, "web", namespace, {"status": {"replicas": replicas}}, subresource="status")
    for number in range(replicas):
        metadata = {"name": f"web-{number}", "namespace": namespace, "labels": {"app": "web"}}
        container = {"name": "main", "image": "a", "resources": {"requests": {"cpu": "100m", "memory": "100Mi"}}}
        spec = {"nodeName": "n", "containers": [container]}
        await client.create(POD, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        at = "2026-01-01T00:00:00Z"
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": at}
        status = {"phase": "Running", "startTime": at, "conditions": [ready]}
        await client.patch(POD, f"web-{number}", namespace, {"status": status}, subresource="status")


async def scale(client: Client, namespace: str, *metrics: Obj, name: str = "web", **spec: Any) -> None:
    reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web"}
    body = {"scaleTargetRef": reference, "minReplicas": 1, "maxReplicas": 10, "metrics": list(metrics), **spec}
    made = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "spec": body}
    await client.create(HORIZONTAL_POD_AUTOSCALER, {**made, "metadata": {"name": name, "namespace": namespace}})


async def replicas(client: Client, namespace: str, count: int) -> Obj:
    """The autoscaler, once the target has so many replicas and its status says so."""

    async def there() -> Obj | None:
        found = await client.get(HORIZONTAL_POD_AUTOSCALER, "web", namespace)
        now = (await client.get(REPLICA_SET, "web", namespace))["spec"]["replicas"]
        status = found.get("status", {})
        return found if now == count == status.get("currentReplicas") == status.get("desiredReplicas") else None

    return await eventually(there)


async def said(client: Client, namespace: str, kind: str, reason: str, name: str = "web") -> Obj:
    async def there() -> Obj | None:
        found = condition(await client.get(HORIZONTAL_POD_AUTOSCALER, name, namespace), kind)
        return found if found and found["reason"] == reason else None

    return await eventually(there)


def cpu(percent: int = 50) -> Obj:
    return {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}},
    }


async def test_every_kind_of_metric_scales(metrics: tuple[Client, Adapter]) -> None:
    """One after the other on one target, since an adapter takes a while to be found."""
    client, adapter = metrics
    await target(client, "kinds")
    adapter.usage = {f"web-{n}": {"main": {"cpu": "100m", "memory": "50Mi"}} for n in range(2)}
    await scale(client, "kinds", cpu())
    found = await replicas(client, "kinds", 4)
    status = found["status"]
    current = {"averageUtilization": 100, "averageValue": "100m"}
    assert status["currentMetrics"] == [{"type": "Resource", "resource": {"name": "cpu", "current": current}}]
    assert status["lastScaleTime"]
    active = condition(found, "ScalingActive") or {}
    assert active["message"] == (
        "the HPA was able to successfully calculate a replica count from cpu resource utilization "
        "(percentage of request)"
    )

    async def reported() -> bool:
        events = {(e["reason"], e["message"]) for e in (await client.list(EVENT, "kinds")).items}
        message = "New size: 4; reason: cpu resource utilization (percentage of request) above target"
        return ("SuccessfulRescale", message) in events

    await eventually(reported)

    async def change(metric: Obj, wanted: int) -> Obj:
        await client.patch(REPLICA_SET, "web", "kinds", {"spec": {"replicas": 2}})
        await client.patch(HORIZONTAL_POD_AUTOSCALER, "web", "kinds", {"spec": {"metrics": [metric]}})
        status: Obj = (await replicas(client, "kinds", wanted))["status"]
        return status["currentMetrics"][0]

    value = {"type": "AverageValue", "averageValue": "10Mi"}
    shown = await change(
        {"type": "ContainerResource", "containerResource": {"name": "memory", "container": "main", "target": value}}, 10
    )
    assert shown["containerResource"]["current"] == {"averageValue": "52428800"}
    adapter.custom = {
        "pods/*/qps": [{"describedObject": {"name": f"web-{n}"}, "value": "30"} for n in range(2)],
        "services/front/hits": [{"describedObject": {"name": "front"}, "value": "120"}],
    }
    chosen = {"name": "qps", "selector": {"matchLabels": {"verb": "GET"}}}
    shown = await change(
        {"type": "Pods", "pods": {"metric": chosen, "target": {"type": "AverageValue", "averageValue": "10"}}}, 6
    )
    assert shown["pods"] == {"metric": chosen, "current": {"averageValue": "30"}}
    assert any("metricLabelSelector=verb" in path and "labelSelector=app" in path for path in adapter.asked)
    front = {"apiVersion": "v1", "kind": "Service", "name": "front"}
    hits = {"describedObject": front, "metric": {"name": "hits"}, "target": {"type": "Value", "value": "30"}}
    shown = await change({"type": "Object", "object": hits}, 8)
    assert shown["object"] == {"describedObject": front, "metric": {"name": "hits"}, "current": {"value": "120"}}
    adapter.external = {"queue": ["40", "10"]}
    queue = {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "10"}}
    shown = await change({"type": "External", "external": queue}, 5)
    # Each look divides by the replicas that the target counts, which nobody updates here.
    assert shown["external"]["current"] == {"averageValue": "25"}
    adapter.external = {}
    await said(client, "kinds", "ScalingActive", "FailedGetExternalMetric")
    adapter.usage = {f"web-{n}": {"main": {"cpu": "1m", "memory": "50Mi"}} for n in range(2)}
    await change(cpu(), 1)


async def test_why_nothing_is_scaled_is_said(metrics: tuple[Client, Adapter]) -> None:
    client, adapter = metrics
    adapter.usage = {}
    await target(client, "reasons")
    await scale(client, "reasons", cpu())
    failed = await said(client, "reasons", "ScalingActive", "FailedGetResourceMetric")
    assert failed["message"] == (
        "the HPA was unable to compute the replica count: failed to get cpu utilization: unable to get metrics for "
        "resource cpu: no metrics returned from resource metrics API"
    )
    await scale(client, "reasons", cpu(), name="other")
    ambiguous = await said(client, "reasons", "ScalingActive", "AmbiguousSelector", "other")
    assert ambiguous["message"] == (
        "pods by selector app=web are controlled by multiple HPAs: [{other reasons} {web reasons}]"
    )
    # Of the version that old manifests name nothing depends.
    lost = {"apiVersion": "apps/v1beta2", "kind": "Deployment", "name": "lost"}
    await scale(client, "reasons", cpu(), name="lost", scaleTargetRef=lost)
    gone = await said(client, "reasons", "AbleToScale", "FailedGetScale", "lost")
    assert gone["message"].startswith("the HPA controller was unable to get the target's current scale: deployments")
    await client.patch(REPLICA_SET, "web", "reasons", {"spec": {"replicas": 0}})
    await said(client, "reasons", "ScalingActive", "ScalingDisabled")


async def test_a_custom_resource_is_kept_between_its_bounds(metrics: tuple[Client, Adapter]) -> None:
    client, _ = metrics
    group = "scaled.example.com"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    paths = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema, "subresources": {"scale": paths}}
    definition = {"group": group, "scope": "Namespaced", "names": {"plural": "farms", "kind": "Farm"}}
    body = {"metadata": {"name": f"farms.{group}"}, "spec": {**definition, "versions": [version]}}
    await client.create(CUSTOM_RESOURCE_DEFINITION, body)
    await client.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "farms"}})
    kind = Kind(group, "v1", "Farm", "farms", True)
    farm = {"apiVersion": f"{group}/v1", "kind": "Farm", "metadata": {"name": "web", "namespace": "farms"}}
    await client.create(kind, {**farm, "spec": {"replicas": 1}})
    reference = {"apiVersion": f"{group}/v1alpha7", "kind": "Farm", "name": "web"}
    await scale(client, "farms", cpu(), scaleTargetRef=reference, minReplicas=3)

    async def three() -> bool:
        return bool((await client.get(kind, "web", "farms"))["spec"]["replicas"] == 3)

    await eventually(three)
    required = await said(client, "farms", "ScalingActive", "InvalidSelector")
    assert required["message"] == "the HPA target's scale is missing a selector"

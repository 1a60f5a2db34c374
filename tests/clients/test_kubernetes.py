"""Kubernetes' own Python clients, blocking and not: what they generate for every kind, and what they do by hand."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any

import kubernetes
import kubernetes_asyncio
import pytest
from kubernetes import client, dynamic, watch

from ..apiserver.conftest import Api, Server
from .conftest import Kubectl

# Versions that kube-apiserver leaves off by default, and calls that are of no one kind.
_OFF = ("alpha", "beta", "customobjects", "internal", "storagemigration")


@pytest.fixture(scope="module")
def connection(server: Server) -> Iterator[client.ApiClient]:
    """The blocking client with the administrator's certificate."""
    with kubernetes.config.new_client_from_config(str(server.kubeconfig)) as found:
        # It demands the eventTime that events of core/v1 need not have, and that Kubernetes leaves out, too.
        found.configuration.client_side_validation = False
        yield found


def test_every_generated_list_call_of_a_stable_version_decodes(connection: client.ApiClient) -> None:
    called = []
    for name, group in inspect.getmembers(client, inspect.isclass):
        if not name.endswith("Api") or any(word in name.lower() for word in _OFF):
            continue
        for method in dir(group):
            if not method.startswith("list_") or method.endswith("_with_http_info"):
                continue
            call = getattr(group(connection), method)
            needed = inspect.signature(call).parameters
            arguments = {"namespace": "default"} if "namespace" in needed else {}
            found = call(**arguments)
            assert found.metadata.resource_version, (name, method)
            called.append(method)
    assert len(called) > 90


def test_every_group_tells_its_resources(connection: client.ApiClient) -> None:
    for name, group in inspect.getmembers(client, inspect.isclass):
        if name.endswith("Api") and not any(word in name.lower() for word in _OFF):
            for method in ("get_api_resources", "get_api_group", "get_api_versions"):
                if hasattr(group, method):
                    assert getattr(group(connection), method)(), (name, method)


def test_objects_are_made_changed_watched_and_deleted(connection: client.ApiClient, kubectl: Kubectl) -> None:
    core = client.CoreV1Api(connection)
    space = kubectl.namespace
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="c"), data={"k": "v"})
    made = core.create_namespaced_config_map(space, body)
    made.data["k"] = "w"
    changed = core.replace_namespaced_config_map("c", space, made)
    with pytest.raises(client.ApiException) as caught:
        core.replace_namespaced_config_map("c", space, made)
    assert (caught.value.status, caught.value.reason) == (409, "Conflict")
    patched = core.patch_namespaced_config_map("c", space, {"metadata": {"labels": {"a": "b"}}})
    assert patched.metadata.labels == {"a": "b"}
    core.delete_namespaced_config_map("c", space)
    since = made.metadata.resource_version
    events = []
    stream = watch.Watch()
    for event in stream.stream(core.list_namespaced_config_map, space, resource_version=since, timeout_seconds=120):
        events.append((event["type"], event["object"].metadata.resource_version))
        if event["type"] == "DELETED":
            stream.stop()
    assert [kind for kind, _ in events] == ["MODIFIED", "MODIFIED", "DELETED"]
    assert events[0][1] == changed.metadata.resource_version


def test_workloads_of_typed_models(connection: client.ApiClient, kubectl: Kubectl) -> None:
    apps = client.AppsV1Api(connection)
    space = kubectl.namespace
    labels = {"app": "web"}
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels=labels),
        spec=client.V1PodSpec(containers=[client.V1Container(name="c", image="nginx")]),
    )
    spec = client.V1DeploymentSpec(selector=client.V1LabelSelector(match_labels=labels), template=template)
    made = apps.create_namespaced_deployment(
        space, client.V1Deployment(metadata=client.V1ObjectMeta(name="web"), spec=spec), field_validation="Strict"
    )
    assert made.spec.strategy.rolling_update.max_surge == "25%"
    scale = apps.read_namespaced_deployment_scale("web", space)
    scale.spec.replicas = 4
    assert apps.replace_namespaced_deployment_scale("web", space, scale).spec.replicas == 4
    assert apps.read_namespaced_deployment_status("web", space).metadata.generation == 2
    done = apps.delete_collection_namespaced_deployment(space, label_selector="nope")
    assert done.status in (None, "Success")
    core = client.CoreV1Api(connection)
    pod = core.create_namespaced_pod(space, client.V1Pod(metadata=client.V1ObjectMeta(name="p"), spec=template.spec))
    eviction = client.V1Eviction(metadata=client.V1ObjectMeta(name="p"))
    core.create_namespaced_pod_eviction("p", space, eviction)
    assert pod.metadata.uid not in {left.metadata.uid for left in core.list_namespaced_pod(space).items}
    review = client.V1SelfSubjectReview()
    assert (
        client.AuthenticationV1Api(connection).create_self_subject_review(review).status.user_info.username == "admin"
    )


def test_the_dynamic_client_applies_and_watches(connection: client.ApiClient, kubectl: Kubectl) -> None:
    found = dynamic.DynamicClient(connection)
    space = kubectl.namespace
    services = found.resources.get(api_version="v1", kind="Service")
    body: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s"},
        "spec": {"selector": {"a": "b"}, "ports": [{"port": 80, "protocol": "TCP"}]},
    }
    made = found.server_side_apply(services, body=body, namespace=space, field_manager="tests")
    assert made.spec.ports[0].targetPort == 80
    body["spec"]["ports"] = [{"port": 81, "protocol": "TCP"}]
    again = found.server_side_apply(services, body=body, namespace=space, field_manager="tests")
    assert [port.port for port in again.spec.ports] == [81]
    with pytest.raises(dynamic.exceptions.ConflictError):
        found.server_side_apply(
            services, body={**body, "spec": {"selector": {"a": "c"}}}, namespace=space, field_manager="others"
        )
    for event in services.watch(namespace=space, timeout=120):
        assert (event["type"], event["object"].metadata.name) == ("ADDED", "s")
        break
    roles = found.resources.get(api_version="rbac.authorization.k8s.io/v1", kind="Role")
    assert roles.get(namespace=space).kind == "RoleList"
    services.delete(name="s", namespace=space)


async def test_the_client_for_asyncio(server: Server, api: Api) -> None:
    space = api.namespace
    configuration = kubernetes_asyncio.client.Configuration()
    await kubernetes_asyncio.config.load_kube_config(str(server.kubeconfig), client_configuration=configuration)
    async with kubernetes_asyncio.client.ApiClient(configuration) as connection:
        core = kubernetes_asyncio.client.CoreV1Api(connection)
        seen: list[str] = []
        begun = asyncio.Event()

        async def follow() -> None:
            async with kubernetes_asyncio.watch.Watch() as stream:
                async for event in stream.stream(core.list_namespaced_secret, space, timeout_seconds=120):
                    seen.append(event["type"])
                    begun.set()
                    if event["type"] == "DELETED":
                        return

        made = await core.create_namespaced_secret(space, {"metadata": {"name": "s"}, "stringData": {"k": "v"}})
        assert made.data == {"k": "dg=="}
        async with asyncio.TaskGroup() as group:
            group.create_task(follow())
            await begun.wait()
            await core.patch_namespaced_secret("s", space, {"metadata": {"labels": {"a": "b"}}})
            await core.delete_namespaced_secret("s", space)
        assert seen == ["ADDED", "MODIFIED", "DELETED"]
        pods = await core.list_pod_for_all_namespaces(limit=1)
        assert pods.metadata.resource_version
        resources = await kubernetes_asyncio.dynamic.DynamicClient(connection)
        deployments = await resources.resources.get(api_version="apps/v1", kind="Deployment")
        assert (await deployments.get(namespace=space)).kind == "DeploymentList"

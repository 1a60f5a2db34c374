"""What client-go's typed clients do in protobuf beyond plain objects: options, subresources and reviews."""

from __future__ import annotations

from typing import Any

from hawser.apiserver.protobuf import frames, wire

PROTOBUF = "application/vnd.kubernetes.protobuf"
ACCEPT = f"{PROTOBUF},application/json"
Obj = dict[str, Any]


async def send(api: Any, method: str, path: str, obj: Obj | None, expected: int = 200) -> Obj:
    """One request, both ways in protobuf."""
    body = frames.document(obj) if obj is not None else None
    answer = await api.call(method, path, body, content=PROTOBUF, accept=ACCEPT)
    assert (answer.status, answer.headers["Content-Type"]) == (expected, PROTOBUF), answer.body
    return wire.decode(answer.body)


def deployment(name: str) -> Obj:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    return {"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": name}, "spec": spec}


async def test_a_deployment_is_scaled_reports_and_is_deleted(api: Any) -> None:
    path = api.path("deployments", group="apps")
    made = await send(api, "POST", path, deployment("d"), 201)
    assert made["spec"]["replicas"] == 0
    scale = await send(api, "GET", f"{path}/d/scale", None)
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    scale["spec"] = {"replicas": 3}
    assert (await send(api, "PUT", f"{path}/d/scale", scale))["spec"] == {"replicas": 3}
    shown = await send(api, "GET", f"{path}/d", None)
    shown["status"] = {"replicas": 2, "observedGeneration": 2}
    status = (await send(api, "PUT", f"{path}/d/status", shown))["status"]
    assert (status["replicas"], status["observedGeneration"]) == (2, 2)
    options = {"kind": "DeleteOptions", "apiVersion": "apps/v1", "propagationPolicy": "Foreground"}
    deleted = await send(api, "DELETE", f"{path}/d", options)
    assert deleted["metadata"]["finalizers"] == ["foregroundDeletion"]


async def test_options_with_preconditions_and_collections(api: Any) -> None:
    path = api.path("configmaps")
    for name in ("a", "b"):
        await send(api, "POST", path, {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}}, 201)
    options: Obj = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "other"}}
    assert (await send(api, "DELETE", f"{path}/a", options, 409))["reason"] == "Conflict"
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}
    listing = await send(api, "DELETE", f"{path}?fieldSelector=metadata.name%3Da", options)
    assert [item["metadata"]["name"] for item in listing["items"]] == ["a"]
    assert (await send(api, "GET", f"{path}/a", None, 404))["details"]["name"] == "a"


async def test_reviews_and_tokens(api: Any) -> None:
    attributes = {"verb": "get", "resource": "pods", "namespace": api.namespace}
    head = {"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1"}
    review = {**head, "spec": {"resourceAttributes": attributes}}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    assert (await send(api, "POST", path, review, 201))["status"]["allowed"] is True
    account = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "robot"}}
    await send(api, "POST", api.path("serviceaccounts"), account, 201)
    request = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {"expirationSeconds": 600}}
    token = await send(api, "POST", f"{api.path('serviceaccounts', 'robot')}/token", request, 201)
    assert token["status"]["token"].count(".") == 2


async def test_discovery_in_protobuf(api: Any) -> None:
    groups = await send(api, "GET", "/apis", None)
    assert (groups["kind"], "apps" in {group["name"] for group in groups["groups"]}) == ("APIGroupList", True)
    listed = await send(api, "GET", "/apis/apps/v1", None)
    deployments = next(row for row in listed["resources"] if row["name"] == "deployments")
    assert (deployments["namespaced"], "patch" in deployments["verbs"]) == (True, True)

"""Server-side apply and field ownership, through a real server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

Obj = dict[str, Any]
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: c, image: "nginx:1", ports: [{containerPort: 80}]}
"""


def config_map(name: str, data: Obj, **metadata: Any) -> Obj:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": data}


def entries(obj: Obj) -> dict[tuple[str, str, str], Obj]:
    """fieldsV1 by manager, operation and subresource."""
    return {
        (entry["manager"], entry["operation"], entry.get("subresource", "")): entry["fieldsV1"]
        for entry in obj["metadata"].get("managedFields", [])
    }


async def apply(api: Any, path: str, body: Any, manager: str = "a", query: str = "", **options: Any) -> Any:
    return await api.call("PATCH", f"{path}?fieldManager={manager}{query}", body, content=APPLY, **options)


async def test_applying_creates_then_changes_then_changes_nothing(api: Any) -> None:
    path = api.path("configmaps", "c")
    made = await apply(api, path, config_map("c", {"x": "1"}))
    assert made.status == 201
    assert made.json["metadata"]["managedFields"] == [
        {
            "manager": "a",
            "operation": "Apply",
            "apiVersion": "v1",
            "time": made.json["metadata"]["creationTimestamp"],
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {"f:x": {}}},
        }
    ]
    changed = await apply(api, path, b"{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {y: '2'}}")
    assert changed.status == 200
    assert changed.json["data"] == {"y": "2"}
    again = await apply(api, path, config_map("c", {"y": "2"}))
    assert again.json == changed.json


async def test_every_write_says_who_owns_what(api: Any) -> None:
    path = api.path("configmaps")
    agent = {"User-Agent": "editor/v1.2 (linux)"}
    made = await api.create(path, config_map("c", {"x": "1"}, labels={"l": "1"}), headers=agent)
    assert entries(made) == {
        ("editor", "Update", ""): {
            "f:data": {".": {}, "f:x": {}},
            "f:metadata": {"f:labels": {".": {}, "f:l": {}}},
        }
    }
    patched = (await api.call("PATCH", f"{path}/c?fieldManager=p", {"data": {"x": "2", "y": "2"}}, content=MERGE)).json
    assert entries(patched)["p", "Update", ""] == {"f:data": {"f:x": {}, "f:y": {}}}
    assert entries(patched)["editor", "Update", ""]["f:data"] == {}
    put = {**patched, "data": {"y": "2"}, "metadata": {"name": "c"}}
    replaced = (await api.call("PUT", f"{path}/c?fieldManager=r", put)).json
    assert entries(replaced) == {
        ("editor", "Update", ""): {"f:data": {}},
        ("p", "Update", ""): {"f:data": {"f:y": {}}},
    }


async def test_writes_that_change_nothing_keep_version_and_times(api: Any) -> None:
    path = api.path("configmaps", "c")
    made = await api.config_map("c", data={"x": "1"})
    for body in ({"data": {"x": "1"}}, {"metadata": {"managedFields": made["metadata"]["managedFields"]}}):
        assert (await api.call("PATCH", path + "?fieldManager=p", body, content=MERGE)).json == made
    assert (await api.call("PUT", path + "?fieldManager=p", made)).json == made


async def test_conflicts_name_manager_and_field_until_forced(api: Any) -> None:
    path = api.path("configmaps", "c")
    await apply(api, path, config_map("c", {"x": "1"}))
    refused = await apply(api, path, config_map("c", {"x": "2", "y": "2"}), "b")
    assert refused.status == 409
    assert refused.json["reason"] == "Conflict"
    assert refused.message == 'Apply failed with 1 conflict: conflict with "a": .data.x'
    assert refused.json["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "a"', "field": ".data.x"}
    ]
    assert (await api.get(path)).json["data"] == {"x": "1"}
    forced = await apply(api, path, config_map("c", {"x": "2", "y": "2"}), "b", "&force=true")
    assert forced.json["data"] == {"x": "2", "y": "2"}
    assert set(entries(forced.json)) == {("b", "Apply", "")}


async def test_a_dry_run_shows_the_outcome_and_keeps_nothing(api: Any) -> None:
    path = api.path("configmaps", "c")
    assert (await apply(api, path, config_map("c", {"x": "1"}), query="&dryRun=All")).status == 201
    assert (await api.get(path)).status == 404
    made = await api.config_map("c", data={"x": "1"})
    shown = await apply(api, path, config_map("c", {"y": "1"}), query="&dryRun=All")
    assert shown.json["data"] == {"x": "1", "y": "1"}
    assert (await api.get(path)).json == made


@pytest.mark.parametrize(
    ("query", "body", "status", "message"),
    [
        (
            "",
            {},
            422,
            'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch',
        ),
        ("?fieldManager=" + "x" * 129, {}, 422, "fieldManager: Too long: may not be more than 128 bytes"),
        ("?fieldManager=%07", {}, 422, "should only contain printable characters"),
        ("?fieldManager=a", config_map("other", {}), 400, "does not match the name on the URL (c)"),
        ("?fieldManager=a", config_map("", {}), 400, "the name of the object (c based on URL) was undeterminable"),
        (
            "?fieldManager=a",
            {**config_map("c", {}), "apiVersion": "v2"},
            400,
            "Incorrect version specified in apply patch. Specified patch version: v2, expected: v1",
        ),
        ("?fieldManager=a", {**config_map("c", {}), "kind": "Secret"}, 400, "Specified kind: Secret"),
        ("?fieldManager=a", config_map("c", {}, managedFields=[]), 400, "metadata.managedFields must be nil"),
        ("?fieldManager=a", config_map("c", {}, uid="u"), 409, "uid mismatch: the provided object specified uid u"),
        ("?fieldManager=a", {**config_map("c", {}), "dta": {}}, 500, ".dta: field not declared in schema"),
        ("?fieldManager=a", {**config_map("c", {}), "data": {"k": 1}}, 400, "cannot be handled as a ConfigMap"),
        ("?fieldManager=a", b"a: b: c", 400, "error converting YAML to JSON"),
        ("?fieldManager=a", b"[]", 400, "cannot unmarshal array into Go value of type map"),
    ],
)
async def test_what_cannot_be_applied_is_refused_with_the_reason(
    api: Any, query: str, body: Any, status: int, message: str
) -> None:
    answer = await api.call("PATCH", api.path("configmaps", "c") + query, body, content=APPLY)
    assert (answer.status, message in answer.message) == (status, True), answer.message


async def test_force_is_for_applying_only(api: Any) -> None:
    answer = await api.call("PATCH", api.path("configmaps", "c") + "?force=true", {}, content=MERGE)
    assert answer.status == 422
    assert "force: Forbidden: may not be specified for non-apply patch" in answer.message


async def test_repeated_list_items_are_refused(api: Any) -> None:
    pod = {"containers": [{"name": "c", "image": "i"}, {"name": "c", "image": "j"}]}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": pod}
    answer = await apply(api, api.path("pods", "p"), body)
    assert answer.status == 500
    assert answer.message.endswith('.spec.containers: duplicate entries for key [name="c"]')


async def test_clients_can_rewrite_and_forget_owners(api: Any) -> None:
    path = api.path("configmaps", "c")
    await api.config_map("c", data={"x": "1"})
    steal = [{"op": "replace", "path": "/metadata/managedFields/0/manager", "value": "thief"}]
    stolen = (await api.call("PATCH", path, steal, content=JSON_PATCH)).json
    assert set(entries(stolen)) == {("thief", "Update", "")}
    spoiled = {"metadata": {"managedFields": [{"manager": "x", "operation": "Own", "apiVersion": "v1"}]}}
    assert entries((await api.call("PATCH", path, spoiled, content=MERGE)).json) == entries(stolen)
    for body, content in (
        ({"metadata": {"managedFields": [{}]}}, MERGE),
        ([{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}], JSON_PATCH),
    ):
        forgotten = (await api.call("PATCH", path, body, content=content)).json
        assert "managedFields" not in forgotten["metadata"]
    # Nobody owns anything until the first apply; then what was there has an owner too.
    changed = (await api.call("PATCH", path, {"data": {"x": "2"}}, content=MERGE)).json
    assert "managedFields" not in changed["metadata"]
    applied = (await apply(api, path, config_map("c", {"y": "1"}))).json
    assert set(entries(applied)) == {("a", "Apply", ""), ("before-first-apply", "Update", "")}


async def test_status_has_owners_of_its_own(api: Any) -> None:
    path = api.path("pods", "p")
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    made = await api.create(api.path("pods") + "?fieldManager=m", pod)
    assert set(entries(made)) == {("m", "Update", "")}
    owned = entries(made)["m", "Update", ""]
    assert "f:status" not in owned
    # What admission sets is nobody's.
    assert "f:tolerations" not in owned["f:spec"]
    assert "f:restartPolicy" in owned["f:spec"]
    status = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    patched = (await api.call("PATCH", path + "/status?fieldManager=k", status, content=STRATEGIC)).json
    ready = {".": {}, "f:status": {}, "f:type": {}}
    conditions = entries(patched)["k", "Update", "status"]["f:status"]["f:conditions"]
    assert conditions['k:{"type":"Ready"}'].items() >= ready.items()
    config = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}
    condition = {"type": "example.com/x", "status": "True"}
    applied = await apply(api, path + "/status", {**config, "status": {"conditions": [condition]}})
    assert applied.status == 200
    assert [c["type"] for c in applied.json["status"]["conditions"]] == ["Ready", "example.com/x"]
    assert ("a", "Apply", "status") in entries(applied.json)
    removed = (await apply(api, path + "/status", {**config, "status": {"phase": "Pending"}})).json
    assert [c["type"] for c in removed["status"]["conditions"]] == ["Ready"]
    assert (await apply(api, api.path("pods", "q") + "/status", config)).status == 404


async def test_scaling_is_a_change_of_a_subresource(api: Any, kubectl: Any) -> None:
    space = api.namespace
    path = api.path("deployments", "web", "apps")
    kubectl("apply", "--server-side", "-f", "-", stdin=DEPLOYMENT, namespace=space)
    kubectl("scale", "deploy/web", "--replicas=5", namespace=space)
    scaled = (await api.get(path)).json
    assert entries(scaled)["kubectl", "Update", "scale"] == {"f:spec": {"f:replicas": {}}}
    body = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": 7}}
    refused = await apply(api, path + "/scale", body, "hpa")
    assert refused.status == 409
    assert 'conflict with "kubectl" with subresource "scale" using' in refused.message
    done = await apply(api, path + "/scale", body, "hpa", "&force=true")
    assert done.json["kind"] == "Scale"
    assert done.json["spec"] == {"replicas": 7}
    assert entries((await api.get(path)).json)["hpa", "Apply", "scale"] == {"f:spec": {"f:replicas": {}}}


async def test_binding_and_deleting_own_nothing(api: Any) -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    made = await api.create(api.path("pods"), pod)
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
    await api.create(api.path("pods", "p") + "/binding", binding)
    bound = (await api.get(api.path("pods", "p"))).json
    assert bound["spec"]["nodeName"] == "n"
    assert bound["metadata"]["managedFields"] == made["metadata"]["managedFields"]
    await api.call("DELETE", api.path("pods", "p"))
    ending = (await api.get(api.path("pods", "p"))).json
    assert ending["metadata"]["managedFields"] == made["metadata"]["managedFields"]


async def test_two_appliers_share_a_deployment(api: Any) -> None:
    path = api.path("deployments", "web", "apps")
    assert (await apply(api, path, DEPLOYMENT.encode(), "team")).status == 201
    sidecar = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"template": {"spec": {"containers": [{"name": "proxy", "image": "envoy:1"}]}}},
    }
    both = (await apply(api, path, sidecar, "mesh")).json
    assert [c["name"] for c in both["spec"]["template"]["spec"]["containers"]] == ["c", "proxy"]
    assert both["metadata"]["generation"] == 2
    changed = (await apply(api, path, DEPLOYMENT.replace("nginx:1", "nginx:2").encode(), "team")).json
    assert [c["image"] for c in changed["spec"]["template"]["spec"]["containers"]] == ["nginx:2", "envoy:1"]
    sidecar["spec"] = {"paused": False}
    alone = (await apply(api, path, sidecar, "mesh")).json
    assert [c["name"] for c in alone["spec"]["template"]["spec"]["containers"]] == ["c"]
    # replicas given up: nobody owns them, so they go back to the default.
    given_up = (await apply(api, path, DEPLOYMENT.replace("replicas: 2", "").encode(), "team")).json
    assert given_up["spec"]["replicas"] == 1


def refused(server: Any, namespace: str, *arguments: str, stdin: str = "") -> str:
    """What kubectl says when it fails."""
    kubectl = str(Path(sys.executable).parent / "kubectl")
    done = subprocess.run(
        [kubectl, "--kubeconfig", str(server.kubeconfig), "-n", namespace, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode != 0, done.stdout
    return done.stderr


async def test_kubectl_applies_server_side(api: Any, kubectl: Any, server: Any) -> None:
    space = api.namespace
    ours = ("apply", "--server-side", "-f", "-")
    assert "serverside-applied" in kubectl(*ours, stdin=DEPLOYMENT, namespace=space)
    theirs = DEPLOYMENT.replace("replicas: 2", "replicas: 3")
    said = refused(server, space, *ours, "--field-manager=other", stdin=theirs)
    assert 'Apply failed with 1 conflict: conflict with "kubectl": .spec.replicas' in said
    kubectl(*ours, "--field-manager=other", "--force-conflicts", stdin=theirs, namespace=space)
    shown = json.loads(kubectl("get", "deploy", "web", "-o", "json", "--show-managed-fields", namespace=space))
    assert shown["spec"]["replicas"] == 3
    owned = entries(shown)
    assert "f:replicas" not in owned["kubectl", "Apply", ""]["f:spec"]
    assert "f:replicas" in owned["other", "Apply", ""]["f:spec"]
    assert "managedFields" not in kubectl("get", "deploy", "web", "-o", "yaml", namespace=space)
    assert "configured" not in kubectl(
        "diff", "--server-side", "-f", "-", "--field-manager=other", stdin=theirs, namespace=space
    )


async def test_kubectl_moves_from_client_side_to_server_side_apply(api: Any, kubectl: Any) -> None:
    space = api.namespace
    kubectl("apply", "-f", "-", stdin=DEPLOYMENT, namespace=space)
    path = api.path("deployments", "web", "apps")
    assert set(entries((await api.get(path)).json)) == {("kubectl-client-side-apply", "Update", "")}
    changed = DEPLOYMENT.replace("nginx:1", "nginx:2").replace(", ports: [{containerPort: 80}]", "")
    kubectl("apply", "--server-side", "-f", "-", stdin=changed, namespace=space)
    kubectl("apply", "--server-side", "-f", "-", stdin=changed, namespace=space)
    moved = (await api.get(path)).json
    # The second only keeps the annotation, for the way back.
    assert set(entries(moved)) == {("kubectl", "Apply", ""), ("kubectl-last-applied", "Apply", "")}
    container = moved["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "nginx:2"
    assert "ports" not in container
    # And back again.
    kubectl("apply", "-f", "-", stdin=changed.replace("nginx:2", "nginx:3"), namespace=space)
    assert "nginx:3" in kubectl("get", "deploy", "web", "-o", "wide", namespace=space)


async def test_custom_resources_are_merged_by_their_schema(api: Any) -> None:
    item = {"type": "object", "properties": {"name": {"type": "string"}, "size": {"type": "integer"}}}
    disks = {"type": "array", "items": item | {"required": ["name"]}}
    disks |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    spec = {"type": "object", "properties": {"disks": disks, "hosts": {"type": "array", "items": {"type": "string"}}}}
    schema = {"type": "object", "properties": {"spec": spec}}
    group = f"{api.namespace}.example.com"
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"machines.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "machines", "kind": "Machine"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    await api.create(definitions, crd)
    path = api.path("machines", "m", group)
    async for event in api.watch(f"{definitions}?watch=true&fieldSelector=metadata.name=machines.{group}"):
        conditions = event["object"].get("status", {}).get("conditions", [])
        if any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
            break

    def machine(**spec: Any) -> Obj:
        return {"apiVersion": f"{group}/v1", "kind": "Machine", "metadata": {"name": "m"}, "spec": spec}

    assert (await apply(api, path, machine(disks=[{"name": "a", "size": 1}], hosts=["x"]), "one")).status == 201
    both = (await apply(api, path, machine(disks=[{"name": "b", "size": 2}]), "two")).json
    assert [disk["name"] for disk in both["spec"]["disks"]] == ["a", "b"]
    refused = await apply(api, path, machine(hosts=["y"]), "two")
    assert refused.message == 'Apply failed with 1 conflict: conflict with "one": .spec.hosts'
    unknown = await apply(api, path, machine(dsks=[]), "two")
    assert unknown.message.endswith(".spec.dsks: field not declared in schema")
    left = (await apply(api, path, machine(hosts=["x"]), "one")).json
    assert [disk["name"] for disk in left["spec"]["disks"]] == ["b"]

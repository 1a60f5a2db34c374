"""What single kinds do beyond the generic."""

from __future__ import annotations

from typing import Any

import pytest

MERGE = "application/merge-patch+json"
CONTAINER = {"name": "c", "image": "busybox"}


def pod(name: str, **spec: Any) -> Any:
    return {"metadata": {"name": name}, "spec": {"containers": [dict(CONTAINER)], **spec}}


def deployment(name: str) -> Any:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [dict(CONTAINER)]}}
    return {"metadata": {"name": name}, "spec": {"selector": {"matchLabels": labels}, "template": template}}


async def test_pods_are_admitted_with_their_defaults(api: Any) -> None:
    made = await api.create(api.path("pods"), {**pod("p"), "status": {"phase": "Running"}})
    assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert made["spec"]["serviceAccountName"] == "default"
    assert made["spec"]["priority"] == 0
    assert len(made["spec"]["tolerations"]) == 2
    assert made["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"requests": {"cpu": "1"}, "limits": {"cpu": "1000m", "memory": "1Gi"}}, "Guaranteed"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1"}}, "Burstable"),
        ({"requests": {"example.com/x": "1"}, "limits": {"example.com/x": "1"}}, "BestEffort"),
    ],
)
async def test_qos_classes(api: Any, resources: Any, expected: str) -> None:
    body = pod("p", containers=[{**CONTAINER, "resources": resources}])
    assert (await api.create(api.path("pods"), body))["status"]["qosClass"] == expected


async def test_an_unbound_pod_is_deleted_at_once_and_a_bound_one_gracefully(api: Any) -> None:
    path = api.path("pods")
    await api.create(path, pod("free"))
    assert (await api.call("DELETE", f"{path}/free")).json["metadata"]["name"] == "free"
    assert (await api.get(f"{path}/free")).status == 404
    await api.create(path, pod("bound"))
    await api.create(f"{path}/bound/binding", {"metadata": {"name": "bound"}, "target": {"kind": "Node", "name": "n1"}})
    first = (await api.call("DELETE", f"{path}/bound")).json["metadata"]
    assert (first["deletionGracePeriodSeconds"], first["generation"]) == (30, 2)
    shorter = (await api.call("DELETE", f"{path}/bound", {"gracePeriodSeconds": 5})).json["metadata"]
    assert shorter["deletionGracePeriodSeconds"] == 5
    assert shorter["deletionTimestamp"] < first["deletionTimestamp"]
    longer = (await api.call("DELETE", f"{path}/bound", {"gracePeriodSeconds": 90})).json["metadata"]
    assert longer == shorter
    await api.call("DELETE", f"{path}/bound", {"gracePeriodSeconds": 0})
    assert (await api.get(f"{path}/bound")).status == 404


async def test_a_pod_is_bound_once(api: Any) -> None:
    path = api.path("pods")
    await api.create(path, pod("p"))
    answer = await api.create(
        f"{path}/p/binding", {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}
    )
    assert answer["status"] == "Success"
    found = (await api.get(f"{path}/p")).json
    assert found["spec"]["nodeName"] == "n1"
    assert found["status"]["conditions"][0]["type"] == "PodScheduled"
    again = await api.call(
        "POST", f"{path}/p/binding", {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n2"}}
    )
    assert again.status == 409
    assert 'pod p is already assigned to node "n1"' in again.message
    listing = (await api.get(f"{path}?fieldSelector=spec.nodeName%3Dn1")).json
    assert [item["metadata"]["name"] for item in listing["items"]] == ["p"]


async def test_status_and_spec_are_written_apart(api: Any) -> None:
    path = api.path("pods")
    made = await api.create(path, pod("p"))
    changed = {**made, "status": {"phase": "Running"}, "spec": {**made["spec"], "activeDeadlineSeconds": 5}}
    status = (await api.call("PUT", f"{path}/p/status", changed)).json
    assert status["status"] == {"phase": "Running", "qosClass": "BestEffort"}
    assert "activeDeadlineSeconds" not in status["spec"]
    assert status["metadata"]["generation"] == 1
    spec = (
        await api.call(
            "PATCH", f"{path}/p", {"spec": {"activeDeadlineSeconds": 5}, "status": {"phase": "Failed"}}, content=MERGE
        )
    ).json
    assert spec["status"]["phase"] == "Running"
    assert (spec["spec"]["activeDeadlineSeconds"], spec["metadata"]["generation"]) == (5, 2)


async def test_a_pod_needs_its_runtime_class(api: Any) -> None:
    answer = await api.call("POST", api.path("pods"), pod("p", runtimeClassName="nope"))
    assert answer.status == 403
    assert 'RuntimeClass "nope" not found' in answer.message


async def test_scaling_counts_the_generation_and_heeds_versions(api: Any) -> None:
    path = api.path("deployments", "", "apps")
    await api.create(path, deployment("d"))
    scale = (await api.get(f"{path}/d/scale")).json
    assert (scale["kind"], scale["spec"], scale["status"]) == (
        "Scale",
        {"replicas": 1},
        {"replicas": 0, "selector": "app=d"},
    )
    scaled = await api.call("PUT", f"{path}/d/scale", {**scale, "spec": {"replicas": 3}})
    assert scaled.json["spec"] == {"replicas": 3}
    table = (await api.get(f"{path}/d/scale", accept="application/json;as=Table;v=v1;g=meta.k8s.io")).json
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Desired", "Available", "Age"]
    assert table["rows"][0]["cells"][:3] == ["d", 3, 0]
    message = await api.get(f"{path}/d/scale", accept="application/vnd.kubernetes.protobuf")
    assert (message.headers["Content-Type"], message.body[:4]) == ("application/vnd.kubernetes.protobuf", b"k8s\0")
    late = await api.call("PUT", f"{path}/d/scale", {**scale, "spec": {"replicas": 4}})
    assert late.status == 409
    patched = await api.call("PATCH", f"{path}/d/scale", {"spec": {"replicas": 0}}, content=MERGE)
    assert patched.status == 200
    found = (await api.get(f"{path}/d")).json
    assert (found["spec"]["replicas"], found["metadata"]["generation"]) == (0, 3)


async def test_services_get_addresses_and_ports_of_their_own(api: Any) -> None:
    path = api.path("services")
    ports = [{"port": 80}]
    made = [await api.create(path, {"metadata": {"name": f"s{n}"}, "spec": {"ports": ports}}) for n in range(3)]
    addresses = {service["spec"]["clusterIP"] for service in made}
    assert len(addresses) == 3
    assert all(address.startswith("10.96.0.") for address in addresses)
    taken = made[0]["spec"]["clusterIP"]
    body = {"metadata": {"name": "t"}, "spec": {"ports": ports, "clusterIP": taken}}
    refused = await api.call("POST", path, body)
    assert refused.status == 422
    assert "provided IP is already allocated" in refused.message
    await api.call("DELETE", f"{path}/s0")
    assert (await api.create(path, body))["spec"]["clusterIP"] == taken
    outside = await api.call(
        "POST", path, {"metadata": {"name": "u"}, "spec": {"ports": ports, "clusterIP": "10.0.0.1"}}
    )
    assert "the provided network does not match the current range" in outside.message


async def test_node_ports_come_and_go_with_the_type(api: Any) -> None:
    path = api.path("services")
    spec = {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}], "type": "NodePort"}
    made = await api.create(path, {"metadata": {"name": "s"}, "spec": spec})
    numbers = [port["nodePort"] for port in made["spec"]["ports"]]
    assert len(set(numbers)) == 2
    assert all(30000 <= number <= 32767 for number in numbers)
    fresh = {"metadata": {"name": "s"}, "spec": spec}
    kept = (await api.call("PUT", f"{path}/s", fresh)).json
    assert [port["nodePort"] for port in kept["spec"]["ports"]] == numbers
    assert kept["spec"]["clusterIP"] == made["spec"]["clusterIP"]
    inner = (await api.call("PATCH", f"{path}/s", {"spec": {"type": "ClusterIP"}}, content=MERGE)).json
    assert not any("nodePort" in port for port in inner["spec"]["ports"])
    body = {"metadata": {"name": "t"}, "spec": {**spec, "ports": [{"port": 1, "nodePort": numbers[0]}]}}
    assert (await api.create(path, body))["spec"]["ports"][0]["nodePort"] == numbers[0]


async def test_headless_services_have_no_address(api: Any) -> None:
    body = {"metadata": {"name": "s"}, "spec": {"clusterIP": "None", "ports": [{"port": 80}]}}
    made = await api.create(api.path("services"), body)
    assert (made["spec"]["clusterIP"], made["spec"]["clusterIPs"]) == ("None", ["None"])


async def test_secrets_take_text_and_keep_bytes(api: Any) -> None:
    made = await api.create(api.path("secrets"), {"metadata": {"name": "s"}, "stringData": {"k": "v"}})
    assert made["data"] == {"k": "dg=="}
    assert "stringData" not in made


async def test_a_namespace_ends_when_it_is_finalized(api: Any) -> None:
    path = f"/api/v1/namespaces/{api.namespace}"
    found = (await api.get(path)).json
    assert found["spec"] == {"finalizers": ["kubernetes"]}
    assert found["metadata"]["labels"] == {"kubernetes.io/metadata.name": api.namespace}
    terminating = (await api.call("DELETE", path)).json
    assert terminating["status"]["phase"] == "Terminating"
    refused = await api.call("POST", api.path("configmaps"), {"metadata": {"name": "a"}})
    assert refused.status == 403
    assert "because it is being terminated" in refused.message
    final = await api.call("PUT", f"{path}/finalize", {**terminating, "spec": {"finalizers": []}})
    assert final.status == 200
    assert (await api.get(path)).status == 404
    gone = await api.call("POST", api.path("configmaps"), {"metadata": {"name": "a"}})
    assert gone.message == f'namespaces "{api.namespace}" not found'


async def test_system_namespaces_are_protected(api: Any) -> None:
    for name in ("default", "kube-system", "kube-public"):
        assert (await api.call("DELETE", f"/api/v1/namespaces/{name}")).status == 403


async def test_what_exists_from_the_start(api: Any) -> None:
    service = (await api.get("/api/v1/namespaces/default/services/kubernetes")).json
    assert service["spec"]["clusterIP"] == "10.96.0.1"
    names = {item["metadata"]["name"] for item in (await api.get("/api/v1/namespaces")).json["items"]}
    assert {"default", "kube-system", "kube-public", "kube-node-lease"} <= names


async def test_leases_need_a_version_and_are_made_by_an_update(api: Any) -> None:
    path = api.path("leases", "l", "coordination.k8s.io")
    spec = {"holderIdentity": "me", "leaseDurationSeconds": 10}
    made = await api.call("PUT", path, {"metadata": {"name": "l"}, "spec": spec})
    assert made.status == 201
    blind = await api.call("PUT", path, {"metadata": {"name": "l"}, "spec": spec})
    assert blind.status == 422
    assert "must be specified for an update" in blind.message

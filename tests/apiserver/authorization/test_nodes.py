"""What a node may: read what its pods need, report on itself, and nothing of others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from hawser.apiserver.admission.node_restriction import forbidden_labels
from hawser.apiserver.authorization import references

from .conftest import Obj

NODE: Obj = {"token": "node-token"}
MERGE: Obj = {"content": "application/merge-patch+json", **NODE}


def pod(name: str, node: str, **spec: Any) -> Obj:
    container = {"name": "c", "image": "i"}
    return {"metadata": {"name": name}, "spec": {"nodeName": node, "containers": [container], **spec}}


@pytest.fixture
async def node(api: Any) -> AsyncIterator[Obj]:
    """The node n1, registered by itself."""
    yield await api.create("/api/v1/nodes", {"metadata": {"name": "n1"}}, **NODE)
    assert (await api.call("DELETE", "/api/v1/nodes/n1")).status == 200


async def status_of(api: Any, plural: str, name: str, **options: Any) -> int:
    return int((await api.get(api.path(plural, name), **{**NODE, **options})).status)


async def test_a_node_reads_what_its_own_pods_refer_to(api: Any, node: Obj) -> None:
    for name in ("mine", "theirs", "late"):
        await api.config_map(name)
        await api.create(api.path("secrets"), {"metadata": {"name": name}})
    await api.create("/api/v1/nodes", {"metadata": {"name": "n2"}})
    for name, where in (("mine", "n1"), ("theirs", "n2")):
        volumes = [{"name": "v", "configMap": {"name": name}}, {"name": "s", "secret": {"secretName": name}}]
        await api.create(api.path("pods"), pod(name, where, volumes=volumes))
    for plural in ("configmaps", "secrets"):
        assert await status_of(api, plural, "mine") == 200
        assert await status_of(api, plural, "theirs") == 403
        assert await status_of(api, plural, "") == 403
        one = "?fieldSelector=metadata.name%3Dmine"
        assert (await api.get(api.path(plural) + one, **NODE)).status == 200
    answer = await api.get(api.path("secrets", "late"), **NODE)
    assert answer.message.endswith("no relationship found between node 'n1' and this object")
    # A pod that is bound later counts at once, one that is gone no more.
    late = pod("late", "", volumes=[{"name": "s", "secret": {"secretName": "late"}}])
    late["spec"].pop("nodeName")
    await api.create(api.path("pods"), late)
    assert await status_of(api, "secrets", "late") == 403
    binding = {"metadata": {"name": "late"}, "target": {"kind": "Node", "name": "n1"}}
    await api.create(api.path("pods", "late/binding"), binding)
    assert await status_of(api, "secrets", "late") == 200
    await api.call("DELETE", api.path("pods", "late") + "?gracePeriodSeconds=0")
    assert await status_of(api, "secrets", "late") == 403
    assert await status_of(api, "pods", "mine") == 200
    assert await status_of(api, "pods", "theirs") == 403
    await api.call("DELETE", "/api/v1/nodes/n2")


async def test_a_node_reads_volumes_by_its_claims(api: Any, node: Obj) -> None:
    claim = {
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "volumeName": f"pv-{api.namespace}",
            "storageClassName": "",
        },
    }
    made = await api.create(api.path("persistentvolumeclaims"), claim)
    reference = {"namespace": api.namespace, "name": "data", "uid": made["metadata"]["uid"]}
    volume = {
        "metadata": {"name": f"pv-{api.namespace}"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "claimRef": {"kind": "PersistentVolumeClaim", "apiVersion": "v1", **reference},
            "csi": {
                "driver": "x.example.com",
                "volumeHandle": "1",
                "nodePublishSecretRef": {"namespace": api.namespace, "name": "csi"},
            },
        },
    }
    await api.create("/api/v1/persistentvolumes", volume)
    await api.create(api.path("secrets"), {"metadata": {"name": "csi"}})
    path = f"/api/v1/persistentvolumes/pv-{api.namespace}"
    assert (await api.get(path, **NODE)).status == 403
    assert await status_of(api, "secrets", "csi") == 403
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]
    await api.create(api.path("pods"), pod("p", "n1", volumes=volumes))
    assert (await api.get(path, **NODE)).status == 200
    assert await status_of(api, "persistentvolumeclaims", "data") == 200
    assert await status_of(api, "secrets", "csi") == 200


@pytest.mark.parametrize(
    ("method", "path", "reason"),
    [
        ("GET", "/api/v1/nodes", "node 'n1' cannot read all nodes, only its own Node object"),
        ("GET", "/api/v1/nodes/n2", "node 'n1' cannot read 'n2', only its own Node object"),
        ("GET", "/api/v1/pods", "can only list/watch pods with spec.nodeName field selector"),
        ("GET", "/api/v1/secrets", "can only read namespaced object of this type"),
        (
            "GET",
            "/apis/coordination.k8s.io/v1/namespaces/default/leases/n1",
            'can only access leases in the "kube-node-lease" system namespace',
        ),
        (
            "GET",
            "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n2",
            "can only access node lease with the same name as the requesting node",
        ),
        (
            "GET",
            "/apis/storage.k8s.io/v1/csinodes/n2",
            "can only access CSINode with the same name as the requesting node",
        ),
        ("GET", "/apis/storage.k8s.io/v1/volumeattachments", "can only get individual resources of this type"),
        (
            "GET",
            "/apis/resource.k8s.io/v1/resourceslices",
            "can only list/watch/deletecollection resourceslices with nodeName field selector",
        ),
    ],
)
async def test_what_a_node_may_not_is_told_with_the_reason(api: Any, method: str, path: str, reason: str) -> None:
    answer = await api.call(method, path, **NODE)
    assert answer.status == 403
    assert answer.message.endswith(f": {reason}")


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/nodes/n1",
        "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1",
        "/api/v1/services",
        "/apis/discovery.k8s.io/v1/endpointslices",
        "/apis/node.k8s.io/v1/runtimeclasses",
        "/apis/storage.k8s.io/v1/csidrivers",
        "/api",
        "/version",
    ],
)
async def test_what_every_node_may_read(api: Any, node: Obj, path: str) -> None:
    assert (await api.get(path, **NODE)).status == 200


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"metadata": {"labels": {"example.com/a": "b"}}}, ""),
        ({"metadata": {"labels": {"node.kubernetes.io/instance-type": "b"}}}, ""),
        (
            {"metadata": {"labels": {"foo.kubernetes.io/a": "b"}}},
            "is not allowed to modify labels: foo.kubernetes.io/a",
        ),
        (
            {"metadata": {"labels": {"node-restriction.kubernetes.io/a": "b"}}},
            "is not allowed to modify labels: node-restriction.kubernetes.io/a",
        ),
        ({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}, 'node "n1" is not allowed to modify taints'),
        (
            {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}]}},
            'node "n1" is not allowed to modify ownerReferences',
        ),
    ],
)
async def test_a_node_changes_of_itself_only_what_is_its_business(api: Any, node: Obj, body: Obj, reason: str) -> None:
    answer = await api.call("PATCH", "/api/v1/nodes/n1", body, **MERGE)
    if reason:
        assert (answer.status, answer.message) == (403, f'nodes "n1" is forbidden: {reason}')
    else:
        assert answer.status == 200


async def test_a_node_writes_only_its_own_objects(api: Any, node: Obj) -> None:
    answer = await api.call("POST", "/api/v1/nodes", {"metadata": {"name": "n2"}}, **NODE)
    assert answer.message == 'nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2"'
    leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
    assert (await api.call("POST", leases, {"metadata": {"name": "n2"}}, **NODE)).status == 403
    assert (await api.call("POST", leases, {"metadata": {"name": "n1"}}, **NODE)).status == 201
    await api.create("/api/v1/nodes", {"metadata": {"name": "n2"}})
    await api.create(api.path("pods"), pod("mine", "n1"))
    await api.create(api.path("pods"), pod("theirs", "n2"))
    status = {"status": {"phase": "Running"}}
    for name, code in (("mine", 200), ("theirs", 403)):
        answer = await api.call("PATCH", api.path("pods", f"{name}/status"), status, **MERGE)
        assert answer.status == code
    assert "can only update pod status for pods with spec.nodeName set to itself" in answer.message
    relabel = {"metadata": {"labels": {"a": "b"}}, **status}
    answer = await api.call("PATCH", api.path("pods", "mine/status"), relabel, **MERGE)
    assert answer.message.endswith('node "n1" cannot update labels through pod status')
    answer = await api.call("DELETE", api.path("pods", "theirs"), **NODE)
    assert answer.message.endswith('node "n1" can only delete pods with spec.nodeName set to itself')
    assert (await api.call("DELETE", api.path("pods", "mine") + "?gracePeriodSeconds=0", **NODE)).status == 200
    await api.call("DELETE", "/api/v1/nodes/n2")


async def test_a_node_creates_mirror_pods_only(api: Any, node: Obj) -> None:
    answer = await api.call("POST", api.path("pods"), pod("p", "n1"), **NODE)
    assert answer.status == 403
    assert 'pod does not have "kubernetes.io/config.mirror" annotation' in answer.message
    owner = {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": node["metadata"]["uid"], "controller": True}
    mirror = pod("p", "n1")
    mirror["metadata"] |= {"annotations": {"kubernetes.io/config.mirror": "x"}, "ownerReferences": [owner]}
    for change, reason in (
        ({"nodeName": "n2"}, "can only create pods with spec.nodeName set to itself"),
        ({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}, "can not create pods that reference secrets"),
        ({"volumes": [{"name": "v", "configMap": {"name": "s"}}]}, "can not create pods that reference configmaps"),
    ):
        answer = await api.call("POST", api.path("pods"), {**mirror, "spec": {**mirror["spec"], **change}}, **NODE)
        assert answer.status == 403 and reason in answer.message
    assert (await api.call("POST", api.path("pods"), mirror, **NODE)).status == 201


async def test_tokens_are_for_a_nodes_own_pods(api: Any, node: Obj) -> None:
    await api.create(api.path("serviceaccounts"), {"metadata": {"name": "bot"}})
    path = api.path("serviceaccounts", "bot/token")

    def asked(**bound: str) -> Obj:
        return {"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", **bound}} if bound else {}}

    answer = await api.call("POST", path, asked(), **NODE)
    assert answer.message.endswith("no relationship found between node 'n1' and this object")
    mine = await api.create(api.path("pods"), pod("mine", "n1", serviceAccountName="bot"))
    answer = await api.call("POST", path, asked(), **NODE)
    assert answer.message.endswith("node requested token not bound to a pod")
    assert (await api.call("POST", path, asked(name="mine"), **NODE)).status == 403
    assert (await api.call("POST", path, asked(name="mine", uid=mine["metadata"]["uid"]), **NODE)).status == 201


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        ({"a": "1"}, {}, []),
        ({"kubernetes.io/hostname": "x", "kubelet.kubernetes.io/a": "1", "x.node.kubernetes.io/b": "2"}, {}, []),
        ({"topology.kubernetes.io/zone": "a"}, {"topology.kubernetes.io/zone": "b"}, []),
        ({"foo.k8s.io/a": "1", "kubernetes.io/role": "x"}, {}, ["foo.k8s.io/a", "kubernetes.io/role"]),
        ({}, {"kubernetes.io/role": "x"}, ["kubernetes.io/role"]),
        ({"kubernetes.io/role": "x"}, {"kubernetes.io/role": "x"}, []),
        ({"a.node-restriction.kubernetes.io/x": "1"}, {}, ["a.node-restriction.kubernetes.io/x"]),
        ({"mykubernetes.io/x": "1"}, {}, []),
    ],
)
def test_which_labels_are_not_a_nodes_to_set(new: dict[str, str], old: dict[str, str], expected: list[str]) -> None:
    assert forbidden_labels(new, old) == expected


def test_what_a_pod_refers_to() -> None:
    spec = {
        "serviceAccountName": "sa",
        "imagePullSecrets": [{"name": "pull"}],
        "initContainers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "s1", "key": "k"}}}]}],
        "containers": [{"envFrom": [{"configMapRef": {"name": "c1"}}, {"secretRef": {"name": "s2"}}]}],
        "volumes": [
            {"name": "a", "projected": {"sources": [{"configMap": {"name": "c2"}}, {"secret": {"name": "s3"}}]}},
            {"name": "b", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "s4"}}},
            {"name": "c", "persistentVolumeClaim": {"claimName": "pvc"}},
            {"name": "d", "ephemeral": {}},
        ],
        "resourceClaims": [
            {"name": "r", "resourceClaimTemplateName": "t"},
            {"name": "q", "resourceClaimName": "claim"},
        ],
    }
    status = {"resourceClaimStatuses": [{"name": "r", "resourceClaimName": "made"}]}
    one: Obj = {"metadata": {"name": "p", "namespace": "n"}, "spec": spec, "status": status}
    expected = {("secrets", name) for name in ("pull", "s1", "s2", "s3", "s4")}
    expected |= {("configmaps", "c1"), ("configmaps", "c2"), ("serviceaccounts", "sa")}
    expected |= {("persistentvolumeclaims", "pvc"), ("persistentvolumeclaims", "p-d")}
    expected |= {("resourceclaims", "made"), ("resourceclaims", "claim")}
    assert references.of_pod(one) == {(plural, "n", name) for plural, name in expected}
    one["metadata"]["annotations"] = {references.MIRROR: "x"}
    assert references.of_pod(one) == set()


async def test_a_nodes_tokens_are_for_whom_the_pods_volumes_name(api: Any, node: Obj) -> None:
    await api.create(api.path("serviceaccounts"), {"metadata": {"name": "bot"}})
    await api.create(
        "/apis/storage.k8s.io/v1/csidrivers",
        {"metadata": {"name": f"{api.namespace}.example.com"}, "spec": {"tokenRequests": [{"audience": "drive"}]}},
    )
    sources = [{"serviceAccountToken": {"path": "t", "audience": "vault"}}]
    volumes = [
        {"name": "a", "projected": {"sources": sources}},
        {"name": "b", "csi": {"driver": f"{api.namespace}.example.com"}},
    ]
    mine = await api.create(api.path("pods"), pod("mine", "n1", serviceAccountName="bot", volumes=volumes))

    async def ask(*audiences: str) -> Any:
        bound = {"apiVersion": "v1", "kind": "Pod", "name": "mine", "uid": mine["metadata"]["uid"]}
        body = {"spec": {"boundObjectRef": bound, "audiences": list(audiences)}}
        return await api.call("POST", api.path("serviceaccounts", "bot/token"), body, **NODE)

    for audiences in ([], ["vault"], ["drive"]):
        assert (await ask(*audiences)).status == 201
    refused = await ask("other")
    assert refused.message.endswith(
        'audience "other" not found in pod spec volume, system:node:n1 is not authorized to request tokens for this '
        "audience"
    )
    assert (await ask("vault", "drive")).message.endswith("node may only request 0 or 1 audiences")
    name = api.namespace
    rules = [{"apiGroups": [""], "resources": ["other"], "verbs": ["request-serviceaccounts-token-audience"]}]
    rbac = "rbac.authorization.k8s.io"
    await api.create(f"/apis/{rbac}/v1/clusterroles", {"metadata": {"name": name}, "rules": rules})
    binding = {
        "metadata": {"name": name},
        "subjects": [{"kind": "Group", "name": "system:nodes", "apiGroup": rbac}],
        "roleRef": {"kind": "ClusterRole", "name": name, "apiGroup": rbac},
    }
    await api.create(f"/apis/{rbac}/v1/clusterrolebindings", binding)
    assert (await ask("other")).status == 201

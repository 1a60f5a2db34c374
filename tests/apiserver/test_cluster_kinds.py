"""Storage, networking, access, admission and devices: life cycles on a real server, and what kubectl shows of them."""

from __future__ import annotations

from typing import Any

import pytest

Obj = dict[str, Any]
MERGE = "application/merge-patch+json"
RBAC = "rbac.authorization.k8s.io/v1"
STORAGE = "storage.k8s.io/v1"
NETWORKING = "networking.k8s.io/v1"
RESOURCE = "resource.k8s.io/v1"
ADMISSION = "admissionregistration.k8s.io/v1"
HOOK = {
    "name": "hook.example.com",
    "clientConfig": {"url": "https://127.0.0.1:1/x"},
    "rules": [
        {"operations": ["CREATE"], "apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["nothings"]}
    ],
    "sideEffects": "None",
    "admissionReviewVersions": ["v1"],
}
VOLUME = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "none"}
BACKEND = {"service": {"name": "s", "port": {"number": 80}}}
REQUESTS = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c.example.com"}}]}}

# apiVersion, plural, kind, namespaced, the body, and what the lines of `kubectl get -o wide` begin with.
KINDS: list[tuple[str, str, str, bool, Obj, str, str]] = [
    (
        *("v1", "persistentvolumes", "PersistentVolume", False, {"spec": VOLUME}),
        (
            "NAME CAPACITY ACCESS MODES RECLAIM POLICY STATUS CLAIM STORAGECLASS VOLUMEATTRIBUTESCLASS REASON AGE "
            "VOLUMEMODE"
        ),
        "it 1Gi RWO Retain Pending <unset>",
    ),
    (
        *("v1", "persistentvolumeclaims", "PersistentVolumeClaim", True, {"spec": CLAIM}),
        "NAME STATUS VOLUME CAPACITY ACCESS MODES STORAGECLASS VOLUMEATTRIBUTESCLASS AGE VOLUMEMODE",
        "it Pending none <unset>",
    ),
    (
        *(STORAGE, "storageclasses", "StorageClass", False, {"provisioner": "example.com/p"}),
        "NAME PROVISIONER RECLAIMPOLICY VOLUMEBINDINGMODE ALLOWVOLUMEEXPANSION AGE",
        "it example.com/p Delete Immediate false",
    ),
    (
        *(STORAGE, "volumeattachments", "VolumeAttachment", False),
        {"spec": {"attacher": "a", "nodeName": "n", "source": {"persistentVolumeName": "v"}}},
        "NAME ATTACHER PV NODE ATTACHED AGE",
        "it a v n false",
    ),
    (
        *(STORAGE, "csidrivers", "CSIDriver", False, {"spec": {}}),
        "NAME ATTACHREQUIRED PODINFOONMOUNT STORAGECAPACITY TOKENREQUESTS REQUIRESREPUBLISH MODES AGE",
        "it true false false <unset> false Persistent",
    ),
    (
        *(STORAGE, "csinodes", "CSINode", False, {"spec": {"drivers": []}}),
        "NAME DRIVERS AGE",
        "it 0",
    ),
    (
        *(STORAGE, "csistoragecapacities", "CSIStorageCapacity", True, {"storageClassName": "s", "capacity": "1Gi"}),
        "NAME STORAGECLASSNAME CAPACITY",
        "it s 1Gi",
    ),
    (
        *(STORAGE, "volumeattributesclasses", "VolumeAttributesClass", False),
        {"driverName": "d", "parameters": {"a": "b"}},
        "NAME DRIVERNAME AGE",
        "it d",
    ),
    (
        *(NETWORKING, "ingresses", "Ingress", True, {"spec": {"defaultBackend": BACKEND, "ingressClassName": "c"}}),
        "NAME CLASS HOSTS ADDRESS PORTS AGE",
        "it c * 80",
    ),
    (
        *(NETWORKING, "ingressclasses", "IngressClass", False, {"spec": {"controller": "example.com/c"}}),
        "NAME CONTROLLER PARAMETERS AGE",
        "it example.com/c <none>",
    ),
    (
        *(NETWORKING, "networkpolicies", "NetworkPolicy", True, {"spec": {"podSelector": {"matchLabels": {"a": "b"}}}}),
        "NAME POD-SELECTOR AGE",
        "it a=b",
    ),
    (
        *("v1", "endpoints", "Endpoints", True),
        {"subsets": [{"addresses": [{"ip": "10.1.1.1"}], "ports": [{"port": 80}]}]},
        "NAME ENDPOINTS AGE",
        "it 10.1.1.1:80",
    ),
    (
        *("flowcontrol.apiserver.k8s.io/v1", "flowschemas", "FlowSchema", False),
        {"spec": {"priorityLevelConfiguration": {"name": "exempt"}}},
        "NAME PRIORITYLEVEL MATCHINGPRECEDENCE DISTINGUISHERMETHOD AGE MISSINGPL",
        "it exempt 1000 <none>",
    ),
    (
        *("flowcontrol.apiserver.k8s.io/v1", "prioritylevelconfigurations", "PriorityLevelConfiguration", False),
        {"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}},
        "NAME TYPE NOMINALCONCURRENCYSHARES QUEUES HANDSIZE QUEUELENGTHLIMIT AGE",
        "it Limited 30 <none> <none> <none>",
    ),
    (*(RESOURCE, "resourceclaims", "ResourceClaim", True, {"spec": REQUESTS}), "NAME STATE AGE", "it pending"),
    (
        *(RESOURCE, "resourceclaimtemplates", "ResourceClaimTemplate", True, {"spec": {"spec": REQUESTS}}),
        "NAME AGE",
        "it",
    ),
    (*(RESOURCE, "deviceclasses", "DeviceClass", False, {"spec": {}}), "NAME AGE", "it"),
    (
        *(RESOURCE, "resourceslices", "ResourceSlice", False),
        {"spec": {"driver": "d", "nodeName": "n", "pool": {"name": "p", "resourceSliceCount": 1}, "devices": []}},
        "NAME NODE DRIVER POOL AGE",
        "it n d p",
    ),
    (
        *(RBAC, "roles", "Role", True),
        {"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]},
        "NAME CREATED AT",
        "it",
    ),
    (
        *(RBAC, "rolebindings", "RoleBinding", True),
        {"roleRef": {"kind": "ClusterRole", "name": "view"}, "subjects": [{"kind": "User", "name": "u"}]},
        "NAME ROLE AGE USERS GROUPS SERVICEACCOUNTS",
        "it ClusterRole/view",
    ),
    (
        *(
            "admissionregistration.k8s.io/v1",
            "validatingwebhookconfigurations",
            "ValidatingWebhookConfiguration",
            False,
        ),
        {"webhooks": [HOOK]},
        "NAME WEBHOOKS AGE",
        "it 1",
    ),
]


def where(version: str, plural: str, namespace: str) -> str:
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    return f"{root}/namespaces/{namespace}/{plural}" if namespace else f"{root}/{plural}"


def words(line: str) -> str:
    return " ".join(line.split())


@pytest.mark.parametrize(
    ("version", "plural", "kind", "namespaced", "body", "columns", "row"), KINDS, ids=[case[2] for case in KINDS]
)
async def test_a_kind_lives_and_is_shown(
    api: Any, kubectl: Any, version: str, plural: str, kind: str, namespaced: bool, body: Obj, columns: str, row: str
) -> None:
    path = where(version, plural, api.namespace if namespaced else "")
    made = await api.create(path, {**body, "metadata": {"name": "it"}})
    assert (made["kind"], made["apiVersion"]) == (kind, version)
    patched = await api.call("PATCH", f"{path}/it", {"metadata": {"labels": {"a": "b"}}}, content=MERGE)
    assert patched.status == 200, patched.body
    same = await api.call("PUT", f"{path}/it", patched.json)
    assert same.json == patched.json
    lines = kubectl("get", plural, "it", "-o", "wide", namespace=api.namespace).splitlines()
    assert words(lines[0]) == columns
    assert words(lines[1]).startswith(row)
    found = (await api.get(f"{path}?labelSelector=a%3Db")).json["items"]
    assert [item["metadata"]["name"] for item in found] == ["it"]
    await api.call("PATCH", f"{path}/it", {"metadata": {"finalizers": None}}, content=MERGE)
    assert (await api.call("DELETE", f"{path}?labelSelector=a%3Db")).status == 200
    await api.call("PATCH", f"{path}/it", {"metadata": {"finalizers": None}}, content=MERGE)
    assert (await api.get(f"{path}/it")).status == 404


async def test_a_volumes_phase_says_since_when(api: Any) -> None:
    path = "/api/v1/persistentvolumes"
    made = await api.create(path, {"metadata": {"name": "aged"}, "spec": VOLUME, "status": {"phase": "Bound"}})
    assert made["status"]["phase"] == "Pending"
    assert made["status"]["lastPhaseTransitionTime"]
    said = "2020-01-01T00:00:00Z"
    change = {"status": {"phase": "Available", "lastPhaseTransitionTime": said}}
    assert (await api.call("PATCH", f"{path}/aged/status", change, content=MERGE)).json["status"] == change["status"]
    bound = (await api.call("PATCH", f"{path}/aged/status", {"status": {"phase": "Bound"}}, content=MERGE)).json
    assert bound["status"]["lastPhaseTransitionTime"] > said


async def test_a_claims_two_sources_are_one(api: Any) -> None:
    source = {"kind": "PersistentVolumeClaim", "name": "other"}
    body = {"metadata": {"name": "copy"}, "spec": {**CLAIM, "dataSource": source}}
    made = await api.create(api.path("persistentvolumeclaims"), body)
    assert made["spec"]["dataSourceRef"] == source


async def test_roles_are_made_by_an_update(api: Any) -> None:
    path = where(RBAC, "roles", api.namespace)
    made = await api.call("PUT", f"{path}/new", {"metadata": {"name": "new"}})
    assert made.status == 201, made.body
    binding = where(RBAC, "rolebindings", api.namespace)
    await api.create(binding, {"metadata": {"name": "b"}, "roleRef": {"kind": "Role", "name": "new"}})
    moved = {"metadata": {"name": "b"}, "roleRef": {"kind": "Role", "name": "other"}}
    refused = await api.call("PUT", f"{binding}/b", moved)
    assert (refused.status, "cannot change roleRef" in refused.message) == (422, True)


async def test_what_drivers_and_admission_write_names_its_version(api: Any) -> None:
    path = where(STORAGE, "csinodes", "")
    await api.create(path, {"metadata": {"name": "blind"}, "spec": {"drivers": []}})
    blind = await api.call("PUT", f"{path}/blind", {"metadata": {"name": "blind"}, "spec": {"drivers": []}})
    assert "must be specified for an update" in blind.message


async def test_a_claims_devices_go_when_they_are_deallocated(api: Any) -> None:
    path = where(RESOURCE, "resourceclaims", api.namespace)
    await api.create(path, {"metadata": {"name": "c"}, "spec": REQUESTS})
    device = {"driver": "d", "pool": "p", "device": "x"}
    allocation = {"devices": {"results": [{**device, "request": "r"}]}}
    status = {"status": {"allocation": allocation, "devices": [device]}}
    got = await api.call("PATCH", f"{path}/c/status", {**status, "metadata": {"labels": {"a": "b"}}}, content=MERGE)
    assert got.status == 200, got.body
    assert "labels" not in got.json["metadata"]
    other = {"status": {"allocation": {"devices": {"results": []}}}}
    kept = await api.call("PATCH", f"{path}/c/status", other, content=MERGE)
    assert "field is immutable" in kept.message
    gone = await api.call("PATCH", f"{path}/c/status", {"status": {"allocation": None}}, content=MERGE)
    assert gone.json.get("status", {}) == {}
    changed = await api.call("PATCH", f"{path}/c", {"spec": {"devices": {"requests": []}}}, content=MERGE)
    assert "field is immutable" in changed.message


async def test_ingresses_that_say_their_class_in_an_annotation_are_told_of_the_field(api: Any) -> None:
    path = f"/apis/networking.k8s.io/v1/namespaces/{api.namespace}/ingresses"
    metadata = {"name": "old", "annotations": {"kubernetes.io/ingress.class": "x"}}
    spec = {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}
    made = await api.call("POST", path, {"metadata": metadata, "spec": spec})
    assert made.status == 201
    assert "please use 'spec.ingressClassName' instead" in made.headers["Warning"]
    changed = await api.call("PATCH", f"{path}/old", {"metadata": {"labels": {"a": "b"}}}, content=MERGE)
    assert (changed.status, "Warning" in changed.headers) == (200, False)
    named = {"metadata": {**metadata, "name": "new"}, "spec": {**spec, "ingressClassName": "x"}}
    said = await api.call("POST", path, named)
    assert (said.status, "Warning" in said.headers) == (201, False)
    named["metadata"]["name"], named["spec"]["ingressClassName"] = "both", "y"
    assert "must match `ingressClassName` when both are specified" in (await api.call("POST", path, named)).message


async def test_volumes_that_are_recycled_are_deprecated(api: Any) -> None:
    spec = {**VOLUME, "persistentVolumeReclaimPolicy": "Recycle"}
    made = await api.call("POST", "/api/v1/persistentvolumes", {"metadata": {"name": "recycled"}, "spec": spec})
    assert made.status == 201
    assert "The Recycle reclaim policy is deprecated" in made.headers["Warning"]


async def test_taints_of_devices_say_since_when(api: Any) -> None:
    path = where(RESOURCE, "resourceslices", "")
    spec = {"driver": "d", "nodeName": "n", "pool": {"name": "p", "resourceSliceCount": 1}}
    devices = [{"name": "x", "taints": [{"key": "k", "effect": "NoSchedule"}]}]
    made = await api.create(path, {"metadata": {"name": "tainted"}, "spec": {**spec, "devices": devices}})
    assert made["spec"]["devices"][0]["taints"][0]["timeAdded"]
    found = (await api.get(f"{path}?fieldSelector=spec.driver%3Dd,spec.nodeName%3Dn")).json["items"]
    assert "tainted" in {item["metadata"]["name"] for item in found}


async def test_component_statuses_are_computed_and_deprecated(api: Any, kubectl: Any) -> None:
    path = "/api/v1/componentstatuses"
    listed = await api.get(path)
    assert [item["metadata"]["name"] for item in listed.json["items"]] == ["etcd-0"]
    assert listed.headers["Warning"] == '299 - "v1 ComponentStatus is deprecated in v1.19+"'
    one = (await api.get(f"{path}/etcd-0")).json
    assert one["conditions"] == [{"type": "Healthy", "status": "True", "message": "ok"}]
    assert (await api.get(f"{path}/other")).status == 404
    assert (await api.call("POST", path, {"metadata": {"name": "x"}})).status == 405
    assert words(kubectl("get", "cs").splitlines()[1]) == "etcd-0 Healthy ok"


async def test_whoever_uses_endpoints_is_told_of_slices(api: Any) -> None:
    listed = await api.get(api.path("endpoints"))
    assert "use discovery.k8s.io/v1 EndpointSlice" in listed.headers["Warning"]


async def test_devices_for_administration_are_claimed_in_labelled_namespaces_only(api: Any) -> None:
    exactly = {"deviceClassName": "gpu", "adminAccess": True}
    spec = {"devices": {"requests": [{"name": "r", "exactly": exactly}]}}
    label = "resource.kubernetes.io/admin-access"
    for plural, kind, wanted in (
        ("resourceclaims", "ResourceClaim", spec),
        ("resourceclaimtemplates", "ResourceClaimTemplate", {"spec": spec}),
    ):
        path = where(RESOURCE, plural, api.namespace)
        home = f"/api/v1/namespaces/{api.namespace}"
        await api.call("PATCH", home, {"metadata": {"labels": {label: None}}}, content=MERGE)
        obj = {"metadata": {"name": "admin"}, "spec": wanted}
        refused = await api.call("POST", path, obj)
        assert refused.message == (
            f'{kind}.resource.k8s.io "admin" is invalid: spec.devices.requests[0].adminAccess: Forbidden: admin access '
            f"to devices requires the `{label}: true` label on the containing namespace"
        )
        await api.call("PATCH", home, {"metadata": {"labels": {label: "true"}}}, content=MERGE)
        await api.create(path, obj)
    await api.call("PATCH", home, {"metadata": {"labels": {label: None}}}, content=MERGE)
    given = {"request": "r", "driver": "d", "pool": "p", "device": "x", "adminAccess": True}
    status = {"status": {"allocation": {"devices": {"results": [given]}}}}
    claim = where(RESOURCE, "resourceclaims", api.namespace) + "/admin/status"
    refused = await api.call("PATCH", claim, status, content=MERGE)
    assert "status.allocation.devices.results[0].adminAccess: Forbidden: admin access" in refused.message

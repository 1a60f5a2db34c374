"""The columns of storage, networking, access, admission, flow control and devices, as kubectl shows them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from hawser.api import kinds
from hawser.api.kinds import Kind
from hawser.api.tables import table, table_columns, table_row
from hawser.api.types import Obj

NOW = datetime(2030, 1, 10, 12, 0, 0, tzinfo=UTC)
CREATED = "2030-01-10T11:55:00Z"
CASES: list[tuple[Kind, Obj, dict[str, Any]]] = [
    (
        kinds.PERSISTENT_VOLUME,
        {
            "spec": {
                "capacity": {"storage": "5Gi"},
                "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": {"namespace": "n", "name": "c"},
                "storageClassName": "fast",
                "volumeMode": "Filesystem",
            },
            "status": {"phase": "Bound"},
        },
        {
            "Name": "x",
            "Capacity": "5Gi",
            "Access Modes": "RWO,RWX",
            "Reclaim Policy": "Retain",
            "Status": "Bound",
            "Claim": "n/c",
            "StorageClass": "fast",
            "VolumeAttributesClass": "<unset>",
            "Reason": "",
            "Age": "5m",
            "VolumeMode": "Filesystem",
        },
    ),
    (
        kinds.PERSISTENT_VOLUME_CLAIM,
        {"spec": {"storageClassName": "fast"}, "status": {"phase": "Pending"}},
        {"Status": "Pending", "Volume": "", "Capacity": "", "Access Modes": "", "StorageClass": "fast", "Age": "5m"},
    ),
    (
        kinds.PERSISTENT_VOLUME_CLAIM,
        {
            "metadata": {"deletionTimestamp": CREATED},
            "spec": {"volumeName": "v"},
            "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOncePod"]},
        },
        {"Status": "Terminating", "Volume": "v", "Capacity": "1Gi", "Access Modes": "RWOP"},
    ),
    (
        kinds.STORAGE_CLASS,
        {
            "metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": "p",
        },
        {
            "Name": "x (default)",
            "Provisioner": "p",
            "ReclaimPolicy": "Delete",
            "VolumeBindingMode": "Immediate",
            "AllowVolumeExpansion": False,
        },
    ),
    (kinds.VOLUME_ATTRIBUTES_CLASS, {"driverName": "d"}, {"Name": "x", "DriverName": "d", "Age": "5m"}),
    (
        kinds.VOLUME_ATTACHMENT,
        {"spec": {"attacher": "a", "source": {"persistentVolumeName": "v"}, "nodeName": "n"}},
        {"Attacher": "a", "PV": "v", "Node": "n", "Attached": False},
    ),
    (kinds.CSI_NODE, {"spec": {"drivers": [{}, {}]}}, {"Drivers": 2}),
    (
        kinds.CSI_DRIVER,
        {"spec": {"tokenRequests": [{"audience": "a"}, {"audience": "b"}], "volumeLifecycleModes": ["Persistent"]}},
        {"AttachRequired": True, "PodInfoOnMount": False, "TokenRequests": "a,b", "Modes": "Persistent"},
    ),
    (kinds.CSI_STORAGE_CAPACITY, {"storageClassName": "s"}, {"StorageClassName": "s", "Capacity": "<unset>"}),
    (
        kinds.INGRESS,
        {
            "spec": {"rules": [{"host": h} for h in "abcd"], "tls": [{}], "ingressClassName": "c"},
            "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.2"}, {"hostname": "h"}]}},
        },
        {"Class": "c", "Hosts": "a,b,c + 1 more...", "Address": "10.0.0.2,h", "Ports": "80, 443"},
    ),
    (kinds.INGRESS, {}, {"Class": "<none>", "Hosts": "*", "Address": "", "Ports": "80"}),
    (
        kinds.INGRESS_CLASS,
        {"spec": {"controller": "e.x/c", "parameters": {"apiGroup": "g", "kind": "K", "name": "n"}}},
        {"Controller": "e.x/c", "Parameters": "K.g/n"},
    ),
    (kinds.NETWORK_POLICY, {"spec": {"podSelector": {"matchLabels": {"a": "b"}}}}, {"Pod-Selector": "a=b"}),
    (kinds.NETWORK_POLICY, {"spec": {"podSelector": {}}}, {"Pod-Selector": "<none>"}),
    (
        kinds.ENDPOINTS,
        {"subsets": [{"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "ports": [{"port": 1}, {"port": 2}]}]},
        {"Endpoints": "10.0.0.1:1,[fd00::1]:1,10.0.0.1:2 + 1 more..."},
    ),
    (kinds.ENDPOINTS, {}, {"Endpoints": "<none>"}),
    (
        kinds.IP_ADDRESS,
        {"spec": {"parentRef": {"resource": "services", "namespace": "n", "name": "s"}}},
        {"Name": "x", "ParentRef": "services/n/s"},
    ),
    (kinds.SERVICE_CIDR, {"spec": {"cidrs": ["10.0.0.0/24", "fd00::/64"]}}, {"CIDRs": "10.0.0.0/24,fd00::/64"}),
    (
        kinds.CLUSTER_ROLE_BINDING,
        {
            "roleRef": {"kind": "ClusterRole", "name": "r"},
            "subjects": [
                {"kind": "User", "name": "u"},
                {"kind": "User", "name": "v"},
                {"kind": "Group", "name": "g"},
                {"kind": "ServiceAccount", "namespace": "n", "name": "s"},
            ],
        },
        {"Role": "ClusterRole/r", "Users": "u, v", "Groups": "g", "ServiceAccounts": "n/s"},
    ),
    (
        kinds.CERTIFICATE_SIGNING_REQUEST,
        {
            "spec": {"signerName": "e.x/s", "username": "u", "expirationSeconds": 3600},
            "status": {"conditions": [{"type": "Approved"}], "certificate": "eA=="},
        },
        {"SignerName": "e.x/s", "Requestor": "u", "RequestedDuration": "60m", "Condition": "Approved,Issued"},
    ),
    (kinds.VALIDATING_WEBHOOK_CONFIGURATION, {"webhooks": [{}]}, {"Webhooks": 1}),
    (
        kinds.API_SERVICE,
        {
            "spec": {"service": {"namespace": "n", "name": "s"}},
            "status": {"conditions": [{"type": "Available", "status": "False", "reason": "MissingEndpoints"}]},
        },
        {"Service": "n/s", "Available": "False (MissingEndpoints)"},
    ),
    (kinds.API_SERVICE, {}, {"Service": "Local", "Available": "Unknown"}),
    (
        kinds.FLOW_SCHEMA,
        {"spec": {"priorityLevelConfiguration": {"name": "l"}, "matchingPrecedence": 7}},
        {"PriorityLevel": "l", "MatchingPrecedence": 7, "DistinguisherMethod": "<none>", "MissingPL": "?"},
    ),
    (
        kinds.PRIORITY_LEVEL_CONFIGURATION,
        {"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 3, "limitResponse": {"type": "Reject"}}}},
        {"Type": "Limited", "NominalConcurrencyShares": 3, "Queues": "<none>", "HandSize": "<none>"},
    ),
    (
        kinds.COMPONENT_STATUS,
        {"conditions": [{"type": "Healthy", "status": "True", "message": "ok"}]},
        {"Status": "Healthy", "Message": "ok", "Error": ""},
    ),
    (kinds.RESOURCE_CLAIM, {"status": {"allocation": {}, "reservedFor": [{}]}}, {"State": "allocated,reserved"}),
    (kinds.RESOURCE_CLAIM, {}, {"State": "pending"}),
    (
        kinds.RESOURCE_SLICE,
        {"spec": {"nodeName": "n", "driver": "d", "pool": {"name": "p"}}},
        {"Node": "n", "Driver": "d", "Pool": "p"},
    ),
    (kinds.DEVICE_CLASS, {}, {"Name": "x", "Age": "5m"}),
]


@pytest.mark.parametrize(
    ("kind", "obj", "shown"), CASES, ids=lambda value: value.kind if isinstance(value, Kind) else ""
)
def test_a_kind_shows_its_own_columns(kind: Kind, obj: Obj, shown: dict[str, Any]) -> None:
    obj = {**obj, "metadata": {"name": "x", "creationTimestamp": CREATED, **obj.get("metadata", {})}}
    names = [column["name"] for column in table_columns(kind)]
    cells = dict(zip(names, table_row(kind, obj, NOW), strict=True))
    assert {name: cells[name] for name in shown} == shown


def test_flow_schemas_are_listed_by_precedence() -> None:
    objs = [
        {"metadata": {"name": name}, "spec": {"matchingPrecedence": number}}
        for name, number in (("a", 900), ("b", 2), ("c", 2))
    ]
    rows = table(kinds.FLOW_SCHEMA, objs, {}, now=NOW)["rows"]
    assert [row["cells"][0] for row in rows] == ["b", "c", "a"]

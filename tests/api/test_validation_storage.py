"""What volumes, claims and storage classes may say, in kube-apiserver's words."""

import copy
from typing import Any

import pytest

from hawser.api import kinds
from hawser.api.kinds import Kind
from hawser.api.validation import validate_create, validate_status_update, validate_update

Obj = dict[str, Any]
VOLUME: Obj = {
    "capacity": {"storage": "1Gi"},
    "accessModes": ["ReadWriteOnce"],
    "persistentVolumeReclaimPolicy": "Retain",
    "hostPath": {"path": "/x", "type": ""},
    "volumeMode": "Filesystem",
}
CLAIM: Obj = {
    "accessModes": ["ReadWriteOnce"],
    "resources": {"requests": {"storage": "1Gi"}},
    "volumeMode": "Filesystem",
}
CLASS: Obj = {"provisioner": "example.com/p", "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"}
DRIVER: Obj = {"attachRequired": True, "podInfoOnMount": False, "storageCapacity": False, "seLinuxMount": False}


def made(kind: Kind, **fields: Any) -> Obj:
    meta: Obj = {"name": "x", "resourceVersion": "1"}
    if kind.namespaced:
        meta["namespace"] = "default"
    return {"metadata": meta, **fields}


def errors(kind: Kind, **fields: Any) -> list[str]:
    return [str(e) for e in validate_create(kind, made(kind, **fields))]


def changed(kind: Kind, old: Obj, new: Obj) -> list[str]:
    return [str(e) for e in validate_update(kind, made(kind, **new), made(kind, **old))]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"accessModes": []}, ["spec.accessModes: Required value"]),
        (
            {"accessModes": ["ReadWriteOnce", "ReadWriteOncePod"]},
            ["spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"],
        ),
        (
            {"accessModes": ["Write"]},
            [
                (
                    'spec.accessModes: Unsupported value: "Write": supported values: "ReadOnlyMany", "ReadWriteMany", '
                    '"ReadWriteOnce", "ReadWriteOncePod"'
                )
            ],
        ),
        (
            {"capacity": {}},
            ["spec.capacity: Required value", 'spec.capacity: Unsupported value: {}: supported values: "storage"'],
        ),
        (
            {"capacity": {"storage": "0"}},
            ['spec.capacity[storage]: Invalid value: "0": must be greater than zero'],
        ),
        (
            {"persistentVolumeReclaimPolicy": "Keep"},
            [
                (
                    'spec.persistentVolumeReclaimPolicy: Unsupported value: "Keep": supported values: "Delete", '
                    '"Recycle", "Retain"'
                )
            ],
        ),
        ({"nfs": {"server": "s", "path": "/"}}, ["spec.nfs: Forbidden: may not specify more than 1 volume type"]),
        ({"hostPath": None}, ["spec: Required value: must specify a volume type"]),
        (
            {"hostPath": None, "local": {"path": "/x"}},
            ["spec.nodeAffinity: Required value: Local volume requires node affinity"],
        ),
        (
            {"hostPath": None, "csi": {"driver": "d"}},
            ["spec.csi.volumeHandle: Required value"],
        ),
        (
            {"hostPath": {"path": "/"}, "persistentVolumeReclaimPolicy": "Recycle"},
            ["spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'"],
        ),
        (
            {"volumeMode": "Tape"},
            ['spec.volumeMode: Unsupported value: "Tape": supported values: "Block", "Filesystem"'],
        ),
    ],
)
def test_volumes(change: Obj, expected: list[str]) -> None:
    spec = {key: value for key, value in {**copy.deepcopy(VOLUME), **change}.items() if value is not None}
    assert errors(kinds.PERSISTENT_VOLUME, spec=spec) == expected


def test_a_volume_keeps_its_source() -> None:
    new = {"spec": {**VOLUME, "hostPath": {"path": "/y", "type": ""}}}
    (error,) = changed(kinds.PERSISTENT_VOLUME, {"spec": VOLUME}, new)
    assert error.startswith("spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable")
    assert "\n  spec." in error
    new = {"spec": {**VOLUME, "volumeMode": "Block"}}
    assert changed(kinds.PERSISTENT_VOLUME, {"spec": VOLUME}, new) == [
        'volumeMode: Invalid value: "Block": field is immutable'
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"accessModes": []}, ["spec.accessModes: Required value: at least 1 access mode is required"]),
        ({"resources": {}}, ["spec.resources[storage]: Required value"]),
        (
            {"resources": {"requests": {"storage": "-1"}}},
            ['spec.resources[storage]: Invalid value: "-1": must be greater than zero'],
        ),
        (
            {"dataSource": {"kind": "Pod", "name": "p"}},
            [
                (
                    "spec.dataSource: Invalid value: \"Pod\": must be 'PersistentVolumeClaim' when referencing the "
                    "default apiGroup"
                )
            ],
        ),
        (
            {
                "dataSource": {"kind": "K", "name": "p", "apiGroup": "g"},
                "dataSourceRef": {"kind": "K", "name": "q", "apiGroup": "g"},
            },
            ['spec: Invalid value: "spec.dataSource": must match dataSourceRef'],
        ),
    ],
)
def test_claims(change: Obj, expected: list[str]) -> None:
    assert errors(kinds.PERSISTENT_VOLUME_CLAIM, spec={**CLAIM, **change}) == expected


GROWN = {"resources": {"requests": {"storage": "2Gi"}}}
FIXED = (
    "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for "
    "bound claims\n  spec."
)


@pytest.mark.parametrize(
    ("old", "new", "status", "expected"),
    [
        ({}, {"volumeName": "v"}, {"phase": "Pending"}, []),
        ({"volumeName": "v"}, {"volumeName": "w"}, {"phase": "Bound"}, [FIXED + 'volumeName: "v" -> "w"']),
        ({}, {"storageClassName": "s"}, {"phase": "Pending"}, []),
        (
            {"storageClassName": "s"},
            {"storageClassName": "t"},
            {"phase": "Pending"},
            [FIXED + 'storageClassName: "s" -> "t"'],
        ),
        ({}, GROWN, {"phase": "Pending"}, [FIXED + 'resources.requests.storage: "1Gi" -> "2Gi"']),
        ({}, GROWN, {"phase": "Bound", "capacity": {"storage": "1Gi"}}, []),
        (
            GROWN,
            {},
            {"phase": "Bound", "capacity": {"storage": "1Gi"}},
            ["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"],
        ),
        ({}, {"volumeAttributesClassName": "a"}, {"phase": "Bound"}, []),
        (
            {"volumeAttributesClassName": "a"},
            {},
            {"phase": "Bound"},
            ["spec.volumeAttributesClassName: Forbidden: update from non-nil value to nil is forbidden"],
        ),
    ],
)
def test_little_of_a_claim_may_change(old: Obj, new: Obj, status: Obj, expected: list[str]) -> None:
    before, after = ({"spec": {**CLAIM, **spec}, "status": status} for spec in (old, new))
    assert changed(kinds.PERSISTENT_VOLUME_CLAIM, before, after) == expected


def test_a_claims_status_names_amounts_and_conditions() -> None:
    old = made(kinds.PERSISTENT_VOLUME_CLAIM, spec=CLAIM)
    new = {**old, "status": {"capacity": {"storage": "-1"}, "conditions": [{"type": "Resizing"}] * 2}}
    assert [str(e) for e in validate_status_update(kinds.PERSISTENT_VOLUME_CLAIM, new, old)] == [
        'status.capacity[storage]: Invalid value: "-1": must be greater than or equal to 0',
        'status.conditions[1].type: Duplicate value: "Resizing"',
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"provisioner": ""}, ["provisioner: Required value"]),
        (
            {"reclaimPolicy": "Recycle"},
            ['reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"'],
        ),
        (
            {"volumeBindingMode": "Never"},
            ['volumeBindingMode: Unsupported value: "Never": supported values: "Immediate", "WaitForFirstConsumer"'],
        ),
        (
            {"allowedTopologies": [{"matchLabelExpressions": [{"key": "z", "values": ["a", "a"]}]}]},
            ['allowedTopologies[0].matchLabelExpressions[0].values[1]: Duplicate value: "a"'],
        ),
    ],
)
def test_storage_classes(change: Obj, expected: list[str]) -> None:
    assert errors(kinds.STORAGE_CLASS, **{**CLASS, **change}) == expected


def test_a_storage_class_hardly_changes() -> None:
    assert changed(kinds.STORAGE_CLASS, CLASS, {**CLASS, "allowVolumeExpansion": True}) == []
    assert changed(kinds.STORAGE_CLASS, CLASS, {**CLASS, "parameters": {"a": "b"}, "reclaimPolicy": "Retain"}) == [
        "parameters: Forbidden: updates to parameters are forbidden.",
        "reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden.",
    ]


def test_attributes_classes_have_parameters_that_stay() -> None:
    assert errors(kinds.VOLUME_ATTRIBUTES_CLASS, driverName="d") == [
        "parameters: Required value: must contain at least one key/value pair"
    ]
    old = {"driverName": "d", "parameters": {"a": "b"}}
    assert changed(kinds.VOLUME_ATTRIBUTES_CLASS, old, {**old, "driverName": "e"}) == [
        "driverName: Forbidden: updates to driverName are forbidden."
    ]


def test_drivers() -> None:
    assert errors(kinds.CSI_DRIVER, spec=DRIVER) == []
    assert errors(
        kinds.CSI_DRIVER, spec={**DRIVER, "attachRequired": None, "nodeAllocatableUpdatePeriodSeconds": 5}
    ) == [
        "spec.attachedRequired: Required value",
        "spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 5: must be greater than or equal to 10 seconds",
    ]
    assert changed(kinds.CSI_DRIVER, {"spec": DRIVER}, {"spec": {**DRIVER, "attachRequired": False}}) == [
        "spec.attachedRequired: Invalid value: false: field is immutable"
    ]
    node = {"drivers": [{"name": "d", "nodeID": "n", "topologyKeys": ["a", "a"]}, {"name": "d", "nodeID": ""}]}
    assert errors(kinds.CSI_NODE, spec=node) == [
        'spec.drivers[0]: Duplicate value: "a"',
        "spec.drivers[1].nodeID: Required value",
        'spec.drivers[1].name: Duplicate value: "d"',
    ]
    old = {"spec": {"drivers": [{"name": "d", "nodeID": "n"}]}}
    assert changed(kinds.CSI_NODE, old, {"spec": {"drivers": [{"name": "d", "nodeID": "m"}]}}) == [
        'CSINodeDriver: Invalid value: {"name":"d","nodeID":"m"}: field is immutable'
    ]


def test_attachments_name_one_volume() -> None:
    spec: Obj = {"attacher": "a", "nodeName": "n", "source": {"persistentVolumeName": "v"}}
    assert errors(kinds.VOLUME_ATTACHMENT, spec=spec) == []
    assert errors(kinds.VOLUME_ATTACHMENT, spec={**spec, "source": {}}) == [
        "spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName"
    ]
    inline = {
        "accessModes": ["ReadWriteOnce"],
        "csi": {"driver": "d", "volumeHandle": "h"},
        "capacity": {"storage": "1"},
    }
    assert errors(kinds.VOLUME_ATTACHMENT, spec={**spec, "source": {"inlineVolumeSpec": inline}}) == [
        "spec.source.inlineVolumeSpec.capacity: Forbidden: may not be specified in the context of inline volumes"
    ]
    assert changed(kinds.VOLUME_ATTACHMENT, {"spec": spec}, {"spec": {**spec, "nodeName": "m"}})[0].endswith(
        "field is immutable"
    )


def test_capacities_stay_where_they_are() -> None:
    old = {"storageClassName": "s", "capacity": "1Gi"}
    assert changed(kinds.CSI_STORAGE_CAPACITY, old, {**old, "capacity": "2Gi"}) == []
    assert changed(kinds.CSI_STORAGE_CAPACITY, old, {**old, "storageClassName": "t"}) == [
        'storageClassName: Invalid value: "t": field is immutable'
    ]

"""StatefulSets, DaemonSets, ReplicationControllers, ControllerRevisions and PodTemplates, in kube-apiserver's words."""

import copy
from typing import Any

import pytest

from hawser.api import kinds
from hawser.api.defaults import apply_defaults
from hawser.api.kinds import Kind
from hawser.api.validation import validate_create, validate_status_update, validate_update

POD = {"containers": [{"name": "a", "image": "b"}]}
TEMPLATE: dict[str, Any] = {"metadata": {"labels": {"app": "a"}}, "spec": POD}
SELECTOR = {"matchLabels": {"app": "a"}}
NEGATIVE = "must be greater than or equal to 0"
MISMATCH = 'spec.template.metadata.labels: Invalid value: {"app":"a"}: `selector` does not match template `labels`'
FORBIDDEN = (
    "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
    "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are "
    "forbidden"
)


def workload(kind: Kind, name: str = "a", **spec: Any) -> dict[str, Any]:
    selector = {"app": "a"} if kind is kinds.REPLICATION_CONTROLLER else SELECTOR
    full = {"selector": selector, "template": TEMPLATE, **spec}
    obj = {
        "metadata": {"name": name, "namespace": "default"},
        "spec": copy.deepcopy({k: v for k, v in full.items() if v is not None}),
    }
    apply_defaults(kind, obj)
    return obj


def create(kind: Kind, **spec: Any) -> list[str]:
    return [str(e) for e in validate_create(kind, workload(kind, **spec))]


def update(kind: Kind, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    return [str(e) for e in validate_update(kind, workload(kind, **new), workload(kind, **old))]


def status(kind: Kind, new: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]:
    obj = workload(kind)
    return [str(e) for e in validate_status_update(kind, {**obj, "status": new}, {**obj, "status": old or {}})]


ALL = pytest.mark.parametrize(
    "kind", [kinds.STATEFUL_SET, kinds.DAEMON_SET, kinds.REPLICATION_CONTROLLER], ids=lambda k: k.kind
)


@ALL
def test_a_plain_workload_is_valid(kind: Kind) -> None:
    assert create(kind) == []
    assert update(kind, {}, {"minReadySeconds": 3}) == []


@ALL
@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"minReadySeconds": -1}, [f"spec.minReadySeconds: Invalid value: -1: {NEGATIVE}"]),
        (
            {"template": {**TEMPLATE, "spec": {"containers": [{"image": "b"}]}}},
            ["spec.template.spec.containers[0].name: Required value"],
        ),
        (
            {"template": {**TEMPLATE, "spec": {**POD, "restartPolicy": "Never"}}},
            ['spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"'],
        ),
    ],
)
def test_what_all_of_them_obey(kind: Kind, spec: dict[str, Any], expected: list[str]) -> None:
    assert create(kind, **spec) == expected


@ALL
def test_their_pods_have_no_deadline(kind: Kind) -> None:
    template = {**TEMPLATE, "spec": {**POD, "activeDeadlineSeconds": 5}}
    detail = f"activeDeadlineSeconds in {kind.kind} is not Supported"
    assert create(kind, template=template) == [f"spec.template.spec.activeDeadlineSeconds: Forbidden: {detail}"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"replicas": -1}, [f"spec.replicas: Invalid value: -1: {NEGATIVE}"]),
        ({"ordinals": {"start": -1}}, [f"spec.ordinals.start: Invalid value: -1: {NEGATIVE}"]),
        ({"selector": None}, ["spec.selector: Required value", MISMATCH]),
        ({"selector": {}}, ["spec.selector: Invalid value: {}: empty selector is invalid for statefulset"]),
        ({"selector": {"matchLabels": {"app": "b"}}}, [MISMATCH]),
        (
            {"podManagementPolicy": "x"},
            ["spec.podManagementPolicy: Invalid value: \"x\": must be 'OrderedReady' or 'Parallel'"],
        ),
        (
            {"updateStrategy": {"type": "x"}},
            ["spec.updateStrategy: Invalid value: {\"type\":\"x\"}: must be 'RollingUpdate' or 'OnDelete'"],
        ),
        (
            {"updateStrategy": {"type": "OnDelete", "rollingUpdate": {"partition": 1}}},
            [
                (
                    'spec.updateStrategy.rollingUpdate: Invalid value: {"partition":1}: '
                    "only allowed for updateStrategy 'RollingUpdate'"
                )
            ],
        ),
        (
            {"updateStrategy": {"rollingUpdate": {"partition": -1, "maxUnavailable": "0%"}}},
            [
                f"spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: {NEGATIVE}",
                'spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: "0%": cannot be 0',
            ],
        ),
        (
            {"persistentVolumeClaimRetentionPolicy": {"whenScaled": "x"}},
            [
                (
                    'spec.persistentVolumeClaimRetentionPolicy.whenScaled: Unsupported value: "x": '
                    'supported values: "Retain", "Delete"'
                )
            ],
        ),
    ],
)
def test_stateful_sets(spec: dict[str, Any], expected: list[str]) -> None:
    assert create(kinds.STATEFUL_SET, **spec) == expected


def test_a_stateful_set_is_named_as_its_pods_are() -> None:
    (wrong,) = validate_create(kinds.STATEFUL_SET, workload(kinds.STATEFUL_SET, "a.b"))
    assert str(wrong).startswith('metadata.name: Invalid value: "a.b": a lowercase RFC 1123 label must')
    (wrong,) = validate_create(kinds.STATEFUL_SET, workload(kinds.STATEFUL_SET, serviceName="A"))
    assert str(wrong).startswith('spec.serviceName: Invalid value: "A": a lowercase RFC 1123 label must')


def test_containers_of_a_stateful_set_mount_its_claims() -> None:
    container = {"name": "a", "image": "b", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    template = {**TEMPLATE, "spec": {"containers": [container]}}
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    claim: dict[str, Any] = {"metadata": {"name": "data"}, "spec": wanted}
    assert create(kinds.STATEFUL_SET, template=template, volumeClaimTemplates=[claim]) == []
    assert create(kinds.STATEFUL_SET, template=template) == [
        'spec.template.spec.containers[0].volumeMounts[0].name: Not found: "data"'
    ]
    claim["spec"] = {"resources": wanted["resources"]}
    assert create(kinds.STATEFUL_SET, template=template, volumeClaimTemplates=[claim]) == [
        "spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access mode is required"
    ]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"replicas": 3, "minReadySeconds": 1, "revisionHistoryLimit": 2, "ordinals": {"start": 1}}, []),
        ({"updateStrategy": {"type": "OnDelete"}}, []),
        ({"serviceName": "other"}, [FORBIDDEN]),
        ({"podManagementPolicy": "Parallel"}, [FORBIDDEN]),
        ({"volumeClaimTemplates": [{"metadata": {"name": "x"}, "spec": {}}]}, [FORBIDDEN]),
    ],
)
def test_what_may_change_in_a_stateful_set(changed: dict[str, Any], expected: list[str]) -> None:
    assert update(kinds.STATEFUL_SET, {}, changed) == expected


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        ({"replicas": 1, "readyReplicas": 1, "availableReplicas": 1}, {}, []),
        (
            {"replicas": 1, "currentReplicas": 2},
            {},
            ["status.currentReplicas: Invalid value: 2: cannot be greater than status.replicas"],
        ),
        (
            {"replicas": 2, "availableReplicas": 1},
            {},
            ["status.availableReplicas: Invalid value: 1: cannot be greater than status.readyReplicas"],
        ),
        (
            {"replicas": 0, "collisionCount": 1},
            {"replicas": 0, "collisionCount": 2},
            ["status.collisionCount: Invalid value: 1: cannot be decremented"],
        ),
    ],
)
def test_statuses_of_stateful_sets(new: Any, old: Any, expected: list[str]) -> None:
    assert status(kinds.STATEFUL_SET, new, old) == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"selector": None}, [MISMATCH]),
        ({"selector": {}}, ["spec.selector: Invalid value: {}: empty selector is invalid for daemonset"]),
        (
            {"updateStrategy": {"type": "x"}},
            [
                'spec.updateStrategy: Unsupported value: {"type":"x"}: supported values: "RollingUpdate", "OnDelete"',
            ],
        ),
        (
            {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 0}}},
            ["spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"],
        ),
        (
            {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 1, "maxSurge": "1%"}}},
            [
                (
                    'spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: "1%": '
                    "may not be set when maxUnavailable is non-zero"
                )
            ],
        ),
        (
            {"updateStrategy": {"rollingUpdate": {"maxUnavailable": "101%"}}},
            ['spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be greater than 100%'],
        ),
    ],
)
def test_daemon_sets(spec: dict[str, Any], expected: list[str]) -> None:
    assert create(kinds.DAEMON_SET, **spec) == expected


def test_the_selector_of_a_daemon_set_stays() -> None:
    labels = {"app": "a", "x": "y"}
    changed = {"selector": {"matchLabels": labels}, "template": {**TEMPLATE, "metadata": {"labels": labels}}}
    assert update(kinds.DAEMON_SET, {}, changed) == [
        'spec.selector: Invalid value: {"matchLabels":{"app":"a","x":"y"}}: field is immutable'
    ]


def test_statuses_of_daemon_sets() -> None:
    assert status(kinds.DAEMON_SET, {"numberReady": -1}) == [f"status.numberReady: Invalid value: -1: {NEGATIVE}"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"replicas": -1}, [f"spec.replicas: Invalid value: -1: {NEGATIVE}"]),
        ({"selector": {"app": "b"}}, [MISMATCH]),
        ({"template": None}, ["spec.template: Required value"]),
    ],
)
def test_replication_controllers(spec: dict[str, Any], expected: list[str]) -> None:
    assert create(kinds.REPLICATION_CONTROLLER, **spec) == expected


def test_a_replication_controller_may_select_others() -> None:
    template = {**TEMPLATE, "metadata": {"labels": {"app": "b"}}}
    assert update(kinds.REPLICATION_CONTROLLER, {}, {"selector": {"app": "b"}, "template": template}) == []


def test_statuses_of_replication_controllers() -> None:
    assert status(kinds.REPLICATION_CONTROLLER, {"replicas": 1, "readyReplicas": 2}) == [
        "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"
    ]


def test_controller_revisions_keep_their_data() -> None:
    meta = {"name": "a", "namespace": "default"}
    old = {"metadata": meta, "data": {"a": 1}, "revision": 1}
    assert validate_create(kinds.CONTROLLER_REVISION, old) == []
    empty = [str(e) for e in validate_create(kinds.CONTROLLER_REVISION, {"metadata": meta, "revision": -1})]
    assert empty == ["data: Required value: data is mandatory", f"revision: Invalid value: -1: {NEGATIVE}"]
    assert validate_update(kinds.CONTROLLER_REVISION, {**old, "revision": 2}, old) == []
    changed = [str(e) for e in validate_update(kinds.CONTROLLER_REVISION, {**old, "data": {"a": 2}}, old)]
    assert changed == ['data: Invalid value: {"a":2}: field is immutable']


def test_pod_templates_hold_a_valid_pod() -> None:
    obj: dict[str, Any] = {"metadata": {"name": "a", "namespace": "default"}, "template": copy.deepcopy(TEMPLATE)}
    apply_defaults(kinds.POD_TEMPLATE, obj)
    assert validate_create(kinds.POD_TEMPLATE, obj) == []
    obj["template"]["spec"]["containers"] = []
    wrong = [str(e) for e in validate_create(kinds.POD_TEMPLATE, obj)]
    assert wrong == ["template.spec.containers: Required value"]

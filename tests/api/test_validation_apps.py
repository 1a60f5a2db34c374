"""Deployments and ReplicaSets, in kube-apiserver's words."""

import copy
from typing import Any

import pytest

from hawser.api import kinds
from hawser.api.defaults import apply_defaults
from hawser.api.kinds import Kind
from hawser.api.validation import validate_create, validate_status_update, validate_update

TEMPLATE = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "a", "image": "b"}]}}
SELECTOR = {"matchLabels": {"app": "a"}}
MISMATCH = 'spec.template.metadata.labels: Invalid value: {"app":"a"}: `selector` does not match template `labels`'
VALUES_RULE = "must be specified when `operator` is 'In' or 'NotIn'"


def workload(kind: Kind, **spec: Any) -> dict[str, Any]:
    full = {"selector": SELECTOR, "template": TEMPLATE, **spec}
    obj = {
        "metadata": {"name": "a", "namespace": "default"},
        "spec": copy.deepcopy({k: v for k, v in full.items() if v is not None}),
    }
    apply_defaults(kind, obj)
    return obj


def create(kind: Kind, **spec: Any) -> list[str]:
    return [str(e) for e in validate_create(kind, workload(kind, **spec))]


BOTH = pytest.mark.parametrize("kind", [kinds.DEPLOYMENT, kinds.REPLICA_SET], ids=lambda k: k.kind)


@BOTH
@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        ({"replicas": 0}, []),
        ({"replicas": -1}, ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]),
        (
            {"selector": None},
            [
                "spec.selector: Required value",
                MISMATCH,
            ],
        ),
        (
            {"selector": {"matchLabels": {"app": "b"}}},
            [MISMATCH],
        ),
        ({"selector": {}}, ["spec.selector: Invalid value: {}: empty selector is invalid for deployment"]),
        (
            {"template": {**TEMPLATE, "spec": {}}},
            ["spec.template.spec.containers: Required value"],
        ),
        (
            {"template": {**TEMPLATE, "spec": {"containers": [{"image": "b"}]}}},
            ["spec.template.spec.containers[0].name: Required value"],
        ),
        (
            {"template": {**TEMPLATE, "spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}},
            ['spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"'],
        ),
        (
            {"selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
            [f"spec.selector.matchExpressions[0].values: Required value: {VALUES_RULE}"],
        ),
    ],
)
def test_workloads(kind: Kind, spec: dict[str, Any], expected: list[str]) -> None:
    assert create(kind, **spec) == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"strategy": {"type": "Recreate"}}, []),
        (
            {"strategy": {"type": "Recreate", "rollingUpdate": {}}},
            ["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"],
        ),
        (
            {"strategy": {"type": "x"}},
            ['spec.strategy.type: Unsupported value: "x": supported values: "Recreate", "RollingUpdate"'],
        ),
        (
            {"strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": "0%"}}},
            [
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
            ],
        ),
        (
            {"strategy": {"rollingUpdate": {"maxUnavailable": "101%"}}},
            ['spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be greater than 100%'],
        ),
        (
            {"minReadySeconds": 600},
            ["spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"],
        ),
    ],
)
def test_deployments(spec: dict[str, Any], expected: list[str]) -> None:
    assert create(kinds.DEPLOYMENT, **spec) == expected


def test_percentages_have_a_form() -> None:
    (wrong,) = create(kinds.DEPLOYMENT, strategy={"rollingUpdate": {"maxSurge": "some"}})
    assert wrong.startswith('spec.strategy.rollingUpdate.maxSurge: Invalid value: "some": a valid percent string must')


@BOTH
def test_the_selector_stays(kind: Kind) -> None:
    old = workload(kind)
    assert validate_update(kind, workload(kind, replicas=3), old) == []
    labels = {"app": "a", "x": "y"}
    template = {**TEMPLATE, "metadata": {"labels": labels}}
    changed = workload(kind, selector={"matchLabels": labels}, template=template)
    assert [str(e) for e in validate_update(kind, changed, old)] == [
        'spec.selector: Invalid value: {"matchLabels":{"app":"a","x":"y"}}: field is immutable'
    ]


@BOTH
def test_status_counts_make_sense(kind: Kind) -> None:
    obj = workload(kind)
    obj["status"] = {"replicas": 1, "readyReplicas": 2, "availableReplicas": 0}
    assert [str(e) for e in validate_status_update(kind, obj, obj)] == [
        "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"
    ]

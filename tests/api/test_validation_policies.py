"""Autoscalers, disruption budgets, limit ranges, quotas and priority classes, in kube-apiserver's words."""

import copy
from typing import Any

import pytest

from hawser.api import kinds
from hawser.api.defaults import apply_defaults
from hawser.api.kinds import Kind
from hawser.api.validation import validate_create, validate_status_update, validate_update

NEGATIVE = "must be greater than or equal to 0"


def make(kind: Kind, **fields: Any) -> dict[str, Any]:
    meta = {"name": "a", **({"namespace": "default"} if kind.namespaced else {})}
    obj = copy.deepcopy({"metadata": meta, **fields})
    apply_defaults(kind, obj)
    return obj


def create(kind: Kind, **fields: Any) -> list[str]:
    return [str(e) for e in validate_create(kind, make(kind, **fields))]


def update(kind: Kind, new: dict[str, Any], old: dict[str, Any]) -> list[str]:
    return [str(e) for e in validate_update(kind, make(kind, **new), make(kind, **old))]


TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}


def autoscaler(**spec: Any) -> dict[str, Any]:
    return {"spec": {"scaleTargetRef": TARGET, "maxReplicas": 3, **spec}}


def metric(kind: str, **sources: Any) -> dict[str, Any]:
    return {"metrics": [{"type": kind, **sources}]}


CPU = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}
RULES = "spec.behavior.scaleUp"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        (
            {"minReplicas": 0},
            [
                "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
                (
                    "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling "
                    "to zero replicas"
                ),
            ],
        ),
        (
            {"maxReplicas": 0},
            [
                "spec.maxReplicas: Invalid value: 0: must be greater than 0",
                "spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`",
            ],
        ),
        (
            {"scaleTargetRef": {"apiVersion": "apps/v1", "name": "a/b"}},
            [
                "spec.scaleTargetRef.kind: Required value",
                "spec.scaleTargetRef.name: Invalid value: \"a/b\": may not contain '/'",
            ],
        ),
        (
            {"scaleTargetRef": {"kind": "Deployment", "name": "a"}},
            ['spec.scaleTargetRef.apiVersion: Invalid value: "": apiVersion must specify API group'],
        ),
        ({"scaleTargetRef": {"apiVersion": "v1", "kind": "ReplicationController", "name": "a"}}, []),
        (
            metric(""),
            [
                "spec.metrics[0].type: Required value: must specify a metric source type",
                *(
                    (
                        'spec.metrics[0].type: Unsupported value: "": supported values: "ContainerResource", '
                        '"External", "Object", "Pods", "Resource"'
                    ),
                )
                * 2,
            ],
        ),
        (
            metric("Pods", resource=CPU),
            ["spec.metrics[0].pods: Required value: must populate information for the given metric source"],
        ),
        (
            metric("Resource", resource=CPU, pods={"metric": {"name": "x"}, "target": {"type": "AverageValue"}}),
            [
                (
                    "spec.metrics[0].pods.target.averageValue: Required value: must specify a positive target "
                    "averageValue"
                ),
                "spec.metrics[0].pods: Forbidden: must populate the given metric source only",
            ],
        ),
        (
            metric("Resource", resource={"name": "", "target": {"type": "x", "averageValue": "0"}}),
            [
                "spec.metrics[0].resource.name: Required value: must specify a resource name",
                (
                    'spec.metrics[0].resource.target.type: Invalid value: "x": must be either Utilization, Value, or '
                    "AverageValue"
                ),
                'spec.metrics[0].resource.target.averageValue: Invalid value: "0": must be positive',
            ],
        ),
        (
            metric("External", external={"metric": {"name": "q"}, "target": {"type": "Value"}}),
            [
                (
                    "spec.metrics[0].external.target.averageValue: Required value: must set either a target value for "
                    "metric or a per-pod target"
                )
            ],
        ),
        (
            {"behavior": {"scaleUp": {"stabilizationWindowSeconds": 3601, "selectPolicy": "x", "policies": []}}},
            [
                f"{RULES}.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600",
                f'{RULES}.selectPolicy: Unsupported value: "x": supported values: "Disabled", "Max", "Min"',
                f"{RULES}.policies: Required value: must specify at least one Policy",
            ],
        ),
        (
            {"behavior": {"scaleUp": {"policies": [{"type": "x", "value": 0, "periodSeconds": 1801}]}}},
            [
                f'{RULES}.policies[0].type: Unsupported value: "x": supported values: "Percent", "Pods"',
                f"{RULES}.policies[0].value: Invalid value: 0: must be greater than zero",
                f"{RULES}.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800",
            ],
        ),
    ],
)
def test_autoscalers(spec: dict[str, Any], expected: list[str]) -> None:
    assert create(kinds.HORIZONTAL_POD_AUTOSCALER, **autoscaler(**spec)) == expected


def test_an_autoscaler_keeps_a_target_that_was_accepted_once() -> None:
    old = autoscaler(scaleTargetRef={"kind": "Deployment", "name": "a"})
    new = autoscaler(scaleTargetRef={"kind": "Deployment", "name": "b"})
    assert update(kinds.HORIZONTAL_POD_AUTOSCALER, new, old) == []


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        ({"minAvailable": 1, "selector": {}}, []),
        ({"maxUnavailable": "50%"}, []),
        (
            {"minAvailable": 1, "maxUnavailable": 1},
            [
                (
                    'spec: Invalid value: {"minAvailable":1,"maxUnavailable":1}: minAvailable and maxUnavailable '
                    "cannot be both set"
                )
            ],
        ),
        ({"minAvailable": -1}, [f"spec.minAvailable: Invalid value: -1: {NEGATIVE}"]),
        ({"maxUnavailable": "101%"}, ['spec.maxUnavailable: Invalid value: "101%": must not be greater than 100%']),
        (
            {"unhealthyPodEvictionPolicy": "x"},
            [
                (
                    'spec.unhealthyPodEvictionPolicy: Unsupported value: "x": supported values: "AlwaysAllow", '
                    '"IfHealthyBudget"'
                )
            ],
        ),
    ],
)
def test_disruption_budgets(spec: dict[str, Any], expected: list[str]) -> None:
    assert create(kinds.POD_DISRUPTION_BUDGET, spec=spec) == expected


def test_names_of_disruption_budgets_only_have_to_fit_into_a_path() -> None:
    obj = make(kinds.POD_DISRUPTION_BUDGET, spec={})
    obj["metadata"]["name"] = "A_b"
    assert validate_create(kinds.POD_DISRUPTION_BUDGET, obj) == []
    obj["metadata"]["name"] = "a%b"
    (wrong,) = validate_create(kinds.POD_DISRUPTION_BUDGET, obj)
    assert str(wrong) == "metadata.name: Invalid value: \"a%b\": may not contain '%'"


def test_statuses_of_disruption_budgets_have_whole_conditions() -> None:
    obj = make(kinds.POD_DISRUPTION_BUDGET, spec={})
    obj["status"] = {"disruptionsAllowed": -1, "conditions": [{"type": "A", "status": "x"}, {"type": "A"}]}
    found = [str(e) for e in validate_status_update(kinds.POD_DISRUPTION_BUDGET, obj, obj)]
    assert found == [
        'status.conditions[0].status: Unsupported value: "x": supported values: "False", "True", "Unknown"',
        "status.conditions[0].lastTransitionTime: Required value: must be set",
        "status.conditions[0].reason: Required value: must be set",
        'status.conditions[1].type: Duplicate value: "A"',
        'status.conditions[1].status: Unsupported value: "": supported values: "False", "True", "Unknown"',
        "status.conditions[1].lastTransitionTime: Required value: must be set",
        "status.conditions[1].reason: Required value: must be set",
        f"status.disruptionsAllowed: Invalid value: -1: {NEGATIVE}",
    ]


def limits(kind: str = "Container", **lists: Any) -> dict[str, Any]:
    return {"spec": {"limits": [{"type": kind, **lists}]}}


LIMIT = "spec.limits[0]"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (limits(max={"cpu": "2"}, min={"cpu": "1"}, default={"cpu": "1500m"}), []),
        (limits("x"), [f'{LIMIT}.type: Invalid value: "x": must be a standard limit type or fully qualified']),
        (
            limits("Pod", default={"cpu": "1"}),
            [f"{LIMIT}.default: Forbidden: may not be specified when `type` is 'Pod'"],
        ),
        (
            limits("PersistentVolumeClaim"),
            [
                (
                    f"{LIMIT}.limits: Required value: either minimum or maximum storage value is required, but "
                    "neither was provided"
                )
            ],
        ),
        (limits("PersistentVolumeClaim", max={"storage": "1Gi"}), []),
        (
            limits("Pod", max={"cpu": "1"}, min={"cpu": "2"}),
            [f'{LIMIT}.min[cpu]: Invalid value: "2": min value 2 is greater than max value 1'],
        ),
        (
            limits(max={"cpu": "1"}, default={"cpu": "2"}, defaultRequest={"cpu": "1"}),
            [f'{LIMIT}.default[cpu]: Invalid value: "1": default value 2 is greater than max value 1'],
        ),
        (
            limits("Pod", max={"cpu": "4"}, min={"cpu": "2"}, maxLimitRequestRatio={"cpu": "3"}),
            [f'{LIMIT}.maxLimitRequestRatio[cpu]: Invalid value: "3": ratio 3 is greater than max/min = 2.000000'],
        ),
        (
            limits("Pod", max={"x": "4"}),
            [
                f'{LIMIT}.max[x]: Invalid value: "x": must be a standard resource type or fully qualified',
                f'{LIMIT}.max[x]: Invalid value: "x": must be a standard resource for containers',
            ],
        ),
    ],
)
def test_limit_ranges(fields: dict[str, Any], expected: list[str]) -> None:
    assert create(kinds.LIMIT_RANGE, **fields) == expected


def scoped(**term: Any) -> dict[str, Any]:
    return {"scopeSelector": {"matchExpressions": [term]}}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"hard": {"pods": "4", "requests.cpu": "1", "count/jobs.batch": "3", "requests.example.com/gpu": "2"}}, []),
        ({"hard": {"pods": "1500m"}}, ['spec.hard[pods]: Invalid value: "1500m": must be an integer']),
        ({"hard": {"cpu": "-1"}}, [f'spec.hard[cpu]: Invalid value: "-1": {NEGATIVE}']),
        (
            {"hard": {"storage": "1"}},
            ['spec.hard[storage]: Invalid value: "storage": must be a standard resource for quota'],
        ),
        ({"scopes": ["x"]}, ['spec.scopes: Invalid value: ["x"]: unsupported scope']),
        (
            {"scopes": ["BestEffort", "NotBestEffort"]},
            ['spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: conflicting scopes'],
        ),
        (
            {"scopes": ["BestEffort"], "hard": {"cpu": "1", "pods": "2"}},
            ['spec.scopes: Invalid value: ["BestEffort"]: unsupported scope applied to resource'],
        ),
        (scoped(scopeName="PriorityClass", operator="In", values=["high"]), []),
        (
            scoped(scopeName="PriorityClass", operator="In"),
            [
                (
                    "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when "
                    "`operator` is 'In' or 'NotIn' for scope selector"
                )
            ],
        ),
        (
            scoped(scopeName="PriorityClass", operator="x"),
            [
                'spec.scopeSelector.matchExpressions.operator: Invalid value: "x": not a valid selector operator',
            ],
        ),
    ],
)
def test_resource_quotas(spec: dict[str, Any], expected: list[str]) -> None:
    assert create(kinds.RESOURCE_QUOTA, spec=spec) == expected


def test_the_scopes_of_a_quota_stay() -> None:
    new, old = ({"spec": {"scopes": scopes}} for scopes in (["Terminating"], []))
    expected = ['spec.scopes: Invalid value: ["Terminating"]: field is immutable']
    assert update(kinds.RESOURCE_QUOTA, new, old) == expected
    assert update(kinds.RESOURCE_QUOTA, {"spec": {"hard": {"pods": "1"}}}, old) == []


def test_statuses_of_quotas_count_what_quotas_do() -> None:
    obj = make(kinds.RESOURCE_QUOTA, spec={})
    obj["status"] = {"used": {"pods": "-1"}}
    found = [str(e) for e in validate_status_update(kinds.RESOURCE_QUOTA, obj, obj)]
    assert found == [f'status.used[pods]: Invalid value: "-1": {NEGATIVE}']


@pytest.mark.parametrize(
    ("name", "fields", "expected"),
    [
        ("high", {"value": 1_000_000_000}, []),
        (
            "high",
            {"value": 1_000_000_001},
            ["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
        ),
        ("system-node-critical", {"value": 2_000_001_000}, []),
        (
            "system-x",
            {"value": 1},
            [
                (
                    "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use "
                    "only. error: system-x is not a known system priority class"
                )
            ],
        ),
        (
            "high",
            {"value": 1, "preemptionPolicy": "x"},
            ['preemptionPolicy: Unsupported value: "x": supported values: "Never", "PreemptLowerPriority"'],
        ),
    ],
)
def test_priority_classes(name: str, fields: dict[str, Any], expected: list[str]) -> None:
    obj = make(kinds.PRIORITY_CLASS, **fields)
    obj["metadata"]["name"] = name
    assert [str(e) for e in validate_create(kinds.PRIORITY_CLASS, obj)] == expected


def test_the_value_of_a_priority_class_stays() -> None:
    assert update(kinds.PRIORITY_CLASS, {"value": 2}, {"value": 1}) == [
        "value: Forbidden: may not be changed in an update."
    ]
    assert update(kinds.PRIORITY_CLASS, {"value": 1, "preemptionPolicy": "Never"}, {"value": 1}) == [
        'preemptionPolicy: Invalid value: "Never": field is immutable'
    ]
    assert update(kinds.PRIORITY_CLASS, {"value": 1, "globalDefault": True}, {"value": 1}) == []

"""What the API server writes into workloads and the kinds that bound them, and that it does so once."""

import copy
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawser.api import kinds, schema
from hawser.api.defaults import apply_defaults
from hawser.api.kinds import Kind

POD = {"containers": [{"name": "a", "image": "b:1"}]}
TEMPLATE = {"metadata": {"labels": {"app": "a"}}, "spec": POD}
KINDS = [
    kinds.STATEFUL_SET,
    kinds.DAEMON_SET,
    kinds.REPLICATION_CONTROLLER,
    kinds.POD_TEMPLATE,
    kinds.JOB,
    kinds.CRON_JOB,
    kinds.HORIZONTAL_POD_AUTOSCALER,
    kinds.LIMIT_RANGE,
    kinds.RESOURCE_QUOTA,
    kinds.PRIORITY_CLASS,
]


def defaulted(kind: Kind, **fields: Any) -> Any:
    obj = copy.deepcopy({"metadata": {"name": "a"}, **fields})
    assert schema.decode(kind, obj) == []
    apply_defaults(kind, obj)
    return obj


def spec(kind: Kind, **fields: Any) -> Any:
    return defaulted(kind, spec=fields)["spec"]


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        (
            kinds.STATEFUL_SET,
            {},
            {
                "replicas": 1,
                "podManagementPolicy": "OrderedReady",
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": 1}},
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
                "revisionHistoryLimit": 10,
            },
        ),
        (kinds.STATEFUL_SET, {"updateStrategy": {"type": "OnDelete"}}, {"updateStrategy": {"type": "OnDelete"}}),
        (
            kinds.STATEFUL_SET,
            {"updateStrategy": {"type": "RollingUpdate"}},
            {"updateStrategy": {"type": "RollingUpdate"}},
        ),
        (
            kinds.DAEMON_SET,
            {},
            {
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
                "revisionHistoryLimit": 10,
            },
        ),
        (
            kinds.JOB,
            {},
            {
                "completions": 1,
                "parallelism": 1,
                "backoffLimit": 6,
                "completionMode": "NonIndexed",
                "suspend": False,
                "podReplacementPolicy": "TerminatingOrFailed",
                "manualSelector": False,
            },
        ),
        (kinds.JOB, {"parallelism": 3}, {"parallelism": 3}),
        (kinds.JOB, {"completions": 3}, {"completions": 3, "parallelism": 1}),
        (kinds.JOB, {"backoffLimitPerIndex": 1}, {"backoffLimit": 2**31 - 1}),
        (kinds.JOB, {"podFailurePolicy": {"rules": []}}, {"podReplacementPolicy": "Failed"}),
        (
            kinds.CRON_JOB,
            {},
            {
                "concurrencyPolicy": "Allow",
                "suspend": False,
                "successfulJobsHistoryLimit": 3,
                "failedJobsHistoryLimit": 1,
            },
        ),
        (
            kinds.HORIZONTAL_POD_AUTOSCALER,
            {},
            {
                "minReplicas": 1,
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
                    }
                ],
            },
        ),
        (
            kinds.HORIZONTAL_POD_AUTOSCALER,
            {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}}},
            {
                "behavior": {
                    "scaleUp": {
                        "stabilizationWindowSeconds": 0,
                        "selectPolicy": "Max",
                        "policies": [
                            {"type": "Pods", "value": 4, "periodSeconds": 15},
                            {"type": "Percent", "value": 100, "periodSeconds": 15},
                        ],
                    },
                    "scaleDown": {
                        "stabilizationWindowSeconds": 5,
                        "selectPolicy": "Max",
                        "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
                    },
                }
            },
        ),
        (
            kinds.LIMIT_RANGE,
            {"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "1", "memory": "1Mi"}}]},
            {
                "limits": [
                    {
                        "type": "Container",
                        "max": {"cpu": "2"},
                        "min": {"cpu": "1", "memory": "1Mi"},
                        "default": {"cpu": "2"},
                        "defaultRequest": {"cpu": "2", "memory": "1Mi"},
                    }
                ]
            },
        ),
        (
            kinds.LIMIT_RANGE,
            {"limits": [{"type": "Pod", "max": {"cpu": "2"}}]},
            {"limits": [{"type": "Pod", "max": {"cpu": "2"}}]},
        ),
        (kinds.RESOURCE_QUOTA, {"hard": {"cpu": "1u"}}, {"hard": {"cpu": "1m"}}),
    ],
)
def test_specs_are_completed(kind: Kind, given: Any, expected: Any) -> None:
    found = spec(kind, **given)
    assert {key: found.get(key) for key in expected} == expected


def test_a_job_without_completions_keeps_none() -> None:
    assert "completions" not in spec(kinds.JOB, parallelism=3)


@pytest.mark.parametrize("kind", [kinds.STATEFUL_SET, kinds.DAEMON_SET, kinds.REPLICATION_CONTROLLER, kinds.JOB])
def test_pods_of_templates_are_completed(kind: Kind) -> None:
    assert spec(kind, template=TEMPLATE)["template"]["spec"]["dnsPolicy"] == "ClusterFirst"


def test_a_cron_job_completes_the_pods_but_not_the_job() -> None:
    job = spec(kinds.CRON_JOB, jobTemplate={"spec": {"template": TEMPLATE}})["jobTemplate"]["spec"]
    assert job["template"]["spec"]["dnsPolicy"] == "ClusterFirst"
    assert set(job) == {"template"}


@pytest.mark.parametrize("kind", [kinds.REPLICATION_CONTROLLER, kinds.JOB])
def test_labels_are_those_of_the_template_unless_there_are_others(kind: Kind) -> None:
    assert defaulted(kind, spec={"template": TEMPLATE})["metadata"]["labels"] == {"app": "a"}
    own = {"name": "a", "labels": {"mine": "x"}}
    assert defaulted(kind, metadata=own, spec={"template": TEMPLATE})["metadata"]["labels"] == {"mine": "x"}


def test_a_replication_controller_selects_the_labels_of_its_template() -> None:
    assert spec(kinds.REPLICATION_CONTROLLER, template=TEMPLATE)["selector"] == {"app": "a"}


def test_conditions_of_a_pod_failure_policy_are_true_by_default() -> None:
    rules = [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]
    found = spec(kinds.JOB, podFailurePolicy={"rules": rules})["podFailurePolicy"]["rules"][0]
    assert found["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]


def test_claims_of_a_stateful_set_are_whole_objects() -> None:
    claim = {"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}
    (found,) = spec(kinds.STATEFUL_SET, volumeClaimTemplates=[claim])["volumeClaimTemplates"]
    assert (found["apiVersion"], found["kind"]) == ("v1", "PersistentVolumeClaim")
    assert (found["spec"]["volumeMode"], found["status"]) == ("Filesystem", {"phase": "Pending"})


def test_a_priority_class_preempts() -> None:
    assert defaulted(kinds.PRIORITY_CLASS)["preemptionPolicy"] == "PreemptLowerPriority"


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.kind)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_defaults_are_applied_once(kind: Kind, seed: int) -> None:
    rng = random.Random(seed)
    fields: dict[str, Any] = {
        "template": TEMPLATE,
        "jobTemplate": {"spec": {"template": TEMPLATE}},
        "updateStrategy": rng.choice([{}, {"type": "OnDelete"}, {"type": "RollingUpdate"}]),
        "behavior": rng.choice([{}, {"scaleUp": {}}, {"scaleDown": {"policies": []}}]),
        "limits": [{"type": rng.choice(["Container", "Pod"]), "max": {"cpu": "1500m"}, "min": {"memory": "1k"}}],
        "hard": {"cpu": rng.choice(["1", "0.5", "1u"])},
        "completions": rng.choice([0, 5]),
    }
    chosen = {key: fields[key] for key in fields if rng.random() < 0.5}
    obj = {"metadata": {"name": "a"}, "spec": copy.deepcopy(chosen), "template": copy.deepcopy(TEMPLATE)}
    schema.decode(kind, obj)
    apply_defaults(kind, obj)
    once = copy.deepcopy(obj)
    assert schema.decode(kind, obj) == []
    apply_defaults(kind, obj)
    assert obj == once

"""Jobs, in kube-apiserver's words."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.api import kinds
from hawser.api.defaults import apply_defaults
from hawser.api.job_indexes import count_indexes, overlap
from hawser.api.validation import validate_create, validate_status_update, validate_update

NEGATIVE = "must be greater than or equal to 0"
POD: dict[str, Any] = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "b"}]}
LABELS = {
    "controller-uid": "u",
    "batch.kubernetes.io/controller-uid": "u",
    "job-name": "a",
    "batch.kubernetes.io/job-name": "a",
}
SELECTOR = {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}


MISMATCH = (
    f"spec.template.metadata.labels: Invalid value: {json.dumps(LABELS, separators=(',', ':'))}: "
    "`selector` does not match template `labels`"
)


def template(labels: dict[str, str] | None = None, **pod: Any) -> dict[str, Any]:
    return {"metadata": {"labels": LABELS if labels is None else labels}, "spec": {**POD, **pod}}


def job(name: str = "a", status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    full = {"selector": SELECTOR, "template": template(), **spec}
    obj = {
        "metadata": {"name": name, "namespace": "default", "uid": "u"},
        "spec": copy.deepcopy({k: v for k, v in full.items() if v is not None}),
    }
    apply_defaults(kinds.JOB, obj)
    if status is not None:
        obj["status"] = status
    return obj


def create(**spec: Any) -> list[str]:
    return [str(e) for e in validate_create(kinds.JOB, job(**spec))]


def update(new: dict[str, Any], old: dict[str, Any]) -> list[str]:
    return [str(e) for e in validate_update(kinds.JOB, new, old)]


def failure(**rule: Any) -> dict[str, Any]:
    return {"podFailurePolicy": {"rules": [rule]}}


def success(**rule: Any) -> dict[str, Any]:
    return {"completionMode": "Indexed", "completions": 5, "successPolicy": {"rules": [rule] if rule else []}}


CODES = {"operator": "In", "values": [1]}
RULE = "spec.podFailurePolicy.rules[0]"
MET = "spec.successPolicy.rules[0]"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        ({"parallelism": -1}, [f"spec.parallelism: Invalid value: -1: {NEGATIVE}"]),
        ({"completions": -1}, [f"spec.completions: Invalid value: -1: {NEGATIVE}"]),
        ({"backoffLimit": -1}, [f"spec.backoffLimit: Invalid value: -1: {NEGATIVE}"]),
        ({"ttlSecondsAfterFinished": -1}, [f"spec.ttlSecondsAfterFinished: Invalid value: -1: {NEGATIVE}"]),
        (
            {"template": template(restartPolicy="Always")},
            ['spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'],
        ),
        ({"selector": None}, ["spec.selector: Required value", MISMATCH]),
        (
            {"completionMode": "x"},
            ['spec.completionMode: Unsupported value: "x": supported values: "NonIndexed", "Indexed"'],
        ),
        ({"completionMode": "Indexed"}, []),
        (
            {"completionMode": "Indexed", "completions": 1, "parallelism": 100_001},
            [
                (
                    "spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion "
                    "mode is Indexed"
                )
            ],
        ),
        (
            {"backoffLimitPerIndex": 1},
            ["spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"],
        ),
        (
            {"completionMode": "Indexed", "completions": 2, "maxFailedIndexes": 1},
            ["spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified"],
        ),
        (
            {"completionMode": "Indexed", "completions": 2, "maxFailedIndexes": 3, "backoffLimitPerIndex": 1},
            ["spec.maxFailedIndexes: Invalid value: 3: must be less than or equal to completions"],
        ),
        (
            {"managedBy": "x"},
            ['spec.managedBy: Invalid value: "x": must be a domain-prefixed path (such as "acme.io/foo")'],
        ),
        ({"managedBy": "example.com/me"}, []),
        (failure(action="Ignore", onExitCodes=CODES), []),
        (
            failure(onExitCodes=CODES),
            [f'{RULE}.action: Required value: valid values: ["Count" "FailIndex" "FailJob" "Ignore"]'],
        ),
        (
            failure(action="FailIndex", onExitCodes=CODES),
            [f'{RULE}.action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set'],
        ),
        (
            failure(action="Ignore"),
            [f"{RULE}: Invalid value: specifying one of OnExitCodes and OnPodConditions is required"],
        ),
        (
            failure(action="Ignore", onExitCodes={"operator": "In", "values": [2, 0, 2], "containerName": "x"}),
            [
                (
                    f'{RULE}.onExitCodes.containerName: Invalid value: "x": must be one of the container or '
                    "initContainer names in the pod template"
                ),
                f"{RULE}.onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
                f"{RULE}.onExitCodes.values[2]: Duplicate value: 2",
                f"{RULE}.onExitCodes.values: Invalid value: [2,0,2]: must be ordered",
            ],
        ),
        (
            {**failure(action="Ignore", onExitCodes=CODES), "template": template(restartPolicy="OnFailure")},
            [
                (
                    'spec.template.spec.restartPolicy: Invalid value: "OnFailure": only "Never" is supported when '
                    "podFailurePolicy is specified"
                )
            ],
        ),
        (
            {**failure(action="Ignore", onExitCodes=CODES), "podReplacementPolicy": "TerminatingOrFailed"},
            ['spec.podReplacementPolicy: Unsupported value: "TerminatingOrFailed": supported values: "Failed"'],
        ),
        (success(succeededCount=3), []),
        (
            success(),
            [
                (
                    "spec.successPolicy.rules: Required value: at least one rules must be specified when the "
                    "successPolicy is specified"
                )
            ],
        ),
        (
            success(succeededIndexes="0-9"),
            [f'{MET}.succeededIndexes: Invalid value: "0-9": error parsing succeededIndexes: too large index: "9"'],
        ),
        (
            success(succeededIndexes="0-1", succeededCount=3),
            [
                (
                    f"{MET}.succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of indexes "
                    "in the specified succeededIndexes field)"
                )
            ],
        ),
    ],
)
def test_jobs(spec: dict[str, Any], expected: list[str]) -> None:
    assert create(**spec) == expected


def test_labels_that_the_server_makes_may_not_be_others() -> None:
    labels = {**LABELS, "job-name": "other"}
    assert create(template=template(labels)) == [
        f"spec.template.metadata.labels[job-name]: Invalid value: {show(labels)}: must be 'a'"
    ]
    assert create(template=template(labels), manualSelector=True) == []


def show(labels: dict[str, str]) -> str:
    return "{" + ",".join(f'"{key}":"{value}"' for key, value in labels.items()) + "}"


def test_pods_of_indexed_jobs_need_a_hostname() -> None:
    name = "a" * 62
    labels = {key: name if key.endswith("job-name") else "u" for key in LABELS}
    made = job(name, completionMode="Indexed", completions=10, template=template(labels))
    assert [str(e) for e in validate_create(kinds.JOB, made)] == [
        f'metadata.name: Invalid value: "{name}": will not able to create pod with invalid DNS label: {name}-9'
    ]


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        ({"parallelism": 3, "completions": 1, "suspend": True, "activeDeadlineSeconds": 4}, {}, []),
        ({"completions": 2}, {}, ["spec.completions: Invalid value: 2: field is immutable"]),
        ({"completionMode": "Indexed"}, {}, ['spec.completionMode: Invalid value: "Indexed": field is immutable']),
        (
            {"completionMode": "Indexed", "completions": 3, "parallelism": 3},
            {"completionMode": "Indexed", "completions": 2, "parallelism": 2},
            [],
        ),
        (
            {"completionMode": "Indexed", "completions": 3, "parallelism": 2},
            {"completionMode": "Indexed", "completions": 2, "parallelism": 2},
            ["spec.completions: Invalid value: 3: can only be modified in tandem with spec.parallelism"],
        ),
    ],
)
def test_what_may_change_in_a_job(new: dict[str, Any], old: dict[str, Any], expected: list[str]) -> None:
    assert update(job(**new), job(**old)) == expected


RESOURCES = {"containers": [{"name": "main", "image": "b", "resources": {"requests": {"cpu": "1"}}}]}
OTHER_IMAGE = {"containers": [{"name": "main", "image": "other"}]}
AIMED = {"nodeSelector": {"a": "b"}, "tolerations": [{"operator": "Exists"}], "schedulingGates": [{"name": "x"}]}
NODE: dict[str, Any] = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}


@pytest.mark.parametrize(
    ("pod", "suspended", "status", "allowed"),
    [
        (AIMED, True, {}, True),
        (RESOURCES, True, {}, True),
        ({"affinity": NODE}, True, {}, True),
        ({"affinity": {"podAntiAffinity": {"x": 1}}}, True, {}, False),
        (OTHER_IMAGE, True, {}, False),
        (AIMED, False, {}, False),
        (RESOURCES, True, {"startTime": "2026-01-01T00:00:00Z", "active": 1}, False),
        (RESOURCES, True, {"startTime": "2026-01-01T00:00:00Z"}, True),
    ],
)
def test_a_suspended_job_may_be_aimed_and_sized_anew(
    pod: dict[str, Any], suspended: bool, status: dict[str, Any], allowed: bool
) -> None:
    old = job(suspend=suspended, status=status)
    new = job(suspend=suspended, status=status, template=template(**pod))
    wrong = [e for e in update(new, old) if e.endswith("field is immutable")]
    assert (wrong == []) is allowed


TRUE = {"status": "True"}
START, END = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"
DONE = [{"type": "SuccessCriteriaMet", **TRUE}, {"type": "Complete", **TRUE}]
BROKEN = [{"type": "FailureTarget", **TRUE}, {"type": "Failed", **TRUE}]


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        ({"active": 1, "startTime": START}, {}, []),
        ({"conditions": DONE, "startTime": START, "completionTime": END, "succeeded": 1}, {"startTime": START}, []),
        ({"conditions": BROKEN, "startTime": START}, {}, []),
        ({"active": -1}, {"active": -1}, [f"status.active: Invalid value: -1: {NEGATIVE}"]),
        (
            {"conditions": BROKEN[1:], "startTime": START},
            {},
            [
                (
                    "status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true "
                    "condition"
                )
            ],
        ),
        (
            {"conditions": DONE, "startTime": START},
            {},
            ["status.completionTime: Required value: completionTime is required for Complete jobs"],
        ),
        (
            {"conditions": DONE, "startTime": START, "completionTime": END, "active": 1},
            {},
            ["status.active: Invalid value: 1: active>0 is invalid for finished job"],
        ),
        (
            {},
            {"conditions": BROKEN, "startTime": START},
            [
                "status.conditions: Invalid value: cannot disable the terminal Failed=True condition",
                "status.conditions: Invalid value: cannot disable the terminal FailureTarget=True condition",
                "status.startTime: Required value: startTime cannot be removed for unsuspended job",
            ],
        ),
        ({"failed": 1}, {"failed": 2}, ["status.failed: Invalid value: 1: cannot decrease the failed counter"]),
        (
            {"ready": 2, "active": 1},
            {},
            ["status.ready: Invalid value: 2: cannot set more ready pods than active"],
        ),
        (
            {"uncountedTerminatedPods": {"succeeded": ["a"], "failed": ["a", ""]}},
            {},
            [
                'status.uncountedTerminatedPods.failed[0]: Duplicate value: "a"',
                'status.uncountedTerminatedPods.failed[1]: Invalid value: "": must not be empty',
            ],
        ),
        (
            {"completedIndexes": "0"},
            {},
            [
                (
                    'status.completedIndexes: Invalid value: "0": cannot set non-empty completedIndexes when '
                    "non-indexed completion mode"
                )
            ],
        ),
    ],
)
def test_statuses_of_jobs(new: dict[str, Any], old: dict[str, Any], expected: list[str]) -> None:
    assert [str(e) for e in validate_status_update(kinds.JOB, job(status=new), job(status=old))] == expected


@given(st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40)))
def test_indexes_are_counted_and_compared(left: set[int], right: set[int]) -> None:
    assert count_indexes(text(left), 41) == len(left)
    assert overlap(text(left), text(right), 41) == min(left & right, default=None)


def text(indexes: set[int]) -> str:
    runs: list[list[int]] = []
    for index in sorted(indexes):
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)

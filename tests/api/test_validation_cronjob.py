"""CronJobs, in kube-apiserver's words."""

import copy
from typing import Any

import pytest

from hawser.api import kinds
from hawser.api.defaults import apply_defaults
from hawser.api.validation import validate_create, validate_update

NEGATIVE = "must be greater than or equal to 0"
TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {}},
    "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "b"}]},
}


def cron_job(name: str = "a", job: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    inner = {"template": TEMPLATE, **(job or {})}
    obj: dict[str, Any] = {
        "metadata": {"name": name, "namespace": "default"},
        "spec": copy.deepcopy({"schedule": "* * * * *", "jobTemplate": {"spec": inner}, **spec}),
    }
    apply_defaults(kinds.CRON_JOB, obj)
    return obj


ZONE = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        ({"schedule": ""}, ["spec.schedule: Required value"]),
        (
            {"schedule": "error"},
            ['spec.schedule: Invalid value: "error": expected exactly 5 fields, found 1: [error]'],
        ),
        ({"schedule": "TZ=UTC 0 * * * *"}, [f'spec.schedule: Invalid value: "TZ=UTC 0 * * * *": {ZONE}']),
        ({"timeZone": "Europe/Rome"}, []),
        ({"timeZone": "UTC"}, []),
        ({"timeZone": ""}, ['spec.timeZone: Invalid value: "": timeZone must be nil or non-empty string']),
        ({"timeZone": "no/where"}, ['spec.timeZone: Invalid value: "no/where": unknown time zone no/where']),
        ({"timeZone": "../x"}, ['spec.timeZone: Invalid value: "../x": unknown time zone ../x']),
        (
            {"timeZone": "Local"},
            [
                (
                    'spec.timeZone: Invalid value: "Local": timeZone must be an explicit time zone as defined in '
                    "https://www.iana.org/time-zones"
                )
            ],
        ),
        (
            {"concurrencyPolicy": "x"},
            ['spec.concurrencyPolicy: Unsupported value: "x": supported values: "Allow", "Forbid", "Replace"'],
        ),
        ({"startingDeadlineSeconds": -1}, [f"spec.startingDeadlineSeconds: Invalid value: -1: {NEGATIVE}"]),
        ({"failedJobsHistoryLimit": -1}, [f"spec.failedJobsHistoryLimit: Invalid value: -1: {NEGATIVE}"]),
        (
            {"job": {"selector": {"matchLabels": {"a": "b"}}, "manualSelector": True}},
            [
                (
                    'spec.jobTemplate.spec.selector: Invalid value: {"matchLabels":{"a":"b"}}: '
                    "`selector` will be auto-generated"
                ),
                'spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: "nil", "false"',
            ],
        ),
    ],
)
def test_cron_jobs(spec: dict[str, Any], expected: list[str]) -> None:
    assert [str(e) for e in validate_create(kinds.CRON_JOB, cron_job(**spec))] == expected


def test_names_of_cron_jobs_leave_room_for_those_of_their_jobs() -> None:
    long = cron_job("a" * 53)
    (wrong,) = validate_create(kinds.CRON_JOB, long)
    assert str(wrong).endswith("must be no more than 52 characters")
    assert validate_update(kinds.CRON_JOB, long, long) == []


def test_what_a_cron_job_has_it_may_keep() -> None:
    old = cron_job(schedule="TZ=UTC 0 * * * *", timeZone="no/where")
    wrong = [str(e) for e in validate_update(kinds.CRON_JOB, old, old)]
    assert wrong == [
        'spec.schedule: Invalid value: "TZ=UTC 0 * * * *": cannot use both timeZone field and TZ or CRON_TZ in schedule'
    ]

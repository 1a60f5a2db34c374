"""The cells of workloads and of what bounds them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from hawser.api import kinds
from hawser.api.kinds import Kind
from hawser.api.tables import table_columns, table_row

NOW = datetime(2026, 1, 2, tzinfo=UTC)
META = {"name": "a", "creationTimestamp": "2026-01-01T00:00:00Z"}


def cell(kind: Kind, column: str, meta: dict[str, Any] | None = None, **fields: Any) -> Any:
    names = [found["name"] for found in table_columns(kind)]
    row = table_row(kind, {"metadata": {**META, **(meta or {})}, **fields}, NOW)
    assert len(row) == len(names)
    return row[names.index(column)]


def true(*types: str) -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": "True"} for kind in types]}


@pytest.mark.parametrize(
    ("status", "meta", "expected"),
    [
        ({}, {}, "Running"),
        (true("Complete", "SuccessCriteriaMet"), {}, "Complete"),
        (true("Failed", "FailureTarget"), {}, "Failed"),
        (true("FailureTarget"), {}, "FailureTarget"),
        (true("Suspended"), {}, "Suspended"),
        (true("SuccessCriteriaMet"), {}, "SuccessCriteriaMet"),
        (true("Suspended"), {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "Terminating"),
        ({"conditions": [{"type": "Complete", "status": "False"}]}, {}, "Running"),
    ],
)
def test_how_a_job_goes(status: dict[str, Any], meta: dict[str, Any], expected: str) -> None:
    assert cell(kinds.JOB, "Status", meta, spec={}, status=status) == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"completions": 5, "parallelism": 2}, "2/5"),
        ({"parallelism": 3}, "2/1 of 3"),
        ({"parallelism": 1}, "2/1"),
    ],
)
def test_how_far_a_job_is(spec: dict[str, Any], expected: str) -> None:
    assert cell(kinds.JOB, "Completions", spec=spec, status={"succeeded": 2}) == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, ""),
        ({"startTime": "2026-01-01T23:59:00Z"}, "60s"),
        ({"startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:07Z"}, "7s"),
    ],
)
def test_how_long_a_job_takes(status: dict[str, Any], expected: str) -> None:
    assert cell(kinds.JOB, "Duration", spec={}, status=status) == expected


def test_when_a_cron_job_ran() -> None:
    assert cell(kinds.CRON_JOB, "Last Schedule", spec={}) == "<none>"
    status = {"lastScheduleTime": "2026-01-01T23:00:00Z", "active": [{}, {}]}
    assert cell(kinds.CRON_JOB, "Last Schedule", spec={}, status=status) == "60m"
    assert cell(kinds.CRON_JOB, "Active", spec={}, status=status) == 2
    assert cell(kinds.CRON_JOB, "Suspend", spec={"suspend": True}) == "True"


def test_what_a_revision_is_of() -> None:
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "controller": True}
    assert cell(kinds.CONTROLLER_REVISION, "Controller", {"ownerReferences": [owner]}) == "statefulset.apps/web"


def metric(kind: str, field: str, target: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": kind, field: {"target": target, **more}}


CPU = metric("Resource", "resource", {"averageUtilization": 50}, name="cpu")
USED = {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 20}}}
QUEUE = metric("External", "external", {"averageValue": "5"})


@pytest.mark.parametrize(
    ("metrics", "current", "expected"),
    [
        ([], [], "<none>"),
        ([CPU], [], "cpu: <unknown>/50%"),
        ([CPU], [USED], "cpu: 20%/50%"),
        ([metric("Resource", "resource", {"averageValue": "1Gi"}, name="memory")], [], "memory: <unknown>/1Gi"),
        ([QUEUE], [{"type": "External", "external": {"current": {"averageValue": "3"}}}], "3/5 (avg)"),
        ([metric("Object", "object", {"value": "10"})], [], "<unknown>/10"),
        ([metric("Pods", "pods", {"averageValue": "7"})], [], "<unknown>/7"),
        ([CPU, QUEUE, CPU], [USED], "cpu: 20%/50%, <unknown>/5 (avg) + 1 more..."),
    ],
)
def test_what_an_autoscaler_measures(metrics: Any, current: Any, expected: str) -> None:
    spec, status = {"metrics": metrics, "scaleTargetRef": {}}, {"currentMetrics": current}
    assert cell(kinds.HORIZONTAL_POD_AUTOSCALER, "Targets", spec=spec, status=status) == expected


def test_what_a_quota_has_left() -> None:
    status = {"hard": {"pods": "4", "limits.cpu": "2", "cpu": "1"}, "used": {"pods": "3"}}
    assert cell(kinds.RESOURCE_QUOTA, "Request", status=status) == "cpu: 0/1, pods: 3/4"
    assert cell(kinds.RESOURCE_QUOTA, "Limit", status=status) == "limits.cpu: 0/2"


def test_what_a_budget_asks_for() -> None:
    spec, status = {"maxUnavailable": "30%"}, {"disruptionsAllowed": 2}
    assert cell(kinds.POD_DISRUPTION_BUDGET, "Min Available", spec=spec, status=status) == "N/A"
    assert cell(kinds.POD_DISRUPTION_BUDGET, "Max Unavailable", spec=spec, status=status) == "30%"
    assert cell(kinds.POD_DISRUPTION_BUDGET, "Allowed Disruptions", spec=spec, status=status) == 2

"""Times that controllers give: how long finished Jobs stay, and how long agents remember."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.api.kinds import JOB, NAMESPACE, NODE
from hawser.controllers.node_ttl import _STEPS, ANNOTATION, NodeTTLController, step
from hawser.controllers.ttl_after_finished import TTLAfterFinishedController, expires_in

from .objects import Obj, meta
from .running import eventually, running

NOW = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)


def job(ttl: int | None, end: str = "Complete", **fields: Any) -> Obj:
    spec = {} if ttl is None else {"ttlSecondsAfterFinished": ttl}
    conditions = [{"type": end, "status": "True", "lastTransitionTime": "2026-01-01T00:00:30Z"}]
    return {"metadata": meta("job", **fields), "spec": spec, "status": {"conditions": conditions}}


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (job(40), 10),
        (job(40, "Failed"), 10),
        (job(30), 0),
        (job(0), 0),
        (job(None), None),
        (job(0, "Suspended"), None),
        (job(0, deletionTimestamp="2026-01-01T00:00:40Z"), None),
    ],
)
def test_a_finished_job_stays_as_long_as_it_says(made: Obj, expected: float | None) -> None:
    assert expires_in(made, NOW) == expected


@given(st.lists(st.integers(0, 3000), max_size=20))
def test_a_step_holds_the_number_of_nodes(counts: list[int]) -> None:
    current = 0
    for count in counts:
        before, current = current, step(count, current)
        low, high, _ = _STEPS[current]
        assert low <= count <= high
        if _STEPS[before][0] <= count <= _STEPS[before][1]:
            assert current == before, "it stays as long as it can"


async def test_finished_jobs_and_nodes_are_seen_to(api_server: Any) -> None:
    async with running(api_server.kubeconfig, TTLAfterFinishedController(), NodeTTLController()) as client:
        await client.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ttl"}})
        await client.create(NODE, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})
        pod = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "a"}]}}
        metadata = {"name": "done", "namespace": "ttl", "finalizers": ["example.test/hold"]}
        spec = {"template": pod, "ttlSecondsAfterFinished": 1}
        await client.create(JOB, {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec})
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        kinds = ("SuccessCriteriaMet", "Complete")
        conditions = [{"type": k, "status": "True", "lastTransitionTime": at} for k in kinds]
        status = {"startTime": at, "completionTime": at, "conditions": conditions}
        await client.patch(JOB, "done", "ttl", {"status": status}, subresource="status")

        async def going() -> Obj | None:
            found = (await client.get(JOB, "done", "ttl"))["metadata"]
            return found if found.get("deletionTimestamp") else None

        assert "foregroundDeletion" in (await eventually(going))["finalizers"]

        async def told() -> bool:
            return (await client.get(NODE, "n"))["metadata"].get("annotations", {}).get(ANNOTATION) == "0"

        await eventually(told)

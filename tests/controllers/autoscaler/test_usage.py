"""Replicas from usage: Kubernetes' documented algorithm, and its rules for pods that start or say nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.controllers.autoscaler import usage
from hawser.controllers.autoscaler.usage import Groups, Patience, Sample, Tolerance, UnknownUsage

Obj = dict[str, Any]
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def pod(
    name: str, *, phase: str = "Running", ready: bool = True, age: float = 3600.0, since: float = 3600.0, **fields: Any
) -> Obj:
    changed = (NOW - timedelta(seconds=since)).isoformat()
    condition = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": changed}
    started = (NOW - timedelta(seconds=age)).isoformat()
    status = {"phase": phase, "conditions": [condition], "startTime": started}
    container = {"name": "main", "resources": {"requests": {"cpu": "100m", "memory": "1Ki"}}}
    spec = {"containers": [container], **fields.pop("spec", {})}
    return {"metadata": {"name": name, "namespace": "d", **fields}, "spec": spec, "status": status}


def sample(value: int, ago: float = 10.0) -> Sample:
    return Sample(value, NOW - timedelta(seconds=ago), 30.0)


def cpu(current: int, pods: list[Obj], values: Mapping[str, int], percent: int) -> int:
    samples = {name: sample(value) for name, value in values.items()}
    groups = usage.group(pods, samples, "cpu", Patience(), NOW)
    requests = usage.requests_of(pods, "cpu", "")
    return usage.per_pod(
        current,
        usage.believed(samples, groups),
        groups,
        Tolerance(),
        lambda v: usage.utilization(v, requests, percent).ratio,
        lambda name: requests[name] * max(100, percent) // 100,
    )


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([30, 50, 70], 30, 5),
        ([30, 50, 70], 50, 3),
        ([54, 54, 54], 50, 3),
        ([55, 55, 55], 50, 3),
        ([56, 56, 56], 50, 4),
        ([45, 45, 45], 50, 3),
        ([44, 44, 44], 50, 3),
        ([10, 10, 10], 50, 1),
        ([200, 200, 200], 50, 12),
    ],
)
def test_usage_over_target_times_pods(values: list[int], percent: int, expected: int) -> None:
    pods = [pod(str(n)) for n in range(len(values))]
    assert cpu(3, pods, {str(n): value for n, value in enumerate(values)}, percent) == expected


@pytest.mark.parametrize(
    ("unready", "missing", "values", "percent", "expected"),
    [
        # Pods that start use nothing when more are wanted, and say nothing when fewer are.
        (["b", "c"], [], {"a": 100, "b": 100, "c": 100}, 50, 3),
        (["c"], [], {"a": 200, "b": 200, "c": 0}, 50, 8),
        (["c"], [], {"a": 10, "b": 10, "c": 500}, 50, 1),
        # Pods without a metric use nothing, or all that they request.
        ([], ["c"], {"a": 100, "b": 100}, 50, 4),
        ([], ["c"], {"a": 5, "b": 5}, 50, 3),
        ([], ["c"], {"a": 60, "b": 60}, 50, 3),
        ([], ["b", "c"], {"a": 5}, 100, 3),
    ],
)
def test_pods_that_start_or_say_nothing_dampen_the_change(
    unready: list[str], missing: list[str], values: dict[str, int], percent: int, expected: int
) -> None:
    pods = [pod(name, ready=name not in unready, age=60, since=50) for name in ("a", "b", "c")]
    assert set(missing).isdisjoint(values)
    assert cpu(3, pods, values, percent) == expected


def test_whose_samples_count() -> None:
    pods = [
        pod("old"),
        pod("fresh", age=60, since=50),
        pod("just ready", age=60, since=20),
        pod("starting", age=60, since=50, ready=False),
        pod("never ready", ready=False, since=3590),
        pod("unready again", ready=False, since=100),
        pod("pending", phase="Pending"),
        pod("failed", phase="Failed"),
        pod("going", deletionTimestamp="2026-01-01T00:00:00Z"),
        pod("silent"),
    ]
    samples = {p["metadata"]["name"]: sample(1) for p in pods if p["metadata"]["name"] != "silent"}
    found = usage.group(pods, samples, "cpu", Patience(), NOW)
    assert found == Groups(
        ready=3,
        unready=frozenset({"just ready", "starting", "never ready", "pending"}),
        missing=frozenset({"silent"}),
        ignored=frozenset({"failed", "going"}),
    )
    assert usage.group(pods, samples, "memory", Patience(), NOW).unready == {"pending"}
    with pytest.raises(UnknownUsage, match="did not receive metrics for targeted pods"):
        usage.believed({"failed": sample(1)}, found)


def test_requests_are_of_the_pod_a_container_or_all_containers() -> None:
    two = pod("a", spec={"initContainers": [{"name": "side", "restartPolicy": "Always"}]})
    with pytest.raises(UnknownUsage, match="missing request for cpu in container side of Pod a"):
        usage.requests_of([two], "cpu", "")
    assert usage.requests_of([two], "cpu", "main") == {"a": 100}
    with pytest.raises(UnknownUsage, match="container other not found in Pod a"):
        usage.requests_of([two], "cpu", "other")
    whole = pod("a", spec={"resources": {"requests": {"cpu": "2"}}})
    assert usage.requests_of([whole], "cpu", "") == {"a": 2000}
    with pytest.raises(UnknownUsage, match="missing pod-level request for gpu in Pod a"):
        usage.requests_of([whole], "gpu", "")
    assert usage.requests_of([pod("a")], "memory", "") == {"a": 1024_000}


@pytest.mark.parametrize(
    ("current", "value", "target", "expected"),
    [(3, 20, 10, 6), (3, 10, 10, 3), (3, 109, 100, 3), (3, 5, 10, 2), (0, 5, 10, 1), (0, 0, 10, 0), (0, 21, 10, 3)],
)
def test_a_value_of_something_else_is_shared_by_ready_pods(
    current: int, value: int, target: int, expected: int
) -> None:
    assert usage.of_whole(current, value, target, Tolerance(), lambda: 3) == expected


def test_a_value_a_pod_is_shared_by_the_pods_there_are() -> None:
    assert usage.of_share(3, 60, 10, Tolerance()) == (6, 20)
    assert usage.of_share(3, 31, 10, Tolerance()) == (3, 11)
    assert usage.of_share(3, 31, 10, Tolerance(up=0.0)) == (4, 11)


@given(
    st.lists(st.integers(0, 400), min_size=1, max_size=8),
    st.integers(0, 4),
    st.integers(0, 4),
    st.integers(1, 200),
)
def test_unknown_pods_never_turn_the_direction(known: list[int], missing: int, pending: int, percent: int) -> None:
    pods = [pod(str(n)) for n in range(len(known) + missing)]
    pods += [pod(f"p{n}", phase="Pending") for n in range(pending)]
    values = {str(n): value for n, value in enumerate(known)}
    wanted = cpu(len(pods), pods, values, percent)
    ratio = (sum(known) * 100 // (100 * len(known))) / percent
    if missing or (pending and ratio > 1):
        assert (wanted <= len(pods)) if ratio < 1 else (wanted >= len(pods))

"""Limits, rates and stabilization of the replicas that metrics ask for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.api.defaults.autoscaling import horizontal_pod_autoscaler
from hawser.controllers.autoscaler.behavior import Bounds, History, normalize

Obj = dict[str, Any]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def behavior(**rules: Obj) -> Obj:
    """With Kubernetes' defaults."""
    spec: Obj = {"spec": {"behavior": rules}}
    horizontal_pod_autoscaler(spec)
    found: Obj = spec["spec"]["behavior"]
    return found


def policies(*listed: tuple[str, int, int], **more: Any) -> Obj:
    return {"policies": [{"type": t, "value": v, "periodSeconds": p} for t, v, p in listed], **more}


def settled(
    rules: Obj | None, current: int, desired: int, history: History | None = None, bounds: Bounds | None = None
) -> tuple[int, str, str]:
    found, able, limited = normalize(rules, history or History(), current, desired, bounds or Bounds(1, 100), NOW)
    return found, able.reason, limited.reason


@pytest.mark.parametrize(
    ("rules", "current", "desired", "expected"),
    [
        (None, 5, 7, (7, "DesiredWithinRange")),
        (None, 5, 20, (10, "ScaleUpLimit")),
        (None, 1, 20, (4, "ScaleUpLimit")),
        (None, 60, 110, (100, "TooManyReplicas")),
        (None, 5, 0, (1, "TooFewReplicas")),
        (behavior(), 5, 20, (10, "ScaleUpLimit")),
        (behavior(), 1, 20, (5, "ScaleUpLimit")),
        (behavior(), 60, 110, (100, "TooManyReplicas")),
        (behavior(), 5, 0, (1, "TooFewReplicas")),
        (behavior(scaleUp=policies(("Pods", 1, 60))), 5, 9, (6, "ScaleUpLimit")),
        (behavior(scaleUp=policies(("Pods", 1, 60), ("Percent", 50, 60))), 5, 9, (8, "ScaleUpLimit")),
        (
            behavior(scaleUp=policies(("Pods", 1, 60), ("Percent", 50, 60), selectPolicy="Min")),
            5,
            9,
            (6, "ScaleUpLimit"),
        ),
        (behavior(scaleUp={"selectPolicy": "Disabled"}), 5, 9, (5, "ScaleUpLimit")),
        (behavior(scaleDown=policies(("Pods", 4, 60))), 80, 10, (76, "ScaleDownLimit")),
        (behavior(scaleDown=policies(("Pods", 4, 60), ("Percent", 10, 60))), 80, 10, (72, "ScaleDownLimit")),
        (
            behavior(scaleDown=policies(("Pods", 5, 60), ("Percent", 10, 60), selectPolicy="Min")),
            80,
            10,
            (75, "ScaleDownLimit"),
        ),
        (behavior(scaleDown={"selectPolicy": "Disabled"}), 5, 2, (5, "ScaleDownLimit")),
    ],
)
def test_steps_are_limited(rules: Obj | None, current: int, desired: int, expected: tuple[int, str]) -> None:
    found, _, limited = settled(rules, current, desired)
    assert (found, limited) == expected


def ago(*changes: tuple[float, int]) -> list[tuple[datetime, int]]:
    return [(NOW - timedelta(seconds=seconds), count) for seconds, count in changes]


def test_fewer_replicas_are_taken_once_no_recent_look_wanted_more() -> None:
    history = History(recommended=ago((290, 8), (100, 6)))
    assert settled(None, 8, 2, history) == (8, "ScaleDownStabilized", "DesiredWithinRange")
    assert settled(None, 8, 2, History(recommended=ago((310, 8), (100, 6)))) == (
        6,
        "ScaleDownStabilized",
        "DesiredWithinRange",
    )
    assert settled(None, 8, 2, History(recommended=ago((310, 8)))) == (2, "ReadyForNewScale", "DesiredWithinRange")
    quick = behavior(scaleDown={"stabilizationWindowSeconds": 60})
    assert settled(quick, 8, 2, history)[0] == 2


def test_more_replicas_wait_for_their_own_window() -> None:
    slow = behavior(scaleUp={"stabilizationWindowSeconds": 60})
    assert settled(slow, 5, 9, History(recommended=ago((30, 6)))) == (6, "ScaleUpStabilized", "DesiredWithinRange")
    assert settled(slow, 5, 9, History(recommended=ago((90, 6))))[:2] == (9, "ReadyForNewScale")


def test_what_was_done_in_the_period_counts() -> None:
    rules = behavior(scaleUp=policies(("Pods", 4, 60)))
    assert settled(rules, 7, 20, History(added=ago((30, 3))))[0] == 8
    assert settled(rules, 9, 20, History(added=ago((30, 6))))[0] == 9, "too many already"
    assert settled(rules, 7, 20, History(added=ago((61, 3))))[0] == 11
    both = History(added=ago((30, 3)), removed=ago((20, 1)))
    assert settled(rules, 7, 20, both)[0] == 9


def test_the_history_forgets() -> None:
    history = History()
    for hour in range(5):
        history.recommend(hour, NOW + timedelta(hours=hour))
        history.scaled(hour, hour + 1, NOW + timedelta(hours=hour))
    assert len(history.recommended) == len(history.added) == 1


_rules = st.builds(
    lambda kind, value, period, select, window: policies(
        (kind, value, period), selectPolicy=select, stabilizationWindowSeconds=window
    ),
    st.sampled_from(["Pods", "Percent"]),
    st.integers(1, 100),
    st.integers(1, 1800),
    st.sampled_from(["Max", "Min", "Disabled"]),
    st.integers(0, 3600),
)


@given(
    st.one_of(st.none(), st.builds(lambda up, down: behavior(scaleUp=up, scaleDown=down), _rules, _rules)),
    st.integers(1, 20),
    st.integers(0, 20),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 600)), max_size=25),
)
def test_replicas_stay_between_the_bounds_and_never_move_away_from_what_is_asked(
    rules: Obj | None, least: int, more: int, looks: list[tuple[int, int]]
) -> None:
    bounds, history = Bounds(least, least + more), History()
    current, now = least, NOW
    for desired, seconds in looks:
        now += timedelta(seconds=seconds)
        recent = [n for _, n in history.recommended]
        found, _, limited = normalize(rules, history, current, desired, bounds, now)
        assert bounds.least <= found <= bounds.most
        highest, lowest = max([desired, *recent]), min([desired, *recent])
        assert min(current, lowest, bounds.most) <= found <= max(current, highest, bounds.least)
        assert limited.status == (limited.reason != "DesiredWithinRange")
        if found != current:
            history.scaled(current, found, now)
        current = found

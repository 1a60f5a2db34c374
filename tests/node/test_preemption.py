"""Whom a critical pod drives from its node."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.api.pod_resources import Amounts
from hawser.node.pod.preemption import Standing, victims

PODS: dict[str, tuple[Standing, Amounts]] = {
    "effort": (Standing(0, 0), {"pods": 1}),
    "small": (Standing(1, 0), {"cpu": 100, "pods": 1}),
    "large": (Standing(1, 0), {"cpu": 900, "pods": 1}),
    "high": (Standing(1, 50), {"cpu": 900, "pods": 1}),
    "sure": (Standing(2, 0), {"cpu": 900, "pods": 1}),
    "vital": (Standing(2, 100), {"cpu": 9000, "pods": 1}),
}


@pytest.mark.parametrize(
    ("title", "lack", "gone"),
    [
        ("what has no claims goes first", {"pods": 1}, ["effort"]),
        ("one that is enough", {"cpu": 500}, ["large"]),
        ("the lower priority before the higher", {"cpu": 1200}, ["large", "high"]),
        ("the guaranteed last", {"cpu": 2500}, ["large", "high", "sure"]),
        ("equals stay", {"cpu": 5000}, []),
        ("of what nobody has nobody can give", {"gpu": 1}, []),
    ],
)
def test_victims(title: str, lack: Amounts, gone: list[str]) -> None:
    assert victims(lack, PODS, 100) == gone


AMOUNTS = st.dictionaries(st.sampled_from(["cpu", "memory"]), st.integers(0, 20), max_size=2)
STANDINGS = st.builds(Standing, st.integers(0, 2), st.integers(0, 3))


@given(
    st.dictionaries(st.text("abcdef", min_size=1, max_size=2), st.tuples(STANDINGS, AMOUNTS), max_size=8),
    st.dictionaries(st.sampled_from(["cpu", "memory"]), st.integers(1, 30), min_size=1),
)
def test_victims_are_enough_and_none_too_many(pods: dict[str, tuple[Standing, Amounts]], lack: Amounts) -> None:
    gone = victims(lack, pods, 3)

    def enough(uids: list[str]) -> bool:
        return all(sum(pods[uid][1].get(name, 0) for uid in uids) >= value for name, value in lack.items())

    assert all(pods[uid][0].priority < 3 for uid in gone)
    if gone:
        assert enough(gone)
        assert not any(enough([other for other in gone if other != uid]) for uid in gone)
    else:
        assert not enough([uid for uid, (standing, _) in pods.items() if standing.priority < 3])

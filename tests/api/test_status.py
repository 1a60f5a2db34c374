"""What statuses say."""

from __future__ import annotations

import pytest

from hawser.api.status import condition, has_ended, is_ready, is_true
from hawser.api.types import Obj


@pytest.mark.parametrize(
    ("status", "ended"),
    [
        ({}, False),
        ({"status": None}, False),
        ({"status": {"phase": "Running"}}, False),
        ({"status": {"phase": "Unknown"}}, False),
        ({"status": {"phase": "Succeeded"}}, True),
        ({"status": {"phase": "Failed"}}, True),
    ],
)
def test_a_pod_has_ended_when_it_succeeded_or_failed(status: Obj, ended: bool) -> None:
    assert has_ended(status) is ended


@pytest.mark.parametrize("status", [{}, {"status": None}, {"status": {"conditions": None}}])
def test_without_conditions_none_is_found(status: Obj) -> None:
    assert condition(status, "Ready") is None
    assert not is_ready(status)


def test_a_condition_is_found_by_its_type_and_true_by_its_status() -> None:
    ready, pressed = {"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "Unknown"}
    obj: Obj = {"status": {"conditions": [pressed, ready]}}
    assert condition(obj, "DiskPressure") is pressed
    assert is_ready(obj)
    assert not is_true(obj, "DiskPressure")

"""Schedules: what they mean, and what is said of those that mean nothing."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.api import cron


@pytest.mark.parametrize(
    ("text", "field", "expected"),
    [
        ("*/15 * * * *", "minutes", {0, 15, 30, 45}),
        ("5-10/2 * * * *", "minutes", {5, 7, 9}),
        ("50/5 * * * *", "minutes", {50, 55}),
        ("1,2,40 * * * *", "minutes", {1, 2, 40}),
        ("0 22-23 * * *", "hours", {22, 23}),
        ("0 0 1 JAN-mar *", "months", {1, 2, 3}),
        ("0 0 * * sun,6", "weekdays", {0, 6}),
        ("@hourly", "minutes", {0}),
        ("@weekly", "weekdays", {0}),
        ("TZ=UTC 1 * * * *", "minutes", {1}),
    ],
)
def test_fields_are_sets_of_numbers(text: str, field: str, expected: set[int]) -> None:
    assert getattr(cron.parse(text), field) == expected


def test_stars_are_remembered_for_days() -> None:
    assert cron.parse("0 0 * * 1").any_day
    assert not cron.parse("0 0 * * 1").any_weekday
    assert not cron.parse("0 0 */2 * *").any_day


@pytest.mark.parametrize(("text", "seconds"), [("@every 90s", 90), ("@every 1h30m", 5400), ("@every 1ms", 1)])
def test_intervals_are_whole_seconds(text: str, seconds: int) -> None:
    assert cron.parse(text).every == seconds


def test_a_zone_may_stand_before_the_fields() -> None:
    assert cron.parse("CRON_TZ=Europe/Rome 0 0 * * *").zone == "Europe/Rome"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "empty spec string"),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("error", "expected exactly 5 fields, found 1: [error]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("* * * * 7", "end of range (7) above maximum (6): 7"),
        ("9-8 * * * *", "beginning of range (9) beyond end of range (8): 9-8"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("x * * * *", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
        ("@never", "unrecognized descriptor: @never"),
        ("@every x", 'failed to parse duration @every x: time: invalid duration "x"'),
    ],
)
def test_what_is_wrong_is_said(text: str, error: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(error)}$"):
        cron.parse(text)


@given(st.text(alphabet="*/-,0123456789 @?suneveryTZ=", max_size=24))
def test_any_text_is_a_schedule_or_a_value_error(text: str) -> None:
    try:
        found = cron.parse(text)
    except ValueError:
        return
    assert found.every or all((found.minutes <= set(range(60)), found.hours <= set(range(24))))

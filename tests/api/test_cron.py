"""Schedules: what they mean, and what is said of those that mean nothing."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

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


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "zone", "after", "expected"),
    [
        ("* * * * *", "UTC", "2026-01-01T00:00:30", "2026-01-01T00:01:00"),
        ("* * * * *", "UTC", "2026-01-01T00:01:00", "2026-01-01T00:02:00"),
        ("30 4 1,15 * 5", "UTC", "2026-01-01T05:00:00", "2026-01-02T04:30:00"),
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
        ("0 0 31 12 *", "UTC", "2026-12-31T00:00:00", "2027-12-31T00:00:00"),
        ("30 14 * * *", "Asia/Tokyo", "2026-01-01T00:00:00", "2026-01-01T05:30:00"),
        ("0 12 * * *", "America/New_York", "2026-03-08T00:00:00", "2026-03-08T16:00:00"),
        # Clocks skip 02:30 on 29 March 2026 and show 02:30 twice on 25 October.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00", "2026-03-30T00:30:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00", "2026-10-25T00:30:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00", "2026-10-25T01:30:00"),
        ("@every 1h30m", "UTC", "2026-01-01T00:00:00.7", "2026-01-01T01:30:00"),
        ("0 0 31 2 *", "UTC", "2026-01-01T00:00:00", None),
    ],
)
def test_the_next_run(text: str, zone: str, after: str, expected: str | None) -> None:
    assert cron.parse(text).next(at(after), ZoneInfo(zone)) == (at(expected) if expected else None)


_fields = st.lists(st.integers(0, 59), min_size=1, max_size=4).map(lambda v: ",".join(map(str, v)))
_hours = st.lists(st.integers(0, 23), min_size=1, max_size=12).map(lambda v: ",".join(map(str, v)))
_days = st.sampled_from(["*", "*/2", "29", "1,30", "25"])
_weekdays = st.sampled_from(["*", "0", "1-5", "*/3"])
_zones = st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kolkata"])
_starts = st.sampled_from(["2026-03-28T20:00", "2026-10-24T20:00", "2026-04-04T08:00", "2018-11-03T22:00"])


@given(_fields, _hours, _days, _weekdays, _zones, _starts, st.integers(0, 600))
def test_a_run_is_the_first_minute_that_clocks_show_so(
    minutes: str, hours: str, days: str, weekdays: str, zone: str, start: str, more: int
) -> None:
    schedule = cron.parse(f"{minutes} {hours} {days} * {weekdays}")
    after, where = at(start) + timedelta(seconds=more * 17), ZoneInfo(zone)
    moment = after.replace(second=0) + timedelta(minutes=1)
    found = schedule.next(after, where)
    limit = found or after + timedelta(days=2)
    while moment < min(limit, after + timedelta(days=2)):
        assert not shows(schedule, moment.astimezone(where))
        moment += timedelta(minutes=1)
    assert found is None or shows(schedule, found.astimezone(where))


def shows(schedule: cron.Schedule, local: datetime) -> bool:
    day, weekday = local.day in schedule.days, local.isoweekday() % 7 in schedule.weekdays
    both = schedule.any_day or schedule.any_weekday
    in_time = local.minute in schedule.minutes and local.hour in schedule.hours
    return in_time and ((day and weekday) if both else (day or weekday))


@given(_fields, _hours, _days, _zones, _starts, st.integers(0, 60 * 24 * 3))
def test_the_last_run_is_the_last_of_all_runs(
    minutes: str, hours: str, days: str, zone: str, start: str, length: int
) -> None:
    schedule, where = cron.parse(f"{minutes} {hours} {days} * *"), ZoneInfo(zone)
    begin = at(start)
    until, last, run = begin + timedelta(minutes=length), None, begin
    while (following := schedule.next(run, where)) is not None and following <= until:
        last = run = following
    assert schedule.last(begin, until, where) == last


def test_the_last_of_many_intervals_is_computed_at_once() -> None:
    schedule = cron.parse("@every 1s")
    assert schedule.last(at("2000-01-01T00:00:00"), at("2026-01-01T00:00:00.5"), UTC) == at("2026-01-01T00:00:00")

"""Schedules of CronJobs: five fields, or a descriptor such as ``@hourly``.

Source: "CronJob", "Schedule syntax". The errors are worded as those of the parser that Kubernetes uses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache

from hawser.api import durations

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NAMES = {name: number for number, name in enumerate(_MONTHS, 1)}, {name: number for number, name in enumerate(_DAYS)}
# Lowest and highest value of each field, and its names.
_BOUNDS: tuple[tuple[int, int, dict[str, int]], ...] = (
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (1, 12, _NAMES[0]),
    (0, 6, _NAMES[1]),
)
_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_SPACE = " \t\n\v\f\r"


@dataclass(frozen=True, slots=True)
class Schedule:
    """When to run. every: seconds between runs, for ``@every``; the fields hold for all other schedules.

    any_day, any_weekday: the field is a star; when neither is, a day matches by either.
    """

    minutes: frozenset[int] = frozenset()
    hours: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    any_day: bool = False
    any_weekday: bool = False
    every: float = 0.0
    zone: str = ""

    def next(self, after: datetime, zone: tzinfo) -> datetime | None:
        """The first run after a moment, in UTC: the first minute that the clocks of a zone show so.

        An hour that clocks skip has no runs, one that they repeat has them twice. None: there is none in five years.
        """
        if self.every:
            return after.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=self.every)
        at = after.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        limit = at.year + 5
        while at.year <= limit:
            local = at.astimezone(zone)
            if local.month not in self.months:
                month = date(local.year + local.month // 12, local.month % 12 + 1, 1)
                at = _midnight(month, zone)
            elif not self._runs_on(local):
                at = _midnight(local.date() + timedelta(days=1), zone)
            elif local.hour not in self.hours:
                at += timedelta(minutes=60 - local.minute)
            elif local.minute not in self.minutes:
                at += timedelta(minutes=1)
            else:
                return at
        return None

    def _runs_on(self, day: date) -> bool:
        by_day, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_day and by_weekday if self.any_day or self.any_weekday else by_day or by_weekday

    def last(self, after: datetime, until: datetime, zone: tzinfo) -> datetime | None:
        """The last run after one moment and not after another, in UTC."""
        found = self.next(after, zone)
        if found is None or found > until:
            return None
        if self.every:
            return found + timedelta(seconds=(until - found).total_seconds() // self.every * self.every)
        back = timedelta(minutes=1)
        while (start := until - back) > found:
            candidate = self.next(start, zone)
            if candidate is not None and candidate <= until:
                found = candidate
                break
            back *= 2
        while (later := self.next(found, zone)) is not None and later <= until:
            found = later
        return found


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


@lru_cache(maxsize=1024)
def parse(text: str) -> Schedule:
    """The schedule that a text says (weekdays count from Sunday, 0). ValueError says what is wrong with it."""
    if not text:
        raise ValueError("empty spec string")
    zone = ""
    if text.startswith(("TZ=", "CRON_TZ=")):
        head, _, text = text.partition(" ")
        zone = head.partition("=")[2]
        text = text.strip(_SPACE)
    if text.startswith("@"):
        return _descriptor(text, zone)
    fields = text.split()
    if len(fields) != 5:
        raise ValueError(f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]")
    minutes, hours, days, months, weekdays = (
        _field(field, *bounds) for field, bounds in zip(fields, _BOUNDS, strict=True)
    )
    return Schedule(minutes[0], hours[0], days[0], months[0], weekdays[0], days[1], weekdays[1], zone=zone)


def _descriptor(text: str, zone: str) -> Schedule:
    if (fields := _DESCRIPTORS.get(text)) is not None:
        return replace(parse(fields), zone=zone)
    if text.startswith("@every "):
        return Schedule(every=max(1.0, _duration(text)), zone=zone)
    raise ValueError(f"unrecognized descriptor: {text}")


def _duration(text: str) -> float:
    try:
        return float(int(durations.seconds(text.removeprefix("@every "))))
    except ValueError as error:
        raise ValueError(f"failed to parse duration {text}: {error}") from None


def _field(text: str, low: int, high: int, names: dict[str, int]) -> tuple[frozenset[int], bool]:
    """The values of a field, and whether it is a star."""
    found: set[int] = set()
    star = False
    for term in text.split(","):
        if term:
            values, any_value = _range(term, low, high, names)
            found.update(values)
            star = star or any_value
    return frozenset(found), star


def _range(text: str, low: int, high: int, names: dict[str, int]) -> tuple[range, bool]:
    """``*``, ``N``, ``N-M``, each with an optional ``/STEP``."""
    steps = text.split("/")
    ends = steps[0].split("-")
    star = ends[0] in ("*", "?")
    if star:
        start, end = low, high
    else:
        start = _number(ends[0], names)
        if len(ends) > 2:
            raise ValueError(f"too many hyphens: {text}")
        end = _number(ends[1], names) if len(ends) == 2 else start
    step = 1
    if len(steps) > 2:
        raise ValueError(f"too many slashes: {text}")
    if len(steps) == 2:
        step = _number(steps[1], {})
        if len(ends) == 1:
            end = high
        star = star and step <= 1
    if start < low:
        raise ValueError(f"beginning of range ({start}) below minimum ({low}): {text}")
    if end > high:
        raise ValueError(f"end of range ({end}) above maximum ({high}): {text}")
    if start > end:
        raise ValueError(f"beginning of range ({start}) beyond end of range ({end}): {text}")
    if step == 0:
        raise ValueError(f"step of range should be a positive number: {text}")
    return range(start, end + 1, step), star


def _number(text: str, names: dict[str, int]) -> int:
    named = names.get(text.lower())
    if named is not None:
        return named
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise ValueError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    number = int(text)
    if number < 0:
        raise ValueError(f"negative number ({number}) not allowed: {text}")
    return number

"""The indexes of indexed Jobs as text: ``1,3-5,7``. Source: API reference, JobStatus.completedIndexes."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from sys import maxsize

_is_index = re.compile(r"[0-9]{1,19}").fullmatch
_is_number = re.compile(r"[+-]?[0-9]+").fullmatch
Interval = tuple[int, int]


def interval(text: str, completions: int) -> Interval:
    """First and last index of ``N`` or ``N-M``. ValueError, in Kubernetes' words."""
    ends = text.split("-")
    if len(ends) > 2:
        raise ValueError(
            f'the fragment "{text}" violates the requirement that an index interval can have at most two parts '
            "separated by '-'"
        )
    numbers = []
    for end in ends:
        if not _is_number(end):
            raise ValueError(f'cannot convert string to integer for index: "{end}"')
        if int(end) >= completions:
            raise ValueError(f'too large index: "{end}"')
        numbers.append(int(end))
    if len(numbers) == 2 and numbers[0] >= numbers[1]:
        raise ValueError(f"non-increasing order, previous: {numbers[0]}, current: {numbers[1]}")
    return numbers[0], numbers[-1]


def count_indexes(text: str, completions: int) -> int:
    """How many indexes a text names, all below completions and in order. ValueError, in Kubernetes' words."""
    total, last = 0, -1
    for part in text.split(",") if text else ():
        first, end = interval(part, completions)
        if first <= last:
            raise ValueError(f"non-increasing order, previous: {last}, current: {first}")
        total += end - first + 1
        last = end
    return total


def overlap(completed: str, failed: str, completions: int) -> int | None:
    """The first index that both texts name; None when there is none. What cannot be read is passed over."""
    left, right = _readable(completed, completions), _readable(failed, completions)
    i = j = 0
    while i < len(left) and j < len(right):
        (first, last), (other, end) = left[i], right[j]
        if first <= end and other <= last:
            return max(first, other)
        if first <= other:
            i += 1
        else:
            j += 1
    return None


def _readable(text: str, completions: int) -> list[Interval]:
    found = []
    for part in text.split(",") if text else ():
        try:
            found.append(interval(part, completions))
        except ValueError:
            continue
    return found


class Indexes:
    """A set of indexes as ordered intervals that neither touch nor overlap; immutable."""

    __slots__ = ("intervals",)

    def __init__(self, intervals: Iterable[Interval] = ()) -> None:
        """intervals: in any order; they may overlap."""
        found: list[Interval] = []
        for first, last in sorted(intervals):
            if found and first <= found[-1][1] + 1:
                found[-1] = found[-1][0], max(found[-1][1], last)
            else:
                found.append((first, last))
        self.intervals = tuple(found)

    @classmethod
    def read(cls, text: str, completions: int) -> Indexes:
        """Those of a text that are below completions; parts that cannot be read are passed over."""
        found = []
        for part in text.split(",") if text else ():
            first, _, last = part.partition("-")
            if _is_index(first) and (not last or _is_index(last)) and int(first) < completions:
                found.append((int(first), min(int(last or first), completions - 1)))
        return cls(found)

    def plus(self, indexes: Iterable[int]) -> Indexes:
        """These and more."""
        return Indexes((*self.intervals, *((i, i) for i in indexes)))

    def __or__(self, other: Indexes) -> Indexes:
        return Indexes((*self.intervals, *other.intervals))

    def __contains__(self, index: int) -> bool:
        at = bisect_right(self.intervals, (index, maxsize)) - 1
        return at >= 0 and index <= self.intervals[at][1]

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.intervals)

    def common(self, other: Indexes) -> int:
        """How many indexes are in both."""
        total = i = j = 0
        mine, others = self.intervals, other.intervals
        while i < len(mine) and j < len(others):
            (first, last), (start, end) = mine[i], others[j]
            total += max(0, min(last, end) - max(first, start) + 1)
            if last < end:
                i += 1
            else:
                j += 1
        return total

    def missing(self, below: int) -> Iterator[int]:
        """The indexes below a number that are not among these, in order."""
        candidate = 0
        for first, last in self.intervals:
            yield from range(candidate, min(first, below))
            candidate = last + 1
        yield from range(candidate, below)

    def __str__(self) -> str:
        return ",".join(
            str(first) if first == last else f"{first}{',' if last == first + 1 else '-'}{last}"
            for first, last in self.intervals
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Indexes) and self.intervals == other.intervals

    def __hash__(self) -> int:
        return hash(self.intervals)

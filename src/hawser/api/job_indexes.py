"""The indexes of indexed Jobs as text: ``1,3-5,7``. Source: API reference, JobStatus.completedIndexes."""

from __future__ import annotations

import re

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

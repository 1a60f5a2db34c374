"""Ranges of sizes and costs: from the least to the most, never beyond what 64 bits hold."""

from __future__ import annotations

import math
from dataclasses import dataclass

MOST = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Range:
    """least and most are whole and at most MOST."""

    least: int
    most: int

    def __add__(self, other: Range) -> Range:
        return Range(min(self.least + other.least, MOST), min(self.most + other.most, MOST))

    def __mul__(self, other: Range) -> Range:
        return Range(min(self.least * other.least, MOST), min(self.most * other.most, MOST))

    def __or__(self, other: Range) -> Range:
        """What covers both."""
        return Range(min(self.least, other.least), max(self.most, other.most))

    def times(self, factor: float) -> Range:
        """Times a cost factor, rounded up."""
        return Range(_scaled(self.least, factor), _scaled(self.most, factor))


def _scaled(size: int, factor: float) -> int:
    found = float(size) * factor
    return MOST if found >= 2**64 else math.ceil(found)


def exactly(size: int) -> Range:
    return Range(size, size)


NOTHING = exactly(0)
ONE = exactly(1)
UNKNOWN = Range(0, MOST)
TENTH = 0.1
QUARTER = 0.25

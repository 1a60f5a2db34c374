"""Families of counters and histograms whose labels are known only when something happens.

What every process of the engine that serves metrics uses; ``exposition`` has the text format.
"""

from __future__ import annotations

from collections.abc import Iterator

from hawser.exposition import Histogram, braced, family, histogram, labels


class Counters:
    """A family of counters. names: of the labels; one without labels is shown from the start."""

    def __init__(self, name: str, text: str, names: tuple[str, ...] = ()) -> None:
        self.name = name
        self.text = text
        self.names = names
        self.values: dict[tuple[str, ...], int] = {} if names else {(): 0}

    def add(self, *values: str) -> None:
        """Count one; values are those of the labels."""
        self.values[values] = self.values.get(values, 0) + 1

    def lines(self) -> Iterator[str]:
        """In Prometheus' text format; nothing before something was counted."""
        if self.values:
            yield family(self.name, "counter", self.text)
        for values, count in self.values.items():
            yield f"{self.name}{braced(labels(dict(zip(self.names, values, strict=True))))} {count}"


class Histograms:
    """A family of histograms. names: of the labels; edges: of the buckets. One without labels is always shown."""

    def __init__(self, name: str, text: str, names: tuple[str, ...], edges: tuple[float, ...]) -> None:
        self.name = name
        self.text = text
        self.names = names
        self._edges = edges
        self._values: dict[tuple[str, ...], Histogram] = {} if names else {(): Histogram(edges)}

    def of(self, *values: str) -> Histogram:
        """The one with these values of the labels."""
        found = self._values.get(values)
        if found is None:
            found = self._values[values] = Histogram(self._edges)
        return found

    def lines(self) -> Iterator[str]:
        """In Prometheus' text format; those without a value are left out."""
        used = {values: found for values, found in self._values.items() if any(found.buckets) or not values}
        if used:
            yield family(self.name, "histogram", self.text)
        for values, found in used.items():
            yield from histogram(self.name, labels(dict(zip(self.names, values, strict=True))), found)

"""Figures: printed one a line as they come, `name value unit`, and kept for JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path


def percentile(values: Iterable[float], percent: float) -> float:
    """The nearest-rank percentile; NaN for no values."""
    ordered = sorted(values)
    if not ordered:
        return float("nan")
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def note(message: str) -> None:
    print(f"# {message}", file=sys.stderr, flush=True)


class Report:
    """A figure whose check failed is printed as FAIL(value) and has no value in the JSON."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, float | None, str]] = []
        self.failed: list[str] = []

    def check(self, name: str, good: bool, message: str) -> bool:
        """Notes what is wrong unless good; ``add`` then refuses figures whose name begins with name."""
        if not good:
            self.failed.append(name)
            note(f"CHECK FAILED {name}: {message[:500]}")
        return good

    def add(self, name: str, value: float, unit: str) -> None:
        good = not any(name.startswith(failed) for failed in self.failed)
        value = float(f"{value:.4g}") if abs(value) < 1000 else round(value)
        self.rows.append((name, value if good else None, unit))
        print(f"{name} {value if good else f'FAIL({value})'} {unit}", flush=True)

    def write(self, path: str) -> None:
        figures = {name: {"value": value, "unit": unit} for name, value, unit in self.rows}
        Path(path).write_text(json.dumps({"figures": figures, "failed": self.failed}, indent=1) + "\n")

"""Durations as Go writes them."""

from __future__ import annotations

import pytest

from hawser.api import durations


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0s"), (0.405, "405ms"), (1.5, "1.5s"), (105.457, "1m45.457s"), (3600.0, "1h0m0s"), (2.0, "2s")],
)
def test_durations_are_gos(seconds: float, text: str) -> None:
    assert durations.text(seconds) == text

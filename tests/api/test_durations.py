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


@pytest.mark.parametrize(("text", "wanted"), [("5m", 300), ("1m30s", 90), ("1.5h", 5400), ("500ms", 0.5), ("0", 0)])
def test_durations_are_read(text: str, wanted: float) -> None:
    assert durations.length(text) == wanted


@pytest.mark.parametrize(("text", "why"), [("5", "invalid duration"), ("m", "invalid duration"), ("-5s", "less than")])
def test_what_is_no_length_of_time_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        durations.length(text)

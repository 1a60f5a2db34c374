"""Durations as Go writes them: ``1h30m``, ``250ms``. Source: Go's time.ParseDuration and Duration.String."""

from __future__ import annotations

import argparse
import re

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PIECE = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|ms|s|m|h)")


def seconds(text: str) -> float:
    """The length of a duration, without its sign. Raises ValueError in Go's words."""
    body = text[1:] if text[:1] in ("+", "-") else text
    if body == "0":
        return 0.0
    pieces = _PIECE.findall(body)
    if not pieces or "".join(number + unit for number, unit in pieces) != body:
        raise ValueError(f'time: invalid duration "{text}"')
    return sum(float(number) * _UNITS[unit] for number, unit in pieces)


def length(text: str) -> float:
    """The same of a time that is waited: ValueError for less than nothing, too."""
    if text.startswith("-"):
        raise ValueError(f'"{text}" is less than nothing')
    return seconds(text)


def flag(text: str) -> float:
    """The same of a command line's flag; argparse's error says what is wrong with it."""
    try:
        return length(text)
    except ValueError as err:
        raise argparse.ArgumentTypeError(f"{err}; want one as 50s or 1m30s") from None


def text(seconds: float) -> str:
    """A duration of whole milliseconds (the rest is cut off): 405ms, 1.5s, 5m0s, 1h0m1s."""
    thousandths = int(seconds * 1000)
    if thousandths < 1000:
        return f"{thousandths}ms" if thousandths else "0s"
    minutes, rest = divmod(thousandths, 60_000)
    hours, minutes = divmod(minutes, 60)
    last = f"{rest / 1000:g}s"
    return f"{hours}h{minutes}m{last}" if hours else f"{minutes}m{last}" if minutes else last

"""Tables and numbers as people read them."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as kubectl prints one: nothing is cut off, however narrow the terminal."""
    widths = [max(len(row[number]) for row in (columns, *rows)) for number in range(len(columns))]
    lines = ("   ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in (columns, *rows))
    return "".join(line.rstrip() + "\n" for line in lines)


def size_text(size: int) -> str:
    """Bytes with a binary unit: 512B, 1.5MiB."""
    number = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024 or unit == "GiB":
            return f"{number:.0f}{unit}" if unit == "B" or number >= 100 else f"{number:.1f}{unit}"
        number /= 1024
    raise AssertionError


def age_text(seconds: float) -> str:
    """A duration in at most two units: 45s, 3m20s, 5h, 2d4h."""
    total = int(seconds)
    days, hours, minutes, rest = total // 86400, total // 3600 % 24, total // 60 % 60, total % 60
    if days:
        return f"{days}d{hours}h" if hours and days < 10 else f"{days}d"
    if hours:
        return f"{hours}h{minutes}m" if minutes and hours < 10 else f"{hours}h"
    if minutes:
        return f"{minutes}m{rest}s" if rest and minutes < 10 else f"{minutes}m"
    return f"{rest}s"

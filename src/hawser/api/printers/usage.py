"""The columns of NodeMetrics and PodMetrics, as metrics-server shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from hawser.api.printers.base import NAME, Column, Printer, name
from hawser.api.quantity import Format, format_quantity, parse_quantity
from hawser.api.types import Obj


def _row(obj: Obj, now: datetime) -> list[Any]:
    usages = [obj["usage"]] if "usage" in obj else [container["usage"] for container in obj.get("containers") or ()]
    cpu = format_quantity(sum(parse_quantity(usage["cpu"]) for usage in usages))
    memory = format_quantity(sum(parse_quantity(usage["memory"]) for usage in usages), Format.BINARY)
    return [name(obj), cpu, memory, obj.get("window")]


USAGE = Printer(
    (NAME, Column("cpu", format="quantity"), Column("memory", format="quantity"), Column("Window", format="duration")),
    _row,
)

"""What all printers share: columns, times as people read them, lists cut short.

Source: API concepts, "Receiving resources as Tables"; the texts that ``kubectl get`` shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from hawser.api.types import Obj

NONE = "<none>"
UNKNOWN = "<unknown>"
UNSET = "<unset>"

Row = Callable[[Obj, datetime], list[Any]]
"""Makes the cells of an object, one a column; the time is now."""


class Column(NamedTuple):
    """A metav1.TableColumnDefinition; priority 1 and up is shown by ``-o wide`` only."""

    name: str
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0

    @property
    def definition(self) -> Obj:
        """The column as the API writes it."""
        return self._asdict()


class Printer(NamedTuple):
    """How one kind is shown.

    conditions tells a row's TableRowConditions, for kinds that have any; order: what lists are sorted by, where not by
    name.
    """

    columns: tuple[Column, ...]
    row: Row
    conditions: Callable[[Obj], list[Obj]] | None = None
    order: Callable[[Obj], Any] | None = None


NAME = Column("Name", format="name", description="The name of the object, unique within its namespace.")
AGE = Column("Age", description="The time since the object was created.")


def wide(name: str, description: str = "", kind: str = "string") -> Column:
    """A column of ``-o wide``."""
    return Column(name, kind, "", description, 1)


def human_duration(seconds: float) -> str:
    """A duration in at most two units, coarser as it grows: ``5s``, ``3m20s``, ``2d4h``, ``3y40d``."""
    if seconds <= -2:
        return "<invalid>"
    whole = max(int(seconds), 0)
    if whole < 120:
        return f"{whole}s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    if days < 2920:
        return _two(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _two(large: int, unit: str, small: int, below: str) -> str:
    return f"{large}{unit}{small}{below}" if small else f"{large}{unit}"


def parse_time(text: str | None) -> datetime | None:
    """The moment of an RFC 3339 time; None when there is none or it cannot be read."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def since(text: str | None, now: datetime) -> str:
    """The time since text, ``<unknown>`` without one."""
    moment = parse_time(text)
    return UNKNOWN if moment is None else human_duration((now - moment).total_seconds())


def name(obj: Obj) -> str:
    return str(obj["metadata"].get("name", ""))


def age(obj: Obj, now: datetime) -> str:
    return since(obj["metadata"].get("creationTimestamp"), now)


def part(obj: Obj, key: str) -> Obj:
    """The object below key; empty when it is absent."""
    found = obj.get(key)
    return found if isinstance(found, dict) else {}


def joined(items: Sequence[str]) -> str:
    """Items with commas between; ``<none>`` without any."""
    return ",".join(items) or NONE


def shortened(items: Sequence[str], limit: int = 3) -> str:
    """The first items and how many more there are; ``<unset>`` without any."""
    text = ",".join(items[:limit]) or UNSET
    return f"{text} + {len(items) - limit} more..." if len(items) > limit else text


def labels(found: Mapping[str, str] | None) -> str:
    """``a=b,c=d`` by key; ``<none>`` without any."""
    return joined([f"{key}={value}" for key, value in sorted((found or {}).items())])


def containers(pod_spec: Obj) -> tuple[str, str]:
    """The names and the images of a pod template's containers, each joined by commas."""
    listed = pod_spec.get("containers") or []
    return ",".join(c.get("name", "") for c in listed), ",".join(c.get("image", "") for c in listed)

"""The table columns of custom resources: ``additionalPrinterColumns``, and Age where there are none.

Source: Kubernetes documentation, "Additional printer columns".
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson

from hawser.api.crd import jsonpath
from hawser.api.printers.base import NAME, Column, Printer, human_duration, name, parse_time
from hawser.api.types import Obj

TYPES = ("boolean", "date", "integer", "number", "string")
_AGE: list[Obj] = [{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]


def printer(version: Obj) -> Printer:
    """The printer of one entry of a CRD's ``spec.versions``."""
    listed: list[Obj] = version.get("additionalPrinterColumns") or _AGE
    columns = tuple(
        Column(c["name"], c["type"], c.get("format", ""), c.get("description", ""), c.get("priority", 0))
        for c in listed
    )
    paths = [(path_or_none(c["jsonPath"]), c["type"]) for c in listed]

    def row(obj: Obj, now: datetime) -> list[Any]:
        return [name(obj), *(_cell(path, kind, obj, now) for path, kind in paths)]

    return Printer((NAME, *columns), row)


def path_or_none(text: str) -> tuple[jsonpath.Step, ...] | None:
    """A column's path; None when this server cannot evaluate it, which a CRD's writer is warned of."""
    try:
        return jsonpath.compile_path(text)
    except jsonpath.PathError:
        return None


def _cell(path: tuple[jsonpath.Step, ...] | None, kind: str, obj: Obj, now: datetime) -> Any:
    """One cell; None, shown as nothing, when the value is absent or of another type."""
    found = jsonpath.find(path, obj) if path is not None else []
    value = found[0] if found else None
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match kind:
        case "string":
            return _text(value)
        case "integer":
            return int(value) if number else None
        case "number":
            return value if number else None
        case "boolean":
            return value if isinstance(value, bool) else None
    if not isinstance(value, str):
        return None
    moment = parse_time(value)
    return "<invalid>" if moment is None else human_duration((now - moment).total_seconds())


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return orjson.dumps(value).decode()

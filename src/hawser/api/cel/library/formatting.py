"""``"%s".format([x])``. Source: cel-go, ext/README.md, "Strings" ("Format")."""

from __future__ import annotations

import math
import re
from typing import Any

from hawser.api.cel.library.standard import show_double, to_string
from hawser.api.cel.values import Duration, EvalError, Timestamp, TypeValue, UInt

_CLAUSE = re.compile(r"%(?:(%)|(?:\.(\d+))?([a-zA-Z])|(.?))", re.DOTALL)
_PRECISION = 6
_MOST = 1000
"""More digits than this nobody reads; a larger precision only makes a large string."""


def format_string(text: str, args: list[Any]) -> str:
    """The text with its clauses filled in. Raises EvalError."""
    used = 0

    def one(match: re.Match[str]) -> str:
        nonlocal used
        if match.group(1):
            return "%"
        if match.group(3) is None:
            raise EvalError(f'could not parse formatting clause: unrecognized formatting clause "{match.group(4)}"')
        if used >= len(args):
            raise EvalError(f"index {used} out of range")
        value = args[used]
        used += 1
        precision = _PRECISION if match.group(2) is None else int(match.group(2))
        if precision > _MOST:
            raise EvalError(f"could not parse formatting clause: precision {precision} exceeds limit {_MOST}")
        return _clause(match.group(3), value, precision)

    return _CLAUSE.sub(one, text)


def _clause(verb: str, value: Any, precision: int) -> str:
    number = type(value) in (int, UInt, float)
    match verb:
        case "s":
            return show(value)
        case "d" if number:
            if type(value) is not float:
                return str(int(value))
            if not math.isfinite(value):
                return show_double(value).removeprefix("+").replace("Inf", "Infinity")
            return show_double(value)
        case "f" | "e" if number:
            value = float(value)
            if not math.isfinite(value):
                return show_double(value).removeprefix("+").replace("Inf", "Infinity")
            return f"{value:.{precision}{verb}}"
        case "b" if type(value) in (int, UInt, bool):
            return f"{int(value):b}"
        case "x" | "X" if type(value) in (int, UInt):
            return f"{int(value):{verb}}"
        case "x" | "X" if type(value) in (str, bytes):
            shown = (value.encode() if isinstance(value, str) else value).hex()
            return shown.upper() if verb == "X" else shown
        case "o" if type(value) in (int, UInt):
            return f"{int(value):o}"
    if verb not in "sdfebxXo":
        raise EvalError(f'could not parse formatting clause: unrecognized formatting clause "{verb}"')
    raise EvalError(f"error during formatting: %{verb} clause cannot be used on {_kind(value)}")


def _kind(value: Any) -> str:
    from hawser.api.cel.values import type_name

    return type_name(value)


def show(value: Any) -> str:
    """A value as %s shows it, lists and maps included."""
    match value:
        case None:
            return "null"
        case str():
            return value
        case float() if not math.isfinite(value):
            return show_double(value).removeprefix("+").replace("Inf", "Infinity")
        case TypeValue():
            return value.name
        case list():
            return "[" + ", ".join(map(show, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{k}: {v}" for k, v in sorted((show(k), show(v)) for k, v in value.items())) + "}"
        case bool() | int() | float() | bytes() | Timestamp() | Duration():
            return to_string(value)
    return to_string(value)

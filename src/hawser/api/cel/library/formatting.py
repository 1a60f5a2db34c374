"""``"%s".format([x])``, as version 2 of cel-go's "strings" extension has it, in the locale en_US.

Source: cel-go, ext/README.md, "Strings" ("Format"): values inside of lists and maps are shown as literals of CEL.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from hawser.api.cel.library.standard import show_double, to_string
from hawser.api.cel.values import Duration, EvalError, Timestamp, TypeValue, UInt, type_name

CLAUSE = re.compile(r"%(?:(%)|(?:\.(\d+))?([a-zA-Z])|(.?))", re.DOTALL)
_PRECISION = 6
_MOST = 1000
"""More digits than this nobody reads; a larger precision only makes a large string."""
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_KINDS = "strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps"
VERBS: dict[str, tuple[tuple[str, ...], str]] = {
    "d": (("int", "uint"), "decimal clause can only be used on integers"),
    "f": (("double", "string"), "fixed-point clause can only be used on doubles"),
    "e": (("double", "string"), "scientific clause can only be used on doubles"),
    "b": (("int", "uint", "bool"), "only integers and bools can be formatted as binary"),
    "x": (("int", "uint", "string", "bytes"), "only integers, byte buffers, and strings can be formatted as hex"),
    "X": (("int", "uint", "string", "bytes"), "only integers, byte buffers, and strings can be formatted as hex"),
    "o": (("int", "uint"), "octal clause can only be used on integers"),
    "s": (("string", "bool", "bytes", "int", "uint", "double", "map", "list", "type", "duration", "timestamp", "null"),
          f"string clause can only be used on {_KINDS}"),
}  # fmt: skip
"""What each clause is for, and the sentence for anything else."""


def unknown(verb: str) -> str:
    """The sentence for a clause that there is none of."""
    return f'could not parse formatting clause: unrecognized formatting clause "{verb}"'


def format_string(text: str, args: list[Any]) -> str:
    """The text with its clauses filled in. Raises EvalError."""
    used = 0

    def one(match: re.Match[str]) -> str:
        nonlocal used
        if match.group(1):
            return "%"
        verb = match.group(3)
        if verb not in VERBS:
            raise EvalError(unknown(verb or match.group(4)))
        if used >= len(args):
            raise EvalError(f"index {used} out of range")
        value = args[used]
        used += 1
        precision = _PRECISION if match.group(2) is None else int(match.group(2))
        if precision > _MOST:
            raise EvalError(f"could not parse formatting clause: precision {precision} exceeds limit {_MOST}")
        return _clause(verb, value, precision)

    return CLAUSE.sub(one, text)


def _clause(verb: str, value: Any, precision: int) -> str:
    whole = type(value) in (int, UInt)
    match verb:
        case "s":
            return show(value)
        case "d" if whole:
            return str(int(value))
        case "f" | "e" if type(value) is float or value in ("NaN", "Infinity", "-Infinity"):
            return _double(verb, float(value), precision)
        case "b" if whole or type(value) is bool:
            return f"{int(value):b}"
        case "x" | "X" if whole:
            return f"{int(value):{verb}}"
        case "x" | "X" if type(value) in (str, bytes):
            shown = (value.encode() if isinstance(value, str) else value).hex()
            return shown.upper() if verb == "X" else shown
        case "o" if whole:
            return f"{int(value):o}"
    raise EvalError(f"error during formatting: {VERBS[verb][1]}, was given {type_name(value)}")


def _double(verb: str, value: float, precision: int) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "-∞"
    if verb == "f":
        return f"{value:,.{precision}f}"
    mantissa, _, exponent = f"{value:.{precision}e}".partition("e")
    return f"{mantissa}\u202f×\u202f10{exponent.lstrip('+').translate(_RAISED)}"


def show(value: Any) -> str:
    """A value as %s shows it."""
    match value:
        case None:
            return "null"
        case TypeValue():
            return value.name
        case float() if not math.isfinite(value):
            return show_double(value)
        case list():
            return "[" + ", ".join(map(_literal, value)) + "]"
        case dict():
            pairs = sorted((_literal(key), _literal(item)) for key, item in value.items())
            return "{" + ", ".join(f"{key}:{item}" for key, item in pairs) + "}"
    return to_string(value)


def _literal(value: Any) -> str:
    """A value as CEL writes it."""
    match value:
        case str():
            return json.dumps(value, ensure_ascii=False)
        case bytes():
            return "b" + json.dumps(value.decode("utf-8", "replace"), ensure_ascii=False)
        case float():
            return f"{value:.{_PRECISION}f}" if math.isfinite(value) else f'"{show_double(value)}"'
        case Timestamp():
            return f'timestamp("{to_string(value)}")'
        case Duration():
            return f'duration("{to_string(value)}")'
    return show(value)

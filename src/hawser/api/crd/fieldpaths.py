"""fieldPath of a validation rule: ``.spec.names['a.b']``. Source: API reference, ValidationRule."""

from __future__ import annotations

import re
from typing import Any

from hawser.api.types import Obj

_TOKEN = re.compile(r"'(?:\\.|[^'\\])*'|[.\[\]]|[^.\[\]']+|'")
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "'": "'", "\\": "\\"}


class PathError(ValueError):
    """A path that is none, or that leads nowhere."""


def normalized(text: str, schema: Obj) -> str:
    """The path as errors show it. PathError."""
    tokens = _TOKEN.findall(text)
    at = 0
    path = ""
    here: Any = schema
    while at < len(tokens):
        mark = tokens[at]
        if mark not in (".", "["):
            raise PathError(f"expected [ or . but got: {mark}")
        if at + 1 >= len(tokens):
            raise PathError("unexpected end of JSON path")
        name = tokens[at + 1]
        at += 2
        if mark == "[":
            if len(name) < 2 or name[0] != "'" or name[-1] != "'":
                raise PathError(f"expected single quoted string but got {name}")
            name = _unescaped(name[1:-1])
            if at >= len(tokens):
                raise PathError("unexpected end of JSON path")
            if tokens[at] != "]":
                raise PathError(f"expected ] but got {tokens[at]}")
            at += 1
        properties, extra = here.get("properties"), here.get("additionalProperties")
        if properties:
            if name not in properties:
                raise PathError("does not refer to a valid field")
            here = properties[name]
            path += f".{name}" if path else name
        elif isinstance(extra, dict):
            here = extra
            path += f"[{name}]"
        else:
            raise PathError("does not refer to a valid field")
    return path


def _unescaped(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        found = _ESCAPES.get(match.group(1))
        if found is None:
            raise PathError(f"invalid string literal: invalid escape char {match.group()}")
        return found

    return re.sub(r"\\(.)", one, text)

"""Functions of strings: cel-go's "strings" extension, version 2.

Source: cel-go, ext/README.md, "Strings"; Kubernetes documentation, "CEL in Kubernetes" names the version.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hawser.api.cel.declarations import Overload, function, method
from hawser.api.cel.library.formatting import format_string
from hawser.api.cel.values import EvalError

_UPPER = str.maketrans("abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
# Unicode's white space, as Go's strings.TrimSpace sees it.
_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))

_LONGEST = 16 * 1024 * 1024


def _char_at(text: str, at: int) -> str:
    if not 0 <= at <= len(text):
        raise EvalError(f"index out of range: {at}")
    return text[at : at + 1]


def _index_of(text: str, part: str, start: int = 0) -> int:
    if part == "":
        return start
    if not 0 <= start < max(len(text), 1):
        raise EvalError(f"index out of range: {start}")
    return text.find(part, start)


def _last_index_of(text: str, part: str, start: int | None = None) -> int:
    if part == "":
        return len(text) if start is None else start
    if start is None:
        return text.rfind(part)
    if not 0 <= start < max(len(text), 1):
        raise EvalError(f"index out of range: {start}")
    return text.rfind(part, 0, start + len(part))


def _bounded(size: int) -> None:
    """What would be larger than any request is not made: its cost would only be known afterwards."""
    if size > _LONGEST:
        raise EvalError(f"result size {size} exceeds maximum allowed ({_LONGEST})")


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    if len(new) > len(old):
        found = text.count(old)
        _bounded(len(text) + (min(found, count) if count >= 0 else found) * (len(new) - len(old)))
    return text.replace(old, new, max(count, -1))


def _split(text: str, separator: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    if separator == "":
        pieces = list(text)
        return pieces if limit < 0 or len(pieces) <= limit else [*pieces[: limit - 1], "".join(pieces[limit - 1 :])]
    return text.split(separator, limit - 1 if limit > 0 else -1)


def _substring(text: str, start: int, end: int | None = None) -> str:
    if end is None:
        end = len(text)
        if not 0 <= start <= end:
            raise EvalError(f"index out of range: {start}")
    if start > end:
        raise EvalError(f"invalid substring range. start: {start}, end: {end}")
    if not 0 <= start <= len(text):
        raise EvalError(f"index out of range: {start}")
    if not 0 <= end <= len(text):
        raise EvalError(f"index out of range: {end}")
    return text[start:end]


def _join(items: list[Any], separator: str = "") -> str:
    if not all(type(item) is str for item in items):
        raise EvalError("no such overload")
    _bounded(sum(map(len, items)) + len(separator) * len(items))
    return separator.join(items)


_QUOTED = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\",
    '"': '\\"',
}  # fmt: skip


def _quote(text: str) -> str:
    return '"' + "".join(_QUOTED.get(c, c) for c in text) + '"'


def overloads() -> Iterator[Overload]:
    """The declarations."""
    yield method("string", "charAt(int) -> string", _char_at)
    yield method("string", "indexOf(string) -> int", _index_of)
    yield method("string", "indexOf(string, int) -> int", _index_of)
    yield method("string", "lastIndexOf(string) -> int", _last_index_of)
    yield method("string", "lastIndexOf(string, int) -> int", _last_index_of)
    yield method("string", "lowerAscii() -> string", lambda text: text.translate(_LOWER))
    yield method("string", "upperAscii() -> string", lambda text: text.translate(_UPPER))
    yield method("string", "replace(string, string) -> string", _replace)
    yield method("string", "replace(string, string, int) -> string", _replace)
    yield method("string", "split(string) -> list(string)", _split)
    yield method("string", "split(string, int) -> list(string)", _split)
    yield method("string", "substring(int) -> string", _substring)
    yield method("string", "substring(int, int) -> string", _substring)
    yield method("string", "trim() -> string", lambda text: text.strip(_SPACE))
    yield method("list(string)", "join() -> string", _join)
    yield method("list(string)", "join(string) -> string", _join)
    yield method("string", "format(list(dyn)) -> string", format_string)
    yield function("strings.quote(string) -> string", _quote)

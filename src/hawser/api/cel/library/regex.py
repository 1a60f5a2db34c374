"""Regular expressions: RE2, whose time is linear in the text whatever the pattern.

Source: CEL language definition, "Regular Expressions"; Kubernetes documentation, "Kubernetes regex library".
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from hawser.api.cel.declarations import Overload, method
from hawser.api.cel.values import EvalError


@lru_cache(maxsize=4096)
def compiled(pattern: str) -> Any:
    """A compiled pattern. Raises EvalError with RE2's own words."""
    import re2  # type: ignore[import-untyped]  # made when a pattern is first met

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise EvalError(f"error parsing regexp: {_as_go(text)}") from None


_WORDS = {
    "missing )": "missing closing )",
    "missing ]": "missing closing ]",
    "no argument for repetition operator": "missing argument to repetition operator",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid perl operator": "invalid or unsupported Perl syntax",
}


def _as_go(text: str) -> str:
    """RE2's message in the words of Go's package of the same engine."""
    reason, colon, part = text.partition(": ")
    return f"{_WORDS.get(reason, reason)}: `{part}`" if colon else text


def matches(text: str, pattern: str) -> bool:
    return compiled(pattern).search(text) is not None


def _find(text: str, pattern: str) -> str:
    found = compiled(pattern).search(text)
    return "" if found is None else str(found.group())


def _find_all(text: str, pattern: str, most: int = -1) -> list[str]:
    made: list[str] = []
    for found in compiled(pattern).finditer(text):
        if 0 <= most <= len(made):
            break
        made.append(found.group())
    return made


def overloads() -> Iterator[Overload]:
    """The declarations of find and findAll; matches is CEL's own."""
    yield method("string", "find(string) -> string", _find)
    yield method("string", "findAll(string) -> list(string)", _find_all)
    yield method("string", "findAll(string, int) -> list(string)", _find_all)

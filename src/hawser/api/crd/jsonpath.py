"""JSON paths of printer columns, selectable fields and the scale subresource.

Source: Kubernetes documentation, "JSONPath Support": fields, ``['name']``, ``[0]``, ``[*]`` and filters
``[?(@.type=="Ready")]``. Slices and recursive descent are not of the simple form that columns may have.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

Step = Callable[[Any], Iterator[Any]]

_TOKEN = re.compile(
    r"""\.(?P<field>(?:\\.|[^.\[\]\\(){}'"@])+)
      | \[(?P<quote>['"])(?P<key>(?:\\.|(?!(?P=quote)).)*)(?P=quote)\]
      | \[(?P<index>-?\d+)\]
      | (?P<all>\[\*\]|\.\*)
      | \[\?\((?P<filter>.*?)\)\]""",
    re.VERBOSE | re.DOTALL,
)
_FILTER = re.compile(r"\s*@(?P<path>\S*?)\s*(?:(?P<op>==|!=|<=|>=|<|>)\s*(?P<value>'[^']*'|\"[^\"]*\"|[\w.+-]+)\s*)?")
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class PathError(ValueError):
    """Text that is no path this server understands."""


@lru_cache(maxsize=4096)
def compile_path(text: str) -> tuple[Step, ...]:
    """The steps of a path as columns write it (``.spec.replicas``). Raises PathError."""
    steps: list[Step] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise PathError(f"unexpected {text[at:]!r}")
        steps.append(_step(match))
        at = match.end()
    return tuple(steps)


def find(path: tuple[Step, ...], value: Any) -> list[Any]:
    """All values that a path leads to."""
    found = [value]
    for step in path:
        found = [below for item in found for below in step(item)]
    return found


def _step(match: re.Match[str]) -> Step:
    if match["all"]:
        return _all
    if match["index"]:
        return _indexed(int(match["index"]))
    if match["filter"] is not None:
        return _filtered(match["filter"])
    if match["field"] == "*":
        return _all
    name = match["field"] if match["field"] is not None else match["key"]
    return _named(re.sub(r"\\(.)", r"\1", name))


def _all(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _named(name: str) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict) and name in value:
            yield value[name]

    return step


def _indexed(index: int) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list) and -len(value) <= index < len(value):
            yield value[index]

    return step


def _filtered(text: str) -> Step:
    match = _FILTER.fullmatch(text)
    if match is None:
        raise PathError(f"filter {text!r} is not supported")
    path = compile_path(match["path"])
    sign, literal = match["op"], match["value"]
    wanted = _literal(literal) if literal is not None else None

    def step(value: Any) -> Iterator[Any]:
        for item in value if isinstance(value, list) else ():
            got = find(path, item)
            if got and (sign is None or _holds(sign, got[0], wanted)):
                yield item

    return step


def _holds(sign: str, got: Any, wanted: Any) -> bool:
    try:
        return _COMPARE[sign](got, wanted)
    except TypeError:
        return False


def _literal(text: str) -> Any:
    if text[0] in "'\"":
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        raise PathError(f"unexpected {text!r}") from None

"""What is wrong with literals: arguments of timestamp(), duration() and matches() that will never do.

Source: cel-go's validators of durations, timestamps and regular expressions, which Kubernetes turns on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hawser.api.cel.checker import Checked
from hawser.api.cel.library import regex, times
from hawser.api.cel.macros import children
from hawser.api.cel.syntax import Call, CompileError, Literal, Node, Source
from hawser.api.cel.values import EvalError

_CHECKS: dict[str, tuple[int, Callable[[Any], Any], str]] = {
    "duration": (0, times.read_duration, "duration"),
    "timestamp": (0, times.read_timestamp, "timestamp"),
    "matches": (-1, regex.compiled, "matches"),
}


def literals(checked: Checked, source: str) -> None:
    """Raises CompileError when a literal argument cannot be read."""
    problems: list[tuple[int, str]] = []
    seen: set[int] = set()
    waiting: list[Node] = [checked.root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        waiting.extend(children(node))
        if not isinstance(node, Call) or node.function not in _CHECKS or not node.args:
            continue
        place, read, name = _CHECKS[node.function]
        given = node.args[place]
        if isinstance(given, Literal) and type(given.value) is str:
            try:
                read(given.value)
            except EvalError:
                problems.append((given.at, f"invalid {name} argument"))
    if problems:
        raise CompileError(Source(source), problems)

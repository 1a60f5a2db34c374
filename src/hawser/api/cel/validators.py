"""What is wrong with literals: arguments of timestamp(), duration(), matches() and format() that will never do.

Source: cel-go's validators of durations, timestamps, regular expressions and formats, which Kubernetes turns on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hawser.api.cel.checker import Checked
from hawser.api.cel.library import regex, times
from hawser.api.cel.library.formatting import CLAUSE, VERBS, unknown
from hawser.api.cel.macros import children
from hawser.api.cel.syntax import Call, CompileError, ListNode, Literal, Node, Source
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
        if isinstance(node, Call) and node.function == "format":
            problems += _format(checked, node)
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


def _format(checked: Checked, node: Call) -> list[tuple[int, str]]:
    """A literal format with a list of arguments: the first clause that does not fit, or arguments left over."""
    listed = node.args[0] if node.args else None
    if not isinstance(node.target, Literal) or type(node.target.value) is not str or not isinstance(listed, ListNode):
        return []
    used = 0
    for match in CLAUSE.finditer(node.target.value):
        if match.group(1):
            continue
        verb = match.group(3)
        if verb not in VERBS:
            return [(node.at, unknown(verb or match.group(4)))]
        if used >= len(listed.items):
            return [(node.at, f"index {used} out of range")]
        given = listed.items[used]
        used += 1
        kinds, sentence = VERBS[verb]
        kind = checked.type(given)
        if kind.kind not in (*kinds, "dyn", "error", "var"):
            return [(given.at, f"error during formatting: {sentence}, was given {kind}")]
    if used < len(listed.items):
        text = f"too many arguments supplied to string.format (expected {used}, got {len(listed.items)})"
        return [(node.at, text)]
    return []

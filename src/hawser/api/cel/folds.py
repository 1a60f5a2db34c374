"""Comprehensions as loops: a closure for each macro. Source: CEL language definition, "Macros"."""

from __future__ import annotations

from collections.abc import Callable
from functools import cmp_to_key
from typing import TYPE_CHECKING, Any

from hawser.api.cel.operators import insert
from hawser.api.cel.syntax import Fold
from hawser.api.cel.values import NONE, CostError, EvalError, Opt, compare, has_value

if TYPE_CHECKING:
    from hawser.api.cel.compiler import Compiler, Run

Frame = list[Any]
Turn = Callable[[Frame, Any], bool]
# What cel-go charges for a turn beside the macro's own expressions: the condition's call and variables, the step's.
_TURN = {
    "all": 3, "exists": 4, "exists_one": 1, "map": 12, "filter": 12, "sortBy": 14, "transformMap": 33,
    "transformMapEntry": 3,
}  # fmt: skip


def fold(compiler: Compiler, node: Fold) -> tuple[Run, int]:
    """The closure of a comprehension and its cost beside the turns."""
    source, cost = compiler.compile(node.range)
    if node.macro in ("optMap", "optFlatMap"):
        return _optional(compiler, node, source), cost
    if node.macro == "bind":
        return _bound(compiler, node, source), cost
    places = compiler.enter(node.variables)
    parts = [compiler.compile(part) for part in node.parts]
    if node.macro in ("map", "transformMap", "transformMapEntry") and len(parts) == 2:
        # The condition is charged with the turn, the rest when it holds.
        parts[1] = (compiler.branch(node.parts[1]), 0)
    compiler.leave()
    turn = _TURN[node.macro] + sum(one for _, one in parts)
    runs = [run for run, _ in parts]
    pairs = _pairs(source, len(places) == 2)
    start = cost + (1 if node.macro in ("all", "exists") else 11)
    match node.macro:
        case "all":
            return _quantified(pairs, places, runs[0], turn, True), start
        case "exists":
            return _quantified(pairs, places, runs[0], turn, False), start
        case "exists_one":
            return _exactly_one(pairs, places, runs[0], turn), start
        case "sortBy":
            return _sorted(pairs, _collected(pairs, places, runs, turn, False)), start
        case "map" | "filter":
            return _collected(pairs, places, runs, turn, node.macro == "filter"), start
    return _transformed(pairs, places, runs, turn, node.macro == "transformMapEntry"), start


def _pairs(source: Run, two: bool) -> Run:
    """What is gone through: a list of items or keys, or of pairs."""

    def run(f: Frame) -> Any:
        found = source(f)
        if type(found) is list:
            return enumerate(found) if two else found
        if type(found) is dict:
            return list(found.items()) if two else list(found)
        raise EvalError("no such overload")

    return run


def _charge(f: Frame, cost: int) -> None:
    f[0] -= cost
    if f[0] < 0:
        raise CostError


def _quantified(pairs: Run, places: list[int], predicate: Run, turn: int, every: bool) -> Run:
    """all (every) and exists: an error only counts when nothing decides."""
    first, last = places[0], places[-1]
    two = len(places) == 2

    def run(f: Frame) -> bool:
        failure: EvalError | None = None
        for item in pairs(f):
            left = f[0] - turn
            f[0] = left
            if left < 0:
                raise CostError
            if two:
                f[first], f[last] = item
            else:
                f[first] = item
            try:
                found = predicate(f)
            except EvalError as error:
                failure = error
                continue
            if found is not every:
                if type(found) is bool:
                    return not every
                failure = EvalError("no such overload")
        if failure is not None:
            raise failure
        return every

    return run


def _exactly_one(pairs: Run, places: list[int], predicate: Run, turn: int) -> Run:
    def run(f: Frame) -> bool:
        count = 0
        for item in pairs(f):
            _charge(f, turn)
            _assign(f, places, item)
            if _boolean(predicate(f)):
                count += 1
        return count == 1

    return run


def _assign(f: Frame, places: list[int], item: Any) -> None:
    if len(places) == 2:
        f[places[0]], f[places[1]] = item
    else:
        f[places[0]] = item


def _boolean(value: Any) -> bool:
    if type(value) is bool:
        return value
    raise EvalError("no such overload")


def _collected(pairs: Run, places: list[int], runs: list[Run], turn: int, kept: bool) -> Run:
    """map, with or without a condition; filter (kept) keeps the item itself."""
    condition = runs[0] if kept or len(runs) == 2 else None
    value = runs[-1]

    def run(f: Frame) -> list[Any]:
        made = []
        for item in pairs(f):
            _charge(f, turn)
            _assign(f, places, item)
            if condition is None or _boolean(condition(f)):
                made.append(item if kept else value(f))
        return made

    return run


def _sorted(pairs: Run, keys: Run) -> Run:
    """sortBy: the items in the order of their keys."""

    def run(f: Frame) -> list[Any]:
        made = keys(f)
        items = pairs(f)
        if len({type(key) for key in made}) > 1:
            raise EvalError("list elements must have the same type")
        order = sorted(range(len(made)), key=cmp_to_key(lambda one, other: compare(made[one], made[other])))
        return [items[place] for place in order]

    return run


def _transformed(pairs: Run, places: list[int], runs: list[Run], turn: int, whole: bool) -> Run:
    condition = runs[0] if len(runs) == 2 else None
    value = runs[-1]

    def run(f: Frame) -> dict[Any, Any]:
        made: dict[Any, Any] = {}
        for item in pairs(f):
            _charge(f, turn)
            _assign(f, places, item)
            if condition is None or _boolean(condition(f)):
                if whole:
                    insert(made, value(f))
                else:
                    insert(made, item[0], value(f))
        return made

    return run


def _optional(compiler: Compiler, node: Fold, source: Run) -> Run:
    place = compiler.enter(node.variables)[0]
    body = compiler.branch(node.parts[0])
    compiler.leave()
    flat = node.macro == "optFlatMap"

    def run(f: Frame) -> Any:
        given = source(f)
        if type(given) is not Opt:
            raise EvalError("no such overload")
        if not has_value(given):
            return NONE
        f[place] = given.value
        found = body(f)
        return found if flat else Opt(found)

    return run


def _bound(compiler: Compiler, node: Fold, source: Run) -> Run:
    place = compiler.enter(node.variables)[0]
    body = compiler.branch(node.parts[0])
    compiler.leave()

    def run(f: Frame) -> Any:
        f[place] = source(f)
        return body(f)

    return run

"""From a checked tree to closures: one Python function a node, made once, called for every evaluation.

A frame is a list: what is left of the cost budget, then the variables. Costs that are known beforehand are summed up
and charged once per branch and per turn of a loop; only those that depend on sizes are computed while evaluating.
The units are those of cel-go's cost tracker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hawser.api.cel import folds
from hawser.api.cel.calls import call
from hawser.api.cel.checker import TYPE_NAMES, Checked
from hawser.api.cel.syntax import Call, Fold, Ident, ListNode, Literal, MapNode, Node, Select, Struct
from hawser.api.cel.types import Type, is_optional
from hawser.api.cel.values import NONE, CostError, EvalError, Opaque, Opt, TypeValue, absent, has_value, keyed

Frame = list[Any]
Run = Callable[[Frame], Any]
LIST_COST, MAP_COST, STRUCT_COST = 10, 30, 40


class Compiler:
    """Compiles one expression. slots: the places of its variables in a frame, from 1."""

    def __init__(self, checked: Checked, slots: dict[str, int]) -> None:
        self.checked = checked
        self._slots = slots
        self._scopes: list[dict[str, int]] = []
        self.size = len(slots) + 1

    def program(self) -> Run:
        """The whole expression, with its cost."""
        return self.branch(self.checked.root)

    def branch(self, node: Node) -> Run:
        """A node that may not be evaluated at all: it charges for itself."""
        run, cost = self.compile(node)
        return charged(run, cost)

    def compile(self, node: Node) -> tuple[Run, int]:
        """A node's closure and the cost that is known beforehand, which the caller charges."""
        match node:
            case Literal():
                value = node.value
                return (lambda _: value), 0
            case Ident():
                return self._ident(node, node.name)
            case Select():
                return self._select(node)
            case Call():
                return self._call(node)
            case ListNode():
                return self._list(node)
            case MapNode():
                return self._map(node)
            case Struct():
                return self._struct(node)
            case Fold():
                return folds.fold(self, node)
        raise AssertionError(node)

    def type(self, node: Node) -> Type:
        return self.checked.type(node)

    def enter(self, names: tuple[str, ...]) -> list[int]:
        """Gives names places of their own in the frame until ``leave``."""
        places = list(range(self.size, self.size + len(names)))
        self.size += len(names)
        self._scopes.append(dict(zip(names, places, strict=True)))
        return places

    def leave(self) -> None:
        self._scopes.pop()

    def slot(self, name: str) -> int | None:
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        return self._slots.get(name.removeprefix("."))

    def _ident(self, node: Node, name: str) -> tuple[Run, int]:
        slot = self.slot(name)
        if slot is not None:
            place = slot
            return (lambda f: f[place]), 1
        named = TYPE_NAMES.get(name.removeprefix("."))
        given = self.type(node)
        shown = str(named) if named is not None and named.kind == "opaque" and not named.params else name
        found = TypeValue(shown if given.kind == "type" else name)
        return (lambda _: found), 1

    def _select(self, node: Select) -> tuple[Run, int]:
        if id(node) in self.checked.names:
            return self._ident(node, self.checked.names[id(node)])
        operand, cost = self.compile(node.operand)
        name = self.real_name(node.operand, node.field)
        if node.test:
            return _test(operand, name), cost
        place = self.slot(node.operand.name) if isinstance(node.operand, Ident) else None
        return _selection(operand, place, name), cost + 1

    def real_name(self, operand: Node, name: str) -> str:
        """A field as JSON has it."""
        given = self.type(operand)
        if is_optional(given):
            given = given.params[0]
        known = given.shape.fields.get(name) if given.kind == "object" else None
        return known.name if known is not None else name

    def _call(self, node: Call) -> tuple[Run, int]:
        match node.function:
            case "_&&_" | "_||_":
                left, cost = self.compile(node.args[0])
                return _logical(left, self.branch(node.args[1]), node.function == "_||_"), cost
            case "_?_:_":
                condition, cost = self.compile(node.args[0])
                return _ternary(condition, self.branch(node.args[1]), self.branch(node.args[2])), cost
            case "_?._":
                chosen = node.args[1]
                assert isinstance(chosen, Literal)
                operand, cost = self.compile(node.args[0])
                return _optional_selection(operand, self.real_name(node.args[0], chosen.value)), cost + 1
        return call(self, node)

    def _list(self, node: ListNode) -> tuple[Run, int]:
        made = [self.compile(item) for item in node.items]
        runs = [run for run, _ in made]
        cost = sum(one for _, one in made) + LIST_COST
        if all(isinstance(item, Literal) for item in node.items) and not node.optional:
            values = [run([]) for run in runs]
            return (lambda _: values), cost
        if not node.optional:
            return (lambda f: [run(f) for run in runs]), cost
        optional = node.optional

        def build(f: Frame) -> list[Any]:
            found: list[Any] = []
            for index, run in enumerate(runs):
                value = run(f)
                if index not in optional:
                    found.append(value)
                elif has_value(value):
                    found.append(value.value)
            return found

        return build, cost

    def _map(self, node: MapNode) -> tuple[Run, int]:
        made = [(*self.compile(key), *self.compile(value), optional) for key, value, optional in node.entries]
        cost = sum(one[1] + one[3] for one in made) + MAP_COST
        entries = [(one[0], one[2], one[4]) for one in made]

        def build(f: Frame) -> dict[Any, Any]:
            found: dict[Any, Any] = {}
            for key_of, value_of, optional in entries:
                key, value = key_of(f), value_of(f)
                if type(key) in (list, dict, float, bytes) or key is None:
                    raise EvalError("unsupported key type")
                if optional:
                    if not has_value(value):
                        continue
                    value = value.value
                if not absent(keyed(found, key)):
                    raise EvalError(f"Failed with repeated key: {key}")
                found[key] = value
            return found

        return build, cost

    def _struct(self, node: Struct) -> tuple[Run, int]:
        made = [(name, *self.compile(value), optional) for name, value, optional, _ in node.fields]
        cost = sum(one[2] for one in made) + STRUCT_COST
        message = self.type(node)
        fields = [
            (known.name if (known := message.shape.fields.get(name)) is not None else name, run, optional)
            for name, run, _, optional in made
        ]

        def build(f: Frame) -> dict[str, Any]:
            found: dict[str, Any] = {}
            for name, run, optional in fields:
                value = run(f)
                if not optional:
                    found[name] = value
                elif has_value(value):
                    found[name] = value.value
            return found

        return build, cost


def charged(run: Run, cost: int) -> Run:
    """A closure that takes its cost off the budget first. Raises CostError when it is spent."""
    if cost == 0:
        return run

    def charge(f: Frame) -> Any:
        left = f[0] - cost
        f[0] = left
        if left < 0:
            raise CostError
        return run(f)

    return charge


def _selection(operand: Run, place: int | None, name: str) -> Run:
    if place is not None:
        slot = place

        def direct(f: Frame) -> Any:
            value = f[slot]
            if type(value) is dict and name in value:
                return value[name]
            return _field(value, name)

        return direct

    def run(f: Frame) -> Any:
        value = operand(f)
        if type(value) is dict and name in value:
            return value[name]
        return _field(value, name)

    return run


def _field(value: Any, name: str) -> Any:
    """A field of what is not a map, or that a map does not have."""
    if type(value) is dict:
        raise EvalError(f"no such key: {name}")
    if type(value) is Opt:
        return _optional_field(value, name)
    if isinstance(value, Opaque) and hasattr(value, "field"):
        return value.field(name)
    raise EvalError("no such overload")


def _optional_field(value: Any, name: str) -> Opt:
    if type(value) is Opt:
        if not has_value(value):
            return NONE
        value = value.value
    if type(value) is dict:
        return Opt(value[name]) if name in value else NONE
    if isinstance(value, Opaque) and hasattr(value, "field"):
        return Opt(value.field(name)) if value.has(name) else NONE  # type: ignore[attr-defined]
    raise EvalError("no such overload")


def _optional_selection(operand: Run, name: str) -> Run:
    return lambda f: _optional_field(operand(f), name)


def _test(operand: Run, name: str) -> Run:
    def run(f: Frame) -> bool:
        value = operand(f)
        if type(value) is dict:
            return name in value
        if type(value) is Opt:
            return has_value(_optional_field(value, name))
        if isinstance(value, Opaque) and hasattr(value, "has"):
            return bool(value.has(name))
        raise EvalError("no such overload")

    return run


def _logical(left: Run, right: Run, decided: bool) -> Run:
    """&& and ||: the side that decides wins over an error of the other."""

    def run(f: Frame) -> Any:
        try:
            one = left(f)
        except EvalError as error:
            if right(f) is decided:
                return decided
            raise error
        if one is decided:
            return decided
        other = right(f)
        if type(one) is not bool:
            if other is decided:
                return decided
            raise EvalError("no such overload")
        if type(other) is bool:
            return other
        raise EvalError("no such overload")

    return run


def _ternary(condition: Run, yes: Run, no: Run) -> Run:
    def run(f: Frame) -> Any:
        chosen = condition(f)
        if chosen is True:
            return yes(f)
        if chosen is False:
            return no(f)
        raise EvalError("no such overload")

    return run

"""Macros: has, all, exists, exists_one, map, filter, their forms with two variables, optMap, optFlatMap, cel.bind.

Source: CEL language definition, "Macros"; cel-go's "two variable comprehensions" extension and optional types. A macro
keeps what it was beside its general form: the form gives types and costs, the macro is what is evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hawser.api.cel.syntax import Call, Fold, Ident, ListNode, Literal, MapNode, Node, Select, Struct

RESULT = "@result"


class MacroError(Exception):
    """A macro with arguments that do not fit."""

    def __init__(self, at: int, text: str) -> None:
        super().__init__(text)
        self.at = at


def children(node: Node) -> Iterator[Node]:
    """The nodes right below."""
    match node:
        case Select():
            yield node.operand
        case Call():
            if node.target is not None:
                yield node.target
            yield from node.args
        case ListNode():
            yield from node.items
        case MapNode():
            for key, value, _ in node.entries:
                yield key
                yield value
        case Struct():
            for one in node.fields:
                yield one[1]
        case Fold():
            yield from (node.range, node.start, node.condition, node.step, node.result)


def expand(at: int, name: str, target: Node | None, args: list[Node]) -> Node | None:
    """What a call stands for when it is a macro; None when it is an ordinary call."""
    if target is None:
        return _has(at, args) if name == "has" and len(args) == 1 else None
    found = _MACROS.get((name, len(args)))
    return found(at, name, target, args) if found is not None else None


def _has(_: int, args: list[Node]) -> Node:
    chosen = args[0]
    if not isinstance(chosen, Select) or chosen.test:
        raise MacroError(chosen.at, "invalid argument to has() macro")
    return Select(chosen.at, chosen.operand, chosen.field, True)


def _variable(node: Node) -> str:
    if not isinstance(node, Ident) or node.name.startswith("."):
        raise MacroError(node.at, "argument must be a simple name")
    if node.name in (RESULT, "__result__"):
        raise MacroError(node.at, "iteration variable overwrites accumulator variable")
    return node.name


def _variables(args: list[Node], count: int) -> tuple[str, ...]:
    names = tuple(_variable(arg) for arg in args[:count])
    if len(set(names)) != len(names):
        raise MacroError(args[1].at, f"duplicate variable name: {names[1]}")
    return names


def _call(at: int, function: str, *args: Node) -> Node:
    return Call(at, function, None, list(args))


def _quantifier(count: int) -> Callable[[int, str, Node, list[Node]], Node]:
    def make(at: int, name: str, target: Node, args: list[Node]) -> Node:
        names = _variables(args, count)
        predicate = args[count]
        so_far = Ident(at, RESULT)
        if name == "all":
            start: Node = Literal(at, True)
            condition = _call(at, "@not_strictly_false", so_far)
            step = _call(at, "_&&_", so_far, predicate)
            result: Node = so_far
        elif name == "exists":
            start = Literal(at, False)
            condition = _call(at, "@not_strictly_false", _call(at, "!_", so_far))
            step = _call(at, "_||_", so_far, predicate)
            result = so_far
        else:
            start = Literal(at, 0)
            condition = Literal(at, True)
            step = _call(at, "_?_:_", predicate, _call(at, "_+_", so_far, Literal(at, 1)), so_far)
            result = _call(at, "_==_", so_far, Literal(at, 1))
        macro = "exists_one" if name == "existsOne" else name
        return Fold(at, macro, target, names, RESULT, start, condition, step, result, [predicate])

    return make


def _mapping(count: int, filtered: bool) -> Callable[[int, str, Node, list[Node]], Node]:
    def make(at: int, name: str, target: Node, args: list[Node]) -> Node:
        names = _variables(args, count)
        parts = args[count:]
        so_far = Ident(at, RESULT)
        start: Node = MapNode(at, []) if name.startswith("transformMap") else ListNode(at, [])
        if name == "filter":
            grown: Node = _call(at, "_+_", so_far, ListNode(at, [args[0]]))
        elif name == "transformMap":
            grown = _call(at, "cel.@mapInsert", so_far, Ident(at, names[0]), parts[-1])
        elif name == "transformMapEntry":
            grown = _call(at, "cel.@mapInsert", so_far, parts[-1])
        else:
            grown = _call(at, "_+_", so_far, ListNode(at, [parts[-1]]))
        step = _call(at, "_?_:_", parts[0], grown, so_far) if filtered else grown
        # sortBy makes the keys as map does; the sorting is left to whoever evaluates it.
        macro = "map" if name == "transformList" else name
        return Fold(at, macro, target, names, RESULT, start, Literal(at, True), step, so_far, parts)

    return make


def _optional(at: int, name: str, target: Node, args: list[Node]) -> Node:
    """optMap and optFlatMap: an expression of the value, when there is one.

    cel-go repeats the target in its expansion; a node of our own keeps chains of them from doubling at every link.
    """
    nothing: Node = Literal(at, None)
    return Fold(
        at, name, target, (_variable(args[0]),), RESULT, nothing, Literal(at, True), nothing, args[1], [args[1]]
    )


def _bind(at: int, name: str, target: Node, args: list[Node]) -> Node | None:
    """cel.bind: a name for a value, in another expression. Of cel-go's "bindings" extension."""
    if not isinstance(target, Ident) or target.name != "cel":
        return None
    nothing: Node = Literal(at, None)
    return Fold(
        target.at,
        name,
        args[1],
        (_variable(args[0]),),
        RESULT,
        nothing,
        Literal(at, False),
        nothing,
        args[2],
        [args[2]],
    )


_MACROS: dict[tuple[str, int], Callable[[int, str, Node, list[Node]], Node | None]] = {
    ("bind", 3): _bind,
    **{(name, 2): _quantifier(1) for name in ("all", "exists", "exists_one", "existsOne")},
    **{(name, 3): _quantifier(2) for name in ("all", "exists", "exists_one", "existsOne")},
    ("map", 2): _mapping(1, False),
    ("map", 3): _mapping(1, True),
    ("filter", 2): _mapping(1, True),
    ("sortBy", 2): _mapping(1, False),
    **{(name, 3): _mapping(2, False) for name in ("transformList", "transformMap", "transformMapEntry")},
    **{(name, 4): _mapping(2, True) for name in ("transformList", "transformMap", "transformMapEntry")},
    ("optMap", 2): _optional,
    ("optFlatMap", 2): _optional,
}

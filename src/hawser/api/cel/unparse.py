"""The text of a tree, macros as they were written: what parses to the same tree again."""

from __future__ import annotations

import json

from hawser.api.cel.syntax import Call, Fold, Ident, ListNode, Literal, MapNode, Node, Select, Struct
from hawser.api.cel.values import UInt

_BINARY = {
    "_||_": (1, "||"), "_&&_": (2, "&&"), "_==_": (3, "=="), "_!=_": (3, "!="), "_<_": (3, "<"), "_<=_": (3, "<="),
    "_>_": (3, ">"), "_>=_": (3, ">="), "@in": (3, "in"), "_+_": (4, "+"), "_-_": (4, "-"), "_*_": (5, "*"),
    "_/_": (5, "/"), "_%_": (5, "%"),
}  # fmt: skip
_UNARY, _MEMBER = 6, 7


def unparse(node: Node) -> str:
    """The expression as text."""
    return _text(node, 0)


def _text(node: Node, least: int) -> str:
    """The text of a node, in parentheses when it binds less than what is around it."""
    text, strength = _of(node)
    return f"({text})" if strength < least else text


def _of(node: Node) -> tuple[str, int]:
    match node:
        case Literal():
            negative = type(node.value) in (int, float) and (node.value < 0 or str(node.value).startswith("-"))
            return _literal(node.value), _UNARY if negative else _MEMBER + 1
        case Ident():
            return node.name, _MEMBER + 1
        case Select():
            chosen = f"{_text(node.operand, _MEMBER)}.{node.field}"
            return (f"has({chosen})" if node.test else chosen), _MEMBER
        case Call():
            return _call(node)
        case ListNode():
            items = (("?" if i in node.optional else "") + unparse(item) for i, item in enumerate(node.items))
            return f"[{', '.join(items)}]", _MEMBER + 1
        case MapNode():
            entries = (f"{'?' if optional else ''}{unparse(k)}: {unparse(v)}" for k, v, optional in node.entries)
            return f"{{{', '.join(entries)}}}", _MEMBER + 1
        case Struct():
            fields = (f"{'?' if optional else ''}{name}: {unparse(one)}" for name, one, optional, _ in node.fields)
            return f"{node.name}{{{', '.join(fields)}}}", _MEMBER
        case Fold():
            return _fold(node), _MEMBER
    raise AssertionError(node)


def _literal(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case UInt():
            return f"{int(value)}u"
        case float():
            text = repr(value)
            return text if "." in text or "e" in text else f"{text}.0"
        case bytes():
            return "b'" + "".join(f"\\x{byte:02x}" for byte in value) + "'"
        case str():
            # JSON writes what is beyond 16 bits as two halves, which CEL does not know.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value)


def _call(node: Call) -> tuple[str, int]:
    args = node.args
    if node.function in _BINARY:
        strength, sign = _BINARY[node.function]
        return f"{_text(args[0], strength)} {sign} {_text(args[1], strength + 1)}", strength
    match node.function:
        case "_?_:_":
            return f"{_text(args[0], 1)} ? {_text(args[1], 1)} : {_text(args[2], 0)}", 0
        case "!_" | "-_":
            inner = _text(args[0], _MEMBER)
            # A minus before a number would be the number's.
            return node.function[0] + (f"({inner})" if inner[0] in "0123456789.-" else inner), _UNARY
        case "_[_]" | "_[?_]":
            mark = "?" if node.function == "_[?_]" else ""
            return f"{_text(args[0], _MEMBER)}[{mark}{unparse(args[1])}]", _MEMBER
        case "_?._":
            name = args[1].value if isinstance(args[1], Literal) else ""
            return f"{_text(args[0], _MEMBER)}.?{name}", _MEMBER
    listed = ", ".join(map(unparse, args))
    if node.target is None:
        return f"{node.function}({listed})", _MEMBER
    return f"{_text(node.target, _MEMBER)}.{node.function}({listed})", _MEMBER


def _fold(node: Fold) -> str:
    name = node.macro
    if name == "bind":
        return f"cel.bind({node.variables[0]}, {unparse(node.range)}, {unparse(node.parts[0])})"
    if name == "map" and len(node.variables) == 2:
        name = "transformList"
    parts = ", ".join([*node.variables, *map(unparse, node.parts)])
    return f"{_text(node.range, _MEMBER)}.{name}({parts})"

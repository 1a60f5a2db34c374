"""What holds for any expression: printing and parsing, types and values, costs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawser.api.cel.calls import fits
from hawser.api.cel.costs import PER_CALL
from hawser.api.cel.estimator import worst_cost
from hawser.api.cel.macros import children
from hawser.api.cel.parser import parse
from hawser.api.cel.program import CompileError, CostError, EvalError, compile_expression, environment
from hawser.api.cel.schemas import declared, escape
from hawser.api.cel.syntax import Node
from hawser.api.cel.types import BOOL, INT, STRING, list_of
from hawser.api.cel.unparse import unparse

_LEAVES = st.one_of(
    st.sampled_from(["n", "s", "l", "true", "null", "1u", "1.5", "b'a'", "'é\\n'", "[]", "{}"]),
    st.integers(-(2**63), 2**63 - 1).map(str),
    st.text(max_size=4).map(lambda text: "r'''" + text.replace("'", "").replace("\r", "") + "'''"),
)


def _grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    binary = st.sampled_from(["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "in", "&&", "||"])
    method = st.sampled_from(
        ["size()", "startsWith('a')", "orValue(1)", "f", "?g", "map(x, x)", "sum()", "contains(s)"]
    )
    fold = st.sampled_from(["all(x, {})", "exists(x, {})", "filter(x, {})", "map(x, {})", "exists(i, x, {})"])
    return st.one_of(
        st.tuples(inner, binary, inner).map(lambda t: f"({t[0]}) {t[1]} ({t[2]})"),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]}) ? ({t[1]}) : ({t[2]})"),
        st.tuples(st.sampled_from("!-"), inner).map(lambda t: f"{t[0]}({t[1]})"),
        st.tuples(inner, inner).map(lambda t: f"({t[0]})[{t[1]}]"),
        st.tuples(inner, method).map(lambda t: f"({t[0]}).{t[1]}"),
        st.tuples(inner, fold, inner).map(lambda t: f"({t[0]}).{t[1].format(t[2])}"),
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.tuples(inner, inner).map(lambda t: f"{{{t[0]}: {t[1]}}}"),
        inner.map(lambda one: f"dyn({one})"),
    )


expressions = st.recursive(_LEAVES, _grow, max_leaves=8)
_KNOWN = environment({"n": INT, "s": STRING, "l": list_of(INT)})


def shape(node: Node) -> Any:
    """A tree without its places."""
    own = [(name, getattr(node, name)) for name in node.__slots__ if name not in ("at",)]
    plain = [(name, repr(one)) for name, one in own if isinstance(one, str | int | float | bytes | bool | type(None))]
    return (type(node).__name__, plain, [shape(below) for below in children(node)])


@given(expressions)
def test_what_is_printed_parses_to_the_same_tree(source: str) -> None:
    tree = parse(source)
    assert shape(parse(unparse(tree))) == shape(tree)


@given(expressions, st.integers(-(2**63), 2**63 - 1), st.text(max_size=5), st.lists(st.integers(-9, 9), max_size=5))
@settings(max_examples=400)
def test_what_compiles_has_a_value_of_its_type_or_an_error_of_cel(source: str, n: int, s: str, l: list[int]) -> None:  # noqa: E741
    try:
        program = compile_expression(source, _KNOWN)
    except CompileError:
        return
    try:
        value, cost = program.evaluate([n, s, l])
    except (EvalError, CostError):
        return
    assert cost >= 0
    assert value is None or fits(program.result, value)


@given(st.integers(0, 200), st.integers(1, 40))
def test_a_loop_costs_what_it_does_and_ends_at_the_limit(items: int, limit: int) -> None:
    program = compile_expression("l.all(x, l.all(y, x <= y || x > y))", _KNOWN)
    value, cost = program.evaluate([0, "", [1] * items])
    assert value is True
    assert cost >= items * items
    if cost > limit:
        with pytest.raises(CostError):
            program.evaluate([0, "", [1] * items], limit)


@pytest.mark.parametrize(
    "source",
    [
        "self.a + 1 > 2", "self.s.startsWith('abc')", "self.s.contains(self.s)", "self.l.all(x, x.startsWith('a'))",
        "self.l.map(x, x + x).exists(x, x == 'aa')", "self.m.all(k, self.m[k] > 1)", "self.l.join(',') == self.s",
        "self.s.matches('^a+$')", "self.s.replace('a', 'bb').size() > 3", "self.l == self.l || self.s in self.l",
        "self.l.filter(x, x in ['a', 'b']).size() == 1", "self.s.split(',').all(x, x != '')",
    ],
)  # fmt: skip
@given(data=st.data())
@settings(max_examples=25)
def test_no_evaluation_costs_more_than_was_estimated(source: str, data: st.DataObject) -> None:
    text = {"type": "string", "maxLength": 12}
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "integer"},
            "s": text,
            "l": {"type": "array", "maxItems": 6, "items": text},
            "m": {"type": "object", "maxProperties": 5, "additionalProperties": {"type": "integer"}},
        },
    }
    given_type = declared(schema)
    assert given_type is not None
    program = compile_expression(source, environment({"self": given_type}), (BOOL,))
    letters = st.text("ab,é", max_size=12)
    value = {
        "a": data.draw(st.integers(0, 9)),
        "s": data.draw(letters),
        "l": data.draw(st.lists(letters, max_size=6)),
        "m": data.draw(st.dictionaries(letters, st.integers(0, 9), max_size=5)),
    }
    _, _, cost = program.attempt([value], PER_CALL)
    # The estimate counts no comparison of scalars of a schema, as Kubernetes' does not.
    assert cost <= worst_cost(program.checked, {"self": given_type}) + 20


@given(st.from_regex(r"[a-zA-Z_./-][a-zA-Z0-9_./-]{0,12}", fullmatch=True))
def test_every_property_name_that_can_be_escaped_is_an_identifier(name: str) -> None:
    shown = escape(name)
    assert shown is not None
    assert compile_expression(f"self.{shown} == 1", environment({"self": declared_object(name)})).result == BOOL


def declared_object(name: str) -> Any:
    return declared({"type": "object", "properties": {name: {"type": "integer"}}})

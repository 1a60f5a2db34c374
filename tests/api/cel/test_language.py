"""CEL's semantics: cases of the language definition, evaluated."""

from __future__ import annotations

from typing import Any

import pytest

from hawser.api.cel.program import CompileError, EvalError, compile_expression, environment
from hawser.api.cel.types import DYN
from hawser.api.cel.values import UInt

_VARIABLES = environment({"x": DYN})


def value(source: str, x: Any = None) -> Any:
    return compile_expression(source, _VARIABLES).evaluate([x])[0]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("1 + 2 * 3", 7),
        ("-7 / 2", -3),
        ("-7 % 3", -1),
        ("7u - 2u", UInt(5)),
        ("1.0 / 0.0 > 1e300", True),
        ("0x1F", 31),
        ("--1", 1),
        ("!true || true", True),
        ("1 < 2.5", True),
        ("1u < 2", True),
        ("dyn(1) == 1.0", True),
        ("dyn(1) == 1u", True),
        ("dyn(true) == 1", False),
        ("[dyn(1), dyn(true)] == [dyn(1), dyn(1)]", False),
        ("[1, 2] + [3]", [1, 2, 3]),
        ("2 in [1, 2]", True),
        ("'a' in {'a': 1}", True),
        ("{'a': 1}.a", 1),
        ("{1: 'a'}[1]", "a"),
        ("has({'a': 1}.b)", False),
        (r"'\x41\u0042\103\n'", "ABC\n"),
        (r"r'\n'", r"\n"),
        (r"b'\xff'", b"\xff"),
        ("b'ÿ'", b"\xc3\xbf"),
        ("'''a\nb'''", "a\nb"),
        ("size('ÿé')", 2),
        ("size(b'ÿé')", 4),
        ("'é'.charAt(0)", "é"),
        ("true ? 1 : 2", 1),
        ("false || (1 / 0 == 1 || true)", True),
        ("1 / 0 == 1 && false", False),
        ("[0, 1].exists(i, 1 / i == 1)", True),
        ("[0, 1].all(i, 1 / i == 2)", False),
        ("[1, 2, 3].exists_one(i, i > 2)", True),
        ("[1, 2, 3].map(i, i > 1, i * i)", [4, 9]),
        ("[1, 2, 3].filter(i, i > 1).map(i, [i].map(j, j + i))", [[4], [6]]),
        ("{'a': 1, 'b': 2}.all(k, v, v > 0 && k != '')", True),
        ("[5, 6].exists(i, v, i == 1 && v == 6)", True),
        ("[5, 6].transformList(i, v, i * v)", [0, 6]),
        ("[5, 6].transformMap(i, v, v > 5, v)", {1: 6}),
        ("{'a': 'b'}.transformMapEntry(k, v, {v: k})", {"b": "a"}),
        ("type(1) == int && type(1u) == uint && type(null) == null_type", True),
        ("type(type(1)) == type", True),
        ("type(duration('1s')) == google.protobuf.Duration", True),
        ("string(timestamp('2009-02-13T23:31:30.5+01:00'))", "2009-02-13T22:31:30.5Z"),
        ("timestamp('2009-02-13T23:31:30Z') - timestamp('2009-02-13T23:31:00Z') == duration('30s')", True),
        ("timestamp('2009-02-13T23:31:30Z').getDayOfWeek()", 5),
        ("timestamp('2009-02-13T23:31:30Z').getHours('-08:00')", 15),
        ("duration('1h30m').getMinutes()", 90),
        ("int('-12') + int(3.9) + int(timestamp('1970-01-01T00:00:01Z'))", -8),
        ("string(1.5) + string(true) + string(b'a')", "1.5truea"),
        ("double('1e3')", 1000.0),
        ("x.a.?b.orValue(3)", 3),
        ("x.?a.?b.c.hasValue()", False),
        ("x.?a.c.value()", 2),
        ("[?x.?a.?c, ?x.?z]", [2]),
        ("{?'k': x.?z, 'l': 1}", {"l": 1}),
        ("optional.of(2).optMap(y, y + 1).value()", 3),
        ("optional.none().optFlatMap(y, optional.of(y)).or(optional.of(4)).value()", 4),
        ("[1, 2][?5].orValue(9)", 9),
        ("optional.ofNonZeroValue('').hasValue()", False),
    ],
)
def test_an_expression_has_its_value(source: str, expected: Any) -> None:
    found = value(source, {"a": {"c": 2}})
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("9223372036854775807 + 1", "integer overflow"),
        ("-9223372036854775808 / -1", "integer overflow"),
        ("0u - 1u", "unsigned integer overflow"),
        ("1 / 0", "division by zero"),
        ("1 % 0", "modulus by zero"),
        ("[1][1]", "index out of bounds: 1"),
        ("x.b", "no such key: b"),
        ("dyn(1) + dyn('a')", "no such overload"),
        ("x.startsWith('a')", "no such overload"),
        ("x && true", "no such overload"),
        ("optional.none().value()", "optional.none() dereference"),
        ("[1, 2].exists_one(i, 1 / 0 == i)", "division by zero"),
        ("['a'].all(i, dyn(i) > 1)", "no such overload"),
        ("int('abc')", 'strconv.ParseInt: parsing "abc": invalid syntax'),
        ("{'a': 1, 'a': 2}", "Failed with repeated key: a"),
        ("timestamp(x.a)", "parsing time"),
    ],
)
def test_an_evaluation_fails_in_the_words_of_cel_go(source: str, message: str) -> None:
    with pytest.raises(EvalError, match=message.replace("(", r"\(").replace(")", r"\)")):
        value(source, {"a": "b"})


@pytest.mark.parametrize(
    ("source", "at", "message"),
    [
        ("1 +", "1:4", "Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true'"),
        ("1 2", "1:3", "Syntax error: extraneous input '2' expecting <EOF>"),
        ("true &&\n  y", "2:3", "undeclared reference to 'y' (in container '')"),
        ("1 == 'a'", "1:3", "found no matching overload for '_==_' applied to '(int, string)'"),
        ("'a'.startsWith(1)", "1:15", "found no matching overload for 'startsWith' applied to 'string.(int)'"),
        ("[1, 'a']", "1:5", "expected type 'int' but found 'string'"),
        ("nope(1)", "1:5", "undeclared reference to 'nope' (in container '')"),
        ("'a'.b", "1:4", "type 'string' does not support field selection"),
        ("1.all(i, true)", "1:1", "expression of type 'int' cannot be range of a comprehension"),
        ("has(x)", "1:5", "invalid argument to has() macro"),
        ("'a'.matches('(')", "1:13", "invalid matches argument"),
        ("duration('a')", "1:10", "invalid duration argument"),
        (
            "'%d'.format(['a'])",
            "1:14",
            "error during formatting: decimal clause can only be used on integers",
        ),
        ("'%s'.format(['a', 'b'])", "1:12", "too many arguments supplied to string.format (expected 1, got 2)"),
        ("'%s %s'.format(['a'])", "1:15", "index 1 out of range"),
        ("if", "1:1", "reserved identifier: if"),
        ("cel.bind(a, 1, a)", "1:1", "undeclared reference to 'cel'"),
    ],
)
def test_a_wrong_expression_is_refused_where_it_is_wrong(source: str, at: str, message: str) -> None:
    with pytest.raises(CompileError) as raised:
        compile_expression(source, _VARIABLES)
    assert f"ERROR: <input>:{at}: {message}" in str(raised.value)


def test_a_message_shows_the_line_and_points_at_the_column() -> None:
    with pytest.raises(CompileError) as raised:
        compile_expression("x.a == 1 &&\n\t'ä' + 1", _VARIABLES)
    assert str(raised.value) == (
        "ERROR: <input>:2:6: found no matching overload for '_+_' applied to '(string, int)'\n |  'ä' + 1\n | ..．..^"
    )


@pytest.mark.parametrize(
    "source",
    [
        "(" * 500 + "1" + ")" * 500,
        "-" + "+".join("1" * 900),
        "x" + ".optMap(a, a)" * 70,
        f"[{', '.join(['[]'] * 3000)}]",
    ],
)
def test_deep_expressions_are_refused_or_evaluated_but_never_break_the_stack(source: str) -> None:
    try:
        compile_expression(source, _VARIABLES)
    except CompileError as error:
        assert "recursion limit" in str(error)


def test_long_chains_of_and_and_or_are_fine() -> None:
    assert value(" && ".join(["x == 1"] * 2000), 1) is True

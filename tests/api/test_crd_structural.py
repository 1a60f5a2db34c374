"""What schemas of custom resources may say, and patterns in them."""

from __future__ import annotations

from typing import Any

import pytest

from hawser.api.crd import structural
from hawser.api.crd.patterns import PatternError, compile_pattern, matches_format

STRING = {"type": "string"}


def spec(**properties: Any) -> dict[str, Any]:
    """A root schema whose spec has these properties."""
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}


STRUCTURAL: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["s.type: Required value: must not be empty at the root"]),
    ({"type": "array", "items": STRING}, ['s.type: Invalid value: "array": must be object at the root']),
    (
        spec(x={}),
        ["s.properties[spec].properties[x].type: Required value: must not be empty for specified object fields"],
    ),
    (
        spec(x={"type": "array"}),
        ["s.properties[spec].properties[x].items: Required value: must be specified"],
    ),
    (
        spec(x={"type": "array", "items": {}}),
        ["s.properties[spec].properties[x].items.type: Required value: must not be empty for specified array items"],
    ),
    (
        spec(x={"type": "object", "properties": {"a": STRING}, "additionalProperties": STRING}),
        [
            (
                "s.properties[spec].properties[x].additionalProperties: Forbidden: additionalProperties and properties "
                "are mutual exclusive"
            )
        ],
    ),
    (
        spec(x={"type": "string", "uniqueItems": True}),
        [
            (
                "s.properties[spec].properties[x].uniqueItems: Forbidden: uniqueItems cannot be set to true since the "
                "runtime complexity becomes quadratic"
            )
        ],
    ),
    (
        spec(x={"type": "object", "anyOf": [{"type": "object"}]}),
        ["s.properties[spec].properties[x].anyOf[0].type: Forbidden: must be empty to be structural"],
    ),
    (
        spec(x={"type": "object", "anyOf": [{"properties": {"a": {"minLength": 1}}}]}),
        [
            (
                "s.properties[spec].properties[x].properties[a]: Required value: because it is defined in "
                "s.properties[spec].properties[x].anyOf[0].properties[a]"
            )
        ],
    ),
    (spec(x={"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}), []),
    (
        spec(
            x={
                "type": "array",
                "items": {"type": "object", "properties": {"n": STRING}},
                "x-kubernetes-list-type": "map",
            }
        ),
        [
            (
                "s.properties[spec].properties[x].x-kubernetes-list-map-keys: Required value: must not be empty if "
                "x-kubernetes-list-type is map"
            )
        ],
    ),
    (
        spec(x={"type": "integer", "default": "a"}),
        [
            (
                's.properties[spec].properties[x].default: Invalid value: "string": '
                's.properties[spec].properties[x].default in body must be of type integer: "string"'
            )
        ],
    ),
    (
        {
            "type": "object",
            "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}},
        },
        [
            (
                "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but "
                "metadata is implicitly specified"
            )
        ],
    ),
]


@pytest.mark.parametrize(("schema", "errors"), STRUCTURAL)
def test_structural_rules(schema: Any, errors: list[str]) -> None:
    assert [str(error) for error in structural.check_root(schema, "s")] == errors


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        (r"^[[:alnum:]]+$", "aB1", "a-b"),
        (r"\Aab\z", "ab", "ab\n"),
        (r"^[^\]]*$", "a[b", "a]"),
        (r"^[a&&b]+$", "a&b", "c"),
        (r"^\d+$", "12", "٣"),
        (r"^\p{L}+$", "äб", "a1"),
        (r"^([[:digit:]_]|x)[]a]$", "_]", "xb"),
    ],
)
def test_patterns_are_those_of_go(pattern: str, matching: str, other: str) -> None:
    compiled = compile_pattern(pattern)
    assert compiled.search(matching)
    assert not compiled.search(other)


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(PatternError):
        compile_pattern("a(b")
    schema = spec(x={"type": "string", "pattern": "a(b"})
    (error,) = structural.check_root(schema, "s")
    assert error.field == "s.properties[spec].properties[x].pattern"
    assert error.detail.endswith("valid regular expression, but isn't: error parsing regexp: missing closing ): `a(b`")


def test_a_pattern_takes_no_longer_than_its_text() -> None:
    assert not compile_pattern("^(a+)+$").search("a" * 100_000 + "b")


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("date-time", "2026-01-01T00:00:00.5Z", "2026-01-01"),
        ("date", "2026-02-28", "2026-02-30"),
        ("duration", "1h30m", "soon"),
        ("ipv4", "10.0.0.1", "10.0.0.256"),
        ("ipv6", "fe80::1", "10.0.0.1"),
        ("cidr", "10.0.0.0/8", "10.0.0.0"),
        ("uri", "https://example.com/x", "no uri"),
        ("hostname", "a.example.com", "-a.b"),
        ("email", "a@example.com", "a"),
        ("uuid", "3d813cbb-47fb-32ba-91df-831e1593ac29", "3d813cbb"),
        ("byte", "aGk=", "a"),
        ("mac", "01:23:45:67:89:ab", "01:23"),
        ("not-a-format", "anything", None),
    ],
)
def test_formats(name: str, good: str, bad: str | None) -> None:
    assert matches_format(name, good)
    assert bad is None or not matches_format(name, bad)

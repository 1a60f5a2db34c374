"""x-kubernetes-validations: what rules say of objects, and which rules may be written."""

from __future__ import annotations

from typing import Any

import pytest

from hawser.api.cel.costs import BUDGET
from hawser.api.crd.rules import Evaluation, compile_tree
from hawser.api.crd.schema import ABSENT
from hawser.api.crd.structural import check_root

PROPERTIES: dict[str, Any] = {
    "a": {"type": "integer"},
    "b": {"type": "integer"},
    "text": {"type": "string", "maxLength": 20},
    "foo-bar": {"type": "string"},
    "namespace": {"type": "string"},
    "nullable": {"type": "string", "nullable": True},
    "when": {"type": "string", "format": "date-time"},
    "span": {"type": "string", "format": "duration"},
    "bytes": {"type": "string", "format": "byte"},
    "ratio": {"type": "number"},
    "port": {"x-kubernetes-int-or-string": True},
    "set": {"type": "array", "x-kubernetes-list-type": "set", "maxItems": 10, "items": {"type": "string"}},
    "map": {
        "type": "array",
        "maxItems": 10,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["key"],
        "items": {
            "type": "object",
            "required": ["key"],
            "properties": {"key": {"type": "string"}, "value": {"type": "integer"}},
        },
    },
    "atomic": {"type": "array", "maxItems": 10, "items": {"type": "integer"}},
    "labels": {"type": "object", "maxProperties": 10, "additionalProperties": {"type": "string", "maxLength": 9}},
    "anything": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    "template": {
        "type": "object",
        "x-kubernetes-embedded-resource": True,
        "x-kubernetes-preserve-unknown-fields": True,
    },
}


def schema(*rules: dict[str, Any], **changed: Any) -> dict[str, Any]:
    properties = {**PROPERTIES, **changed}
    spec = {"type": "object", "x-kubernetes-validations": [*rules], "properties": properties}
    return {"type": "object", "properties": {"spec": spec}}


def run(source: dict[str, Any], spec: Any, old: Any = ABSENT) -> Evaluation:
    tree = compile_tree(source)
    assert tree is not None
    done = Evaluation()
    done.run(tree, {"spec": spec}, old if old is ABSENT else {"spec": old})
    return done


def errors(source: dict[str, Any], spec: Any, old: Any = ABSENT) -> list[str]:
    return [str(error) for error in run(source, spec, old).errors]


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ("self.a <= self.b", {"a": 1, "b": 2}, {"a": 3, "b": 2}),
        ("!has(self.a) || self.a > 1", {}, {"a": 1}),
        ("self.foo__dash__bar == self.__namespace__", {"foo-bar": "x", "namespace": "x"},
         {"foo-bar": "x", "namespace": "y"}),
        ("self.when < timestamp('2020-01-01T00:00:00Z')", {"when": "2019-01-01T00:00:00Z"},
         {"when": "2021-01-01T00:00:00+02:00"}),
        ("self.span > duration('1h')", {"span": "2h"}, {"span": "59m"}),
        ("self.bytes == b'ab'", {"bytes": "YWI="}, {"bytes": "YWM="}),
        ("self.ratio / 2.0 == 0.5", {"ratio": 1}, {"ratio": 2}),
        ("type(self.port) == int ? self.port < 9 : self.port.endsWith('%')", {"port": "5%"}, {"port": 10}),
        ("self.set == ['a', 'b']", {"set": ["b", "a"]}, {"set": ["a"]}),
        ("(self.set + ['b']).size() == 2", {"set": ["b", "a"]}, {"set": ["a", "c"]}),
        ("self.map.exists(e, e.key == 'k' && e.value > 1)", {"map": [{"key": "k", "value": 2}]},
         {"map": [{"key": "k", "value": 1}]}),
        ("self.labels.all(k, k.startsWith('a') && self.labels[k] != '')", {"labels": {"ab": "c"}},
         {"labels": {"b": "c"}}),
        ("dyn(self.nullable) == null || self.nullable == 'x'", {"nullable": None}, {"nullable": "y"}),
        ("self.template.kind == 'Pod' && self.template.metadata.name == 'a'",
         {"template": {"kind": "Pod", "metadata": {"name": "a"}}},
         {"template": {"kind": "Node", "metadata": {"name": "a"}}}),
    ],
)  # fmt: skip
def test_a_rule_is_true_of_some_and_false_of_others(rule: str, good: Any, bad: Any) -> None:
    source = schema({"rule": rule})
    assert list(check_root(source, "s")) == []
    assert errors(source, good) == []
    assert errors(source, bad) == [f'spec: Invalid value: "object": failed rule: {rule}']


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"message": " no "}, 'spec: Invalid value: "object": no'),
        ({"messageExpression": "'a is %d'.format([self.a])"}, 'spec: Invalid value: "object": a is 1'),
        ({"messageExpression": "string(1 / 0)", "message": "m"}, 'spec: Invalid value: "object": m'),
        ({"messageExpression": "' '"}, 'spec: Invalid value: "object": failed rule: self.a > 1'),
        ({"fieldPath": ".a"}, 'spec.a: Invalid value: "object": failed rule: self.a > 1'),
        ({"reason": "FieldValueForbidden"}, "spec: Forbidden: failed rule: self.a > 1"),
        ({"reason": "FieldValueRequired", "fieldPath": ".b"}, "spec.b: Required value: failed rule: self.a > 1"),
        ({"reason": "FieldValueDuplicate"}, 'spec: Duplicate value: "object"'),
    ],
)
def test_a_broken_rule_says_what_it_was_told_to_say(rule: dict[str, Any], expected: str) -> None:
    assert errors(schema({"rule": "self.a > 1", **rule}), {"a": 1}) == [expected]


def test_transition_rules_speak_of_updates_only() -> None:
    source = schema({"rule": "self.a >= oldSelf.a"})
    assert errors(source, {"a": 1}) == []
    assert errors(source, {"a": 1}, {"a": 2}) == ['spec: Invalid value: "object": failed rule: self.a >= oldSelf.a']
    optional = schema({"rule": "self.a >= oldSelf.?a.orValue(5)", "optionalOldSelf": True})
    assert list(check_root(optional, "s")) == []
    assert len(errors(optional, {"a": 1})) == 1
    assert errors(optional, {"a": 6}, {"a": 6}) == []


def test_items_are_compared_with_those_of_their_keys() -> None:
    map_ = {**PROPERTIES["map"], "items": {**PROPERTIES["map"]["items"]}}
    map_["items"]["x-kubernetes-validations"] = [{"rule": "self.value >= oldSelf.value"}]
    source = schema(map=map_)
    assert list(check_root(source, "s")) == []
    old = {"map": [{"key": "x", "value": 5}, {"key": "y", "value": 1}]}
    assert errors(source, {"map": [{"key": "y", "value": 1}, {"key": "z", "value": 0}]}, old) == []
    assert errors(source, {"map": [{"key": "z", "value": 0}, {"key": "x", "value": 4}]}, old) == [
        'spec.map[1]: Invalid value: "object": failed rule: self.value >= oldSelf.value'
    ]


def test_what_stays_as_it_was_is_only_warned_of() -> None:
    source = schema({"rule": "self.a > 1"})
    done = run(source, {"a": 1}, {"a": 1})
    assert done.errors == []
    assert done.warnings == ['spec: Invalid value: "object": failed rule: self.a > 1']
    assert errors(source, {"a": 1, "b": 1}, {"a": 1}) != []


def test_rules_of_the_whole_object_have_no_field() -> None:
    source = {"type": "object", "x-kubernetes-validations": [{"rule": "self.metadata.name == 'a'"}]}
    assert list(check_root(source, "s")) == []
    tree = compile_tree(source)
    assert tree is not None
    done = Evaluation()
    done.run(tree, {"metadata": {"name": "b"}}, ABSENT)
    assert [str(one) for one in done.errors] == [
        "<nil>: Invalid value: \"object\": failed rule: self.metadata.name == 'a'"
    ]


@pytest.mark.parametrize(
    ("rule", "field", "detail"),
    [
        ({"rule": " "}, "rule", "rule is not specified"),
        ({"rule": "true", "message": " "}, "message", "message must be non-empty if specified"),
        ({"rule": "true ||\ntrue"}, "message", "message must be specified if rule contains line breaks"),
        ({"rule": "true", "reason": "Nope"}, "reason", 'supported values: "FieldValueDuplicate"'),
        ({"rule": "true", "fieldPath": ".nope"}, "fieldPath", "fieldPath must be a valid path"),
        ({"rule": "self.z"}, "rule", "failed: ERROR: <input>:1:5: undefined field 'z'\n | self.z\n | ....^"),
        ({"rule": "self.anything.x == 1"}, "rule", "undefined field 'x'"),
        ({"rule": "self.a = 1"}, "rule", "compilation failed: ERROR: <input>:1:8: Syntax error: token recognition"),
        ({"rule": "self.a"}, "rule", "cel expression must evaluate to a bool"),
        ({"rule": "true", "messageExpression": "1"}, "messageExpression", "must evaluate to a string"),
        ({"rule": "true", "messageExpression": "self.z"}, "messageExpression", "compilation failed: "),
        ({"rule": "true", "optionalOldSelf": True}, "optionalOldSelf", "may not be set if oldSelf is not used in rule"),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_be_is_refused(rule: dict[str, Any], field: str, detail: str) -> None:
    (error,) = check_root(schema(rule), "s")
    assert error.field == f"s.properties[spec].x-kubernetes-validations[0].{field}"
    assert detail in str(error)


def test_old_self_has_no_meaning_in_what_cannot_be_told_apart() -> None:
    items = {"type": "integer", "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]}
    (error,) = check_root(schema(atomic={**PROPERTIES["atomic"], "items": items}), "s")
    assert error.detail == (
        "oldSelf cannot be used on the uncorrelatable portion of the schema within "
        "s.properties[spec].properties[atomic]"
    )


def test_a_rule_that_may_cost_too_much_is_refused() -> None:
    unbounded = {"type": "array", "items": {"type": "integer"}}
    found = list(check_root(schema({"rule": "self.l.all(x, self.l.all(y, x == y))"}, l=unbounded), "s"))
    assert found[0].detail == (
        "estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, "
        "maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
    assert "estimated rule cost total for entire OpenAPIv3 schema exceeds budget" in found[-1].detail
    bounded = {**unbounded, "maxItems": 100}
    assert list(check_root(schema({"rule": "self.l.all(x, self.l.all(y, x == y))"}, l=bounded), "s")) == []


def test_a_default_must_keep_the_rules() -> None:
    ruled = {"type": "integer", "default": 3, "x-kubernetes-validations": [{"rule": "self < 3"}]}
    (error,) = check_root(schema(a=ruled), "s")
    assert str(error) == ('s.properties[spec].properties[a].default: Invalid value: "integer": failed rule: self < 3')


def test_evaluation_ends_when_the_budget_is_spent() -> None:
    source = schema({"rule": "self.atomic.all(x, self.atomic.all(y, self.atomic.all(z, x + y + z >= 0)))"})
    tree = compile_tree(source)
    assert tree is not None
    done = Evaluation()
    done.run(tree, {"spec": {"atomic": list(range(1000))}}, ABSENT)
    (error,) = done.errors
    assert "'operation cancelled: actual cost limit exceeded': no further validation rules will be run" in str(error)
    small = Evaluation(BUDGET // BUDGET)
    small.run(tree, {"spec": {"atomic": [1]}}, ABSENT)
    assert "validation failed due to running out of cost budget" in str(small.errors[0])

"""Label and field selectors parse, match and complain as kube-apiserver does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.api.errors import APIError
from hawser.api.field_selectors import FieldSelector, field_value
from hawser.api.selectors import LabelSelector


@pytest.mark.parametrize(
    ("selector", "labels", "selected"),
    [
        ("", {}, True),
        ("", {"a": "b"}, True),
        ("a=b", {"a": "b"}, True),
        ("a==b", {"a": "b"}, True),
        ("a=b", {}, False),
        ("a=", {"a": ""}, True),
        ("a!=b", {}, True),
        ("a!=b", {"a": "b"}, False),
        ("a in (b,c)", {"a": "c"}, True),
        ("a in (b,c)", {}, False),
        ("a in (,c)", {"a": ""}, True),
        ("a notin (b, c)", {}, True),
        ("a notin (b,c)", {"a": "b"}, False),
        ("a", {"a": ""}, True),
        ("a", {}, False),
        ("!a", {}, True),
        ("! a", {"a": "b"}, False),
        ("a>1", {"a": "2"}, True),
        ("a<1", {"a": "x"}, False),
        ("a>1", {}, False),
        ("a=b,c notin (d),!e", {"a": "b", "c": "x"}, True),
        ("in in (in)", {"in": "in"}, True),
        ("example.com/app = web", {"example.com/app": "web"}, True),
    ],
)
def test_a_label_selector_selects(selector: str, labels: dict[str, str], selected: bool) -> None:
    assert LabelSelector.parse(selector).matches(labels) is selected


@pytest.mark.parametrize(
    ("selector", "complaint"),
    [
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        ("=b", "found '=', expected: !, identifier, or 'end of string'"),
        (",", "found ',', expected: !, identifier, or 'end of string'"),
        ("a,", "found '', expected: identifier after ','"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("!a in (b)", "found 'in', expected: ',' or 'end of string'"),
        (
            "a in ()",
            (
                "unable to parse requirement: values: Invalid value: []: "
                "for 'in', 'notin' operators, values set can't be empty"
            ),
        ),
    ],
)
def test_a_bad_label_selector_is_a_bad_request(selector: str, complaint: str) -> None:
    with pytest.raises(APIError) as caught:
        LabelSelector.parse(selector)
    assert (caught.value.code, caught.value.reason, caught.value.message) == (400, "BadRequest", complaint)


@pytest.mark.parametrize("selector", ["-a=b", "a=-b", "a/b/c=d", "/a=b", f"{'a' * 64}=b", f"a={'b' * 64}", "a=ä"])
def test_keys_and_values_must_be_valid_labels(selector: str) -> None:
    with pytest.raises(APIError, match=r"unable to parse requirement: .*Invalid value"):
        LabelSelector.parse(selector)


def test_a_selector_object_is_the_conjunction_of_its_parts() -> None:
    selector = LabelSelector.from_object(
        {
            "matchLabels": {"app": "web"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["b", "a"]},
                {"key": "env", "operator": "NotIn", "values": ["dev"]},
                {"key": "x", "operator": "Exists"},
                {"key": "y", "operator": "DoesNotExist"},
            ],
        }
    )
    assert str(selector) == "app=web,env notin (dev),tier in (a,b),x,!y"
    assert selector.matches({"app": "web", "tier": "a", "x": ""})
    assert not selector.matches({"app": "web", "tier": "a", "x": "", "y": ""})


def test_no_selector_object_selects_nothing_and_an_empty_one_everything() -> None:
    assert not LabelSelector.from_object(None).matches({"a": "b"})
    assert not LabelSelector.from_object(None).empty
    assert LabelSelector.from_object({}).matches(None)
    assert LabelSelector.from_object({}).empty


def test_an_unknown_operator_of_a_selector_object_is_refused() -> None:
    with pytest.raises(APIError, match='"Like" is not a valid label selector operator'):
        LabelSelector.from_object({"matchExpressions": [{"key": "a", "operator": "Like"}]})


_LABEL = st.from_regex(r"[a-z]([a-z0-9._-]{0,8}[a-z0-9])?", fullmatch=True)


@given(st.dictionaries(_LABEL, _LABEL, max_size=4))
def test_labels_are_selected_by_their_own_selector(labels: dict[str, str]) -> None:
    selector = LabelSelector.from_labels(labels)
    assert selector.matches(labels)
    assert LabelSelector.parse(str(selector)) == selector


@given(_LABEL, st.lists(_LABEL, min_size=1, max_size=4), st.sampled_from(["in", "notin"]), _LABEL)
def test_set_operators_are_each_others_complement(key: str, values: list[str], operator: str, have: str) -> None:
    selector = LabelSelector.parse(f"{key} {operator} ({','.join(values)})")
    assert selector.matches({key: have}) is ((have in values) is (operator == "in"))
    assert LabelSelector.parse(str(selector)) == selector


_FEW = st.sampled_from(["a", "b", "c"])
_PART = st.one_of(
    st.builds("{}={}".format, _FEW, _FEW),
    st.builds("{}!={}".format, _FEW, _FEW),
    st.builds("{} in ({},{})".format, _FEW, _FEW, _FEW),
    st.builds("!{}".format, _FEW),
    _FEW,
)


@given(st.lists(_PART, max_size=3), st.none() | st.dictionaries(_FEW, _FEW))
def test_a_matcher_for_many_objects_says_the_same(parts: list[str], labels: dict[str, str] | None) -> None:
    selector = LabelSelector.parse(",".join(parts))
    assert selector.matcher()(labels) == selector.matches(labels)
    assert LabelSelector(nothing=True).matcher()(labels) is False


@given(st.text(max_size=20))
def test_any_text_is_a_selector_or_a_bad_request(text: str) -> None:
    for parse in (LabelSelector.parse, FieldSelector.parse):
        try:
            parse(text)
        except APIError as error:
            assert error.code == 400


POD = {"metadata": {"name": "web"}, "spec": {"nodeName": "n1", "hostNetwork": True}, "status": {"phase": "Running"}}


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ("", True),
        ("metadata.name=web", True),
        ("metadata.name==web,spec.nodeName=n1", True),
        ("spec.nodeName!=n1", False),
        ("spec.nodeName=", False),
        ("status.podIP=", True),
        ("status.podIP!=", False),
        ("spec.hostNetwork=true", True),
        ("spec.unschedulable=false", True),
        ("status.phase!=Failed,status.phase!=Succeeded,", True),
    ],
)
def test_a_field_selector_selects(selector: str, selected: bool) -> None:
    assert FieldSelector.parse(selector).matches(lambda path: field_value(POD, path)) is selected
    assert FieldSelector.parse(selector).matches_object(POD) is selected


def test_field_values_are_escaped() -> None:
    selector = FieldSelector.parse(r"a=b\,c\=d\\,e!=f")
    assert [(r.path, r.value, r.negated) for r in selector.requirements] == [
        ("a", r"b,c=d" + "\\", False),
        ("e", "f", True),
    ]
    assert FieldSelector.parse(str(selector)) == selector
    assert selector.exact("a") == r"b,c=d" + "\\"
    assert selector.exact("e") is None


@pytest.mark.parametrize(
    ("selector", "complaint"),
    [
        ("abc", "invalid selector: 'abc'; can't understand 'abc'"),
        ("a=b=c", "invalid field selector: unescaped character in value: ="),
        (r"a=\x", r"invalid field selector: invalid escape sequence: \x"),
    ],
)
def test_a_bad_field_selector_is_a_bad_request(selector: str, complaint: str) -> None:
    with pytest.raises(APIError) as caught:
        FieldSelector.parse(selector)
    assert (caught.value.code, caught.value.message) == (400, complaint)


def test_the_source_of_an_event_is_its_component() -> None:
    assert field_value({"source": {"component": "agent"}}, "source") == "agent"
    assert field_value({"reportingComponent": "scheduler"}, "source") == "scheduler"

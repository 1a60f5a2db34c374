"""The algebra of RBAC rules: coverage, compaction, description, aggregation."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.api.rbac import aggregate, allows_path, allows_resource, compact, covers, describe, quoted

Obj = dict[str, Any]


def rule(verbs: str, groups: str, resources: str, *names: str) -> Obj:
    made: Obj = {"verbs": verbs.split(), "apiGroups": groups.split(","), "resources": resources.split()}
    return {**made, "resourceNames": list(names)} if names else made


@pytest.mark.parametrize(
    ("one", "verb", "group", "resource", "subresource", "name", "allowed"),
    [
        (rule("get", "", "pods"), "get", "", "pods", "", "", True),
        (rule("get", "", "pods"), "list", "", "pods", "", "", False),
        (rule("get", "", "pods"), "get", "apps", "pods", "", "", False),
        (rule("get", "", "pods"), "get", "", "pods", "log", "", False),
        (rule("get", "", "pods/log"), "get", "", "pods", "log", "", True),
        (rule("get", "", "pods/log"), "get", "", "pods", "", "", False),
        (rule("*", "*", "*"), "whatever", "any.example", "things", "part", "x", True),
        (rule("get", "*", "*/scale"), "get", "apps", "deployments", "scale", "", True),
        (rule("get", "*", "*/scale"), "get", "apps", "deployments", "status", "", False),
        (rule("get", "*", "*/scale"), "get", "apps", "deployments", "", "", False),
        # A star does not stand for a resource's parts only.
        (rule("get", "", "pods/*"), "get", "", "pods", "log", "", False),
        (rule("get", "", "secrets", "a", "b"), "get", "", "secrets", "", "a", True),
        (rule("get", "", "secrets", "a", "b"), "get", "", "secrets", "", "c", False),
        (rule("list", "", "secrets", "a"), "list", "", "secrets", "", "", False),
    ],
)
def test_what_a_rule_allows(
    one: Obj, verb: str, group: str, resource: str, subresource: str, name: str, allowed: bool
) -> None:
    assert allows_resource(one, verb, group, resource, subresource, name) is allowed


@pytest.mark.parametrize(
    ("urls", "path", "allowed"),
    [
        (["/api"], "/api", True),
        (["/api"], "/api/v1", False),
        (["/api/*"], "/api/v1", True),
        (["/api/*"], "/api", False),
        (["/heal*"], "/healthz", True),
        (["*"], "/anything", True),
        (["/a*/b"], "/a/b", False),
    ],
)
def test_which_paths_a_rule_allows(urls: list[str], path: str, allowed: bool) -> None:
    assert allows_path({"verbs": ["get"], "nonResourceURLs": urls}, "get", path) is allowed
    assert not allows_path({"verbs": ["get"], "nonResourceURLs": urls}, "post", path)


@pytest.mark.parametrize(
    ("owner", "wanted", "missing"),
    [
        ([rule("get list", "", "pods services")], [rule("get", "", "services")], []),
        ([rule("get", "", "pods"), rule("list", "", "pods")], [rule("get list", "", "pods")], []),
        ([rule("get", "", "pods")], [rule("get list", "", "pods")], [rule("list", "", "pods")]),
        ([rule("*", "*", "*")], [rule("*", "*", "*/scale", "x")], []),
        ([rule("get", "", "pods")], [rule("*", "", "pods")], [rule("*", "", "pods")]),
        ([rule("get", "", "*/status")], [rule("get", "", "pods/status")], []),
        ([rule("get", "", "secrets", "a")], [rule("get", "", "secrets", "a")], []),
        ([rule("get", "", "secrets", "a")], [rule("get", "", "secrets")], [rule("get", "", "secrets")]),
        ([rule("get", "", "secrets")], [rule("get", "", "secrets", "a")], []),
        (
            [{"verbs": ["get"], "nonResourceURLs": ["/a/*"]}],
            [{"verbs": ["get"], "nonResourceURLs": ["/a/b", "/b"]}],
            [{"verbs": ["get"], "nonResourceURLs": ["/b"]}],
        ),
    ],
)
def test_what_is_not_covered_by_what_one_has(owner: list[Obj], wanted: list[Obj], missing: list[Obj]) -> None:
    assert covers(owner, wanted) == missing


VERBS, GROUPS, RESOURCES, NAMES = (
    ["get", "list", "*"],
    ["", "apps", "*"],
    ["pods", "pods/log", "*/log", "*"],
    ["a", "b"],
)
some_rules = st.lists(
    st.builds(
        lambda verbs, groups, resources, names: {
            "verbs": verbs,
            "apiGroups": groups,
            "resources": resources,
            **({"resourceNames": names} if names else {}),
        },
        *(st.lists(st.sampled_from(pool), min_size=1, max_size=2, unique=True) for pool in (VERBS, GROUPS, RESOURCES)),
        st.lists(st.sampled_from(NAMES), max_size=2, unique=True),
    ),
    max_size=4,
)
questions = st.tuples(
    *map(st.sampled_from, (["get", "list", "watch"], ["", "apps", "x"], ["pods", "nodes"], ["", "log"], ["a", "b", ""]))
)


def anyone(rules: list[Obj], question: tuple[str, str, str, str, str]) -> bool:
    return any(allows_resource(one, *question) for one in rules)


@given(some_rules, some_rules, questions)
def test_covered_rules_never_allow_more(owner: list[Obj], wanted: list[Obj], question: Any) -> None:
    if not covers(owner, wanted):
        assert anyone(owner, question) or not anyone(wanted, question)
    assert covers([*owner, *covers(owner, wanted)], wanted) == []
    assert covers(wanted, wanted) == []


@given(some_rules, questions)
def test_compacted_rules_allow_the_same(rules: list[Obj], question: Any) -> None:
    assert anyone(compact(rules), question) == anyone(rules, question)
    assert covers(compact(rules), rules) == [] and covers(rules, compact(rules)) == []


def test_rules_are_told_as_kubernetes_tells_them() -> None:
    assert describe(rule("get list", ",apps", "pods", "x")) == (
        '{APIGroups:["" "apps"], Resources:["pods"], ResourceNames:["x"], Verbs:["get" "list"]}'
    )
    assert describe({"verbs": ["get"], "nonResourceURLs": ["/a"]}) == '{NonResourceURLs:["/a"], Verbs:["get"]}'
    assert quoted(()) == "[]"


def role(name: str, labels: Obj, *rules: Obj) -> Obj:
    return {"metadata": {"name": name, "labels": labels}, "rules": list(rules)}


def test_an_aggregated_role_has_every_rule_once_in_order_of_roles() -> None:
    a, b, c = (rule("get", "", name) for name in "abc")
    everything = [
        role("z", {"x": "1"}, c, a),
        role("k", {"x": "1", "y": "1"}, a, b),
        role("n", {}, rule("*", "*", "*")),
    ]
    wide = role("wide", {"x": "1"})
    wide["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {"y": "1"}}, {"matchLabels": {"x": "1"}}]}
    assert aggregate(wide, [*everything, {**wide, "rules": [rule("own", "", "d")]}]) == [a, b, c]

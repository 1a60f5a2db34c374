"""Which rule of an audit policy decides."""

from __future__ import annotations

from typing import Any

import pytest

from hawser.apiserver.audit.policy import NOTHING, STAGES, Level, Policy, PolicyError
from hawser.apiserver.identity import User
from hawser.apiserver.paths import parse

JOE = User("joe", groups=("dev", "system:authenticated"))
POD = "/api/v1/namespaces/default/pods/web"


def policy(*rules: dict[str, Any], **more: Any) -> Policy:
    return Policy.parse({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": list(rules), **more})


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        ({}, True),
        ({"users": ["joe"]}, True),
        ({"users": ["jane"]}, False),
        ({"userGroups": ["ops", "dev"]}, True),
        ({"userGroups": ["ops"]}, False),
        ({"verbs": ["get"]}, True),
        ({"verbs": ["list"]}, False),
        ({"namespaces": ["default"]}, True),
        ({"namespaces": [""]}, False),
        ({"resources": [{"group": "", "resources": ["pods"]}]}, False),
        ({"resources": [{"group": "", "resources": ["pods/log"]}]}, True),
        ({"resources": [{"group": "", "resources": ["pods/*"]}]}, True),
        ({"resources": [{"group": "", "resources": ["*/log"]}]}, True),
        ({"resources": [{"group": "", "resources": ["*"]}]}, True),
        ({"resources": [{"group": ""}]}, True),
        ({"resources": [{"group": "apps"}]}, False),
        ({"resources": [{"group": "", "resources": ["pods/log"], "resourceNames": ["web"]}]}, True),
        ({"resources": [{"group": "", "resources": ["pods/log"], "resourceNames": ["db"]}]}, False),
        ({"nonResourceURLs": ["*"]}, False),
    ],
)
def test_a_rule_matches_a_request_for_a_resource(rule: dict[str, Any], matches: bool) -> None:
    choice = policy({"level": "Metadata", **rule}).choose(JOE, parse("GET", f"{POD}/log"))
    assert (choice is not NOTHING) is matches


@pytest.mark.parametrize(
    ("path", "rule", "matches"),
    [
        ("/healthz", ["/healthz"], True),
        ("/healthz/ping", ["/healthz"], False),
        ("/healthz/ping", ["/healthz*"], True),
        ("/version", ["*"], True),
        ("/version", ["/healthz*", "/metrics"], False),
    ],
)
def test_a_rule_matches_a_path(path: str, rule: list[str], matches: bool) -> None:
    choice = policy({"level": "Metadata", "nonResourceURLs": rule}).choose(JOE, parse("GET", path))
    assert (choice is not NOTHING) is matches


def test_the_first_rule_that_matches_decides() -> None:
    rules = policy(
        {"level": "None", "verbs": ["watch"]},
        {"level": "Request", "omitStages": ["Panic"], "omitManagedFields": False},
        {"level": "RequestResponse"},
        omitStages=["RequestReceived"],
        omitManagedFields=True,
    )
    assert rules.choose(JOE, parse("GET", "/api/v1/pods?watch=1")).level is Level.NONE
    choice = rules.choose(JOE, parse("GET", POD))
    assert (choice.level, choice.bare) == (Level.REQUEST, False)
    assert choice.stages == set(STAGES) - {"Panic", "RequestReceived"}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "must be an object"),
        ({"apiVersion": "audit.k8s.io/v1beta1", "kind": "Policy", "rules": [{"level": "None"}]}, "is needed"),
        ({"apiVersion": "audit.k8s.io/v1", "kind": "Policy"}, "rules: Required value"),
        ({"rules": [{"level": "All"}]}, 'rules[0].level: Unsupported value: "All"'),
        ({"rules": [{"level": "None", "user": []}]}, "rules[0].user: unknown field"),
        ({"rules": [{"level": "None", "users": "joe"}]}, "rules[0].users: list is needed"),
        (
            {"rules": [{"level": "None", "nonResourceURLs": ["/a"], "namespaces": ["b"]}]},
            "rules cannot apply to both regular resources and non-resource URLs",
        ),
        ({"rules": [{"level": "None", "nonResourceURLs": ["a"]}]}, "must begin with a '/' character"),
        ({"rules": [{"level": "None", "nonResourceURLs": ["/a*b"]}]}, "must be the final character"),
        (
            {"rules": [{"level": "None", "resources": [{"group": "", "resourceNames": ["a"]}]}]},
            "using resourceNames requires at least one resource",
        ),
        ({"rules": [{"level": "None", "omitStages": ["Never"]}]}, 'Unsupported value: "Never"'),
    ],
)
def test_a_policy_that_cannot_be_followed_says_why(document: Any, message: str) -> None:
    if isinstance(document, dict):
        document = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", **document}
    with pytest.raises(PolicyError) as caught:
        Policy.parse(document)
    assert message in str(caught.value)

"""What roles, webhooks, APIServices and flow control may say, in kube-apiserver's words."""

from typing import Any

import pytest

from hawser.api import kinds
from hawser.api.flowcontrol import MANDATORY_LEVELS, MANDATORY_SCHEMAS
from hawser.api.kinds import Kind
from hawser.api.validation import validate_create, validate_status_update, validate_update

Obj = dict[str, Any]
GROUP = "rbac.authorization.k8s.io"
RULE: Obj = {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}
HOOK: Obj = {
    "name": "a.b.c",
    "clientConfig": {"url": "https://host/path"},
    "sideEffects": "None",
    "admissionReviewVersions": ["v1"],
}


def made(kind: Kind, name: str = "x", **fields: Any) -> Obj:
    return {"metadata": {"name": name, **({"namespace": "default"} if kind.namespaced else {})}, **fields}


def errors(kind: Kind, name: str = "x", **fields: Any) -> list[str]:
    return [str(e) for e in validate_create(kind, made(kind, name, **fields))]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (RULE, []),
        ({**RULE, "verbs": []}, ["rules[0].verbs: Required value: verbs must contain at least one value"]),
        (
            {"verbs": ["get"]},
            [
                "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
                "rules[0].resources: Required value: resource rules must supply at least one resource",
            ],
        ),
        (
            {**RULE, "nonResourceURLs": ["/x"]},
            [
                'rules[0].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs',
                (
                    'rules[0].nonResourceURLs: Invalid value: ["/x"]: rules cannot apply to both regular resources and '
                    "non-resource URLs"
                ),
            ],
        ),
    ],
)
def test_roles(rule: Obj, expected: list[str]) -> None:
    assert errors(kinds.ROLE, "system:any:name", rules=[rule]) == expected


def test_names_of_roles_are_segments_of_a_path() -> None:
    assert errors(kinds.CLUSTER_ROLE, "a/b", rules=[]) == ["metadata.name: Invalid value: \"a/b\": may not contain '/'"]


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ({"kind": "User", "name": "u", "apiGroup": GROUP}, []),
        ({"kind": "ServiceAccount", "name": "s", "namespace": "n"}, []),
        ({"kind": "ServiceAccount", "name": "s"}, ["subjects[0].namespace: Required value"]),
        (
            {"kind": "User", "name": ""},
            [
                "subjects[0].name: Required value",
                'subjects[0].name: Invalid value: "": user name cannot be empty',
                f'subjects[0].apiGroup: Unsupported value: "": supported values: "{GROUP}"',
            ],
        ),
        (
            {"kind": "Robot", "name": "r"},
            ['subjects[0].kind: Unsupported value: "Robot": supported values: "ServiceAccount", "User", "Group"'],
        ),
    ],
)
def test_bindings(subject: Obj, expected: list[str]) -> None:
    reference = {"apiGroup": GROUP, "kind": "ClusterRole", "name": "r"}
    assert errors(kinds.CLUSTER_ROLE_BINDING, roleRef=reference, subjects=[subject]) == expected


def test_a_binding_keeps_its_role() -> None:
    old = made(kinds.ROLE_BINDING, roleRef={"apiGroup": GROUP, "kind": "Role", "name": "r"})
    new = made(kinds.ROLE_BINDING, roleRef={"apiGroup": GROUP, "kind": "Role", "name": "s"})
    (error,) = validate_update(kinds.ROLE_BINDING, new, old)
    assert error.detail == "cannot change roleRef"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        (
            {"name": "a.b"},
            ['name: Invalid value: "a.b": should be a domain with at least three segments separated by dots'],
        ),
        ({"sideEffects": None}, ["sideEffects: Required value: must specify one of None, NoneOnDryRun"]),
        ({"sideEffects": "Some"}, ['sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"']),
        (
            {"timeoutSeconds": 31},
            ["timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds"],
        ),
        ({"clientConfig": {}}, ["clientConfig: Required value: exactly one of url or service is required"]),
        (
            {"clientConfig": {"url": "http://host?x"}},
            [
                (
                    "clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired "
                    "format: https://host[/path]"
                ),
                'clientConfig.url: Invalid value: "x": query parameters are not permitted in the URL',
            ],
        ),
        (
            {"clientConfig": {"service": {"name": "s", "namespace": "n", "port": 443, "path": "/a//b"}}},
            ['clientConfig.service.path: Invalid value: "/a//b": segment[1] may not be empty'],
        ),
        ({"admissionReviewVersions": []}, ["admissionReviewVersions: Required value: must specify one of v1, v1beta1"]),
        (
            {"admissionReviewVersions": ["v9"]},
            ['admissionReviewVersions: Invalid value: ["v9"]: must include at least one of v1, v1beta1'],
        ),
        (
            {
                "rules": [
                    {"operations": ["*", "CREATE"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*", "a"]}
                ]
            },
            [
                (
                    'rules[0].operations: Invalid value: ["*","CREATE"]: if \'*\' is present, must not specify other '
                    "operations"
                ),
                (
                    'rules[0].resources: Invalid value: ["*","a"]: if \'*\' is present, must not specify other '
                    "resources without subresources"
                ),
            ],
        ),
    ],
)
def test_webhooks(change: Obj, expected: list[str]) -> None:
    hook = {key: value for key, value in {**HOOK, **change}.items() if value is not None}
    assert errors(kinds.VALIDATING_WEBHOOK_CONFIGURATION, webhooks=[hook]) == [f"webhooks[0].{e}" for e in expected]


def test_webhooks_of_a_configuration_have_names_of_their_own() -> None:
    assert errors(kinds.MUTATING_WEBHOOK_CONFIGURATION, webhooks=[HOOK, HOOK]) == [
        'webhooks[1].name: Duplicate value: "a.b.c"'
    ]


def test_api_services_are_named_by_version_and_group() -> None:
    spec = {"group": "e.x", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1}
    assert errors(kinds.API_SERVICE, "v1.e.x", spec=spec) == []
    assert errors(kinds.API_SERVICE, "v2.e.x", spec={**spec, "versionPriority": 0, "caBundle": "eA=="}) == [
        'metadata.name: Invalid value: "v2.e.x": must be `spec.version+"."+spec.group`: "v1.e.x"',
        "spec.versionPriority: Invalid value: 0: must be positive and less than 1000",
        'spec.caBundle: Invalid value: "1 bytes": local APIServices may not have a caBundle',
    ]
    status = {"conditions": [{"type": "Available", "status": "Maybe"}]}
    found = validate_status_update(kinds.API_SERVICE, made(kinds.API_SERVICE, status=status), made(kinds.API_SERVICE))
    assert [e.field for e in found] == ["status.conditions[0].status"]


SCHEMA: Obj = {
    "priorityLevelConfiguration": {"name": "l"},
    "matchingPrecedence": 100,
    "rules": [
        {
            "subjects": [{"kind": "User", "user": {"name": "u"}}],
            "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz/*"]}],
        }
    ],
}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        (
            {"matchingPrecedence": 1},
            [
                (
                    "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have "
                    "matchingPrecedence 1"
                )
            ],
        ),
        (
            {"priorityLevelConfiguration": {}},
            ["spec.priorityLevelConfiguration.name: Required value: must reference a priority level"],
        ),
        (
            {"rules": [{"subjects": [], "resourceRules": []}]},
            [
                "spec.rules[0].subjects: Required value: subjects must contain at least one value",
                "spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty",
            ],
        ),
    ],
)
def test_flow_schemas(change: Obj, expected: list[str]) -> None:
    assert errors(kinds.FLOW_SCHEMA, spec={**SCHEMA, **change}) == expected


@pytest.mark.parametrize(
    ("queuing", "expected"),
    [
        ({"queues": 64, "handSize": 8, "queueLengthLimit": 50}, []),
        (
            {"queues": 64, "handSize": 65, "queueLengthLimit": 50},
            ["handSize: Invalid value: 65: should not be greater than queues (64)"],
        ),
        (
            {"queues": 10000, "handSize": 8, "queueLengthLimit": 0},
            [
                "queueLengthLimit: Invalid value: 0: must be positive",
                (
                    "handSize: Invalid value: 8: required entropy bits of deckSize 10000 and handSize 8 should not be "
                    "greater than 60"
                ),
            ],
        ),
    ],
)
def test_priority_levels(queuing: Obj, expected: list[str]) -> None:
    limited = {"nominalConcurrencyShares": 1, "limitResponse": {"type": "Queue", "queuing": queuing}}
    found = errors(kinds.PRIORITY_LEVEL_CONFIGURATION, spec={"type": "Limited", "limited": limited})
    assert found == [f"spec.limited.limitResponse.queuing.{e}" for e in expected]


def test_what_is_mandatory_stays_as_it_is() -> None:
    for name, spec in MANDATORY_SCHEMAS.items():
        assert errors(kinds.FLOW_SCHEMA, name, spec=spec) == []
        (error,) = errors(kinds.FLOW_SCHEMA, name, spec={**spec, "matchingPrecedence": 9})
        assert error.endswith(f"spec of '{name}' must equal the fixed value")
    for name, spec in MANDATORY_LEVELS.items():
        assert errors(kinds.PRIORITY_LEVEL_CONFIGURATION, name, spec=spec) == []
    assert (
        errors(
            kinds.PRIORITY_LEVEL_CONFIGURATION,
            "exempt",
            spec={"type": "Exempt", "exempt": {"nominalConcurrencyShares": 9}},
        )
        == []
    )

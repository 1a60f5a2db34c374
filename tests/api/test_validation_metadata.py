"""Names, labels, annotations, owners and finalizers, in kube-apiserver's words."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.api import kinds
from hawser.api.validation import _RULES, rules, validate_create, validate_status_update, validate_update

SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)


def errors(meta: dict[str, Any], kind: kinds.Kind = kinds.CONFIG_MAP) -> list[str]:
    if kind.namespaced:
        meta = {"namespace": "default", **meta}
    return [str(e) for e in validate_create(kind, {"metadata": meta})]


def test_rules_are_of_served_kinds() -> None:
    assert set(_RULES) == {kind.gvk for kind in kinds.KINDS if "watch" in kind.verbs}


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({"name": "a.b-c"}, []),
        ({"name": "A_b"}, [f'metadata.name: Invalid value: "A_b": {SUBDOMAIN}']),
        ({"name": "a\n"}, [f'metadata.name: Invalid value: "a\n": {SUBDOMAIN}']),
        ({"name": "a" * 254}, [f'metadata.name: Invalid value: "{"a" * 254}": must be no more than 253 bytes']),
        ({}, ["metadata.name: Required value: name or generateName is required"]),
        ({"generateName": "a-", "name": "a-x"}, []),
        (
            {"generateName": "A-", "name": "a-x"},
            [f'metadata.generateName: Invalid value: "A-": {SUBDOMAIN}'],
        ),
        ({"name": "a", "namespace": ""}, ["metadata.namespace: Required value"]),
        ({"name": "a", "finalizers": ["example.com/x", "orphan"]}, []),
        (
            {"name": "a", "finalizers": ["x"]},
            [
                (
                    'metadata.finalizers[0]: Invalid value: "x": name is neither a standard finalizer name nor is it '
                    "fully qualified"
                )
            ],
        ),
        (
            {"name": "a", "finalizers": ["orphan", "foregroundDeletion"]},
            [
                (
                    'metadata.finalizers: Invalid value: ["orphan","foregroundDeletion"]: '
                    "finalizer orphan and foregroundDeletion cannot be both set"
                )
            ],
        ),
        (
            {"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]},
            ['metadata.ownerReferences.uid: Invalid value: "": must not be empty'],
        ),
        (
            {"name": "a", "annotations": {"a": "x" * 262144}},
            ["metadata.annotations: Too long: may not be more than 262144 bytes"],
        ),
        ({"name": "a", "annotations": {"Example.COM/Key": "anything goes: ü"}}, []),
    ],
)
def test_metadata(meta: dict[str, Any], expected: list[str]) -> None:
    assert errors(meta) == expected


def test_labels_have_keys_and_values_of_a_form() -> None:
    assert errors({"name": "a", "labels": {"app": "x", "example.com/part": ""}}) == []
    (wrong,) = errors({"name": "a", "labels": {"app": "-x"}})
    assert wrong.startswith('metadata.labels: Invalid value: "-x": a valid label must be an empty string or consist of')
    (wrong,) = errors({"name": "a", "labels": {"a b": "x"}})
    assert wrong.startswith('metadata.labels: Invalid value: "a b": name part must consist of alphanumeric characters')


def test_only_one_owner_controls() -> None:
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": True}
    (wrong,) = errors({"name": "a", "ownerReferences": [owner, {**owner, "name": "q"}]})
    assert wrong.endswith('Only one reference can have Controller set to true. Found "true" in references for p and q')


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        (kinds.NAMESPACE, "a.b", [f'metadata.name: Invalid value: "a.b": {LABEL}']),
        (kinds.POD, "a.b", []),
        (
            kinds.SERVICE,
            "1a",
            [
                (
                    'metadata.name: Invalid value: "1a": a DNS-1035 label must consist of lower case alphanumeric '
                    "characters or '-', start with an alphabetic character, and end with an alphanumeric character "
                    "(e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
                )
            ],
        ),
    ],
)
def test_names_follow_the_rules_of_their_kind(kind: kinds.Kind, name: str, expected: list[str]) -> None:
    assert [e for e in errors({"name": name}, kind) if e.startswith("metadata")] == expected


def test_cluster_scoped_objects_have_no_namespace() -> None:
    assert errors({"name": "a", "namespace": "x"}, kinds.NODE) == [
        "metadata.namespace: Forbidden: not allowed on this type"
    ]


OLD = {"name": "a", "namespace": "default", "uid": "1", "creationTimestamp": "2026-01-01T00:00:00Z", "generation": 2}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"uid": ""}, []),
        ({"labels": {"a": "b"}}, []),
        ({"uid": "2"}, ['metadata.uid: Invalid value: "2": field is immutable']),
        ({"name": "b"}, ['metadata.name: Invalid value: "b": field is immutable']),
        ({"generation": 1}, ["metadata.generation: Invalid value: 1: must not be decremented"]),
    ],
)
def test_identity_does_not_change(change: dict[str, Any], expected: list[str]) -> None:
    for validate in (validate_update, validate_status_update):
        found = validate(kinds.CONFIG_MAP, {"metadata": {**OLD, **change}}, {"metadata": OLD})
        assert [str(e) for e in found] == expected


def test_what_is_being_deleted_gets_no_new_finalizers() -> None:
    old = {**OLD, "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a.b/c"]}
    new = {**old, "finalizers": ["a.b/c", "a.b/d"]}
    assert [str(e) for e in validate_update(kinds.CONFIG_MAP, {"metadata": new}, {"metadata": old})] == [
        (
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new "
            'finalizers []string{"a.b/d"}'
        )
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("http", []),
        ("a", []),
        ("a" * 15, []),
        ("a" * 16, ["must be no more than 15 characters"]),
        ("80", ["must contain at least one letter (a-z)"]),
        ("a--b", ["must not contain consecutive hyphens"]),
        ("-a", ["must not begin or end with a hyphen"]),
        (
            "A1",
            [
                "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
                "must contain at least one letter (a-z)",
            ],
        ),
    ],
)
def test_port_names(name: str, expected: list[str]) -> None:
    assert rules.port_name_errors(name) == expected


@given(st.text(alphabet="ab1-.A_\n", max_size=8))
def test_port_names_fast_and_slow_rules_agree(name: str) -> None:
    slow = [
        len(name) <= 15,
        bool(name) and all(c in "-abcdefghijklmnopqrstuvwxyz0123456789" for c in name),
        any("a" <= c <= "z" for c in name),
        "--" not in name,
        not name.startswith("-") and not name.endswith("-"),
    ]
    assert (rules.port_name_errors(name) == []) == all(slow)


@given(st.text(max_size=300))
def test_name_rules_are_total(name: str) -> None:
    for rule in (rules.subdomain_errors, rules.label_errors, rules.label_1035_errors, rules.config_key_errors):
        rule(name)
    rules.ip_errors(name), rules.cidr_errors(name), rules.env_name_errors(name)

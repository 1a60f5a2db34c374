"""ConfigMap, Secret, Namespace, Event, Lease, EndpointSlice, Node, RuntimeClass."""

from base64 import b64encode
from typing import Any

import pytest

from hawser.api import kinds
from hawser.api.kinds import Kind
from hawser.api.validation import validate_create, validate_status_update, validate_update


def create(kind: Kind, **obj: Any) -> list[str]:
    meta = {"name": "a", **({"namespace": "default"} if kind.namespaced else {}), **obj.pop("metadata", {})}
    return [str(e) for e in validate_create(kind, {"metadata": meta, **obj})]


def update(kind: Kind, new: dict[str, Any], old: dict[str, Any]) -> list[str]:
    meta = {"name": "a", **({"namespace": "default"} if kind.namespaced else {})}
    return [str(e) for e in validate_update(kind, {"metadata": meta, **new}, {"metadata": meta, **old})]


def b64(text: str) -> str:
    return b64encode(text.encode()).decode()


KEY_RULE = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        ({}, []),
        ({"data": {"a.b_C-1": "x"}}, []),
        ({"data": {"a b": "x"}}, [f'data[a b]: Invalid value: "a b": {KEY_RULE}']),
        ({"data": {"..": "x"}}, ["data[..]: Invalid value: \"..\": must not be '..'"]),
        ({"data": {"..a": "x"}}, ["data[..a]: Invalid value: \"..a\": must not start with '..'"]),
        (
            {"data": {"a": "x"}, "binaryData": {"a": ""}},
            ['data[a]: Invalid value: "a": duplicate of key present in binaryData'],
        ),
        ({"data": {"a": "x" * 1048576}}, []),
        ({"data": {"a": "ü" * 524289}}, ["[]: Too long: may not be more than 1048576 bytes"]),
    ],
)
def test_config_maps(obj: dict[str, Any], expected: list[str]) -> None:
    assert create(kinds.CONFIG_MAP, **obj) == expected


LOCKED = "Forbidden: field is immutable when `immutable` is set"


@pytest.mark.parametrize("kind", [kinds.CONFIG_MAP, kinds.SECRET])
def test_immutable_data_stays(kind: Kind) -> None:
    old = {"immutable": True, "data": {"a": "eA=="}}
    assert update(kind, old, old) == []
    assert update(kind, {**old, "data": {}}, old) == [f"data: {LOCKED}"]
    assert update(kind, {"data": {"a": "eA=="}}, old) == [f"immutable: {LOCKED}"]
    assert update(kind, old, {"data": {}}) == []


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        ({"type": "Opaque", "data": {"a": "eA=="}}, []),
        ({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}, ["data[tls.key]: Required value"]),
        (
            {"type": "kubernetes.io/basic-auth"},
            ["data[username]: Required value", "data[password]: Required value"],
        ),
        ({"type": "kubernetes.io/ssh-auth"}, ["data[ssh-privatekey]: Required value"]),
        ({"type": "kubernetes.io/dockerconfigjson"}, ["data[.dockerconfigjson]: Required value"]),
        ({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": b64('{"auths":{}}')}}, []),
        (
            {"type": "kubernetes.io/service-account-token"},
            ["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
        ),
    ],
)
def test_secrets(obj: dict[str, Any], expected: list[str]) -> None:
    assert create(kinds.SECRET, **obj) == expected


def test_secrets_are_not_shown_in_errors() -> None:
    (wrong,) = create(kinds.SECRET, type="kubernetes.io/dockercfg", data={".dockercfg": b64("hunter2")})
    assert wrong.startswith('data[.dockercfg]: Invalid value: "<secret contents redacted>": ')
    assert "hunter2" not in wrong


def test_the_type_of_a_secret_does_not_change() -> None:
    assert update(kinds.SECRET, {"type": "b"}, {"type": "a"}) == ['type: Invalid value: "b": field is immutable']


def test_namespace_phases_follow_deletion() -> None:
    old = {"metadata": {"name": "a"}}
    new = {"metadata": {"name": "a"}, "status": {"phase": "Terminating"}}
    assert [str(e) for e in validate_status_update(kinds.NAMESPACE, new, old)] == [
        "status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"
    ]


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        ({"involvedObject": {"namespace": "default"}}, []),
        ({"involvedObject": {"kind": "Node"}}, []),
        (
            {"involvedObject": {"namespace": "x"}},
            ['involvedObject.namespace: Invalid value: "x": does not match event.namespace'],
        ),
        (
            {"involvedObject": {}, "eventTime": "2026-01-01T00:00:00.000000Z", "reason": "r", "type": "Normal"},
            [
                "reportingComponent: Required value",
                "reportingInstance: Required value",
                "action: Required value",
            ],
        ),
    ],
)
def test_events(obj: dict[str, Any], expected: list[str]) -> None:
    assert create(kinds.EVENT, **obj) == expected


def test_leases_last() -> None:
    assert create(kinds.LEASE, spec={"leaseDurationSeconds": 0, "leaseTransitions": -1}) == [
        "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
        "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
    ]


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (
            {
                "addressType": "IPv4",
                "endpoints": [{"addresses": ["10.0.0.1"]}],
                "ports": [{"protocol": "TCP", "port": 80}],
            },
            [],
        ),
        ({}, ["addressType: Required value"]),
        ({"addressType": "x"}, ['addressType: Unsupported value: "x": supported values: "FQDN", "IPv4", "IPv6"']),
        (
            {"addressType": "IPv4", "endpoints": [{}]},
            ["endpoints[0].addresses: Required value: must contain at least 1 address"],
        ),
        (
            {"addressType": "IPv4", "endpoints": [{"addresses": ["fd00::1"]}]},
            ['endpoints[0].addresses[0]: Invalid value: "fd00::1": must be an IPv4 address'],
        ),
        (
            {"addressType": "FQDN", "ports": [{"protocol": "TCP", "name": ""}, {"protocol": "UDP", "name": ""}]},
            ['ports[1].name: Duplicate value: ""'],
        ),
    ],
)
def test_endpoint_slices(obj: dict[str, Any], expected: list[str]) -> None:
    assert create(kinds.ENDPOINT_SLICE, **obj) == expected


def test_the_address_type_of_a_slice_does_not_change() -> None:
    assert update(kinds.ENDPOINT_SLICE, {"addressType": "IPv6"}, {"addressType": "IPv4"}) == [
        'addressType: Invalid value: "IPv6": field is immutable'
    ]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"taints": [{"key": "a", "effect": "NoSchedule"}]}, []),
        (
            {"taints": [{"key": "a", "effect": "No"}]},
            [
                (
                    'spec.taints[0].effect: Unsupported value: "No": supported values: "NoSchedule", '
                    '"PreferNoSchedule", "NoExecute"'
                )
            ],
        ),
        (
            {"taints": [{"key": "a", "effect": "NoExecute"}, {"key": "a", "effect": "NoExecute", "value": "b"}]},
            ['spec.taints[1]: Duplicate value: {"key":"a","effect":"NoExecute","value":"b"}'],
        ),
    ],
)
def test_nodes(spec: dict[str, Any], expected: list[str]) -> None:
    assert create(kinds.NODE, spec=spec) == expected


def test_pod_ranges_of_a_node_are_set_once() -> None:
    old, new = {"spec": {"podCIDRs": ["10.0.0.0/24"]}}, {"spec": {"podCIDRs": ["10.0.1.0/24"]}}
    assert update(kinds.NODE, new, {}) == []
    assert update(kinds.NODE, new, old) == [
        'spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid'
    ]


def test_runtime_classes_name_a_handler_for_good() -> None:
    assert create(kinds.RUNTIME_CLASS, handler="rich") == []
    assert create(kinds.RUNTIME_CLASS) == ["handler: Required value"]
    assert update(kinds.RUNTIME_CLASS, {"handler": "b"}, {"handler": "a"}) == [
        'handler: Invalid value: "b": field is immutable'
    ]


@pytest.mark.parametrize("kind", [kinds.SERVICE_ACCOUNT, kinds.NAMESPACE, kinds.LEASE], ids=lambda k: k.kind)
def test_bare_objects_of_simple_kinds_are_valid(kind: Kind) -> None:
    assert create(kind) == []

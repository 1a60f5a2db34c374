"""What ingresses, policies, endpoints and addresses may say, in kube-apiserver's words."""

from typing import Any

import pytest

from hawser.api import kinds
from hawser.api.kinds import Kind
from hawser.api.validation import validate_create, validate_status_update, validate_update

Obj = dict[str, Any]
BACKEND: Obj = {"service": {"name": "s", "port": {"number": 80}}}


def made(kind: Kind, name: str = "x", **fields: Any) -> Obj:
    meta = {"name": name, **({"namespace": "default"} if kind.namespaced else {})}
    return {**fields, "metadata": {**meta, **fields.get("metadata", {})}}


def errors(kind: Kind, name: str = "x", **fields: Any) -> list[str]:
    return [str(e) for e in validate_create(kind, made(kind, name, **fields))]


def changed(kind: Kind, old: Obj, new: Obj) -> list[str]:
    return [str(e) for e in validate_update(kind, made(kind, **new), made(kind, **old))]


def path(**fields: Any) -> Obj:
    return {"rules": [{"http": {"paths": [{"pathType": "Prefix", "path": "/", "backend": BACKEND, **fields}]}}]}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (path(), []),
        ({"defaultBackend": BACKEND}, []),
        ({}, ["spec: Invalid value: []: either `defaultBackend` or `rules` must be specified"]),
        (
            {"defaultBackend": {}},
            ['spec.defaultBackend: Invalid value: "": resource or service backend is required'],
        ),
        (
            {"defaultBackend": {"service": {"name": "s", "port": {}}}},
            ["spec.defaultBackend: Required value: port name or number is required"],
        ),
        (
            {"defaultBackend": {"service": {"name": "s", "port": {"number": 70000}}}},
            ["spec.defaultBackend.service.port.number: Invalid value: 70000: must be between 1 and 65535, inclusive"],
        ),
        (path(pathType=None), ["spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"]),
        (
            path(pathType="Regex"),
            [
                (
                    'spec.rules[0].http.paths[0].pathType: Unsupported value: "Regex": supported values: "Exact", '
                    '"ImplementationSpecific", "Prefix"'
                )
            ],
        ),
        (path(path="x"), ['spec.rules[0].http.paths[0].path: Invalid value: "x": must be an absolute path']),
        (path(path="/a//b"), ["spec.rules[0].http.paths[0].path: Invalid value: \"/a//b\": must not contain '//'"]),
        (path(pathType="ImplementationSpecific", path=""), []),
        (
            {"rules": [{"host": "10.0.0.1"}]},
            ['spec.rules[0].host: Invalid value: "10.0.0.1": must be a DNS name, not an IP address'],
        ),
        ({"rules": [{"host": "*.example.com"}]}, []),
        ({"defaultBackend": BACKEND, "tls": [{"hosts": ["a.b"], "secretName": "s"}]}, []),
    ],
)
def test_ingresses(spec: Obj, expected: list[str]) -> None:
    assert errors(kinds.INGRESS, spec=spec) == expected


def test_an_ingress_is_of_one_class() -> None:
    annotations = {"annotations": {"kubernetes.io/ingress.class": "a"}}
    assert errors(kinds.INGRESS, metadata=annotations, spec={**path(), "ingressClassName": "b"}) == [
        (
            'annotations.kubernetes.io/ingress.class: Invalid value: "a": must match `ingressClassName` when both are '
            "specified"
        )
    ]
    (wildcard,) = errors(kinds.INGRESS, spec={"rules": [{"host": "*example.com"}]})
    assert "a wildcard DNS-1123 subdomain must start with '*.'" in wildcard
    status = {"loadBalancer": {"ingress": [{"ip": "x"}, {"hostname": "10.0.0.1"}]}}
    found = validate_status_update(kinds.INGRESS, made(kinds.INGRESS, status=status), made(kinds.INGRESS))
    assert [e.field for e in found] == [
        "status.loadBalancer.ingress[0].ip",
        "status.loadBalancer.ingress[1].hostname",
    ]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"controller": "example.com/c"}, []),
        ({}, ["spec.controller: Required value"]),
        (
            {"controller": "c"},
            ['spec.controller: Invalid value: "c": must be a domain-prefixed path (such as \\"acme.io/foo\\")'],
        ),
        (
            {"controller": "e.x/c", "parameters": {"kind": "K", "name": "n", "scope": "Cluster", "namespace": "n"}},
            ["spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"],
        ),
        (
            {"controller": "e.x/c", "parameters": {"kind": "K", "name": "a/b", "scope": "Namespace"}},
            [
                "spec.parameters.name: Invalid value: \"a/b\": may not contain '/'",
                "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'",
            ],
        ),
    ],
)
def test_ingress_classes(spec: Obj, expected: list[str]) -> None:
    assert [e.replace('\\"', '"') for e in errors(kinds.INGRESS_CLASS, spec=spec)] == [
        e.replace('\\"', '"') for e in expected
    ]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"from": [{"podSelector": {}}], "ports": [{"protocol": "TCP", "port": "http"}]}, []),
        ({"from": [{}]}, ["spec.ingress[0].from[0]: Required value: must specify a peer"]),
        (
            {"from": [{"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}]},
            ["spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer"],
        ),
        (
            {"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}}]},
            [
                (
                    'spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: "11.0.0.0/16": must be a strict subset '
                    "of `cidr`"
                )
            ],
        ),
        (
            {"ports": [{"port": 90, "endPort": 80}]},
            ["spec.ingress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`"],
        ),
        (
            {"ports": [{"endPort": 80}]},
            ["spec.ingress[0].ports[0].endPort: Invalid value: 80: may not be specified when `port` is not specified"],
        ),
    ],
)
def test_network_policies(rule: Obj, expected: list[str]) -> None:
    assert errors(kinds.NETWORK_POLICY, spec={"podSelector": {}, "ingress": [rule]}) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("10.0.0.1", []),
        ("fd00::1", []),
        ("x", ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]),
        ("FD00::1", ['must be in canonical form ("fd00::1")']),
        ("::ffff:10.0.0.1", ["must not be an IPv4-mapped IPv6 address"]),
    ],
)
def test_an_ip_address_is_named_by_itself(name: str, expected: list[str]) -> None:
    spec = {"parentRef": {"resource": "services", "name": "s"}}
    found = validate_create(kinds.IP_ADDRESS, made(kinds.IP_ADDRESS, name, spec=spec))
    assert [e.detail for e in found] == expected


@pytest.mark.parametrize(
    ("cidrs", "expected"),
    [
        (["10.0.0.0/24"], []),
        (["10.0.0.0/24", "fd00::/64"], []),
        ([], ["at least one CIDR required"]),
        (["10.0.0.1/24"], ["must not have bits set beyond the prefix length"]),
        (["FD00::/64"], ['must be in canonical form ("fd00::/64")']),
        (["10.0.0.0"], ["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"]),
        (
            ["10.0.0.0/24", "10.1.0.0/24"],
            ["may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"],
        ),
    ],
)
def test_service_cidrs(cidrs: list[str], expected: list[str]) -> None:
    found = validate_create(kinds.SERVICE_CIDR, made(kinds.SERVICE_CIDR, spec={"cidrs": cidrs}))
    assert [e.detail for e in found] == expected


def test_only_a_second_family_is_added_to_a_range() -> None:
    old = {"spec": {"cidrs": ["10.0.0.0/24"]}}
    assert changed(kinds.SERVICE_CIDR, old, {"spec": {"cidrs": ["10.0.0.0/24", "fd00::/64"]}}) == []
    assert changed(kinds.SERVICE_CIDR, old, {"spec": {"cidrs": ["10.0.1.0/24"]}}) == [
        'spec.cidrs[0]: Invalid value: "10.0.1.0/24": field is immutable'
    ]


@pytest.mark.parametrize(
    ("subset", "expected"),
    [
        ({"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80, "protocol": "TCP"}]}, []),
        ({}, ["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"]),
        (
            {"addresses": [{"ip": "127.0.0.1"}]},
            [
                (
                    'subsets[0].addresses[0].ip: Invalid value: "127.0.0.1": may not be in the loopback range '
                    "(127.0.0.0/8, ::1/128)"
                )
            ],
        ),
        (
            {"notReadyAddresses": [{"ip": "224.0.0.5"}]},
            [
                (
                    'subsets[0].notReadyAddresses[0].ip: Invalid value: "224.0.0.5": may not be in the link-local '
                    "multicast range (224.0.0.0/24, ff02::/10)"
                )
            ],
        ),
        (
            {"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 1, "protocol": "TCP"}, {"port": 0, "name": "b"}]},
            [
                "subsets[0].ports[0].name: Required value",
                "subsets[0].ports[1].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "subsets[0].ports[1].protocol: Required value",
            ],
        ),
    ],
)
def test_endpoints(subset: Obj, expected: list[str]) -> None:
    assert errors(kinds.ENDPOINTS, subsets=[subset]) == expected


def test_hints_of_endpoints_name_zones_and_nodes() -> None:
    hints = {"forZones": [{"name": "a"}, {"name": "a"}], "forNodes": [{"name": "A"}]}
    endpoints = [{"addresses": ["10.0.0.1"], "hints": hints}]
    found = validate_create(kinds.ENDPOINT_SLICE, made(kinds.ENDPOINT_SLICE, addressType="IPv4", endpoints=endpoints))
    assert [e.field for e in found] == ["endpoints[0].hints.forZones[1].name", "endpoints[0].hints.forNodes[0].name"]

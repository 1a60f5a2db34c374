"""Services, in kube-apiserver's words."""

import copy
from typing import Any

import pytest

from hawser.api import kinds
from hawser.api.defaults import apply_defaults
from hawser.api.validation import validate_create, validate_status_update, validate_update


def service(**spec: Any) -> dict[str, Any]:
    obj = {"metadata": {"name": "a", "namespace": "default"}, "spec": copy.deepcopy(spec)}
    apply_defaults(kinds.SERVICE, obj)
    return obj


def create(**spec: Any) -> list[str]:
    return [str(e) for e in validate_create(kinds.SERVICE, service(**spec))]


PORTS = [{"port": 80}]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"ports": PORTS, "selector": {"a": "b"}}, []),
        ({"ports": PORTS, "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]}, []),
        ({"clusterIP": "None"}, []),
        ({}, ["spec.ports: Required value"]),
        (
            {"ports": PORTS, "type": "Foo"},
            [
                (
                    'spec.type: Unsupported value: "Foo": supported values: "ClusterIP", "ExternalName", '
                    '"LoadBalancer", "NodePort"'
                )
            ],
        ),
        (
            {"ports": [{"port": 0}]},
            [
                "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive",
            ],
        ),
        (
            {"ports": [{"port": 80}, {"port": 81}]},
            ["spec.ports[0].name: Required value", "spec.ports[1].name: Required value"],
        ),
        (
            {"ports": [{"name": "a", "port": 80}, {"name": "a", "port": 80}]},
            [
                'spec.ports[1].name: Duplicate value: "a"',
                'spec.ports[1]: Duplicate value: {"protocol":"TCP","port":80}',
            ],
        ),
        (
            {"ports": [{"port": 80, "protocol": "ICMP"}]},
            [
                'spec.ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"',
            ],
        ),
        (
            {"ports": [{"port": 80, "nodePort": 30000}]},
            ["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
        ),
        (
            {"type": "NodePort", "ports": [{"name": n, "port": p, "nodePort": 30000} for n, p in (("a", 1), ("b", 2))]},
            ["spec.ports[1].nodePort: Duplicate value: 30000"],
        ),
        ({"type": "ExternalName", "externalName": "example.com."}, []),
        ({"type": "ExternalName"}, ["spec.externalName: Required value"]),
        (
            {"ports": PORTS, "clusterIP": "x"},
            [
                'spec.clusterIPs[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
            ],
        ),
        (
            {"ports": PORTS, "externalTrafficPolicy": "Local"},
            [
                (
                    'spec.externalTrafficPolicy: Invalid value: "Local": '
                    "may only be set for externally-accessible services"
                ),
            ],
        ),
        (
            {"ports": PORTS, "type": "NodePort", "clusterIP": "None"},
            ["spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"],
        ),
        (
            {"ports": PORTS, "externalIPs": ["127.0.0.1"]},
            ['spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8)'],
        ),
        ({"ports": PORTS, "type": "LoadBalancer", "externalTrafficPolicy": "Local"}, []),
    ],
)
def test_services(spec: dict[str, Any], expected: list[str]) -> None:
    assert create(**spec) == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("10.0.0.1", "10.0.0.1", []),
        ("", "10.0.0.1", []),
        ("10.0.0.1", "10.0.0.2", ['spec.clusterIPs[0]: Invalid value: ["10.0.0.2"]: may not change once set']),
        ("10.0.0.1", "", ["spec.clusterIPs[0]: Invalid value: []: primary clusterIP can not be unset"]),
        ("None", "10.0.0.2", ['spec.clusterIPs[0]: Invalid value: ["10.0.0.2"]: may not change once set']),
    ],
)
def test_the_cluster_ip_stays(old: str, new: str, expected: list[str]) -> None:
    found = validate_update(kinds.SERVICE, service(ports=PORTS, clusterIP=new), service(ports=PORTS, clusterIP=old))
    assert [str(e) for e in found] == expected


def test_an_external_name_may_become_a_cluster_service_and_back() -> None:
    name, cluster = service(type="ExternalName", externalName="a.b"), service(ports=PORTS, clusterIP="10.0.0.1")
    assert validate_update(kinds.SERVICE, name, cluster) == []
    assert validate_update(kinds.SERVICE, cluster, name) == []


def test_only_load_balancers_have_ingress() -> None:
    obj = service(ports=PORTS)
    obj["status"] = {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}
    assert [str(e) for e in validate_status_update(kinds.SERVICE, obj, service(ports=PORTS))] == [
        "status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"
    ]
    balanced = service(ports=PORTS, type="LoadBalancer")
    balanced["status"] = obj["status"]
    assert validate_status_update(kinds.SERVICE, balanced, balanced) == []

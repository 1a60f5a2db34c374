"""What is said of valid Services, and of addresses, networks and labels in other objects."""

from typing import Any

import pytest

from hawser.api.warnings import labels
from hawser.api.warnings.addresses import address, network
from hawser.api.warnings.pod import job, pod
from hawser.api.warnings.service import service

LATER = "will be considered invalid in a future Kubernetes release: use"
ARCH = 'deprecated since v1.14; use "kubernetes.io/arch" instead'


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("192.12.2.2", ""),
        ("2001:db8::2", ""),
        ("nothing", ""),
        ("192.012.2.2", f'p: non-standard IP address "192.012.2.2" {LATER} "192.12.2.2"'),
        ("::ffff:192.12.2.2", f'p: non-standard IP address "::ffff:192.12.2.2" {LATER} "192.12.2.2"'),
        (
            "2001:db8:0:0::2",
            'p: IPv6 address "2001:db8:0:0::2" should be in RFC 5952 canonical format ("2001:db8::2")',
        ),
    ],
)
def test_addresses(value: str, expected: str) -> None:
    assert list(address(value, "p")) == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("192.12.2.0/24", ""),
        (f"192.12.2.0/{'1' * 5000}", ""),
        ("2001:db8::/32", ""),
        ("nothing", ""),
        ("1.2.3.4/x", ""),
        ("1.2.3.4/99", ""),
        ("192.012.2.0/24", f'p: non-standard CIDR value "192.012.2.0/24" {LATER} "192.12.2.0/24"'),
        ("::ffff:192.12.2.0/120", f'p: non-standard CIDR value "::ffff:192.12.2.0/120" {LATER} "192.12.2.0/24"'),
        ("192.12.2.0/024", f'p: non-standard CIDR value "192.12.2.0/024" {LATER} "192.12.2.0/24"'),
        (
            "192.12.2.8/24",
            (
                'p: CIDR value "192.12.2.8/24" is ambiguous in this context '
                '(should be "192.12.2.0/24" or "192.12.2.8/32"?)'
            ),
        ),
        (
            "2001:db8:0:0::/64",
            'p: IPv6 CIDR value "2001:db8:0:0::/64" should be in RFC 5952 canonical format ("2001:db8::/64")',
        ),
    ],
)
def test_networks(value: str, expected: str) -> None:
    assert list(network(value, "p")) == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"type": "ClusterIP", "clusterIPs": ["10.0.0.1"]}, []),
        (
            {
                "type": "ClusterIP",
                "clusterIP": "None",
                "clusterIPs": ["None"],
                "loadBalancerIP": "1.2.3.4",
                "externalIPs": ["1.2.3.4"],
                "sessionAffinity": "ClientIP",
            },
            [
                "spec.loadBalancerIP is ignored for headless services",
                "spec.externalIPs is ignored for headless services",
                "spec.SessionAffinity is ignored for headless services",
            ],
        ),
        (
            {"type": "NodePort", "externalIPs": ["1.2.3.4"]},
            ["spec.externalIPs is deprecated and may no longer be implemented in some clusters"],
        ),
        (
            {"type": "ExternalName", "externalName": "a", "externalIPs": ["1.2.3.4"]},
            ['spec.externalIPs is ignored when spec.type is "ExternalName"'],
        ),
        (
            {"type": "ClusterIP", "externalName": "a"},
            ['spec.externalName is ignored when spec.type is not "ExternalName"'],
        ),
        (
            {"type": "ClusterIP", "trafficDistribution": "PreferClose"},
            ['spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"'],
        ),
    ],
)
def test_services(spec: dict[str, Any], expected: list[str]) -> None:
    assert list(service({"metadata": {}, "spec": spec})) == expected


def test_hints_by_annotation() -> None:
    notes = {"service.kubernetes.io/topology-aware-hints": "Auto"}
    assert list(service({"metadata": {"annotations": notes}, "spec": {}})) == [
        (
            "annotation service.kubernetes.io/topology-aware-hints is deprecated, please use "
            "service.kubernetes.io/topology-mode instead"
        )
    ]


def test_labels_of_nodes_are_told_wherever_nodes_are_selected() -> None:
    key = "beta.kubernetes.io/arch"
    expressions = [{"key": key, "operator": "Exists"}]
    assert list(labels.runtime_class({"scheduling": {"nodeSelector": {key: "a"}}})) == [
        f"scheduling.nodeSelector: {ARCH}"
    ]
    assert list(labels.storage_class({"allowedTopologies": [{"matchLabelExpressions": [{"key": key}]}]})) == [
        f"allowedTopologies[0].matchLabelExpressions[0].key: {ARCH}"
    ]
    assert list(labels.selector({"matchExpressions": expressions, "matchLabels": {key: "a"}}, "nodeTopology")) == [
        f"nodeTopology.matchExpressions[0].key: {key} is {ARCH}",
        f"nodeTopology.matchLabels.{key}: {ARCH}",
    ]


def test_pods_with_unusual_addresses_claims_and_profiles() -> None:
    requests = {"storage": "1500m"}
    template = {"spec": {"resources": {"requests": requests}}}
    spec = {
        "hostAliases": [{"ip": "::ffff:1.2.3.4"}],
        "dnsConfig": {"nameservers": ["1.2.3.4", "05.06.07.08"]},
        "volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": template}}],
        "containers": [{"name": "c"}],
    }
    notes = {"container.apparmor.security.beta.kubernetes.io/c": "unconfined"}
    at = "spec.volumes[0].ephemeral.volumeClaimTemplate.spec.resources.requests[storage]"
    assert list(pod({"metadata": {"annotations": notes}, "spec": spec})) == [
        (
            "metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: deprecated since v1.30; "
            'use the "appArmorProfile" field instead'
        ),
        f'{at}: fractional byte value "1500m" is invalid, must be an integer',
        f'spec.hostAliases[0].ip: non-standard IP address "::ffff:1.2.3.4" {LATER} "1.2.3.4"',
        f'spec.dnsConfig.nameservers[1]: non-standard IP address "05.06.07.08" {LATER} "5.6.7.8"',
    ]


def test_jobs_with_more_indexes_than_can_be_followed() -> None:
    assert list(job({"completionMode": "Indexed", "completions": 100_000, "parallelism": 10_001})) == []
    (text,) = job({"completionMode": "Indexed", "completions": 100_001, "parallelism": 10_001})
    assert text.startswith("spec: In Indexed Jobs with a number of completions higher than 10^5")

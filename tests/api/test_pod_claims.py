"""The claims that pods name."""

from __future__ import annotations

from hawser.api.pod_claims import claim_keys, claim_name, claims_of
from hawser.api.types import Obj


def test_a_pod_needs_the_claims_it_names_and_those_of_its_ephemeral_volumes() -> None:
    volumes = [
        {"name": "cfg", "configMap": {"name": "cfg"}},
        {"name": "data", "persistentVolumeClaim": {"claimName": "shared"}},
        {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
    ]
    pod: Obj = {"metadata": {"name": "web", "namespace": "ns"}, "spec": {"volumes": volumes}}
    assert [claim_name("web", volume) for volume in volumes] == ["", "shared", "web-scratch"]
    assert claims_of(pod) == ["shared", "web-scratch"]
    assert claim_keys(pod) == ["ns/shared", "ns/web-scratch"]


def test_a_pod_without_volumes_needs_no_claims() -> None:
    assert claims_of({"metadata": {"name": "web", "namespace": "ns"}, "spec": {"volumes": None}}) == []

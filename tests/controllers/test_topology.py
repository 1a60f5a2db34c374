"""Topology-aware routing: which endpoint is for which zone."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.controllers.topology import Unsuited, deal, ratios, wanted

from .objects import Obj


def node(zone: str, cpu: str = "2", ready: bool = True, **labels: str) -> Obj:
    return {
        "metadata": {"labels": {**({"topology.kubernetes.io/zone": zone} if zone else {}), **labels}},
        "status": {
            "allocatable": {"cpu": cpu},
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


def endpoint(number: int, zone: str, ready: bool = True) -> Obj:
    return {"addresses": [f"10.0.0.{number}"], "zone": zone, "conditions": {"ready": ready}}


def test_zones_count_by_the_processors_of_their_ready_nodes() -> None:
    nodes = [node("a", "3"), node("b", "500m"), node("b", "500m"), node("c", "9", ready=False)]
    assert ratios(nodes) == {"a": 0.75, "b": 0.25}


@pytest.mark.parametrize("nodes", [[node("a")], [node("a"), node("")], [], [node("a"), node("b", "0")]])
def test_without_two_known_zones_there_are_no_hints(nodes: list[Obj]) -> None:
    with pytest.raises(Unsuited, match="Insufficient Node information"):
        ratios(nodes)


def test_endpoints_of_a_crowded_zone_are_lent_to_another() -> None:
    dealt = deal([endpoint(n, "a") for n in range(4)], {"a": 0.5, "b": 0.5})
    assert Counter(dealt.values()) == {"a": 2, "b": 2}
    near = [endpoint(0, "a"), endpoint(1, "b"), endpoint(2, "a", ready=False)]
    assert deal(near, {"a": 0.5, "b": 0.5}) == {"10.0.0.0": "a", "10.0.0.1": "b"}


@pytest.mark.parametrize(
    ("zones", "reason"),
    [
        ("a", r"Insufficient number of endpoints \(1 endpoints, 2 zones\)"),
        ("aab", r"Unable to allocate minimum .* \(3 endpoints, 2 zones\)"),
        ("ababa ", "One or more endpoints do not have a zone specified"),
    ],
)
def test_too_few_endpoints_say_why(zones: str, reason: str) -> None:
    listed = [endpoint(n, zone.strip()) for n, zone in enumerate(zones)]
    with pytest.raises(Unsuited, match=reason):
        deal(listed, {"a": 0.5, "b": 0.5})


@given(st.lists(st.sampled_from("abc"), min_size=3, max_size=40), st.lists(st.integers(1, 8), min_size=3, max_size=3))
def test_no_zone_is_left_without_its_part(zones: list[str], cpus: list[int]) -> None:
    parts = ratios([node(zone, str(cpu)) for zone, cpu in zip("abc", cpus, strict=True)])
    try:
        dealt = deal([endpoint(n, zone) for n, zone in enumerate(zones)], parts)
    except Unsuited:
        return
    assert len(dealt) == len(zones)
    have = Counter(dealt.values())
    assert all(have[zone] >= 1 for zone in parts)


def test_only_services_that_ask_for_it_have_hints() -> None:
    auto = {"service.kubernetes.io/topology-mode": "Auto"}
    assert wanted({"metadata": {"annotations": auto}, "spec": {}})
    assert not wanted({"metadata": {}, "spec": {}})
    assert not wanted({"metadata": {"annotations": auto}, "spec": {"trafficDistribution": "PreferClose"}})

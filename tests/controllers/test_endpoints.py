"""Endpoints of Services and their distribution over slices."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.controllers.endpoints import MOST, TRIGGER_TIME, Known, distribute, endpoints, plan, trigger_time, triggers
from hawser.controllers.legacy_endpoints import subsets, truncated

from .objects import Obj, meta, pod


def service(**spec: Any) -> Obj:
    ports = spec.pop("ports", [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}])
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta("web"),
        "spec": {"clusterIP": "10.0.0.9", "ports": ports, "selector": {"app": "web"}, **spec},
    }


def only(found: dict[Any, list[Obj]]) -> list[Obj]:
    assert len(found) == 1
    return next(iter(found.values()))


@pytest.mark.parametrize(
    ("fields", "publish", "want"),
    [
        ({}, False, (True, True, False)),
        ({"ready": False}, False, (False, False, False)),
        ({"deletionTimestamp": "x"}, False, (False, True, True)),
        ({"ready": False}, True, (True, False, False)),
        ({"deletionTimestamp": "x", "ready": False}, True, (True, False, True)),
    ],
)
def test_conditions(fields: dict[str, Any], publish: bool, want: tuple[bool, bool, bool]) -> None:
    one = only(endpoints(service(publishNotReadyAddresses=publish), [pod("p", ip="10.1.0.1", **fields)], {}))[0]
    assert tuple(one["conditions"][c] for c in ("ready", "serving", "terminating")) == want


@pytest.mark.parametrize(
    "fields", [{}, {"ip": "10.1.0.1", "phase": "Failed"}, {"ip": "10.1.0.1", "phase": "Succeeded"}]
)
def test_pods_without_address_and_ended_pods_are_no_endpoints(fields: dict[str, str]) -> None:
    assert endpoints(service(), [pod("p", **fields)], {}) == {}


def test_named_ports_are_looked_up_on_each_pod() -> None:
    named = service(ports=[{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}])
    pods = [
        pod("a", ip="10.1.0.1", ports=[{"name": "web", "containerPort": 8080}]),
        pod("b", ip="10.1.0.2", ports=[{"name": "web", "containerPort": 9090}]),
        pod("c", ip="10.1.0.3", ports=[{"name": "other", "containerPort": 1}]),
    ]
    found = endpoints(named, pods, {})
    assert sorted(e["addresses"][0] for listed in found.values() for e in listed) == ["10.1.0.1", "10.1.0.2"]
    assert len(found) == 2


def test_the_zone_is_the_nodes() -> None:
    nodes = {"n1": {"metadata": {"labels": {"topology.kubernetes.io/zone": "z1"}}}}
    one = only(endpoints(service(), [pod("p", ip="10.1.0.1")], nodes))[0]
    assert (one["nodeName"], one["zone"]) == ("n1", "z1")


@pytest.mark.parametrize(
    ("distribution", "want"),
    [
        (None, {}),
        ("PreferClose", {"forZones": [{"name": "z1"}]}),
        ("PreferSameZone", {"forZones": [{"name": "z1"}]}),
        ("PreferSameNode", {"forZones": [{"name": "z1"}], "forNodes": [{"name": "n1"}]}),
    ],
)
def test_traffic_distribution_becomes_hints_of_ready_endpoints(distribution: str | None, want: Obj) -> None:
    nodes = {"n1": {"metadata": {"labels": {"topology.kubernetes.io/zone": "z1"}}}}
    svc = service(trafficDistribution=distribution)
    pods = [pod("p", ip="10.1.0.1"), pod("q", ip="10.1.0.2", ready=False)]
    ready, waiting = only(endpoints(svc, pods, nodes))
    assert ready.get("hints", {}) == want
    assert "hints" not in waiting


def test_each_family_of_a_service_has_slices_of_its_own() -> None:
    both = pod("p", ip="10.1.0.1", uid="u")
    both["status"]["podIPs"] = [{"ip": "10.1.0.1"}, {"ip": "fd00::1"}]
    svc = service(ipFamilies=["IPv6", "IPv4"])
    made = plan(svc, [both], {}, []).create
    found = {s["addressType"]: s["endpoints"][0]["addresses"] for s in made}
    assert found == {"IPv6": ["fd00::1"], "IPv4": ["10.1.0.1"]}
    named = [{**s, "metadata": {**s["metadata"], "name": s["addressType"]}} for s in made]
    todo = plan(service(ipFamilies=["IPv4"]), [both], {}, named)
    assert [s["addressType"] for s in todo.delete] == ["IPv6"] and not todo.create and not todo.update


def test_legacy_endpoints_keep_addresses_with_the_same_ports_together() -> None:
    svc = service(ports=[{"name": "a", "port": 80, "targetPort": 8080}, {"name": "b", "port": 81}])
    pods = [pod("p", ip="10.1.0.1", uid="p"), pod("q", ip="10.1.0.2", ready=False, uid="q"), pod("r", uid="r")]
    (subset,) = subsets(svc, pods)
    assert [a["ip"] for a in subset["addresses"]] == ["10.1.0.1"]
    assert [a["ip"] for a in subset["notReadyAddresses"]] == ["10.1.0.2"]
    assert sorted(p["port"] for p in subset["ports"]) == [81, 8080]
    leaving = pod("p", ip="10.1.0.1", deletionTimestamp="x")
    assert subsets(svc, [leaving]) == []
    assert len(subsets(service(publishNotReadyAddresses=True), [leaving])[0]["addresses"]) == 1


def test_legacy_endpoints_hold_a_thousand_addresses() -> None:
    listed = [{"addresses": [{"ip": str(n)} for n in range(900)], "notReadyAddresses": [{"ip": "x"}] * 200}]
    (kept,), over = truncated(listed)
    assert over and (len(kept["addresses"]), len(kept["notReadyAddresses"])) == (900, 100)


def test_a_service_without_endpoints_keeps_one_empty_slice() -> None:
    todo = plan(service(), [], {}, [])
    assert [s["endpoints"] for s in todo.create] == [[]]
    kept = {**todo.create[0], "metadata": {**todo.create[0]["metadata"], "name": "web-x"}}
    again = plan(service(), [], {}, [kept])
    assert (again.create, again.update, again.delete) == ((), (), ())


def test_a_pod_that_becomes_ready_changes_its_slice_alone() -> None:
    svc = service()
    before = plan(svc, [pod("a", ip="10.1.0.1", ready=False, uid="u")], {}, []).create[0]
    before = {**before, "metadata": {**before["metadata"], "name": "web-x"}}
    todo = plan(svc, [pod("a", ip="10.1.0.1", uid="u")], {}, [before])
    assert (todo.create, todo.delete) == ((), ())
    assert todo.update[0]["endpoints"][0]["conditions"]["ready"] is True
    assert plan(svc, [pod("a", ip="10.1.0.1", uid="u")], {}, [todo.update[0]]).update == ()


def test_a_changed_slice_tells_since_when() -> None:
    svc = service()
    created = svc["metadata"]["creationTimestamp"]
    first = triggers(svc, [pod("a", uid="a")])
    assert trigger_time(svc, None, first) == created
    one = plan(svc, [pod("a", ip="10.1.0.1", uid="a")], {}, [], created).create[0]
    assert one["metadata"]["annotations"] == {TRIGGER_TIME: created}
    ready = [
        pod("a", uid="a"),
        pod("b", uid="b", since="2026-01-01T00:05:00Z"),
        pod("c", uid="c", since="2026-01-01T00:06:00Z"),
    ]
    assert trigger_time(svc, first, triggers(svc, ready)) == "2026-01-01T00:05:00Z"
    assert trigger_time(svc, first, first) == ""
    named = {**one, "metadata": {**one["metadata"], "name": "web-x"}}
    assert "annotations" not in plan(svc, [], {}, [named], "").update[0]["metadata"]


def test_a_slice_with_too_many_endpoints_loses_none() -> None:
    listed = [endpoint(n) for n in range(MOST + 30)]
    assert sum(map(len, distribute(listed, [listed]))) == MOST + 30


def endpoint(number: int) -> Obj:
    return {"addresses": [f"10.0.{number // 256}.{number % 256}"], "targetRef": {"uid": str(number)}}


numbers = st.sets(st.integers(0, 400), max_size=350)


@given(numbers, st.lists(numbers, max_size=4))
def test_distribution_loses_and_doubles_nothing(wanted: set[int], have: list[set[int]]) -> None:
    seen: set[int] = set()
    disjoint = []
    for one in have:
        disjoint.append([endpoint(n) for n in sorted(one - seen)][:MOST])
        seen |= one
    contents = distribute([endpoint(n) for n in sorted(wanted)], disjoint)
    placed = [e["addresses"][0] for c in contents for e in c]
    assert sorted(placed) == sorted(endpoint(n)["addresses"][0] for n in wanted)
    assert all(len(c) <= MOST for c in contents)
    for old, new in zip(disjoint, contents, strict=False):
        kept = [e for e in old if int(e["targetRef"]["uid"]) in wanted]
        assert new[: len(kept)] == kept


VERSIONS = st.dictionaries(st.integers(0, 5), st.tuples(st.integers(1, 3), st.booleans()))


@given(st.lists(VERSIONS, max_size=6))
def test_what_is_remembered_of_pods_is_what_would_be_made_of_them_anew(
    history: list[dict[int, tuple[int, bool]]],
) -> None:
    web, known = service(), Known()
    for number, listed in enumerate(history):
        pods = [pod(f"p{n}", ip=f"10.1.0.{version}", ready=ready) for n, (version, ready) in listed.items()]
        for one, (version, ready) in zip(pods, listed.values(), strict=True):
            one["metadata"] |= {"uid": one["metadata"]["name"], "resourceVersion": f"{version}{ready}"}
        assert plan(web, pods, {}, [], known=known) == plan(web, pods, {}, [])
        assert {uid for uid, _ in known} <= {one["metadata"]["uid"] for one in pods}, number

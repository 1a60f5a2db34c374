from __future__ import annotations

from typing import Any

import pytest

from hawser.node.network.endpoints import Endpoint, Place, choose
from hawser.node.network.services import EMPTY, Family, fragment

Obj = dict[str, Any]


def service(**spec: Any) -> Obj:
    ports = [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}]
    spec = {"clusterIP": "10.78.0.10", "type": "ClusterIP", "ports": ports, **spec}
    return {"metadata": {"namespace": "default", "name": "web"}, "spec": spec}


def slice_of(*given: tuple[str, Obj], port: int = 8080, **more: Any) -> Obj:
    listed = [{"addresses": [address], "conditions": conditions} for address, conditions in given]
    return {
        "metadata": {
            "namespace": "default",
            "name": "web-1",
            "labels": {"kubernetes.io/service-name": "web"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        "endpoints": listed,
        **more,
    }


READY = {"ready": True, "serving": True, "terminating": False}
LEAVING = {"ready": False, "serving": True, "terminating": True}
DOWN = {"ready": False, "serving": False, "terminating": False}


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        pytest.param([("a", READY), ("b", READY)], "ab", id="all that are ready"),
        pytest.param([("a", READY), ("b", DOWN)], "a", id="not those that are not"),
        pytest.param([("a", {}), ("b", LEAVING)], "a", id="unknown counts as ready, terminating ones wait"),
        pytest.param([("a", DOWN), ("b", LEAVING)], "b", id="terminating ones when nothing is ready"),
        pytest.param([("a", DOWN)], "", id="none"),
    ],
)
def test_connections_go_to(given: list[tuple[str, Obj]], chosen: str) -> None:
    one = service()
    found = choose(one, one["spec"]["ports"][0], [slice_of(*given)], Place())
    assert found.cluster == tuple(Endpoint(a, 8080) for a in chosen)


def test_a_port_is_matched_by_its_name() -> None:
    other = slice_of(("a", READY), ports=[{"name": "metrics", "port": 9, "protocol": "TCP"}])
    one = service()
    assert choose(one, one["spec"]["ports"][0], [other], Place()).cluster == ()


@pytest.mark.parametrize("address", ["None", "", None])
def test_headless_services_have_no_rules(address: str | None) -> None:
    assert fragment(service(clusterIP=address), [slice_of(("a", READY))]) == EMPTY


def test_a_service_without_endpoints_has_no_rules_and_so_is_refused() -> None:
    made = fragment(service(), [slice_of(("a", DOWN))])
    assert not made.services and not made.chains


def test_node_ports_and_external_addresses_lead_to_the_same_chain() -> None:
    ports = [{"name": "http", "port": 80, "nodePort": 30080}]
    made = fragment(service(type="NodePort", ports=ports, externalIPs=["1.2.3.4"]), [slice_of(("10.77.0.2", READY))])
    chain = "svc-default/web/tcp/80"
    verdict = f"goto {chain}"
    assert made.services == {"10.78.0.10 . tcp . 80": verdict, "1.2.3.4 . tcp . 80": verdict}
    assert made.nodeports == {"tcp . 30080": verdict}
    assert made.chains == {chain: ("meta l4proto tcp dnat ip to 10.77.0.2:8080",)}


HERE = Place("n1", "z1")


def at(node: str, zone: str = "", *, nodes: tuple[str, ...] = (), zones: tuple[str, ...] = (), **more: Any) -> Obj:
    hints: Obj = {}
    if nodes:
        hints["forNodes"] = [{"name": name} for name in nodes]
    if zones:
        hints["forZones"] = [{"name": name} for name in zones]
    return {"nodeName": node, "zone": zone, "conditions": READY, **({"hints": hints} if hints else {}), **more}


def placed(*given: Obj) -> Obj:
    made = slice_of()
    made["endpoints"] = [{"addresses": [f"10.0.0.{i}"], **endpoint} for i, endpoint in enumerate(given)]
    return made


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        pytest.param([at("n1", zones=("z1",)), at("n2", zones=("z2",))], "0", id="those for the zone"),
        pytest.param([at("n1", zones=("z1",)), at("n2")], "01", id="all when one has no hint"),
        pytest.param([at("n2", zones=("z2",)), at("n3", zones=("z3",))], "01", id="all when none is for the zone"),
        pytest.param(
            [at("n1", nodes=("n1",), zones=("z1",)), at("n2", nodes=("n2",), zones=("z1",))],
            "0",
            id="the node goes before the zone",
        ),
        pytest.param(
            [at("n2", nodes=("n2",), zones=("z1",)), at("n3", nodes=("n3",), zones=("z2",))],
            "0",
            id="without one on the node, the zone",
        ),
        pytest.param([at("n1", zones=("z1",), conditions=DOWN), at("n2", zones=("z2",))], "1", id="ready ones only"),
    ],
)
def test_near_endpoints_go_first(given: list[Obj], chosen: str) -> None:
    one = service()
    found = choose(one, one["spec"]["ports"][0], [placed(*given)], HERE)
    assert [e.address[-1] for e in found.cluster] == list(chosen)


def test_local_policies_have_fallbacks_of_their_own() -> None:
    one = service()
    slices = [placed(at("n1", conditions=LEAVING), at("n2"), at("n1", conditions=DOWN))]
    found = choose(one, one["spec"]["ports"][0], slices, HERE)
    assert [e.address for e in found.cluster] == ["10.0.0.1"]
    assert [e.address for e in found.local] == ["10.0.0.0"], "terminating, as there is no ready one on the node"
    assert found.serving == {"10.0.0.0", "10.0.0.1"}


@pytest.mark.parametrize("label", ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"])
def test_services_of_other_proxies_are_left_alone(label: str) -> None:
    one = service()
    one["metadata"]["labels"] = {label: "x"}
    assert fragment(one, [slice_of(("10.77.0.2", READY))]) == EMPTY


BALANCED = {"loadBalancer": {"ingress": [{"ip": "10.79.0.1", "ipMode": "VIP"}]}}
NODE_PORT = [{"name": "http", "port": 80, "nodePort": 30080}]


@pytest.mark.parametrize(
    ("spec", "endpoints", "services", "nodeports"),
    [
        pytest.param(
            {"internalTrafficPolicy": "Local"},
            [at("n2")],
            {"10.78.0.10 . tcp . 80": "drop"},
            {},
            id="internal local traffic without endpoints here is dropped",
        ),
        pytest.param(
            {"externalTrafficPolicy": "Local", "type": "LoadBalancer", "ports": NODE_PORT},
            [at("n2")],
            {
                "10.78.0.10 . tcp . 80": "goto svc-default/web/tcp/80",
                "10.79.0.1 . tcp . 80": "goto svc-default/web/tcp/80/external",
            },
            {"tcp . 30080": "goto svc-default/web/tcp/80/external"},
            id="external local traffic has a chain of its own",
        ),
        pytest.param(
            {"type": "LoadBalancer", "ports": NODE_PORT, "loadBalancerSourceRanges": ["10.0.0.0/8 ", "10.1.0.0/16"]},
            [at("n1")],
            {
                "10.78.0.10 . tcp . 80": "goto svc-default/web/tcp/80",
                "10.79.0.1 . tcp . 80": "goto svc-default/web/tcp/80/firewall",
            },
            {"tcp . 30080": "goto svc-default/web/tcp/80"},
            id="source ranges guard the balancer's address only",
        ),
    ],
)
def test_traffic_policies(spec: Obj, endpoints: list[Obj], services: Obj, nodeports: Obj) -> None:
    made = fragment({**service(**spec), "status": BALANCED}, [placed(*endpoints)], HERE, "hw*")
    assert made.services == services and made.nodeports == nodeports
    if external := made.chains.get("svc-default/web/tcp/80/external"):
        cluster = "goto svc-default/web/tcp/80"
        assert external == (f'iifname "hw*" {cluster}', f"fib saddr type local {cluster}", "drop")
    if firewall := made.chains.get("svc-default/web/tcp/80/firewall"):
        assert firewall == ("ip saddr != { 10.0.0.0/8 } drop", "goto svc-default/web/tcp/80")


def test_addresses_outside_the_service_range_are_refused_without_endpoints() -> None:
    one = service(type="LoadBalancer", externalIPs=["1.2.3.4"], ports=NODE_PORT)
    made = fragment({**one, "status": BALANCED}, [])
    refused = "goto refuse"
    assert made.refused == {"1.2.3.4 . tcp . 80": refused, "10.79.0.1 . tcp . 80": refused}
    assert made.refused_ports == {"tcp . 30080": refused}
    assert not made.services and not made.nodeports


def test_each_family_has_rules_of_its_own() -> None:
    one = service(clusterIPs=["10.78.0.10", "fd00::10"])
    slices = [slice_of(("10.77.0.2", READY)), slice_of(("fd77::2", READY), addressType="IPv6")]
    six = fragment(one, slices, family=Family.V6)
    assert six.services == {"fd00::10 . tcp . 80": "goto svc-default/web/tcp/80"}
    assert six.chains == {"svc-default/web/tcp/80": ("meta l4proto tcp dnat ip6 to [fd77::2]:8080",)}
    assert fragment(one, slices).services == {"10.78.0.10 . tcp . 80": "goto svc-default/web/tcp/80"}

from __future__ import annotations

from typing import Any

import pytest

from hawser.node.network.services import EMPTY, Endpoint, endpoints, fragment

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
    found = endpoints(one, one["spec"]["ports"][0], [slice_of(*given)], "")
    assert found == [Endpoint(a, 8080) for a in chosen]


def test_a_port_is_matched_by_its_name() -> None:
    other = slice_of(("a", READY), ports=[{"name": "metrics", "port": 9, "protocol": "TCP"}])
    one = service()
    assert endpoints(one, one["spec"]["ports"][0], [other], "") == []


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
    assert made.services == {"10.78.0.10 . tcp . 80": chain, "1.2.3.4 . tcp . 80": chain}
    assert made.nodeports == {"tcp . 30080": chain}
    assert made.chains == {chain: ("meta l4proto tcp dnat ip to 10.77.0.2:8080",)}

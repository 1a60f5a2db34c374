"""Services: what they get allocated, with one address family and with two."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.apiserver.conftest import Api, Server

from .test_addresses import ADDRESSES, CIDRS, until

MERGE = "application/merge-patch+json"
Obj = dict[str, Any]


def service(name: str, **spec: Any) -> Obj:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}


@pytest.fixture(scope="module")
def dual_server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("dual")
    server = Server(folder)
    server.extra = ["--service-cluster-ip-range", "10.96.0.0/24,fd00:96::/112"]
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def dual(dual_server: Server) -> AsyncIterator[Api]:
    async with aiohttp.ClientSession() as session:
        yield Api(dual_server, session, "default")


def families(made: Obj) -> tuple[Any, ...]:
    spec = made["spec"]
    versions = [f"IPv{6 if ':' in a else 4}" for a in spec.get("clusterIPs") or () if a != "None"]
    assert not versions or versions == spec["ipFamilies"]
    assert spec["clusterIP"] == spec["clusterIPs"][0]
    return spec["ipFamilyPolicy"], *spec["ipFamilies"]


@pytest.mark.parametrize(
    ("spec", "want"),
    [
        ({}, ("SingleStack", "IPv4")),
        ({"ipFamilies": ["IPv6"]}, ("SingleStack", "IPv6")),
        ({"clusterIP": "fd00:96::77"}, ("SingleStack", "IPv6")),
        ({"ipFamilyPolicy": "PreferDualStack"}, ("PreferDualStack", "IPv4", "IPv6")),
        ({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"]}, ("RequireDualStack", "IPv6", "IPv4")),
        ({"clusterIP": "None"}, ("RequireDualStack", "IPv4", "IPv6")),
        ({"clusterIP": "None", "selector": {"a": "b"}}, ("SingleStack", "IPv4")),
    ],
)
async def test_a_service_gets_the_families_that_it_asks_for(dual: Api, spec: Obj, want: tuple[str, ...]) -> None:
    made = await dual.create(dual.path("services"), service("s", **spec))
    try:
        assert families(made) == want
        for address in made["spec"]["clusterIPs"]:
            if address != "None":
                found = (await dual.get(f"{ADDRESSES}/{address}")).json
                assert found["metadata"]["labels"]["ipaddress.kubernetes.io/ip-family"] in want
    finally:
        await dual.call("DELETE", dual.path("services", "s"))
    for address in made["spec"]["clusterIPs"]:
        if address != "None":
            await until(dual, f"{ADDRESSES}/{address}", lambda a: a.status == 404)


async def test_a_service_gains_and_loses_its_second_family(dual: Api) -> None:
    path = dual.path("services")
    made = await dual.create(path, service("s", selector={"a": "b"}))
    (first,) = made["spec"]["clusterIPs"]

    async def patch(**spec: Any) -> Any:
        return await dual.call("PATCH", f"{path}/s", {"spec": spec}, content=MERGE)

    both = (await patch(ipFamilyPolicy="RequireDualStack")).json
    assert families(both) == ("RequireDualStack", "IPv4", "IPv6") and both["spec"]["clusterIPs"][0] == first
    refused = await patch(clusterIPs=[first])
    assert refused.status == 422 and "must be 'SingleStack' to release the secondary cluster IP" in refused.message
    single = (await patch(ipFamilyPolicy="SingleStack")).json
    assert families(single) == ("SingleStack", "IPv4") and single["spec"]["clusterIPs"] == [first]
    await until(dual, f"{ADDRESSES}/{both['spec']['clusterIPs'][1]}", lambda a: a.status == 404)
    again = (await patch(ipFamilyPolicy="PreferDualStack")).json
    assert families(again) == ("PreferDualStack", "IPv4", "IPv6")
    external = (await patch(type="ExternalName", externalName="example.org")).json
    assert not {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"} & external["spec"].keys()
    back = (await patch(type="ClusterIP")).json
    assert families(back) == ("SingleStack", "IPv4") and "externalName" not in back["spec"]
    await dual.call("DELETE", f"{path}/s")


async def test_the_default_range_has_both_families(dual: Api) -> None:
    found = (await dual.get(f"{CIDRS}/kubernetes")).json
    assert found["spec"]["cidrs"] == ["10.96.0.0/24", "fd00:96::/112"]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"ipFamilyPolicy": "RequireDualStack"}, "this cluster is not configured for dual-stack services"),
        ({"ipFamilies": ["IPv6"]}, 'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster'),
        ({"clusterIP": "fd00::1"}, "IPv6 is not configured on this cluster"),
    ],
)
async def test_a_family_that_is_not_served_is_refused(api: Any, spec: Obj, text: str) -> None:
    refused = await api.call("POST", api.path("services"), service("s", **spec))
    assert refused.status == 422 and text in refused.message, refused.message


async def test_a_preference_for_two_families_is_met_with_one(api: Any) -> None:
    made = await api.create(api.path("services"), service("s", ipFamilyPolicy="PreferDualStack"))
    assert families(made) == ("PreferDualStack", "IPv4")
    same = await api.call("PUT", api.path("services", "s"), service("s", ipFamilyPolicy="PreferDualStack"))
    assert same.json["spec"]["clusterIPs"] == made["spec"]["clusterIPs"]


async def test_a_health_check_port_lasts_as_long_as_external_traffic_stays_local(api: Any) -> None:
    path = api.path("services")
    made = await api.create(path, service("s", type="LoadBalancer", externalTrafficPolicy="Local"))
    number = made["spec"]["healthCheckNodePort"]
    assert 30000 <= number <= 32767
    taken = await api.call("POST", path, service("t", type="NodePort", ports=[{"port": 80, "nodePort": number}]))
    assert "provided port is already allocated" in taken.message
    body = service("s", type="LoadBalancer", externalTrafficPolicy="Local")
    assert (await api.call("PUT", f"{path}/s", body)).json["spec"]["healthCheckNodePort"] == number
    cluster = {"spec": {"externalTrafficPolicy": "Cluster"}}
    changed = (await api.call("PATCH", f"{path}/s", cluster, content=MERGE)).json
    assert "healthCheckNodePort" not in changed["spec"]
    await api.create(path, service("t", type="NodePort", ports=[{"port": 80, "nodePort": number}]))


async def test_a_balancer_may_do_without_node_ports(api: Any) -> None:
    ports = [{"port": 80, "name": "a"}, {"port": 81, "name": "b", "nodePort": 31881}]
    body = service("s", type="LoadBalancer", allocateLoadBalancerNodePorts=False, ports=ports)
    made = await api.create(api.path("services"), body)
    assert [port.get("nodePort") for port in made["spec"]["ports"]] == [None, 31881]
    again = await api.call("POST", api.path("services"), service("t", type="NodePort", ports=ports[1:]))
    assert "provided port is already allocated" in again.message

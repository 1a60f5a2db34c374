"""IPAddresses and ServiceCIDRs: what Services have, and where they get it from."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any

import aiohttp
from tests.apiserver.conftest import Api

NETWORKING = "/apis/networking.k8s.io/v1"
ADDRESSES = f"{NETWORKING}/ipaddresses"
CIDRS = f"{NETWORKING}/servicecidrs"


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}


async def until(api: Any, path: str, holds: Callable[[Any], bool]) -> Any:
    """Wait for an answer that holds, woken by the watch of everything in the collection."""
    async with asyncio.timeout(120):
        while True:
            answer = await api.get(path)
            if holds(answer):
                return answer
            await asyncio.sleep(0.02)


def ready(answer: Any) -> bool:
    conditions = answer.json.get("status", {}).get("conditions") or [{}]
    return bool(conditions[0].get("status") == "True")


async def test_every_cluster_address_is_an_object_as_long_as_its_service(api: Any, kubectl: Any) -> None:
    path = api.path("services")
    address = (await api.create(path, service("s")))["spec"]["clusterIP"]
    found = (await api.get(f"{ADDRESSES}/{address}")).json
    assert found["spec"] == {"parentRef": {"resource": "services", "namespace": api.namespace, "name": "s"}}
    assert found["metadata"]["labels"] == {
        "ipaddress.kubernetes.io/ip-family": "IPv4",
        "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
    }
    assert f"services/{api.namespace}/s" in kubectl("get", "ipaddress", address)
    assert (await api.call("DELETE", f"{ADDRESSES}/{address}")).status == 200
    again = (await until(api, f"{ADDRESSES}/{address}", lambda a: a.status == 200)).json
    assert again["metadata"]["uid"] != found["metadata"]["uid"]
    await api.call("DELETE", f"{path}/s")
    assert (await api.get(f"{ADDRESSES}/{address}")).status == 404


async def test_many_services_at_once_have_their_addresses_when_they_are_answered(api: Any) -> None:
    async def one(number: int) -> None:
        made = await api.create(api.path("services"), service(f"s{number}"))
        address = f"{ADDRESSES}/{made['spec']['clusterIP']}"
        assert (await api.get(address)).json["spec"]["parentRef"]["name"] == f"s{number}"
        await api.call("DELETE", api.path("services", f"s{number}"))
        gone = await api.get(address)
        # Unless another Service has got it meanwhile.
        assert gone.status == 404 or gone.json["spec"]["parentRef"]["name"] != f"s{number}"

    async with asyncio.TaskGroup() as group:
        for number in range(40):
            group.create_task(one(number))


async def test_an_address_goes_with_its_service_to_the_next(api: Any) -> None:
    path, body = api.path("services"), service("a", clusterIP="10.96.0.40")
    await api.create(path, body)
    await api.call("DELETE", f"{path}/a")
    await api.create(path, service("b", clusterIP="10.96.0.40"))

    def is_b(answer: Any) -> bool:
        return answer.status == 200 and answer.json["spec"]["parentRef"]["name"] == "b"

    await until(api, f"{ADDRESSES}/10.96.0.40", is_b)
    await api.call("DELETE", f"{path}/b")


async def test_services_do_not_get_addresses_that_somebody_else_has(api: Any) -> None:
    parent = {"resource": "gateways", "group": "gateway.networking.k8s.io", "name": "g"}
    await api.create(ADDRESSES, {"metadata": {"name": "10.96.0.41"}, "spec": {"parentRef": parent}})
    refused = await api.call("POST", api.path("services"), service("s", clusterIP="10.96.0.41"))
    assert (refused.status, "provided IP is already allocated" in refused.message) == (422, True)
    assert (await api.call("DELETE", f"{ADDRESSES}/10.96.0.41")).status == 200
    await api.create(api.path("services"), service("s", clusterIP="10.96.0.41"))
    bad = await api.call("POST", ADDRESSES, {"metadata": {"name": "10.96.0.041"}, "spec": {}})
    assert bad.status == 422
    assert "spec.parentRef: Required value" in bad.message


async def test_the_default_range_is_there_and_ready(api: Any, kubectl: Any) -> None:
    found = (await until(api, f"{CIDRS}/kubernetes", lambda a: a.status == 200 and ready(a))).json
    assert found["spec"]["cidrs"] == ["10.96.0.0/24"]
    assert found["status"]["conditions"][0]["message"] == "Kubernetes default Service CIDR is ready"
    assert found["metadata"]["finalizers"] == ["networking.k8s.io/service-cidr-finalizer"]
    assert "10.96.0.0/24" in kubectl("get", "servicecidrs")


async def test_a_range_is_added_and_stays_while_it_is_used(api: Any) -> None:
    outside = await api.call("POST", api.path("services"), service("s", clusterIP="10.97.0.5"))
    assert "the provided network does not match the current range" in outside.message
    await api.create(CIDRS, {"metadata": {"name": "more"}, "spec": {"cidrs": ["10.97.0.0/28"]}})
    await until(api, f"{CIDRS}/more", ready)
    await api.create(api.path("services"), service("s", clusterIP="10.97.0.5"))
    await until(api, f"{ADDRESSES}/10.97.0.5", lambda a: a.status == 200)
    assert (await api.call("DELETE", f"{CIDRS}/more")).status == 200
    ending = (await until(api, f"{CIDRS}/more", lambda a: not ready(a))).json
    (condition,) = ending["status"]["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "Terminating")
    assert (await api.call("POST", api.path("services"), service("t", clusterIP="10.97.0.6"))).status == 422
    await api.call("DELETE", api.path("services", "s"))
    await until(api, f"{CIDRS}/more", lambda a: a.status == 404)


async def test_ranges_hardly_change(api: Any) -> None:
    body = {"metadata": {"name": "fixed"}, "spec": {"cidrs": ["10.98.0.0/28"]}}
    await api.create(CIDRS, body)
    changed = await api.call("PUT", f"{CIDRS}/fixed", {**body, "spec": {"cidrs": ["10.98.0.0/27"]}})
    assert 'spec.cidrs[0]: Invalid value: "10.98.0.0/27": field is immutable' in changed.message
    added = await api.call("PUT", f"{CIDRS}/fixed", {**body, "spec": {"cidrs": ["10.98.0.0/28", "fd00::/112"]}})
    assert added.status == 200, added.body
    assert (await api.call("DELETE", f"{CIDRS}/fixed")).status == 200
    await until(api, f"{CIDRS}/fixed", lambda a: a.status == 404)


async def test_what_a_crash_leaves_is_made_good(own_server: Any) -> None:
    own_server.start()
    async with aiohttp.ClientSession() as session:
        api = Api(own_server, session, "default")
        for number in range(20):
            await api.create(api.path("services"), service(f"s{number}"))
        own_server.stop(signal.SIGKILL)
        own_server.start()
        used = {
            item["spec"]["clusterIP"] for item in (await api.get("/api/v1/services")).json["items"]
        }  # The kubernetes Service's, too.
        assert len(used) == 21

        def all_there(answer: Any) -> bool:
            return {item["metadata"]["name"] for item in answer.json["items"]} == used

        await until(api, ADDRESSES, all_there)
        free = next(address for number in range(200, 250) if (address := f"10.96.0.{number}") not in used)
        extra = {"metadata": {"name": free, "labels": {"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}}}
        parent = {"resource": "services", "namespace": "default", "name": "gone"}
        await api.create(ADDRESSES, {**extra, "spec": {"parentRef": parent}})
        await until(api, ADDRESSES, all_there)

"""The Service kube-dns, which the server makes when it is told an address for it."""

from __future__ import annotations

from typing import Any

import aiohttp
from tests.apiserver.conftest import Api

KUBE_DNS = "/api/v1/namespaces/kube-system/services/kube-dns"


async def _asked(own_server: Any, *extra: str) -> Any:
    own_server.extra = list(extra)
    own_server.start()
    async with aiohttp.ClientSession() as session:
        answer = await Api(own_server, session, "default").get(KUBE_DNS)
        if not extra:
            body = {"metadata": {"name": "taker"}, "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": 80}]}}
            await Api(own_server, session, "default").create("/api/v1/namespaces/default/services", body)
    own_server.stop()
    return answer


async def test_it_has_kubeadms_shape_and_is_left_to_whoever_changes_it(own_server: Any) -> None:
    service = (await _asked(own_server, "--cluster-dns", "10.96.0.10")).json
    assert service["spec"]["clusterIP"] == "10.96.0.10"
    assert "selector" not in service["spec"]
    assert service["metadata"]["labels"]["k8s-app"] == "kube-dns"
    ports = [(port["name"], port["protocol"], port["port"]) for port in service["spec"]["ports"]]
    assert ports == [("dns", "UDP", 53), ("dns-tcp", "TCP", 53), ("metrics", "TCP", 9153)]
    again = (await _asked(own_server, "--cluster-dns", "10.96.0.11")).json
    assert again["metadata"]["uid"] == service["metadata"]["uid"]
    assert again["spec"]["clusterIP"] == "10.96.0.10"


async def test_a_store_whose_address_is_taken_is_served_without_it(own_server: Any) -> None:
    assert (await _asked(own_server)).status == 404
    assert (await _asked(own_server, "--cluster-dns", "10.96.0.10")).status == 404

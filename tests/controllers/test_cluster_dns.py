"""Who answers at the Service kube-dns."""

from __future__ import annotations

import asyncio
from typing import Any

from hawser.api.errors import APIError
from hawser.api.kinds import ENDPOINT_SLICE, NODE, SERVICE
from hawser.client.client import Client
from hawser.client.controller import Manager
from hawser.controllers.cluster_dns import NAMESPACE, SLICE, ClusterDNSController, wanted

Obj = dict[str, Any]
PORTS = [{"name": "dns", "protocol": "UDP", "port": 53, "targetPort": 53}]


def service(**spec: Any) -> Obj:
    metadata = {"name": "kube-dns", "namespace": NAMESPACE, "uid": "u"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": PORTS, **spec}}


def node(name: str, cidr: str, ready: str = "True") -> Obj:
    status = {"conditions": [{"type": "Ready", "status": ready}]}
    return {"metadata": {"name": name}, "spec": {"podCIDR": cidr}, "status": status}


def test_every_node_answers_its_own_pods_first_at_the_first_address_of_its_range() -> None:
    made = wanted(service(), [node("b", "10.1.1.0/24", "False"), node("a", "10.1.0.0/24"), node("none", "")])
    assert made is not None
    assert made["ports"] == [{"name": "dns", "protocol": "UDP", "port": 53}]
    told = [(e["addresses"], e["conditions"]["ready"], e["nodeName"], e["hints"]) for e in made["endpoints"]]
    assert told == [
        (["10.1.0.1"], True, "a", {"forNodes": [{"name": "a"}]}),
        (["10.1.1.1"], False, "b", {"forNodes": [{"name": "b"}]}),
    ]


def test_a_service_with_a_selector_is_somebody_elses() -> None:
    assert wanted(service(selector={"k8s-app": "kube-dns"}), [node("a", "10.1.0.0/24")]) is None
    assert wanted(None, []) is None


async def _until(client: Client, present: bool) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                await client.get(ENDPOINT_SLICE, SLICE, NAMESPACE)
                found = True
            except APIError:
                found = False
            if found == present:
                return
            await asyncio.sleep(0.02)


async def test_nodes_step_back_when_another_server_is_installed_and_come_again(api_server: Any) -> None:
    async with Client.from_kubeconfig(api_server.kubeconfig) as client:
        made_service = service()
        del made_service["metadata"]["uid"]
        made = await client.create(SERVICE, made_service)
        await client.create(NODE, {"metadata": {"name": "a"}, "spec": {"podCIDR": "10.1.0.0/24"}})
        manager = Manager(client)
        manager.add(ClusterDNSController())
        task = asyncio.create_task(manager.run())
        try:
            await _until(client, present=True)
            made = await client.update(SERVICE, {**made, "spec": {**made["spec"], "selector": {"k8s-app": "kube-dns"}}})
            await _until(client, present=False)
            await client.update(SERVICE, {**made, "spec": {k: v for k, v in made["spec"].items() if k != "selector"}})
            await _until(client, present=True)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await client.delete(SERVICE, "kube-dns", NAMESPACE)
            await client.delete(NODE, "a")

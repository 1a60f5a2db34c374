"""A dual-stack node with real pods: both addresses everywhere; addresses that pods ask for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from hawser.api.kinds import EVENT, NODE, POD
from hawser.client.client import Client
from hawser.node.cri.client import Runtime

from . import engine as engines
from .engine import NODE as NAME
from .engine import Engine
from .private_containerd import Containerd
from .running import gone, log_of, node_is_there, phase, pod, ready, remove_pods, seen, until

pytestmark = pytest.mark.containerd


@pytest.fixture(scope="module")
def engine(containerd: Containerd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = Path(tmp_path_factory.mktemp("dualengine"))
    with engines.running(folder, containerd, network=True, dual_stack=True) as running:
        yield running
        asyncio.run(remove_pods(running))


def families(listed: list[dict[str, str]]) -> list[int]:
    return [ip_address(row["ip"]).version for row in listed]


async def test_pods_and_node_have_addresses_of_both_families(engine: Engine) -> None:
    async with Client.from_kubeconfig(engine.kubeconfig) as client:
        await until(lambda: node_is_there(client))
        node = await client.get(NODE, NAME)
        addresses = [row["address"] for row in node["status"]["addresses"] if row["type"] == "InternalIP"]
        assert [ip_address(a).version for a in addresses] == [4, 6]
        assert node["spec"]["podCIDRs"] == [engine.settings.pod_cidr, engine.settings.pod_cidr6]
        fields = {"PODS": "status.podIPs", "HOSTS": "status.hostIPs", "HOST": "status.hostIP"}
        env = [{"name": k, "valueFrom": {"fieldRef": {"fieldPath": v}}} for k, v in fields.items()]
        script = "echo $PODS; echo $HOSTS; echo $HOST; cat /etc/hosts"
        made = await client.create(POD, pod("both", script, {"env": env}, hostNetwork=False, restartPolicy="Never"))
        done = await seen(client, "both", phase("Succeeded"))
        status = done["status"]
        assert families(status["podIPs"]) == families(status["hostIPs"]) == [4, 6]
        assert status["podIP"] == status["podIPs"][0]["ip"] and [r["ip"] for r in status["hostIPs"]] == addresses
        for row, network in zip(status["podIPs"], node["spec"]["podCIDRs"], strict=True):
            assert ip_address(row["ip"]) in ip_network(network)
        said = log_of(engine, made).splitlines()
        pods = ",".join(row["ip"] for row in status["podIPs"])
        assert said[:3] == [pods, ",".join(addresses), addresses[0]]
        for row in status["podIPs"]:
            assert f"{row['ip']}\tboth" in said
        await client.delete(POD, "both", "default")


async def test_a_pod_waits_for_the_address_that_it_asks_for(engine: Engine) -> None:
    wanted = str(ip_network(engine.settings.pod_cidr)[77])
    fixed = {"cni.projectcalico.org/ipAddrs": f'["{wanted}"]'}

    def fixed_pod(name: str) -> Any:
        made = pod(name, "trap exit TERM; sleep 1000 & wait", hostNetwork=False)
        made["metadata"]["annotations"] = fixed
        return made

    async with Client.from_kubeconfig(engine.kubeconfig) as client:
        await until(lambda: node_is_there(client))
        await client.create(POD, fixed_pod("first"))
        first = await seen(client, "first", ready)
        assert first["status"]["podIPs"] == [{"ip": wanted}]
        await client.create(POD, fixed_pod("second"))

        async def told() -> bool:
            events = (await client.list(EVENT, "default")).items
            return any(
                event["reason"] == "FailedCreatePodSandBox"
                and f"address {wanted} is in use by pod default/first" in event["message"]
                for event in events
                if event["involvedObject"]["name"] == "second"
            )

        await until(told)
        await client.delete(POD, "first", "default")
        await gone(client, "first")
        second = await seen(client, "second", ready)
        assert second["status"]["podIP"] == wanted
        await client.delete(POD, "second", "default")


async def test_a_pod_keeps_its_addresses_when_its_sandbox_is_lost(engine: Engine) -> None:
    async with Client.from_kubeconfig(engine.kubeconfig) as client:
        await until(lambda: node_is_there(client))
        await client.create(POD, pod("keeps", "trap exit TERM; sleep 1000 & wait", hostNetwork=False))
        before = await seen(client, "keeps", ready)
        await client.create(POD, pod("other", "trap exit TERM; sleep 1000 & wait", hostNetwork=False))
        await seen(client, "other", ready)
        async with Runtime(engine.containerd.endpoint) as runtime:
            (lost,) = [s.id for s in await runtime.list_pod_sandboxes() if s.name == "keeps"]
            await runtime.stop_pod_sandbox(lost)

        def again(found: Any) -> bool:
            (now,) = found["status"]["containerStatuses"]
            (then,) = before["status"]["containerStatuses"]
            return ready(found) and now.get("containerID") != then["containerID"]

        after = await seen(client, "keeps", again)
        assert after["status"]["podIPs"] == before["status"]["podIPs"]
        for name in ("keeps", "other"):
            await client.delete(POD, name, "default")

"""Pods with addresses of their own, from the agent's network."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from hawser.api.kinds import POD
from hawser.client.client import Client

from . import engine as engines
from .engine import Engine
from .private_containerd import Containerd
from .test_agent import _node, _remove_pods, gone, log_of, phase, pod, ready, seen, until

pytestmark = pytest.mark.containerd


@pytest.fixture(scope="module")
def engine(containerd: Containerd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    import asyncio

    folder = Path(tmp_path_factory.mktemp("netengine"))
    try:
        with engines.running(folder, containerd, network=True) as running:
            yield running
            asyncio.run(_remove_pods(running))
    finally:
        engines.remove_cgroups(running.cgroup_root)


async def test_a_server_is_probed_and_reached_by_another_pod(engine: Engine) -> None:
    async with Client.from_kubeconfig(engine.kubeconfig) as client:
        await until(lambda: _node(client))
        probe = {"readinessProbe": {"httpGet": {"path": "/f", "port": "web"}, "periodSeconds": 1}}
        ports = {"ports": [{"name": "web", "containerPort": 8080}]}
        script = "trap exit TERM; mkdir -p /tmp/w; echo -n hello > /tmp/w/f; busybox httpd -f -p 8080 -h /tmp/w & wait"
        script = script.replace("mkdir", "busybox mkdir")
        await client.create(POD, pod("server", script, {**probe, **ports}, hostNetwork=False))
        server = await seen(client, "server", ready)
        address = server["status"]["podIP"]
        assert ip_address(address) in ip_network(engine.settings.pod_cidr)
        asks = {"env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]}
        script = f"busybox wget -q -O - http://{address}:8080/f; echo; echo $IP; busybox hostname; cat /etc/hosts"
        made = await client.create(POD, pod("asker", script, asks, hostNetwork=False, restartPolicy="Never"))
        asker = await seen(client, "asker", phase("Succeeded"))
        said = log_of(engine, made).splitlines()
        assert said[:3] == ["hello", asker["status"]["podIP"], "asker"]
        assert f"{asker['status']['podIP']}\tasker" in said
        await client.delete(POD, "server", "default")
        await gone(client, "server")

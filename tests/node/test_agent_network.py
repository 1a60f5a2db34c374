"""Pods with addresses of their own, from the agent's network."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from hawser.api.kinds import POD
from hawser.client.client import Client

from . import engine as engines
from .engine import Engine
from .private_containerd import Containerd
from .running import gone, log_of, node_is_there, phase, pod, ready, remove_pods, seen, until

pytestmark = pytest.mark.containerd


@pytest.fixture(scope="module")
def engine(containerd: Containerd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = Path(tmp_path_factory.mktemp("netengine"))
    with engines.running(folder, containerd, network=True) as running:
        yield running
        asyncio.run(remove_pods(running))


async def test_a_server_is_probed_and_reached_by_another_pod(engine: Engine) -> None:
    async with Client.from_kubeconfig(engine.kubeconfig) as client:
        await until(lambda: node_is_there(client))
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


_ASK_API = """
import os, pathlib, ssl, sys, urllib.request
folder = pathlib.Path(sys.argv[1])
url = "https://" + sys.argv[2] + "/apis/authentication.k8s.io/v1/selfsubjectreviews"
headers = {"Authorization": "Bearer " + (folder / "token").read_text(), "Content-Type": "application/json"}
context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
request = urllib.request.Request(url, b"{}", headers)
print(urllib.request.urlopen(request, context=context, timeout=60).read().decode())
"""


async def test_a_pod_asks_the_api_by_its_service_with_its_own_token(engine: Engine) -> None:
    async with Client.from_kubeconfig(engine.kubeconfig) as client:
        await until(lambda: node_is_there(client))
        script = "trap exit TERM; echo $KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT; busybox sleep 1000 & wait"
        made = await client.create(POD, pod("asker-of-the-api", script, hostNetwork=False))
        running = await seen(client, "asker-of-the-api", ready)
        service = await until_said(engine, made)
        volume = next(v["name"] for v in running["spec"]["volumes"] if v["name"].startswith("kube-api-access-"))
        folder = engine.folder / "agent/pods" / made["metadata"]["uid"] / "volumes/kubernetes.io~projected" / volume
        assert (folder / "namespace").read_text() == "default"
        # Entered from here, as the image has no client that speaks TLS; the files are what the pod sees.
        pid = _pid_in(running["status"]["podIP"])
        command = ["nsenter", "-t", str(pid), "-n", sys.executable, "-c", _ASK_API, str(folder), service]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        user = json.loads(done.stdout)["status"]["userInfo"]
        assert user["username"] == "system:serviceaccount:default:default"
        assert user["extra"]["authentication.kubernetes.io/pod-name"] == ["asker-of-the-api"]
        assert user["extra"]["authentication.kubernetes.io/node-name"] == ["node-1"]
        await client.delete(POD, "asker-of-the-api", "default")
        await gone(client, "asker-of-the-api")


async def until_said(engine: Engine, made: dict[str, Any]) -> str:
    """The first line of a pod's log."""

    async def line() -> str:
        said = log_of(engine, made).splitlines()
        return said[0] if said else ""

    return str(await until(line))


def _pid_in(address: str) -> int:
    """A process whose network namespace has the address."""
    for folder in Path("/proc").iterdir():
        table = folder / "net/fib_trie"
        try:
            if folder.name.isdigit() and f"|-- {address} /32 host LOCAL" in " ".join(table.read_text().split()):
                return int(folder.name)
        except OSError:
            continue
    raise AssertionError(f"no process has the address {address}")

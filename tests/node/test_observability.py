"""What operators see of a node: statistics and metrics of real pods, for whoever may see them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from hawser.api.kinds import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, POD, SERVICE_ACCOUNT
from hawser.client.client import Client

from . import engine as engines
from .engine import NODE, Engine
from .images import BUSYBOX
from .private_containerd import Containerd
from .running import ask, page

pytestmark = pytest.mark.containerd
Obj = dict[str, Any]
BUSY = "echo begun; dd if=/dev/zero of=/scratch/file bs=1024 count=300 2>/dev/null; trap exit TERM; "
BUSY += "echo x > /layer; i=0; while true; do i=$((i+1)); done & wait"
Fetch = Callable[[str], Any]


@pytest.fixture(scope="module")
def engine(containerd: Containerd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = Path(tmp_path_factory.mktemp("observed"))
    with engines.running(folder, containerd, network=True) as running:
        asyncio.run(_start(running))
        yield running
        asyncio.run(_end(running))


def _pod() -> Obj:
    return {
        "metadata": {"name": "busy", "namespace": "default"},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "volumes": [{"name": "scratch", "emptyDir": {}}, {"name": "fast", "emptyDir": {"medium": "Memory"}}],
            "containers": [
                {
                    "name": "main",
                    "image": BUSYBOX,
                    "imagePullPolicy": "Never",
                    "command": ["/bin/sh", "-c", BUSY],
                    "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
                    "resources": {"limits": {"memory": "64Mi", "cpu": "200m"}},
                    "readinessProbe": {
                        "exec": {"command": ["/bin/ls", "/layer"]},
                        "periodSeconds": 1,
                        "timeoutSeconds": 20,
                    },
                }
            ],
        },
    }


async def _start(engine: Engine) -> None:
    async with Client.from_kubeconfig(engine.kubeconfig) as client:
        await client.create(SERVICE_ACCOUNT, {"metadata": {"name": "scraper", "namespace": "default"}})
        await client.create(SERVICE_ACCOUNT, {"metadata": {"name": "nobody", "namespace": "default"}})
        rules = [{"apiGroups": [""], "resources": ["nodes/metrics", "nodes/stats"], "verbs": ["get"]}]
        await client.create(CLUSTER_ROLE, {"metadata": {"name": "scraper"}, "rules": rules})
        subject = {"kind": "ServiceAccount", "name": "scraper", "namespace": "default"}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "scraper"}
        await client.create(CLUSTER_ROLE_BINDING, {"metadata": {"name": "s"}, "roleRef": role, "subjects": [subject]})
        pod = _pod()
        pod["spec"]["nodeName"] = NODE
        await client.create(POD, pod)
        async with asyncio.timeout(120):
            async for event in client.watch(POD, "default"):
                rows = (event.object.get("status") or {}).get("conditions") or ()
                if any((row["type"], row["status"]) == ("Ready", "True") for row in rows):
                    return


async def _end(engine: Engine) -> None:
    """Nothing of the pod may be left: what is mounted in it could not be removed."""
    async with Client.from_kubeconfig(engine.kubeconfig) as client:
        await client.delete(POD, "busy", "default", grace_period=1)
    for _ in range(2400):
        if not any((engine.folder / "agent/pods").iterdir()):
            return
        await asyncio.sleep(0.05)


@pytest.fixture
async def client(engine: Engine) -> AsyncIterator[Client]:
    async with Client.from_kubeconfig(engine.kubeconfig) as made:
        yield made


async def _token(client: Client, name: str) -> str:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}
    made = await client.post_subresource(SERVICE_ACCOUNT, name, "default", "token", body)
    return str(made["status"]["token"])


@pytest.mark.parametrize("path", ["/metrics", "/metrics/cadvisor", "/metrics/resource", "/metrics/probes"])
async def test_a_pod_with_the_right_may_scrape_the_agent(engine: Engine, client: Client, path: str) -> None:
    status, text = await ask(engine, path, await _token(client, "scraper"))
    assert status == 200
    names = [family.name for family in text_string_to_metric_families(text)]
    assert len(names) == len(set(names))
    assert (await ask(engine, path, await _token(client, "nobody")))[0] == 403
    assert (await ask(engine, path, ""))[0] == 401


async def _samples(engine: Engine, path: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(await page(engine, path)):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


async def test_the_agent_counts_its_own_work(engine: Engine) -> None:
    found = await _samples(engine, "/metrics")
    assert found["kubelet_node_name"] == [({"node": NODE}, 1.0)]
    assert found["kubelet_running_pods"] == [({}, 1.0)]
    assert found["kubelet_running_containers"] == [({"container_state": "running"}, 1.0)]
    assert found["kubelet_pod_start_duration_seconds_count"] == [({}, 1.0)]
    operations = {labels["operation_type"]: value for labels, value in found["kubelet_runtime_operations_total"]}
    assert operations["run_podsandbox"] == 1
    assert operations["list_podsandbox"] >= 1
    assert found["kubelet_started_containers_total"] == [({"container_type": "container"}, 1.0)]
    assert found["process_resident_memory_bytes"][0][1] > 1 << 20
    assert found["kubelet_pleg_relist_duration_seconds_count"][0][1] >= 1


async def test_containers_are_measured(engine: Engine) -> None:
    found = await _samples(engine, "/metrics/cadvisor")

    def of_main(name: str) -> tuple[dict[str, str], float]:
        return next((labels, value) for labels, value in found[name] if labels["container"] == "main")

    labels, used = of_main("container_cpu_usage_seconds_total")
    assert used > 0
    assert (labels["pod"], labels["namespace"], labels["image"]) == ("busy", "default", BUSYBOX)
    assert labels["id"].endswith(labels["name"])
    assert of_main("container_memory_working_set_bytes")[1] > 0
    assert of_main("container_spec_memory_limit_bytes")[1] == 64 << 20
    assert of_main("container_spec_cpu_quota")[1] == 20_000
    received = [labels for labels, _ in found["container_network_receive_bytes_total"] if labels["pod"] == "busy"]
    assert [labels["interface"] for labels in received] == ["eth0"]
    assert found["machine_cpu_cores"][0][1] >= 1


async def test_probes_are_counted(engine: Engine) -> None:
    found = await _samples(engine, "/metrics/probes")
    ok = [v for labels, v in found["prober_probe_total"] if labels["result"] == "successful"]
    assert sum(ok) >= 1
    assert found["prober_probe_duration_seconds_count"][0][0]["probe_type"] == "Readiness"


async def test_the_summary_shows_what_a_pod_uses(engine: Engine) -> None:

    made = orjson.loads(await page(engine, "/stats/summary"))
    assert made["node"]["nodeName"] == NODE
    assert made["node"]["cpu"]["usageNanoCores"] > 0
    assert made["node"]["runtime"]["imageFs"]["capacityBytes"] > 0
    assert made["node"]["memory"]["pageFaults"] > 1000
    system = {row["name"]: row for row in made["node"]["systemContainers"]}
    assert set(system) == {"kubelet", "runtime", "pods"}
    assert all(row["memory"]["workingSetBytes"] > 0 and row["cpu"]["usageNanoCores"] >= 0 for row in system.values())
    pod = next(pod for pod in made["pods"] if pod["podRef"]["name"] == "busy")
    main = pod["containers"][0]
    assert 0 < main["cpu"]["usageNanoCores"] < 1_000_000_000
    assert 0 < main["memory"]["workingSetBytes"] <= 64 << 20
    assert main["logs"]["usedBytes"] > 0
    volumes = {row["name"]: row for row in pod["volume"]}
    assert volumes["scratch"]["usedBytes"] >= 300 * 1024
    assert pod["ephemeral-storage"]["usedBytes"] >= 300 * 1024
    assert pod["network"]["name"] == "eth0"
    assert pod["process_stats"]["process_count"] >= 2
    brief = orjson.loads(await page(engine, "/stats/summary?only_cpu_and_memory=true"))
    assert "ephemeral-storage" not in brief["pods"][0]


async def test_pods_that_run_and_settings_are_shown(engine: Engine) -> None:

    running = orjson.loads(await page(engine, "/runningpods/"))
    assert [row["metadata"]["name"] for row in running["items"]] == ["busy"]
    settings = orjson.loads(await page(engine, "/configz"))["kubeletconfig"]
    assert settings["cgroupDriver"] == "cgroupfs"

"""The HTTPS endpoint of the controllers' process: health, metrics and who may ask, of a real process."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from hawser.api.kinds import CLUSTER_ROLE_BINDING, JOB, NAMESPACE, NODE, POD, SERVICE_ACCOUNT
from hawser.client.client import Client
from hawser.controllers.manager import arguments

from .running import eventually

Answer = tuple[int, str]


def _trusting() -> ssl.SSLContext:
    """A client's TLS that takes any certificate; this host's authorities are not even read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@dataclass
class Served:
    """Where a process answers, and what it said."""

    port: int
    log: Path

    def ask(self, path: str, token: str = "admin-token", method: str = "GET") -> Answer:
        connection = HTTPSConnection("127.0.0.1", self.port, context=_trusting(), timeout=20)
        try:
            connection.request(method, path, headers={"Authorization": f"Bearer {token}"} if token else {})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def samples(self) -> dict[str, float]:
        """Every sample of the metrics; the text is checked to be one."""
        code, text = self.ask("/metrics")
        assert code == 200, text
        assert list(text_string_to_metric_families(text))
        found: dict[str, float] = {}
        types: dict[str, str] = {}
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split()
                assert name not in types, line
                types[name] = kind
            elif not line.startswith("#"):
                series, _, value = line.rpartition(" ")
                assert series not in found, line
                name = series.partition("{")[0]
                bases = [name, *(name.removesuffix(end) for end in ("_bucket", "_sum", "_count"))]
                assert any(base in types for base in bases), line
                found[series] = float(value)
        return found


@pytest.fixture(scope="module")
def served(api_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    log = tmp_path_factory.mktemp("controllers") / "log"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "hawser.controllers", "--kubeconfig", str(api_server.kubeconfig)]
    command += ["--secure-port", str(port), "--leader-elect", "--authorization-always-allow-paths", "/healthz,/livez*"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stderr=file, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while "running scheduler" not in log.read_text() or "running node" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield Served(port, log)
        assert "Traceback" not in log.read_text()
    finally:
        process.kill()
        process.wait()


@pytest.fixture
async def client(api_server: Any) -> Any:
    async with Client.from_kubeconfig(api_server.kubeconfig) as made:
        yield made


def test_health_is_told_to_anybody_and_in_words_to_who_asks_for_them(served: Served) -> None:
    assert served.ask("/healthz", token="") == (200, "ok")
    code, text = served.ask("/livez?verbose", token="")
    assert (code, text) == (200, "[+]ping ok\n[+]leaderElection ok\nlivez check passed\n")
    assert served.ask("/livez/leaderElection", token="") == (200, "ok")
    code, text = served.ask("/readyz?verbose")
    assert "[+]informer-sync ok" in text or "[-]informer-sync failed: reason withheld" in text
    assert served.ask("/livez/nothing")[0] == 404
    assert served.ask("/nothing")[0] == 404


def test_metrics_are_for_those_who_may(served: Served) -> None:
    code, text = served.ask("/metrics", token="")
    assert code == 403
    status = orjson.loads(text)
    assert (status["kind"], status["reason"]) == ("Status", "Forbidden")
    assert status["message"] == 'forbidden: User "system:anonymous" cannot get path "/metrics"'
    code, text = served.ask("/metrics", token="nobody's")
    assert (code, orjson.loads(text)["reason"]) == (401, "Unauthorized")
    assert served.ask("/metrics")[0] == 200


async def test_a_service_account_that_monitors_may(served: Served, client: Client) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "prometheus", "namespace": "default"}}
    await client.create(SERVICE_ACCOUNT, account)
    asked: dict[str, Any] = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    made = await client.post_subresource(SERVICE_ACCOUNT, "prometheus", "default", "token", asked)
    token = made["status"]["token"]
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "prometheus"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:monitoring"},
        "subjects": [{"kind": "ServiceAccount", "name": "prometheus", "namespace": "default"}],
    }
    await client.create(CLUSTER_ROLE_BINDING, binding)
    assert served.ask("/metrics", token)[0] == 200
    assert served.ask("/configz", token)[0] == 403


async def test_what_happens_is_counted(served: Served, client: Client, api_server: Any) -> None:
    await client.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "counted"}})

    async def counted() -> bool:
        return served.samples().get('workqueue_adds_total{name="serviceaccount"}', 0) > 0

    await eventually(counted)
    samples = served.samples()
    for name in ("depth", "unfinished_work_seconds", "longest_running_processor_seconds"):
        assert f'workqueue_{name}{{name="serviceaccount"}}' in samples
    assert 'workqueue_work_duration_seconds_bucket{name="serviceaccount",le="+Inf"}' in samples
    edges = ("1e-08", "1e-07", "1e-06", "9.999999999999999e-06", "9.999999999999999e-05", "0.001", "0.01", "0.1", "1")
    for kind in ("queue", "work"):
        name = f'workqueue_{kind}_duration_seconds_bucket{{name="serviceaccount",le='
        assert [s.removeprefix(name) for s in samples if s.startswith(name)] == [
            f'"{edge}"}}' for edge in (*edges, "10", "+Inf")
        ]
    host = f"127.0.0.1:{api_server.port}"
    assert samples[f'rest_client_requests_total{{code="200",host="{host}",method="GET"}}'] > 10
    for measure, edges in (
        ("request_duration_seconds", ("0.005", "60")),
        ("response_size_bytes", ("64", "1.6777216e+07")),
    ):
        name = f"rest_client_{measure}"
        assert samples[f'{name}_count{{host="{host}",verb="GET"}}'] > 10
        assert all(f'{name}_bucket{{host="{host}",verb="GET",le="{edge}"}}' in samples for edge in edges)
    assert samples[f'rest_client_request_size_bytes_sum{{host="{host}",verb="POST"}}'] > 100
    assert samples['leader_election_master_status{name="kube-controller-manager"}'] == 1
    assert samples['leader_election_master_status{name="kube-scheduler"}'] == 1
    assert samples["process_resident_memory_bytes"] > 0
    assert orjson.loads(served.ask("/configz")[1])["kubecontrollermanager.config.k8s.io"]["Generic"]["Port"]


def node(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "status": {
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"},
            "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}],
        },
    }


async def test_scheduling_is_counted(served: Served, client: Client) -> None:
    spec = {"containers": [{"name": "c", "image": "a"}]}
    for name, more in (("waits", {}), ("gated", {"schedulingGates": [{"name": "example.com/gate"}]})):
        metadata = {"name": name, "namespace": "default"}
        await client.create(POD, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**spec, **more}})

    async def unschedulable() -> bool:
        return served.samples().get('scheduler_pending_pods{queue="unschedulable"}') == 1

    await eventually(unschedulable)
    samples = served.samples()
    assert samples['scheduler_pending_pods{queue="gated"}'] == 1
    assert samples['scheduler_queue_incoming_pods_total{queue="active",event="UnscheduledPodAdd"}'] == 1
    tried = 'scheduler_schedule_attempts_total{result="unschedulable",profile="default-scheduler"}'
    assert samples[tried] >= 1
    assert samples["scheduler_preemption_attempts_total"] == 0
    await client.create(NODE, node("n1"))

    async def scheduled() -> bool:
        profile = 'result="scheduled",profile="default-scheduler"'
        return served.samples().get(f"scheduler_schedule_attempts_total{{{profile}}}") == 1

    await eventually(scheduled)
    samples = served.samples()
    assert samples['scheduler_cache_size{type="nodes"}'] == 1
    assert samples["scheduler_pod_scheduling_attempts_count"] == 1
    points = "scheduler_framework_extension_point_duration_seconds_count"
    for point in ("Filter", "Score", "Bind"):
        shown = f'extension_point="{point}",status="Success",profile="default-scheduler"'
        assert samples[f"{points}{{{shown}}}"] == 1


async def test_jobs_and_nodes_are_counted(served: Served, client: Client) -> None:
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "a"}]}
    policy = {"rules": [{"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]}
    spec = {"ttlSecondsAfterFinished": 0, "podFailurePolicy": policy, "template": {"spec": pod}}
    disrupted = {"type": "DisruptionTarget", "status": "True", "reason": "x", "lastTransitionTime": None}
    ends: dict[str, Any] = {
        "fails": {"phase": "Failed", "conditions": [disrupted]},
        "succeeds": {"phase": "Succeeded"},
    }
    for name, status in ends.items():
        metadata = {"name": name, "namespace": "default"}
        await client.create(JOB, {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec})

        async def made(name: str = name) -> list[Any]:
            return (await client.list(POD, "default", f"batch.kubernetes.io/job-name={name}")).items

        (one,) = await eventually(made)
        await client.patch(POD, one["metadata"]["name"], "default", {"status": status}, subresource="status")

    async def gone() -> bool:
        return served.samples().get("ttl_after_finished_controller_job_deletion_duration_seconds_count") == 2

    await eventually(gone)
    samples = served.samples()
    for result, reason in (("succeeded", "CompletionsReached"), ("failed", "PodFailurePolicy")):
        of = f'completion_mode="NonIndexed",result="{result}"'
        assert samples[f'job_controller_jobs_finished_total{{{of},reason="{reason}"}}'] == 1
        assert samples[f"job_controller_job_pods_finished_total{{{of}}}"] == 1
    assert samples['job_controller_pod_failures_handled_by_failure_policy_total{action="FailJob"}'] == 1
    for event in ("add", "delete"):
        assert samples[f'job_controller_terminated_pods_tracking_finalizer_total{{event="{event}"}}'] == 2
    created = 'completion_mode="NonIndexed",result="success",action="pods_created"'
    assert samples[f"job_controller_job_syncs_total{{{created}}}"] == 2
    assert samples['node_collector_zone_size{zone=""}'] == 1
    assert samples["garbagecollector_controller_resources_sync_error_total"] == 0


@pytest.mark.parametrize(
    ("head", "code", "lasts"),
    [
        ("GET /healthz HTTP/1.1\r\nHost: a", 200, True),
        ("HEAD /healthz HTTP/1.1\r\nHost: a", 200, True),
        ("GET /healthz HTTP/1.1\r\nConnection: close", 200, False),
        ("GET /healthz HTTP/1.0", 200, False),
        ("POST /healthz HTTP/1.1\r\nContent-Length: 2", 200, False),
        ("GET /%6cive%7a HTTP/1.1", 200, True),
        ("GET healthz HTTP/1.1", 400, False),
        ("hello", 400, False),
    ],
)
def test_requests_are_answered_as_http_wants_it(served: Served, head: str, code: int, lasts: bool) -> None:
    with socket.create_connection(("127.0.0.1", served.port), 20) as plain, _trusting().wrap_socket(plain) as tls:
        for _ in range(2 if lasts else 1):
            tls.sendall(f"{head}\r\n\r\n".encode())
            answer = tls.recv(4096).decode()
            status, _, rest = answer.partition("\r\n")
            assert int(status.split()[1]) == code
            body = "" if head.startswith("HEAD") else "ok" if code == 200 else "400 Bad Request"
            assert rest.endswith(f"\r\n\r\n{body}")
        if not lasts:
            assert tls.recv(4096) == b""


def test_a_taken_port_ends_the_process_with_a_sentence(served: Served, api_server: Any) -> None:
    command = [sys.executable, "-m", "hawser.controllers", "--kubeconfig", str(api_server.kubeconfig)]
    ended = subprocess.run([*command, "--secure-port", str(served.port)], capture_output=True, text=True, timeout=30)
    assert ended.returncode == 1
    assert f"failed to create listener: failed to listen on 127.0.0.1:{served.port}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_health_and_metrics_are_where_those_of_kube_controller_manager_are() -> None:
    options = arguments([])
    assert (options.bind_address, options.secure_port) == ("127.0.0.1", 10257)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--secure-port", "70000"], "is no port"),
        (["--tls-cert-file", "x"], "--tls-cert-file and --tls-private-key-file go together"),
    ],
)
def test_flags_that_cannot_be_are_refused(given: list[str], said: str, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        arguments(given)
    assert said in capsys.readouterr().err

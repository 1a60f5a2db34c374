"""Nothing acknowledged is lost and nothing running is touched, whoever is killed."""

from __future__ import annotations

import http.client
import json
import os
import signal
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

import hawser

from .conftest import Engine, Obj, eventually, pod

PROCESSES = ["apiserver", "controllers", "agent", "containerd", "supervisor"]


def processes(engine: Engine) -> dict[str, int]:
    """The pids of the engine's processes that run, by their names."""
    status = json.loads(engine.hawser("status", "-o", "json", check=False).stdout)
    return {p["name"]: p["pid"] for p in status["processes"] if p["running"]}


def process(engine: Engine, name: str) -> int:
    """The pid of a running process of the engine, or 0."""
    return processes(engine).get(name, 0)


def identity(manifest: Obj) -> tuple[str, str, list[tuple[str, int]]]:
    """What must stay the same: uid, IP, container ids with their restart counts."""
    statuses = manifest["status"]["containerStatuses"]
    return (
        manifest["metadata"]["uid"],
        manifest["status"]["podIP"],
        [(s["containerID"], s["restartCount"]) for s in statuses],
    )


def container_pid(engine: Engine, namespace: str, name: str) -> str:
    """The start time of the container's pid 1, which a restart would change."""

    def read() -> str:
        done = engine.kubectl("exec", name, "-n", namespace, "--", "cat", "/proc/1/stat", check=False)
        return done.stdout.rpartition(")")[2].split()[19] if done.returncode == 0 else ""

    return eventually(read, f"when {name} started")


@pytest.fixture
def steady(engine: Engine, namespace: str) -> Iterator[str]:
    engine.apply(pod("steady", "while :; do date +%s; sleep 1; done"), namespace)
    engine.wait_ready("steady", namespace)
    yield "steady"


@contextmanager
def goes_on(engine: Engine, namespace: str, name: str) -> Iterator[None]:
    """What happens inside leaves a pod's container alone, and an engine that runs new pods: which takes every part."""
    before, started = identity(engine.get("pod", name, namespace)), container_pid(engine, namespace, name)
    yield
    eventually(lambda: engine.hawser("status", check=False).returncode == 0, "a ready engine")
    engine.apply(pod("later"), namespace)
    engine.wait_ready("later", namespace)
    assert identity(engine.get("pod", name, namespace)) == before
    assert container_pid(engine, namespace, name) == started
    lines = len(engine.kubectl("logs", name, "-n", namespace).stdout.split())
    eventually(lambda: len(engine.kubectl("logs", name, "-n", namespace).stdout.split()) > lines, "new log lines")


@pytest.mark.parametrize("name", PROCESSES)
def test_a_killed_process_comes_back_and_containers_never_notice(
    engine: Engine, namespace: str, steady: str, name: str
) -> None:
    with goes_on(engine, namespace, steady):
        pid = process(engine, name)
        assert pid
        os.kill(pid, signal.SIGKILL)
        if name == "supervisor":
            engine.hawser("up", "--detach")
        else:
            eventually(lambda: process(engine, name) not in (0, pid), f"a new {name}")


def test_a_restart_takes_new_code_and_flags_and_containers_never_notice(
    engine: Engine, namespace: str, steady: str
) -> None:
    # From now on the code on disk is another than what the engine has started with.
    os.utime(hawser.__file__)
    assert "`hawser restart` runs what is installed now" in engine.hawser("status").stdout
    assert "`hawser restart` runs that" in engine.hawser("up", "--detach").stdout
    with goes_on(engine, namespace, steady):
        old = processes(engine)
        engine.hawser("restart", "--controllers-arg", "node-monitor-grace-period=41s")
        assert not set(old.values()) & set(processes(engine).values())
        assert "hawser restart" not in engine.hawser("status").stdout
        command = Path(f"/proc/{process(engine, 'controllers')}/cmdline").read_text()
        assert "node-monitor-grace-period=41s" in command
    refused = engine.hawser("restart", "--agent-arg", "no-such-flag=1", check=False)
    assert refused.returncode == 1 and "--agent-arg wants NAME=VALUE with a flag of the node agent" in refused.stderr
    assert processes(engine) != {}, "a refused restart stops nothing"
    engine.hawser("restart", "--controllers-arg", "")


def test_everything_killed_at_once(engine: Engine, namespace: str, steady: str) -> None:
    with goes_on(engine, namespace, steady):
        for pid in processes(engine).values():
            # With the first one, the supervisor, the others are asked to end.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        engine.hawser("up", "--detach")


class Writers:
    """Concurrent writers that remember what was acknowledged, each on its own connection."""

    def __init__(self, engine: Engine, namespace: str, count: int) -> None:
        self.acknowledged: set[str] = set()
        self.refused = 0
        config = json.loads((engine.data_dir / "config.json").read_text())
        self._address = config["listen"]
        self._path = f"/api/v1/namespaces/{namespace}/configmaps"
        self._token = (engine.data_dir / "pki" / "tokens.csv").read_text().split(",")[0]
        self._ssl = ssl.create_default_context(cafile=str(engine.data_dir / "pki" / "ca.crt"))
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(count)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        count = 0
        while not self._stop.is_set():
            name = f"w{number}-{count}"
            count += 1
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"n": str(count)}}
            headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
            try:
                with closing(http.client.HTTPSConnection(self._address, context=self._ssl, timeout=60)) as connection:
                    connection.request("POST", self._path, json.dumps(body), headers)
                    assert connection.getresponse().status == 201
                    self.acknowledged.add(name)
            except (OSError, http.client.HTTPException):
                self.refused += 1
                time.sleep(0.02)


# Python's ssl leaves a socket to the garbage collector whose other end is gone before the handshake begins.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
def test_a_killed_api_server_has_every_acknowledged_write(engine: Engine, namespace: str) -> None:
    writers = Writers(engine, namespace, 64)
    writers.start()
    try:
        for _ in range(3):
            goal = len(writers.acknowledged) + 200
            eventually(partial(lambda goal: len(writers.acknowledged) > goal, goal), "writes")
            pid = eventually(lambda: process(engine, "apiserver"), "an API server")
            os.kill(pid, signal.SIGKILL)
            eventually(partial(lambda old: process(engine, "apiserver") not in (0, old), pid), "a new API server")
    finally:
        writers.stop()
    eventually(lambda: engine.hawser("status", check=False).returncode == 0, "a ready engine")
    names = engine.kubectl("get", "configmaps", "-n", namespace, "-o", "name").stdout.split()
    assert writers.refused
    assert writers.acknowledged - {n.removeprefix("configmap/") for n in names} == set()

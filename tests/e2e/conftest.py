"""A running engine for end-to-end tests: started once through the CLI in a directory of its own, removed at the end."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import kubernetes
import pytest
import yaml

ROOT = Path(__file__).parents[2]
KUBECTL = ROOT / ".venv" / "bin" / "kubectl"
T = TypeVar("T")
Obj = dict[str, Any]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever breaks the engine on purpose comes last."""
    items.sort(key=lambda item: "crash" in item.path.name or "down" in item.path.name)


def eventually(check: Callable[[], T], what: str, seconds: float = 60.0) -> T:
    """Calls check until its result is true and returns that; fails with ``what`` and the last result."""
    deadline = time.monotonic() + seconds
    while True:
        result = check()
        if result:
            return result
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come in {seconds:.0f} s; last seen: {result!r}")
        time.sleep(0.05)


class Engine:
    """An engine under test, driven as users drive it: the hawser command, kubectl, a public client library."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.kubeconfig = data_dir / "kubeconfig" / "admin.yaml"

    def hawser(self, *args: str, check: bool = True, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        """The CLI from the clone."""
        env = {**os.environ, "HAWSER_DATA_DIR": str(self.data_dir), "NO_COLOR": "1", "COLUMNS": "160"}
        return _run([str(ROOT / "hawser"), *args], check=check, env=env, **kwargs)

    def kubectl(self, *args: str, check: bool = True, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        """An unmodified kubectl. A cache directory of its own keeps discovery honest."""
        command = [str(KUBECTL), "--cache-dir", f"{self.data_dir}-kubectl-cache", *args]
        env = {**os.environ, "KUBECONFIG": str(self.kubeconfig), **kwargs.pop("env", {})}
        return _run(command, check=check, env=env, **kwargs)

    def apply(self, manifest: Obj | str, namespace: str) -> None:
        text = manifest if isinstance(manifest, str) else yaml.safe_dump(manifest)
        self.kubectl("apply", "-n", namespace, "-f", "-", input=text)

    def get(self, kind: str, name: str, namespace: str) -> Obj:
        result: Obj = json.loads(self.kubectl("get", kind, name, "-n", namespace, "-o", "json").stdout)
        return result

    def list(self, kind: str, namespace: str, selector: str = "") -> list[Obj]:
        args = ["-l", selector] if selector else []
        items: list[Obj] = json.loads(self.kubectl("get", kind, "-n", namespace, "-o", "json", *args).stdout)["items"]
        return items

    def wait_ready(self, pod: str, namespace: str, seconds: float = 60.0) -> Obj:
        """The pod once it is Ready; on failure its description is shown."""
        done = self.kubectl(
            "wait", "--for=condition=Ready", f"pod/{pod}", "-n", namespace, f"--timeout={seconds:.0f}s", check=False
        )
        if done.returncode:
            pytest.fail(done.stderr + self.kubectl("describe", "pod", pod, "-n", namespace, check=False).stdout)
        return self.get("pod", pod, namespace)

    def events(self, namespace: str, name: str) -> list[tuple[str, str]]:
        """(reason, message) of an object's events."""
        selector = f"involvedObject.name={name}"
        out = self.kubectl("get", "events", "-n", namespace, "--field-selector", selector, "-o", "json").stdout
        return [(e["reason"], e.get("message", "")) for e in json.loads(out)["items"]]

    def wait_event(self, namespace: str, name: str, reason: str, seconds: float = 30.0) -> str:
        """The message of the first event with this reason."""

        def found() -> str:
            return next((m for r, m in self.events(namespace, name) if r == reason), "")

        return eventually(found, f"event {reason} of {name}", seconds)

    @contextlib.contextmanager
    def client(self) -> Iterator[kubernetes.client.ApiClient]:
        """The public Python client library; its connections are closed afterwards."""
        client: kubernetes.client.ApiClient = kubernetes.config.new_client_from_config(str(self.kubeconfig))
        try:
            yield client
        finally:
            client.close()
            client.rest_client.pool_manager.clear()


def _run(command: list[str], *, check: bool, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    kwargs.setdefault("timeout", 120)
    if "input" not in kwargs:
        kwargs.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)
    if check and done.returncode:
        pytest.fail(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    if os.geteuid() != 0:
        pytest.fail("end-to-end tests run containers and need root")
    data_dir = Path(tempfile.mkdtemp(prefix="hawser-e2e-", dir="/var/tmp"))
    engine = Engine(data_dir)
    try:
        engine.hawser("up", "--detach", timeout=300)
        yield engine
    finally:
        engine.hawser("down", "--purge", "--grace", "1", check=False, timeout=300)
        shutil.rmtree(data_dir, ignore_errors=True)
        shutil.rmtree(f"{data_dir}-kubectl-cache", ignore_errors=True)


@pytest.fixture
def namespace(engine: Engine) -> Iterator[str]:
    """A namespace for one test; it and all in it are deleted after the test."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    engine.kubectl("create", "namespace", name)
    yield name
    engine.kubectl("delete", "namespace", name, "--wait=false", check=False)
    engine.kubectl("delete", "pods", "--all", "-n", name, "--grace-period=0", "--force", check=False)


def pod(name: str, command: str = "sleep 1000000", **spec: Any) -> Obj:
    """A one-container busybox pod that runs a shell command and ends at once on SIGTERM."""
    container = spec.pop("container", {})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "main",
                    "image": "docker.io/library/busybox:1.36",
                    "command": ["sh", "-c", command],
                    **container,
                }
            ],
            **spec,
        },
    }

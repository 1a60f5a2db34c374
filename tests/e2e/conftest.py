"""A running engine for end-to-end tests: started once through the CLI in a directory of its own, removed at the end."""

from __future__ import annotations

import contextlib
import fcntl
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

from hawser.api.kinds import EVENT, NAMESPACE, POD, SERVICE_ACCOUNT
from hawser.cli.engine import settings
from hawser.cli.engine.containerd import runc_dir

from .direct import Direct, Refused, kind_of

ROOT = Path(__file__).parents[2]
KUBECTL = ROOT / ".venv" / "bin" / "kubectl"
HAWSER = ROOT / ".venv" / "bin" / "hawser"
PATIENCE = float(os.environ.get("HAWSER_TEST_PATIENCE", "1"))
"""How much longer than elsewhere anything may take: more in an emulated machine."""
HOST_PORTS = 12_000 + os.getpid() % 500 * 25
"""The first of 25 ports of the machine that pods of this process's tests may have: other test runs have others."""
T = TypeVar("T")
Obj = dict[str, Any]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever breaks the engine on purpose comes last."""
    items.sort(key=lambda item: "crash" in item.path.name or "down" in item.path.name)


def eventually(check: Callable[[], T], what: str, seconds: float = 120.0) -> T:
    """Calls check until its result is true and returns that; fails with ``what`` and the last result."""
    deadline = time.monotonic() + seconds * PATIENCE
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
        self.direct = Direct(data_dir)

    def hawser(self, *args: str, check: bool = True, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        """The CLI. The clone's ./hawser, which looks for packages to install before that, is what test_demo takes."""
        env = {**os.environ, "HAWSER_DATA_DIR": str(self.data_dir), "NO_COLOR": "1", "COLUMNS": "160"}
        return _run([str(HAWSER), *args], check=check, env=env, **kwargs)

    def start(self) -> None:
        """Has it up. In an emulated machine that takes longer than the command waits; the engine goes on meanwhile."""
        for left in reversed(range(max(1, int(PATIENCE)))):
            if not self.hawser("up", "--detach", check=not left, timeout=300).returncode:
                break

    def kubectl(self, *args: str, check: bool = True, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        """An unmodified kubectl. A cache directory of its own keeps discovery honest."""
        command = [str(KUBECTL), "--cache-dir", f"{self.data_dir}-kubectl-cache", *args]
        env = {**os.environ, "KUBECONFIG": str(self.kubeconfig), **kwargs.pop("env", {})}
        return _run(command, check=check, env=env, **kwargs)

    def apply(self, manifest: Obj | str, namespace: str) -> None:
        text = manifest if isinstance(manifest, str) else yaml.safe_dump(manifest)
        self.kubectl("apply", "-n", namespace, "-f", "-", input=text)

    def get(self, kind: str, name: str, namespace: str) -> Obj:
        found = kind_of(kind)
        if found is None:
            result: Obj = json.loads(self.kubectl("get", kind, name, "-n", namespace, "-o", "json").stdout)
            return result
        with _failing():
            return self.direct.get(found, name, namespace)

    def list(self, kind: str, namespace: str, selector: str = "") -> list[Obj]:
        found = kind_of(kind)
        if found is None:
            args = ["-l", selector] if selector else []
            items: list[Obj] = json.loads(self.kubectl("get", kind, "-n", namespace, "-o", "json", *args).stdout)[
                "items"
            ]
            return items
        with _failing():
            return self.direct.list(found, namespace or "default", labels=selector)

    def wait_ready(self, pod: str, namespace: str, seconds: float = 120.0) -> Obj:
        """The pod once it is Ready; on failure its description is shown."""
        deadline = time.monotonic() + seconds * PATIENCE
        while True:
            found = self.get("pod", pod, namespace)
            conditions = found.get("status", {}).get("conditions") or ()
            if ("Ready", "True") in {(c["type"], c["status"]) for c in conditions}:
                return found
            if time.monotonic() > deadline:
                described = self.kubectl("describe", "pod", pod, "-n", namespace, check=False).stdout
                pytest.fail(f"{pod} was not ready in {seconds:.0f} s:\n{described}")
            time.sleep(0.05)

    def events(self, namespace: str, name: str) -> list[tuple[str, str]]:
        """(reason, message) of an object's events."""
        with _failing():
            found = self.direct.list(EVENT, namespace, fields=f"involvedObject.name={name}")
        return [(e["reason"], e.get("message", "")) for e in found]

    def wait_event(self, namespace: str, name: str, reason: str, words: str = "") -> str:
        """The message of the first event with this reason, and these words in it."""

        def found() -> str:
            return next((m for r, m in self.events(namespace, name) if r == reason and words in m), "")

        try:
            return eventually(found, f"event {reason} of {name}")
        except pytest.fail.Exception as failure:
            there = self.kubectl("get", "pods,events", "-o", "wide", "-n", namespace, check=False)
            pytest.fail(f"{failure.msg}\n{there.stdout}")

    @contextlib.contextmanager
    def client(self) -> Iterator[kubernetes.client.ApiClient]:
        """The public Python client library; its connections are closed afterwards."""
        client: kubernetes.client.ApiClient = kubernetes.config.new_client_from_config(str(self.kubeconfig))
        try:
            yield client
        finally:
            client.close()
            client.rest_client.pool_manager.clear()


@contextlib.contextmanager
def _failing() -> Iterator[None]:
    """A request that fails fails the test, with the server's words."""
    try:
        yield
    except (Refused, OSError) as error:
        pytest.fail(str(error))


def _run(command: list[str], *, check: bool, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    kwargs["timeout"] = kwargs.get("timeout", 180) * PATIENCE
    if "input" not in kwargs:
        kwargs.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)
    if check and done.returncode:
        pytest.fail(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


@contextlib.contextmanager
def engine_of_its_own(made: Callable[[Path], Engine] = Engine) -> Iterator[Engine]:
    """An engine that is not up yet, with a data directory of its own; in the end nothing of it is left."""
    data_dir = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_PLACE))
    claimed = Path(f"{data_dir}.new")
    with claimed.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        claimed.rename(f"{data_dir}.lock")
        engine = made(data_dir)
        try:
            yield engine
        finally:
            _remove(engine)


_PLACE, _PREFIX = Path("/var/tmp"), "hawser-e2e-"


def _remove(engine: Engine) -> None:
    # What a test has broken may need a second time; data that is removed before could not be swept by anyone.
    if engine.hawser("down", "--purge", "--grace", "1", check=False, timeout=300).returncode:
        engine.hawser("down", "--purge", "--grace", "1", timeout=300)
    shutil.rmtree(engine.data_dir, ignore_errors=True)
    shutil.rmtree(f"{engine.data_dir}-kubectl-cache", ignore_errors=True)
    Path(f"{engine.data_dir}.lock").unlink()


@pytest.fixture(scope="session", autouse=True)
def others_remains() -> None:
    """Takes away the engines of test runs that were killed: nobody holds their locks any more."""
    for path in _PLACE.glob(f"{_PREFIX}*.lock"):
        with contextlib.suppress(OSError), path.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(Engine(path.with_suffix("")))


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    if os.geteuid() != 0:
        pytest.fail("end-to-end tests run containers and need root")
    with engine_of_its_own() as made:
        made.start()
        yield made


@pytest.fixture(scope="session")
def image(engine: Engine) -> str:
    """The example's rich image, in the engine."""
    engine.hawser("image", "build-rich", str(ROOT / "examples/legacy-app/image.yaml"), timeout=900)
    return "localhost/legacy-app:1"


@pytest.fixture
def namespace(engine: Engine) -> Iterator[str]:
    """A namespace for one test; it and all in it are deleted after the test."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    with _failing():
        engine.direct.call("POST", NAMESPACE.path(), {"metadata": {"name": name}})
        # Pods are refused before it is there.
        eventually(lambda: engine.direct.list(SERVICE_ACCOUNT, name), "the default service account")
    yield name
    # As far as the test has left an engine.
    with contextlib.suppress(Refused, OSError):
        engine.direct.call("DELETE", NAMESPACE.path(None, name))
        engine.direct.call(
            "DELETE", POD.path(name), {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
        )


def first_pid(engine: Engine, container_id: str) -> int:
    """The number, on this machine, of a rich container's first process; container_id: as a pod's status has it."""
    kept = settings.load(engine.data_dir)
    assert kept is not None
    # Not looked for below: what runs meanwhile makes and removes directories beside it.
    folder = runc_dir(kept) / "k8s.io" / container_id.partition("://")[2]
    note = json.loads(next(folder.glob("stat*")).read_text())  # runc's state.json, crun's status
    return int(note.get("init_process_pid") or note["pid"])


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

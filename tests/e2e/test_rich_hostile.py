"""A hostile tenant, root in a rich container: nothing of the node is within reach, and nothing of it is exhausted."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import ROOT, Engine, eventually
from .test_rich import rich

PIDS = 250


@pytest.fixture(scope="module")
def guarded() -> Iterator[Engine]:
    """An engine whose pods may have so many processes, as a cluster for strangers has it."""
    data_dir = Path(tempfile.mkdtemp(prefix="hawser-e2e-", dir="/var/tmp"))
    engine = Engine(data_dir)
    try:
        engine.hawser("up", "--detach", "--agent-arg", f"pod-max-pids={PIDS}", timeout=300)
        engine.hawser("image", "build-rich", str(ROOT / "examples/legacy-app/image.yaml"), timeout=600)
        yield engine
    finally:
        engine.hawser("down", "--purge", "--grace", "1", check=False, timeout=300)
        shutil.rmtree(data_dir, ignore_errors=True)
        shutil.rmtree(f"{data_dir}-kubectl-cache", ignore_errors=True)


def test_a_hostile_tenant_is_contained(guarded: Engine) -> None:
    limits = {"resources": {"limits": {"memory": "256Mi"}}}
    guarded.apply(rich("tenant", container=limits), "default")
    guarded.apply(rich("neighbour", init="minimal"), "default")
    guarded.wait_ready("tenant", "default")
    neighbour = guarded.wait_ready("neighbour", "default")
    node = guarded.list("nodes", "")[0]
    address = next(a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP")
    port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
    clock, started = time.time(), time.monotonic()
    victim = subprocess.Popen(["sleep", "600"])
    try:
        ran = guarded.kubectl(
            *("exec", "-i", "tenant", "--", "python3", "-", f"{address}:{port}", str(victim.pid)),
            input=(Path(__file__).parent / "hostile.py").read_text(),
            timeout=180,
        )
        assert json.loads(ran.stdout) == {}, ran.stderr
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()
    assert abs(time.time() - clock - (time.monotonic() - started)) < 60
    made = int(next(line for line in ran.stderr.splitlines() if line.endswith(" processes")).split()[0])
    assert made < PIDS
    # The container itself goes on, and so do its neighbours and the node.
    assert guarded.kubectl("exec", "tenant", "--", "systemctl", "is-active", "hawser-app").stdout == "active\n"
    after = guarded.get("pod", "neighbour", "default")["status"]
    assert after["containerStatuses"][0]["containerID"] == neighbour["status"]["containerStatuses"][0]["containerID"]
    assert guarded.kubectl("get", "nodes").stdout.count(" Ready ") == 1


def test_reboot_inside_is_no_reboot_of_anything_else(guarded: Engine) -> None:
    manifest = rich("rebooted")
    manifest["spec"]["restartPolicy"] = "Always"
    guarded.apply(manifest, "default")
    guarded.wait_ready("rebooted", "default")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    guarded.kubectl("exec", "rebooted", "--", "systemctl", "reboot", "--force", check=False)

    def restarted() -> bool:
        return bool(guarded.get("pod", "rebooted", "default")["status"]["containerStatuses"][0]["restartCount"])

    eventually(restarted, "the container's own restart")
    guarded.wait_ready("rebooted", "default")
    assert Path("/proc/sys/kernel/random/boot_id").read_text() == boot

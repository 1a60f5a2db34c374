"""A hostile tenant, root in a rich container: nothing of the node is within reach, and nothing of it is exhausted."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from .conftest import ROOT, Engine, engine_of_its_own, eventually
from .test_rich import ACTIVE, rich

PIDS = 250


@pytest.fixture(scope="module")
def guarded() -> Iterator[Engine]:
    """An engine whose pods may have so many processes, as a cluster for strangers has it."""
    with engine_of_its_own() as engine:
        engine.hawser("up", "--detach", "--agent-arg", f"pod-max-pids={PIDS}", timeout=300)
        engine.hawser("image", "build-rich", str(ROOT / "examples/legacy-app/image.yaml"), timeout=600)
        yield engine


def test_a_hostile_tenant_is_contained(guarded: Engine) -> None:
    limits = {"resources": {"limits": {"memory": "256Mi"}}}
    guarded.apply(rich("tenant", container={**ACTIVE, **limits}), "default")
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


def test_reboot_and_power_off_inside_start_the_container_again_and_nothing_else(guarded: Engine) -> None:
    commands = {"rebooted": ["reboot", "--force"], "off": ["poweroff"]}
    for name in commands:
        manifest = rich(name, container=ACTIVE)
        manifest["spec"]["restartPolicy"] = "Always"
        guarded.apply(manifest, "default")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    for name, command in commands.items():
        guarded.wait_ready(name, "default")
        guarded.kubectl("exec", name, "--", "systemctl", *command, check=False)

    def restarts(name: str) -> int:
        return int(guarded.get("pod", name, "default")["status"]["containerStatuses"][0]["restartCount"])

    for name in commands:
        eventually(partial(restarts, name), "the container's own restart")
        guarded.wait_ready(name, "default")
    assert Path("/proc/sys/kernel/random/boot_id").read_text() == boot

"""The whole engine on containerd 2.1, with runc 1.3 and crun 1.28 below rich containers, and users of their own."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.environments import newer, within

from .conftest import HAWSER, ROOT, Engine, Obj, _run, eventually
from .test_rich import rich

LIMITS = {"resources": {"limits": {"memory": "300Mi", "cpu": "1"}}}


class Newer(Engine):
    """An engine whose programs are newer than the host's."""

    def __init__(self, data_dir: Path, env: dict[str, str]) -> None:
        super().__init__(data_dir)
        self.env, self.words = env, [str(HAWSER)]

    def hawser(self, *args: str, check: bool = True, **kwargs: Any) -> Any:
        env = {**self.env, "HAWSER_DATA_DIR": str(self.data_dir), "NO_COLOR": "1", "COLUMNS": "160"}
        return _run([*self.words, *args], check=check, env=env, **kwargs)

    def up(self, program: Path) -> None:
        """Starts it by a program that may have mounts of its own; all other commands see the same ones."""
        self.words = [str(program)]
        self.hawser("up", "--detach", timeout=300)
        rows = json.loads(self.hawser("status", "-o", "json").stdout)["processes"]
        pid = next(row["pid"] for row in rows if row["name"] == "supervisor")
        self.words = ["nsenter", "--target", str(pid), "--mount", str(HAWSER)]


@pytest.fixture(scope="module", params=["runc", "crun"])
def newest(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine whose rich containers are made by runc or crun; crun takes no hybrid control groups."""
    containerd, real = newer("containerd"), newer(request.param)
    tools = tmp_path_factory.mktemp("tools")
    for name in ("containerd", "runc"):
        (tools / name).symlink_to(newer(name))
    data_dir = Path(tempfile.mkdtemp(prefix="hawser-e2e-", dir="/var/tmp"))
    path = f"{tools}:{containerd.parents[1]}/usr/bin:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "HAWSER_OCI_RUNTIME": str(real)}
    program = HAWSER if request.param == "runc" else within("v1", tools / "hawser", [str(HAWSER)])
    engine = Newer(data_dir, env)
    try:
        engine.up(program)
        engine.hawser("image", "build-rich", str(ROOT / "examples/legacy-app/image.yaml"), timeout=600)
        yield engine
    finally:
        engine.hawser("down", "--purge", "--grace", "1", check=False, timeout=300)
        shutil.rmtree(data_dir, ignore_errors=True)
        shutil.rmtree(f"{data_dir}-kubectl-cache", ignore_errors=True)


def test_rich_pods_with_users_of_their_own(newest: Engine) -> None:
    hooks = {"prestart": "cat /proc/self/uid_map", "poststop": "id -u; echo after $HAWSER_EXIT_CODE"}
    newest.apply(rich("machine", rich=hooks, container=LIMITS, hostUsers=False), "default")
    newest.apply(rich("ends", ["sh", "-c", "exit 3"], rich=hooks, hostUsers=False, restartPolicy="Never"), "default")
    newest.apply(rich("ordinary", container=LIMITS), "default")
    kept = rich("kept", rich={"rootfs": "keep"}, hostUsers=False)
    newest.apply(kept, "default")
    node = newest.list("nodes", "")[0]["status"]
    assert node["nodeInfo"]["containerRuntimeVersion"].startswith("containerd://2.")

    for name, own in (("machine", True), ("ordinary", False)):
        newest.wait_ready(name, "default")

        def inside(*command: str, name: str = name) -> str:
            return newest.kubectl("exec", name, "--", *command, check=False).stdout.strip()

        assert eventually(lambda: inside("systemctl", "is-system-running") == "running", f"{name} runs")
        first = inside("cat", "/proc/1/uid_map").split()[1]
        assert (first != "0") is own
        assert inside("cat", "/proc/1/comm") == "systemd"
        assert inside("systemctl", "is-active", "cron", "ssh", "rsyslog").split() == ["active"] * 3
        assert inside("systemd-run", "--quiet", "--wait", "--pipe", "id", "-u") == "0"
        # Its own control groups, and no limit of them.
        root = (
            "for root in /sys/fs/cgroup/systemd /sys/fs/cgroup; do [ -e $root/cgroup.procs ] && break; done; cd $root; "
        )
        assert inside("sh", "-c", root + "mkdir mine && rmdir mine && echo own") == "own"
        lift = "cd /sys/fs/cgroup; echo 1G >$(ls -d memory/memory.limit_in_bytes memory.max 2>&-) || echo no"
        assert inside("sh", "-c", lift) == "no"
        assert inside("nproc") == "1"
        if shutil.which("lxcfs"):
            assert inside("sh", "-c", "sed -n 's/^MemTotal: *//p' /proc/meminfo") == "307200 kB"
        ready = eventually(lambda name=name: condition(newest.get("pod", name, "default")), "its condition")  # type: ignore[misc]
        assert ready["status"] == "True"

    done = eventually(lambda: terminated(newest.get("pod", "ends", "default")), "the end of the application")
    assert done["exitCode"] == 3
    told = newest.wait_event("default", "ends", "PoststopHookSucceeded")
    assert told.split(" s: ", 1)[1].split() == ["0", "after", "3"]
    assert "a container with a user namespace" in newest.wait_event("default", "kept", "Failed")

    newest.kubectl("delete", "pod", "machine", "ordinary", "ends", "kept", timeout=60)


def condition(pod: Obj) -> Obj | None:
    rows = {row["type"]: row for row in pod["status"].get("conditions") or ()}
    return rows.get("rich.hawser.dev/ApplicationReady")


def terminated(pod: Obj) -> Obj | None:
    status: list[Obj] = pod["status"].get("containerStatuses") or [{}]
    return (status[0].get("state") or {}).get("terminated")

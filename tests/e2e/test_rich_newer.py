"""The whole engine on containerd 2.1, with runc 1.3 and crun 1.28 below rich containers, and users of their own."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.environments import newer, release, within

from .conftest import HAWSER, ROOT, Engine, Obj, _run, engine_of_its_own, eventually
from .test_rich import rich
from .test_rich_profiles import AGENT, CRD, KIND

# Before, tmpfs takes no mapped ids, and every pod's token is on one: user namespaces need it, as Kubernetes says.
pytestmark = pytest.mark.skipif(release() < (6, 3), reason="users of their own need Linux 6.3")
LIMITS = {"resources": {"limits": {"memory": "300Mi", "cpu": "1"}}}


class Newer(Engine):
    """An engine whose programs are newer than the host's."""

    def __init__(self, data_dir: Path, env: dict[str, str]) -> None:
        super().__init__(data_dir)
        self.env, self.program, self.supervisor = env, HAWSER, 0

    def hawser(self, *args: str, check: bool = True, **kwargs: Any) -> Any:
        env = {**self.env, "HAWSER_DATA_DIR": str(self.data_dir), "NO_COLOR": "1", "COLUMNS": "160"}
        words = [str(self.program)]
        if Path(f"/proc/{self.supervisor}/ns/mnt").exists():
            words = ["nsenter", "--target", str(self.supervisor), "--mount", str(HAWSER)]
        return _run([*words, *args], check=check, env=env, **kwargs)

    def up(self, program: Path) -> None:
        """Starts it by a program that may have mounts of its own; all other commands see the same ones."""
        self.program = program
        self.start()
        rows = json.loads(self.hawser("status", "-o", "json").stdout)["processes"]
        self.supervisor = next(row["pid"] for row in rows if row["name"] == "supervisor")
        self.program = HAWSER  # `down` ends the supervisor, and may be called once more


@pytest.fixture(scope="module", params=["runc", "crun"])
def newest(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine whose rich containers are made by runc or crun; crun takes no hybrid control groups."""
    containerd, real = newer("containerd"), newer(request.param)
    tools = tmp_path_factory.mktemp("tools")
    for name in ("containerd", "runc"):
        (tools / name).symlink_to(newer(name))
    path = f"{tools}:{containerd.parents[1]}/usr/bin:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "HAWSER_OCI_RUNTIME": str(real)}
    hybrid = request.param == "crun" and Path("/sys/fs/cgroup/systemd").is_dir()
    program = within("v1", tools / "hawser", [str(HAWSER)]) if hybrid else HAWSER
    with engine_of_its_own(partial(Newer, env=env)) as engine:
        engine.up(program)
        engine.hawser("image", "build-rich", str(ROOT / "examples/legacy-app/image.yaml"), timeout=600)
        yield engine


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
            total = ("sh", "-c", "sed -n 's/^MemTotal: *//p' /proc/meminfo")
            eventually(lambda inside=inside, total=total: inside(*total) == "307200 kB", "its memory")  # type: ignore[misc]
        eventually(lambda name=name: application_ready(newest.get("pod", name, "default")), "its condition")

    done = eventually(lambda: terminated(newest.get("pod", "ends", "default")), "the end of the application")
    assert done["exitCode"] == 3
    told = newest.wait_event("default", "ends", "PoststopHookSucceeded")
    assert told.split(" s: ", 1)[1].split() == ["0", "after", "3"]
    assert "a container with a user namespace" in newest.wait_event("default", "kept", "Failed")

    newest.kubectl("delete", "pod", "machine", "ordinary", "ends", "kept")


def test_operation_agents_with_users_of_their_own(newest: Engine) -> None:
    newest.kubectl("apply", "-f", str(CRD))
    newest.kubectl("wait", "--for=condition=Established", "crd/richprofiles.rich.hawser.dev", "--timeout=120s")
    tell = 'echo "$(cut -c12- /proc/self/uid_map) sees $(head -c 4 /proc/1/root/etc/passwd)"; exec sleep 1000000'
    hog = "[ -e /tmp/once ] || { touch /tmp/once; exec tail /dev/zero; }; exec sleep 1000000"
    agents = [
        {**AGENT, "name": "watch", "command": ["sh", "-c", tell]},
        {**AGENT, "name": "hog", "command": ["sh", "-c", hog]},
    ]
    spec = {"podSelector": {"matchLabels": {"agents": "own"}}, "defaults": {"init": "systemd"}, "agents": agents}
    newest.kubectl("apply", "-f", "-", input=json.dumps({**KIND, "metadata": {"name": "own"}, "spec": spec}))
    manifest = rich("agents", container=LIMITS, hostUsers=False)
    manifest["metadata"].setdefault("labels", {})["agents"] = "own"
    newest.apply(manifest, "default")
    newest.wait_ready("agents", "default")

    def inside(script: str) -> str:
        return newest.kubectl("exec", "agents", "--", "sh", "-c", script, check=False).stdout.strip()

    assert inside("cut -c12- /proc/self/uid_map").split()[0] != "0"
    assert eventually(lambda: "sees root" in inside("journalctl -o cat -u hawser-agent-watch"), "the agent's line")
    # The one that leaks ends and comes again; nothing else does.
    again = "systemctl show -P NRestarts hawser-agent-hog"
    assert eventually(lambda: inside(again) not in ("", "0"), "its restart")
    states = "systemctl is-active hawser-app hawser-agent-watch"
    eventually(lambda: inside(states).split() == ["active"] * 2, "the others")
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        limit = inside("cat /sys/fs/cgroup/system.slice/hawser-agent-watch.service/memory.max")
        assert limit == str(16 << 20)
        ended = "journalctl -o cat -u hawser-agent-hog"
        assert eventually(lambda: "oom-kill" in inside(ended), "the end that the kernel made it")
    else:
        assert "/hawser-watch" in inside("cat /proc/$(systemctl show -P MainPID hawser-agent-watch)/cgroup")
    newest.kubectl("delete", "pod", "agents")


def application_ready(pod: Obj) -> bool:
    rows = {row["type"]: row["status"] for row in pod["status"].get("conditions") or ()}
    return rows.get("rich.hawser.dev/ApplicationReady") == "True"


def terminated(pod: Obj) -> Obj | None:
    status: list[Obj] = pod["status"].get("containerStatuses") or [{}]
    return (status[0].get("state") or {}).get("terminated")

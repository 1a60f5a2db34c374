"""One lxcfs for a node's containers: started when one asks, kept alive, renewed in running containers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.conftest import Container, Containers

from hawser.rich.view import lxcfs, own
from hawser.rich.view import manager as managing
from hawser.rich.view.groups import Groups
from hawser.rich.view.manager import Manager
from hawser.rich.view.server import find
from hawser.runtime.view import PLACE

Spec = dict[str, Any]
SLEEP = ["sleep", "1000"]
LIMITED = {"memory": {"limit": 300 << 20}, "cpu": {"quota": 100_000, "period": 100_000}}
TELL = "nproc; nproc --all; grep -c ^processor /proc/cpuinfo; cat /sys/devices/system/cpu/online; free -m | sed -n 2p"
PRESSURE = Path("/proc/pressure").is_dir()
HOST = Path("/proc/meminfo").read_text().split()[1]


def limited(spec: Spec, init: str = "minimal") -> Spec:
    spec["annotations"]["rich.hawser.dev/init"] = init
    spec["process"]["args"] = SLEEP
    spec["linux"]["resources"] |= LIMITED
    return spec


SERVERS = [lxcfs.NAME, own.NAME]


def pid(manager: Manager, server: str = lxcfs.NAME) -> int:
    """Of a server; 0 while there is none."""
    try:
        return int((manager.home / f"{server}.pid").read_text())
    except (FileNotFoundError, ValueError):
        return 0


def kill(manager: Manager, server: str = lxcfs.NAME, number: int = signal.SIGKILL) -> int:
    """Sends a signal to a server; its pid. Nobody's is 0: that would be all processes of this test run."""
    found = pid(manager, server)
    assert found, f"there is no {server}"
    os.kill(found, number)
    return found


async def until(check: Callable[[], object], what: str, seconds: float = 120.0) -> None:
    """Waits for what the product promises within ten seconds, on a machine that has nothing else to do."""

    def look() -> None:
        end = time.monotonic() + seconds
        while not check():
            assert time.monotonic() < end, f"{what} did not come"
            time.sleep(0.02)

    await asyncio.to_thread(look)


def told(container: Container) -> list[str]:
    """Processors by four ways, memory in MiB."""
    lines = container.exec("sh", "-c", TELL).splitlines()
    return [*lines[:4], lines[4].split()[1]] if len(lines) == 5 else lines


OWN = ["1", "1", "1", "0", "300"]


async def started(containers: Containers, root: Path, spec: Spec) -> Container:
    container = containers.make(root, spec)
    await asyncio.to_thread(container.start)
    return container


@pytest.mark.parametrize("init", ["minimal", "systemd"])
async def test_a_container_sees_its_own_limits(
    manager: Manager, containers: Containers, debian: Path, spec: Spec, init: str
) -> None:
    assert await manager.ensure() == ""
    container = await started(containers, debian, limited(spec, init))
    assert told(container) == OWN
    for name in ("stat", "uptime", "loadavg", "diskstats", "swaps", "slabinfo"):
        assert " fuse" in container.exec("grep", f" /proc/{name} ", "/proc/self/mountinfo"), name
    assert float(container.exec("cat", "/proc/uptime").split()[0]) < 3600
    assert container.exec("cat", "/sys/devices/system/cpu/present") == "0"
    possible = Path("/sys/devices/system/cpu/possible").read_text().strip()
    assert container.exec("cat", "/sys/devices/system/cpu/possible") == possible


async def test_a_container_with_processors_of_its_own_sees_those(
    manager: Manager, containers: Containers, debian: Path, spec: Spec
) -> None:
    assert await manager.ensure() == ""
    limited(spec)["linux"]["resources"]["cpu"] = {"cpus": str(max(os.sched_getaffinity(0)))}
    container = await started(containers, debian, spec)
    processors = told(container)
    # lxcfs may call its only processor the first.
    assert (processors[:3], processors[4]) == (["1", "1", "1"], "300")


async def test_a_container_sees_what_it_has_used_itself(
    manager: Manager, containers: Containers, debian: Path, spec: Spec
) -> None:
    assert await manager.ensure() == ""
    container = await started(containers, debian, limited(spec, "systemd"))
    state = await asyncio.to_thread(subprocess.check_output, container.command("state", container.name))
    group = Groups().unified(json.loads(state)["pid"])
    manager.started()
    write = "dd if=/dev/zero of=/var/tmp/x bs=64k count=16 oflag=direct 2>&-; rm /var/tmp/x; cat /proc/diskstats"
    rows = [line.split() for line in container.exec("sh", "-c", write).splitlines()]
    node = {row[2]: row for row in map(str.split, Path("/proc/diskstats").read_text().splitlines())}
    assert all(int(shown) <= int(node[row[2]][at]) for row in rows for at, shown in enumerate(row[3:], 3))
    if group and Path(group, "io.stat").exists():
        assert sum(int(row[9]) for row in rows) >= 16 * 128
    assert container.exec("cat", "/proc/slabinfo").count("\n") == 1
    if PRESSURE and group:
        await until(lambda: "hawser-view" in container.exec("grep", "pressure/cpu", "/proc/mounts"), "pressure")
        kinds = container.exec("cut", "-d ", "-f1", "/proc/pressure/memory", "/proc/pressure/io").split()
        assert kinds == ["some", "full"] * 2


async def test_a_pod_may_ask_for_the_hosts_view(
    manager: Manager, containers: Containers, debian: Path, spec: Spec
) -> None:
    assert await manager.ensure() == ""
    limited(spec)["annotations"]["rich.hawser.dev/view"] = "host"
    container = await started(containers, debian, spec)
    assert told(container)[0] == str(len(os.sched_getaffinity(0)))
    assert HOST in container.exec("cat", "/proc/meminfo")
    assert "hawser" not in container.exec("cat", "/etc/ld.so.preload")


async def test_a_change_of_limits_shows_without_a_restart(
    manager: Manager, containers: Containers, debian: Path, spec: Spec
) -> None:
    assert await manager.ensure() == ""
    container = await started(containers, debian, limited(spec))
    command = container.command("update", "--memory", str(400 << 20), "--cpu-quota", "200000", container.name)
    await asyncio.to_thread(subprocess.run, command, check=True)
    assert (await asyncio.to_thread(told, container))[4] == "400"
    if len(os.sched_getaffinity(0)) > 1:
        await until(lambda: told(container)[:4] == ["2", "2", "2", "0-1"], "two processors")


@pytest.mark.parametrize("server", SERVERS)
async def test_a_killed_server_comes_back_in_running_containers(
    manager: Manager, containers: Containers, debian: Path, spec: Spec, server: str
) -> None:
    assert await manager.ensure() == ""
    container = await started(containers, debian, limited(spec, "systemd"))
    born = container.exec("stat", "-c", "%Y", "/proc/1")
    files = ("/proc/loadavg", "/proc/swaps", "/proc/diskstats")
    for _ in range(2):
        old = kill(manager, server)
        await until(lambda: told(container) == OWN, "the view")
        await until(lambda old=old: pid(manager, server) not in (0, old), "another server")  # type: ignore[misc]
        await until(lambda: "not connected" not in container.exec("cat", *files), "all files")
    assert container.exec("stat", "-c", "%Y", "/proc/1") == born
    count = 10 + 3 * PRESSURE
    await until(lambda: len(container.exec("grep", "^hawser-view", "/proc/mounts").splitlines()) == count, "no pile")


async def test_the_next_manager_finds_the_servers_and_leaves_them(manager: Manager) -> None:
    assert await manager.ensure() == ""
    before, other = (pid(manager, name) for name in SERVERS)
    await manager.close()
    assert not manager.active
    following = Manager(manager.home, manager.libraries)
    assert await following.ensure() == ""
    assert [pid(following, name) for name in SERVERS] == [before, other]
    assert kill(following) == before
    await until(lambda: (following.home / "offers").exists() and pid(following) not in (0, before), "another lxcfs")
    await following.close()


async def test_a_manager_that_was_away_renews_what_broke_meanwhile(
    manager: Manager, containers: Containers, debian: Path, spec: Spec
) -> None:
    assert await manager.ensure() == ""
    container = await started(containers, debian, limited(spec))
    await manager.close()
    kill(manager)
    await until(lambda: "not connected" in container.exec("cat", "/proc/meminfo"), "the crash")
    following = Manager(manager.home, manager.libraries)
    assert await following.ensure() == ""
    await until(lambda: told(container) == OWN, "the view")
    await following.close()


async def test_a_container_that_started_while_lxcfs_was_away_gets_its_files(
    manager: Manager, containers: Containers, debian: Path, spec: Spec
) -> None:
    assert await manager.ensure() == ""
    await manager.close()
    kill(manager)

    def dead() -> bool:
        try:
            return not (manager.home / "lxcfs/proc/meminfo").exists()
        except OSError:
            return True

    await until(dead, "the crash")
    container = await started(containers, debian, limited(spec))
    assert told(container)[4] != "300"
    assert await manager.ensure() == ""
    await until(lambda: told(container) == OWN, "the view")


@pytest.mark.parametrize("server", SERVERS)
async def test_a_server_that_hangs_is_replaced(
    manager: Manager,
    containers: Containers,
    debian: Path,
    spec: Spec,
    monkeypatch: pytest.MonkeyPatch,
    server: str,
) -> None:
    monkeypatch.setattr(managing, "_PROBE_SECONDS", 0.2)
    monkeypatch.setattr(managing, "_ANSWER_SECONDS", 2.0)
    monkeypatch.setattr(managing, "_AGAIN_SECONDS", ())
    assert await manager.ensure() == ""
    container = await started(containers, debian, limited(spec))
    before = kill(manager, server, signal.SIGSTOP)
    await until(lambda: pid(manager, server) not in (0, before), "another server")
    await until(lambda: told(container) == OWN, "the view")


async def test_nothing_is_left_when_nobody_wants_it(manager: Manager) -> None:
    assert not manager.home.exists()
    assert await manager.ensure() == ""
    running = [pid(manager, name) for name in SERVERS]
    await manager.retire()
    assert not any(Path(f"/proc/{server}").exists() for server in running)
    assert str(manager.home) not in Path("/proc/self/mountinfo").read_text()
    assert await manager.ensure() == ""


async def test_a_dead_mount_is_no_obstacle(manager: Manager) -> None:
    assert await manager.ensure() == ""
    await manager.close()
    kill(manager)
    await manager.retire()
    assert await manager.ensure() == ""
    assert Path("/proc/self/mountinfo").read_text().count(str(manager.home / "lxcfs")) == 1


@pytest.fixture
async def fake_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    """A PATH with nothing in it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    yield folder


async def test_a_node_without_lxcfs_says_so(manager: Manager, fake_path: Path) -> None:
    assert await manager.ensure() == "lxcfs is not installed on this node"
    assert not manager.active


async def test_an_lxcfs_that_does_not_start_says_why(manager: Manager, fake_path: Path) -> None:
    (fake_path / "lxcfs").write_text("#!/bin/sh\necho no such device >&2\nexit 3\n")
    (fake_path / "lxcfs").chmod(0o755)
    assert await manager.ensure() == "lxcfs ended with 3: no such device"


def test_another_process_with_the_number_is_not_taken_for_lxcfs(tmp_path: Path) -> None:
    (tmp_path / "lxcfs.pid").write_text(f"{os.getpid()}\n")
    assert find(tmp_path / "lxcfs", "lxcfs") is None


async def test_libraries_can_be_executed_where_run_cannot(
    manager: Manager, containers: Containers, debian: Path, spec: Spec
) -> None:
    # What an earlier Hawser kept below /run goes.
    (manager.home / "lib").mkdir(parents=True)
    (manager.home / "lib/old").touch()
    assert await manager.ensure() == ""
    container = await started(containers, debian, limited(spec))
    line = container.exec("grep", f" {PLACE} ", "/proc/mounts")
    assert "noexec" not in line.split()[3].split(","), line
    assert manager.libraries.is_dir() and (manager.home / "lib").readlink() == manager.libraries

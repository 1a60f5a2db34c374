"""One lxcfs for a node's containers: started when one asks, kept alive, renewed in running containers."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.conftest import Container, Containers

from hawser.rich.view import lxcfs
from hawser.rich.view import manager as managing
from hawser.rich.view.manager import Manager

Spec = dict[str, Any]
SLEEP = ["sleep", "1000"]
LIMITED = {"memory": {"limit": 300 << 20}, "cpu": {"quota": 100_000, "period": 100_000}}
TELL = "nproc; nproc --all; grep -c ^processor /proc/cpuinfo; cat /sys/devices/system/cpu/online; free -m | sed -n 2p"
HOST = Path("/proc/meminfo").read_text().split()[1]


def limited(spec: Spec, init: str = "minimal") -> Spec:
    spec["annotations"]["rich.hawser.dev/init"] = init
    spec["process"]["args"] = SLEEP
    spec["linux"]["resources"] |= LIMITED
    return spec


def pid(manager: Manager) -> int:
    """Of lxcfs; 0 while there is none."""
    try:
        return int((manager.home / "lxcfs.pid").read_text())
    except (FileNotFoundError, ValueError):
        return 0


async def until(check: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    """Waits for what the product promises within ten seconds."""

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


async def test_a_pod_may_ask_for_the_hosts_view(
    manager: Manager, containers: Containers, debian: Path, spec: Spec
) -> None:
    await manager.ensure()
    limited(spec)["annotations"]["rich.hawser.dev/view"] = "host"
    container = await started(containers, debian, spec)
    assert told(container)[0] == str(len(os.sched_getaffinity(0)))
    assert HOST in container.exec("cat", "/proc/meminfo")
    assert "hawser" not in container.exec("cat", "/etc/ld.so.preload")


async def test_a_change_of_limits_shows_without_a_restart(
    manager: Manager, containers: Containers, debian: Path, spec: Spec
) -> None:
    await manager.ensure()
    container = await started(containers, debian, limited(spec))
    command = container.command("update", "--memory", str(400 << 20), "--cpu-quota", "200000", container.name)
    await asyncio.to_thread(subprocess.run, command, check=True)
    assert (await asyncio.to_thread(told, container))[4] == "400"
    if len(os.sched_getaffinity(0)) > 1:
        await until(lambda: told(container)[:4] == ["2", "2", "2", "0-1"], "two processors")


async def test_a_killed_lxcfs_comes_back_in_running_containers(
    manager: Manager, containers: Containers, debian: Path, spec: Spec
) -> None:
    await manager.ensure()
    container = await started(containers, debian, limited(spec, "systemd"))
    born = container.exec("stat", "-c", "%Y", "/proc/1")
    for _ in range(2):
        old = pid(manager)
        os.kill(old, signal.SIGKILL)
        await until(lambda: told(container) == OWN, "the view")
        await until(lambda old=old: pid(manager) not in (0, old), "another lxcfs")  # type: ignore[misc]
        await until(lambda: "not connected" not in container.exec("cat", "/proc/loadavg", "/proc/swaps"), "all files")
    assert container.exec("stat", "-c", "%Y", "/proc/1") == born
    await until(lambda: len(container.exec("grep", "^hawser-view", "/proc/mounts").splitlines()) == 10, "no pile")


async def test_the_next_manager_finds_lxcfs_and_leaves_it(manager: Manager) -> None:
    await manager.ensure()
    before = pid(manager)
    await manager.close()
    assert not manager.active
    following = Manager(manager.home)
    assert await following.ensure() == ""
    assert pid(following) == before
    os.kill(before, signal.SIGKILL)
    await until(lambda: (following.home / "offers").exists() and pid(following) not in (0, before), "another lxcfs")
    await following.close()


async def test_a_manager_that_was_away_renews_what_broke_meanwhile(
    manager: Manager, containers: Containers, debian: Path, spec: Spec
) -> None:
    await manager.ensure()
    container = await started(containers, debian, limited(spec))
    await manager.close()
    os.kill(pid(manager), signal.SIGKILL)
    await until(lambda: "not connected" in container.exec("cat", "/proc/meminfo"), "the crash")
    following = Manager(manager.home)
    assert await following.ensure() == ""
    await until(lambda: told(container) == OWN, "the view")
    await following.close()


async def test_a_container_that_started_while_lxcfs_was_away_gets_its_files(
    manager: Manager, containers: Containers, debian: Path, spec: Spec
) -> None:
    await manager.ensure()
    await manager.close()
    os.kill(pid(manager), signal.SIGKILL)

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


async def test_an_lxcfs_that_hangs_is_replaced(
    manager: Manager, containers: Containers, debian: Path, spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(managing, "_PROBE_SECONDS", 0.2)
    monkeypatch.setattr(managing, "_AGAIN_SECONDS", ())
    await manager.ensure()
    container = await started(containers, debian, limited(spec))
    before = pid(manager)
    os.kill(before, signal.SIGSTOP)
    await until(lambda: pid(manager) not in (0, before), "another lxcfs")
    await until(lambda: told(container) == OWN, "the view")


async def test_nothing_is_left_when_nobody_wants_it(manager: Manager) -> None:
    assert not manager.home.exists()
    await manager.ensure()
    running = pid(manager)
    await manager.retire()
    assert not Path(f"/proc/{running}").exists()
    assert str(manager.home) not in Path("/proc/self/mountinfo").read_text()
    assert await manager.ensure() == ""


async def test_a_dead_mount_is_no_obstacle(manager: Manager) -> None:
    await manager.ensure()
    await manager.close()
    os.kill(pid(manager), signal.SIGKILL)
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
    assert lxcfs.find(tmp_path) is None

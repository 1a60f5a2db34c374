"""What is written into the cgroups of pods and tiers, on both versions."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.node.allocatable import pods_limits
from hawser.node.cgroups import Cgroups, Hierarchy, hierarchies, shares_of, weight
from hawser.node.limits import Limits
from hawser.node.pod import resources
from hawser.node.stats.cgroup import Reader

LIMITS = {
    "cpu_shares": 1024,
    "cpu_quota": 50_000,
    "cpu_period": 100_000,
    "memory_limit_in_bytes": 1 << 20,
    "hugepage_limits": [{"page_size": "2MB", "limit": 4 << 20}],
}
NAMES = {
    1: {
        "cpu.shares": "1024",
        "cpu.cfs_quota_us": "50000",
        "cpu.cfs_period_us": "100000",
        "memory.limit_in_bytes": "1048576",
        "pids.max": "99",
        "hugetlb.2MB.limit_in_bytes": "4194304",
    },
    2: {
        "cpu.weight": "39",
        "cpu.max": "50000 100000",
        "memory.max": "1048576",
        "pids.max": "99",
        "hugetlb.2MB.max": "4194304",
    },
}


def cgroups(folder: Path, version: int, pod_pids: int = -1) -> Cgroups:
    """On ordinary folders: what is written stays to be read. v1 has all controllers in one hierarchy here."""
    names = frozenset({"cpu", "memory", "pids", "hugetlb"}) if version == 1 else frozenset[str]()
    if version == 2:
        (folder / "r").mkdir()
        (folder / "r/cgroup.subtree_control").write_text("cpu memory pids")
    return Cgroups("r", [Hierarchy(folder, names)], pod_pids)


def tier(folder: Path, version: int) -> int:
    path = folder / "r/burstable" / ("cpu.shares" if version == 1 else "cpu.weight")
    return int(path.read_text())


@pytest.mark.parametrize("version", [1, 2])
def test_a_pods_limits_are_written(tmp_path: Path, version: int) -> None:
    cgroups(tmp_path, version, 99).create("/r/burstable/podu", LIMITS)
    found = {p.name: p.read_text() for p in (tmp_path / "r/burstable/podu").iterdir() if "subtree" not in p.name}
    assert found == NAMES[version]


@pytest.mark.parametrize("version", [1, 2])
def test_the_burstable_tier_has_what_its_pods_ask_for(tmp_path: Path, version: int) -> None:
    def shown(shares: int) -> int:
        return shares if version == 1 else weight(shares)

    made = cgroups(tmp_path, version)
    made.prepare({"cpu_shares": 4096})
    assert tier(tmp_path, version) == shown(2)
    made.create("/r/burstable/poda", {"cpu_shares": 1024})
    made.create("/r/burstable/podb", {"cpu_shares": 512})
    made.create("/r/podguaranteed", {"cpu_shares": 4096})
    made.create("/r/besteffort/podc", {"cpu_shares": 2})
    assert tier(tmp_path, version) == shown(1536)
    made.create("/r/burstable/poda", {"cpu_shares": 2048})
    assert tier(tmp_path, version) == shown(2560), "it was resized"
    made.remove("/r/burstable/podb")
    assert tier(tmp_path, version) == shown(2048)


def test_an_agent_that_is_started_again_counts_what_runs(tmp_path: Path) -> None:
    first = cgroups(tmp_path, 1)
    first.prepare()
    first.create("/r/burstable/poda", {"cpu_shares": 1024})
    again = Cgroups("r", first.hierarchies)
    again.prepare()
    assert tier(tmp_path, 1) == 1024
    assert (tmp_path / "r/besteffort/cpu.shares").read_text() == "2"


@given(st.integers(2, 262144))
def test_weights_are_shares_but_for_rounding(shares: int) -> None:
    assert abs(shares_of(weight(shares)) - shares) <= 27


def test_all_pods_are_held_to_what_is_not_reserved() -> None:
    capacity = {"cpu": "4", "memory": "1000Mi"}
    assert pods_limits(capacity, Limits()) == {"cpu_shares": 4096}
    reserved = Limits(reserved={"cpu": "1", "memory": "100Mi"})
    assert pods_limits(capacity, reserved) == {"cpu_shares": 3072, "memory_limit_in_bytes": 900 << 20}


def test_huge_pages_limit_the_pod_as_its_containers() -> None:
    container = {"name": "c", "resources": {"limits": {"hugepages-2Mi": "4Mi", "memory": "1Mi", "cpu": "1"}}}
    pod = {"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {"containers": [container]}}
    wanted = [{"page_size": "2MB", "limit": 4 << 20}]
    assert resources.pod_resources(pod)["hugepage_limits"] == wanted
    assert resources.container_resources(pod, container, 1 << 30)["hugepage_limits"] == wanted


@pytest.mark.containerd
def test_what_the_kernel_counts_of_a_group_is_read() -> None:
    """On whichever version this host has."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    found = hierarchies(Path("/proc/mounts").read_text())
    made = Cgroups(f"hawser-test-{os.getpid()}", found, pod_pids=20)
    parent = f"/{made.root}/burstable/podx"
    limits = {"cpu_shares": 512, "cpu_quota": 50_000, "cpu_period": 100_000, "memory_limit_in_bytes": 64 << 20}
    script = "data = bytearray(20 << 20)\nprint(len(data), flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", f"input()\n{script}"], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            made.prepare()
            made.create(parent, limits)
            for hierarchy in found:
                # As the runtime does it: processes are in a group of the container's own.
                group = hierarchy.path / parent.strip("/") / "container"
                group.mkdir()
                if "cpuset" in hierarchy.controllers:
                    for name in ("cpuset.cpus", "cpuset.mems"):
                        (group / name).write_text((group.parent / name).read_text())
                (group / "cgroup.procs").write_text(str(process.pid))
            process.stdin.write("\n")
            process.stdin.flush()
            process.stdout.readline()
            reader, before = Reader(found), 0
            for _ in range(3000):
                usage = reader.usage(parent, full=True)
                assert usage.cpu is not None and usage.memory is not None
                before = before or usage.cpu.usage
                if usage.cpu.usage > before and usage.cpu.periods:
                    break
                time.sleep(0.02)
            assert usage.cpu.usage > before
            assert 20 << 20 <= usage.memory.rss <= usage.memory.working_set <= 64 << 20
            assert (usage.memory.limit, usage.processes, usage.threads_limit) == (64 << 20, 1, 20)
            assert (usage.settings["quota"], usage.settings["period"]) == (50_000, 100_000)
            assert abs(usage.settings["shares"] - 512) <= 27
            assert usage.memory.faults > 0
        finally:
            process.kill()
            process.wait()
            for _ in range(3000):
                if made.remove(f"/{made.root}"):
                    break
                time.sleep(0.02)
    assert reader.usage(parent).cpu is None

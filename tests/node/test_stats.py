"""What cgroups, disks and interfaces tell, and the documents that are made of it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from hawser.node.cgroups import Hierarchy
from hawser.node.cri.model import Container, ContainerState, Sandbox
from hawser.node.cri.operations import Operations
from hawser.node.metrics import cadvisor, kubelet, resource
from hawser.node.metrics.counters import Counters
from hawser.node.stats import cgroup, disk, host, interfaces
from hawser.node.stats.cgroup import Cpu, Memory, Reader, Stall, Usage
from hawser.node.stats.collector import Collector
from hawser.node.stats.disk import Disk
from hawser.node.stats.interfaces import Interface
from hawser.node.stats.model import ContainerUse, Group, NodeUse, PodUse, Snapshot, Subject, VolumeUse
from hawser.node.stats.summary import summary
from hawser.node.volumes import mounts

from .running import until

V1 = {
    "cpuacct/p/cpuacct.usage": "1500000000\n",
    "cpuacct/p/cpuacct.stat": "user 100\nsystem 50\n",
    "cpu/p/cpu.stat": "nr_periods 10\nnr_throttled 2\nthrottled_time 7\n",
    "cpu/p/cpu.shares": "512\n",
    "cpu/p/cpu.cfs_quota_us": "50000\n",
    "cpu/p/cpu.cfs_period_us": "100000\n",
    "memory/p/memory.usage_in_bytes": "1000\n",
    "memory/p/memory.stat": "total_inactive_file 300\ntotal_rss 400\ntotal_cache 500\ntotal_pgfault 9\n"
    "total_pgmajfault 1\nhierarchical_memory_limit 4096\nhierarchical_memsw_limit 9223372036854771712\n",
    "memory/p/memory.max_usage_in_bytes": "2000\n",
    "memory/p/memory.failcnt": "3\n",
    "memory/p/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n",
    "pids/p/pids.current": "5\n",
    "pids/p/pids.max": "max\n",
    "blkio/p/blkio.throttle.io_service_bytes": "254:0 Read 10\n254:0 Write 20\n254:0 Total 30\nTotal 30\n",
    "blkio/p/blkio.throttle.io_serviced": "254:0 Read 1\n254:0 Write 2\n",
}
V2 = {
    "p/cpu.stat": "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\nnr_periods 10\nnr_throttled 2\n"
    "throttled_usec 7\n",
    "p/cpu.weight": "100\n",
    "p/cpu.max": "50000 100000\n",
    "p/memory.current": "1000\n",
    "p/memory.stat": "anon 400\nfile 500\ninactive_file 300\nactive_file 200\npgfault 9\npgmajfault 1\n",
    "p/memory.max": "4096\n",
    "p/memory.swap.max": "max\n",
    "p/memory.peak": "2000\n",
    "p/memory.events": "low 0\nhigh 0\nmax 3\noom 4\noom_kill 4\n",
    "p/pids.current": "5\n",
    "p/pids.max": "max\n",
    "p/cpu.pressure": "some avg10=1.50 avg60=0.50 avg300=0.10 total=1500000\n"
    "full avg10=0.00 avg60=0.00 avg300=0.00 total=2\n",
    "p/io.stat": "254:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n",
}


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def _reader(folder: Path, version: int) -> Reader:
    if version == 2:
        _write(folder, V2)
        return Reader([Hierarchy(folder, frozenset())])
    _write(folder, V1)
    names = ("cpu", "cpuacct", "memory", "pids", "blkio")
    return Reader([Hierarchy(folder / name, frozenset({name})) for name in names])


@pytest.mark.parametrize("version", [1, 2])
def test_both_versions_of_cgroups_tell_the_same(tmp_path: Path, version: int) -> None:
    usage = _reader(tmp_path, version).usage("/p", full=True)
    assert usage.cpu is not None
    assert (usage.cpu.usage, usage.cpu.user, usage.cpu.system) == (1_500_000_000, 1_000_000_000, 500_000_000)
    assert (usage.cpu.periods, usage.cpu.throttled_periods) == (10, 2)
    memory = usage.memory
    assert memory is not None
    assert (memory.usage, memory.working_set, memory.rss, memory.cache) == (1000, 700, 400, 500)
    assert (memory.faults, memory.major_faults, memory.peak, memory.failures, memory.oom_kills) == (9, 1, 2000, 3, 4)
    assert (memory.limit, memory.swap_limit) == (4096, None)
    assert (usage.processes, usage.threads_limit) == (5, None)
    assert usage.io_bytes == {("254:0", "Read"): 10, ("254:0", "Write"): 20}
    assert usage.io_operations == {("254:0", "Read"): 1, ("254:0", "Write"): 2}
    assert (usage.settings["quota"], usage.settings["period"]) == (50000, 100000)
    stalled = usage.pressure.get(("cpu", "some"))
    assert stalled == (Stall(1_500_000, 1.5, 0.5, 0.1) if version == 2 else None)
    assert usage.settings["shares"] == (512 if version == 1 else 2597)


@pytest.mark.parametrize("version", [1, 2])
def test_a_cgroup_that_is_gone_uses_nothing(tmp_path: Path, version: int) -> None:
    usage = _reader(tmp_path, version).usage("/gone", full=True)
    assert (usage.cpu, usage.memory, usage.processes, dict(usage.io_bytes)) == (None, None, None, {})


def test_a_working_set_is_never_negative() -> None:
    memory = cgroup.memory_v1("100", "total_inactive_file 300")
    assert memory is not None
    assert memory.working_set == 0


def test_the_nodes_memory_is_what_is_not_free() -> None:
    found = host.memory_of("MemTotal: 100 kB\nMemFree: 20 kB\nInactive(file): 30 kB\nSwapTotal: 8 kB\nSwapFree: 6 kB\n")
    assert (found.capacity, found.used.usage, found.used.working_set) == (102400, 81920, 51200)
    assert (found.swap, found.swap_used) == (8192, 2048)


def test_a_pods_interface_is_the_other_end_of_its_link() -> None:
    text = "a\nb\n  veth1: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n  eth0: 9 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
    rows = {row.name: row for row in interfaces.parse(text)}
    assert interfaces.other_end(rows["veth1"], "eth0") == Interface("eth0", 5, 6, 7, 8, 1, 2, 3, 4)
    assert [row.name for row in interfaces.own(rows)] == ["eth0"]


def test_a_folder_holds_its_files_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/big").write_bytes(b"x" * 100_000)
    os.link(tmp_path / "a/big", tmp_path / "a/same")
    (tmp_path / "a/link").symlink_to("/")
    size, inodes = disk.usage(tmp_path / "a")
    assert 100_000 <= size < 150_000
    assert inodes == 3
    assert disk.usage(tmp_path / "missing") == (0, 0)


@pytest.mark.containerd
async def test_who_serves_a_volume_and_does_not_answer_holds_up_nobody(tmp_path: Path) -> None:
    served, (hangs, fine) = disk.Served(0.01), (tmp_path / name for name in ("hangs", "fine"))
    hangs.mkdir()
    fine.mkdir()
    # A file system whose program was stopped, say: it is there, and takes no requests.
    program = os.open("/dev/fuse", os.O_RDWR)
    mounts.mount("stopped", hangs, "fuse", options=f"fd={program},rootmode=40000,user_id=0,group_id=0")
    try:
        for _ in range(3):
            assert await served.disk(str(hangs)) is None
        assert len([one for one in threading.enumerate() if one.name == f"statvfs {hangs}"]) == 1

        async def told() -> bool:
            own, found = disk.disk(fine), await served.disk(str(fine))
            return own is not None and found is not None and found.capacity == own.capacity

        await until(told)
    finally:
        # A program that has ended: now there is an answer.
        os.close(program)
        mounts.unmount(hangs)

    async def over() -> bool:
        return not any(one.name == f"statvfs {hangs}" for one in threading.enumerate())

    await until(over)


async def test_volumes_that_others_serve_are_asked_about_all_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, own = threading.Barrier(2, timeout=60), disk.disk(tmp_path)
    folders = [f"{tmp_path}/pods/{uid}/volumes/kubernetes.io~csi/v/mount" for uid in ("a", "b", "unmounted")]
    subjects = [Subject({}, "", None, {}, volumes={"v": folder, "own": str(tmp_path)}) for folder in folders]
    collector = Collector(None, None, tmp_path, "", "", lambda: subjects)  # type: ignore[arg-type]
    collector._served = disk.Served(60)
    monkeypatch.setattr(mounts, "points", lambda _: [Path(folder) for folder in folders[:2]])
    # Each answers when both have been asked.
    monkeypatch.setattr(disk, "disk", lambda _: own if both.wait() >= 0 else None)
    assert await collector._ask(subjects) == dict.fromkeys(folders[:2], own)


def _group(path: str) -> Group:
    stalled = {("cpu", "some"): Stall(1_500_000, 1.5)}
    used = Usage(Cpu(2_000_000_000), Memory(100, 80, 60, limit=200), 7, pressure=stalled)
    return Group(path, used, 1000.5, 250_000_000)


def _snapshot() -> Snapshot:
    place = Disk(1000, 600, 400, 50, 40, 10)
    container = Container("c1", "main", 0, "s1", ContainerState.RUNNING, 900.0, image="busybox:1", started_at=901.0)
    pod = {
        "metadata": {"name": "web", "namespace": "shop", "uid": "u1"},
        "status": {"startTime": "1970-01-01T00:15:00Z"},
        "spec": {},
    }
    sandbox = Sandbox("s1", "web", "shop", "u1", 0, True, 899.0)
    use = PodUse(
        Subject(pod, "/k/podu1", sandbox, {"main": container}),
        _group("/k/podu1"),
        (ContainerUse("main", container, _group("/k/podu1/c1"), place.holding(10, 1), place.holding(20, 2)),),
        _group("/k/podu1/s1"),
        (Interface("eth0", 1, 2, 3, 4, 5, 6, 7, 8),),
        (
            VolumeUse("scratch", place.holding(5, 3)),
            VolumeUse("data", place, "claim", ephemeral=False),
        ),
    )
    node = NodeUse(
        *("node-1", 1.0, _group("/"), 1000, 10, 4, (Interface("eth0", 1, 0, 0, 0, 2, 0, 0, 0),), place, place, place),
        *(3, 9, _group("/k"), _group("agent"), _group("runtime")),
    )
    return Snapshot(node, (use,), 1000.5, True)


def test_the_summary_tells_everything_of_a_pod() -> None:
    made = summary(_snapshot())
    pod = made["pods"][0]
    assert pod["podRef"] == {"name": "web", "namespace": "shop", "uid": "u1"}
    assert pod["cpu"] == {
        "time": "1970-01-01T00:16:40Z",
        "usageNanoCores": 250_000_000,
        "usageCoreNanoSeconds": 2_000_000_000,
        "psi": {"some": {"total": 1_500_000_000, "avg10": 1.5, "avg60": 0.0, "avg300": 0.0}},
    }
    assert pod["memory"]["availableBytes"] == 120
    # Layer, log and scratch volume; a claim's volume is not the node's storage.
    assert (pod["ephemeral-storage"]["usedBytes"], pod["ephemeral-storage"]["inodesUsed"]) == (35, 6)
    assert pod["network"]["interfaces"] == [{"name": "eth0", "rxBytes": 1, "rxErrors": 3, "txBytes": 5, "txErrors": 7}]
    assert [v.get("pvcRef") for v in pod["volume"]] == [None, {"name": "claim", "namespace": "shop"}]
    assert pod["process_stats"] == {"process_count": 7}
    assert pod["containers"][0]["rootfs"]["usedBytes"] == 10
    node = made["node"]
    assert node["rlimit"] == {"time": "1970-01-01T00:16:40Z", "maxpid": 9, "curproc": 3}
    assert node["memory"]["availableBytes"] == 120
    assert {row["name"] for row in node["systemContainers"]} == {"kubelet", "pods", "runtime"}


def test_the_short_summary_has_no_disks() -> None:
    made = summary(_snapshot(), cpu_and_memory=True)
    assert set(made["pods"][0]["containers"][0]) == {"name", "startTime", "cpu", "memory", "swap"}
    assert not {"fs", "network", "rlimit", "runtime"} & set(made["node"])


def test_resource_metrics_carry_the_moment_of_their_sample() -> None:
    lines = list(resource.render(_snapshot()))
    assert 'container_cpu_usage_seconds_total{container="main",namespace="shop",pod="web"} 2.0 1000500' in lines
    assert 'pod_memory_working_set_bytes{namespace="shop",pod="web"} 80 1000500' in lines
    assert "node_memory_working_set_bytes 80 1000500" in lines


def test_volumes_with_claims_are_shown_to_operators() -> None:
    state = kubelet.State("node-1", {}, 1, 1, {"running": 1})
    lines = list(kubelet.render(state, Counters(), Operations(), _snapshot().pods))
    shown = [line for line in lines if line.startswith("kubelet_volume_stats_used_bytes{")]
    assert shown == ['kubelet_volume_stats_used_bytes{namespace="shop",persistentvolumeclaim="claim"} 400']


def test_waiting_is_counted_where_the_kernel_tells() -> None:
    lines = [line for line in cadvisor.render(_snapshot()) if "container_pressure_cpu_waiting_seconds_total{" in line]
    assert len(lines) == 5
    assert " 1.5 " in lines[0]


def test_every_cgroup_is_told_apart() -> None:
    lines = [line for line in cadvisor.render(_snapshot()) if line.startswith("container_memory_rss{")]
    ids = [line.partition('id="')[2].partition('"')[0] for line in lines]
    assert ids == ["/", "/k", "/k/podu1", "/k/podu1/s1", "/k/podu1/c1"]
    assert 'image="busybox:1",name="c1",namespace="shop",pod="web"' in lines[-1]

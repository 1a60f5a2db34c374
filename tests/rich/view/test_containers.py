"""What mountinfo tells of containers with a view, and what they lack."""

from __future__ import annotations

from pathlib import Path

import pytest

from hawser.rich.view.containers import Mount, Step, find, identity, lacking, mounted_device, parse
from hawser.runtime.view import PLACE

HOST = r"""22 1 254:0 / / rw,relatime - ext4 /dev/root rw
27 22 0:24 / /run rw,nosuid - tmpfs tmpfs rw,size=10%
30 27 0:24 /deep /run/odd\040name rw - tmpfs tmpfs rw
45 27 0:41 / /run/hawser/x/view/lxcfs rw,nosuid,nodev,relatime shared:9 - fuse hawser-view rw,user_id=0
"""
PROC, SYS = Mount("0:5", "/", "/proc", "proc", "proc"), Mount("0:6", "/", "/sys", "sysfs", "sysfs")
OFFERS = ("lxcfs/proc/meminfo", "lxcfs/sys/devices/system/cpu/online")
ONLINE = "/sys/devices/system/cpu/online"
PRESENT = "/sys/devices/system/cpu/present"


def view(place: str, device: str, source: str = "hawser-view") -> Mount:
    return Mount(device, place, place, "fuse", source)


def test_a_bind_mount_is_known_by_device_and_root() -> None:
    mounts = parse(HOST)
    assert identity("/run/hawser/x/view/lib", mounts) == ("0:24", "/hawser/x/view/lib")
    assert identity("/run/odd name/lib", mounts) == ("0:24", "/deep/lib")
    assert identity("/runner", mounts) == ("254:0", "/runner")
    assert identity("/", mounts) == ("254:0", "/")
    assert identity("/x", ()) == ("", "")


def test_the_device_is_that_of_the_mount_on_top() -> None:
    mounts = parse(HOST)
    assert mounted_device("/run/hawser/x/view/lxcfs", mounts) == "0:41"
    assert mounted_device("/run", (*mounts, Mount("0:99", "/", "/run", "tmpfs", "x"))) == "0:99"
    assert mounted_device("/none", mounts) == ""


@pytest.mark.parametrize(
    ("mounts", "steps"),
    [
        ([PROC], [Step("lxcfs/proc/meminfo", "/proc/meminfo", False)]),
        ([PROC, view("/proc/meminfo", "0:7")], []),
        ([PROC, view("/proc/meminfo", "0:3")], [Step("lxcfs/proc/meminfo", "/proc/meminfo", True)]),
        ([PROC, view("/proc/meminfo", "0:3", "another")], []),
        ([PROC, view("/proc/meminfo", "0:3"), view("/proc/meminfo", "0:7")], []),
        ([SYS, view(ONLINE, "0:7")], [Step(OFFERS[1], PRESENT, False)]),
        ([Mount("0:5", "/", "/proc", "tmpfs", "fake")], []),
        ([], []),
    ],
)
def test_a_container_lacks_what_is_missing_or_of_a_dead_lxcfs(mounts: list[Mount], steps: list[Step]) -> None:
    assert lacking(mounts, {"lxcfs": "0:7"}, OFFERS) == steps


def test_pressure_is_mounted_by_the_agent_alone() -> None:
    step = Step("own/proc/pressure/io", "/proc/pressure/io", False)
    assert lacking([PROC], {"lxcfs": "0:7", "own": "0:8"}, [step.offer]) == [step]


def test_a_file_of_the_other_server_is_replaced() -> None:
    steps = [Step("own/proc/diskstats", "/proc/diskstats", True)]
    assert (
        lacking([PROC, view("/proc/diskstats", "0:7")], {"lxcfs": "0:7", "own": "0:8"}, ["own/proc/diskstats"]) == steps
    )


def test_a_namespace_is_found_by_any_process_that_sees_the_marker(tmp_path: Path) -> None:
    marker = f"60 50 0:24 /hawser/x/view/lib {PLACE} ro - tmpfs tmpfs rw\n"
    inside = marker + "61 50 0:5 / /proc rw - proc proc rw\n"
    processes = {"self": HOST, "1": HOST, "90": "", "91": inside, "92": inside, "93": marker.replace("/x/", "/y/")}
    for number, (name, text) in enumerate(processes.items()):
        (tmp_path / name / "ns").mkdir(parents=True)
        odd = b"70 60 0:9 / /\xff\r70 60 0:9 / /proc rw - tmpfs tmpfs rw\n" if text == inside else b""
        (tmp_path / name / "mountinfo").write_bytes(text.encode() + odd)
        if name in ("1", "91", "92"):  # as the process before it
            before = list(processes)[number - 1]
            (tmp_path / name / "ns/mnt").hardlink_to(tmp_path / before / "ns/mnt")
        else:
            (tmp_path / name / "ns/mnt").touch()
    found = find(Path("/run/hawser/x/view/lib"), tmp_path)
    assert [(namespace.pid, len(namespace.mounts)) for namespace in found] == [(91, 3)]

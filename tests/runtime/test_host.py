"""Reading the host."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hawser.runtime import host
from hawser.runtime.edited import EditError
from hawser.runtime.facts import Cgroups

V1 = "30 25 0:26 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n"
HYBRID = V1 + "31 25 0:27 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n"
V2 = "31 25 0:27 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"


@pytest.mark.parametrize(
    ("mountinfo", "systemd", "layout"),
    [
        (V1, 257, Cgroups(v2=False, named_systemd="/sys/fs/cgroup/systemd/x")),
        (HYBRID, 257, Cgroups(v2=False, named_systemd="/sys/fs/cgroup/systemd/x")),
        (HYBRID, 258, Cgroups(v2=True, unified="/sys/fs/cgroup/unified/x")),
        (V2, 257, Cgroups(v2=True)),
        (V2, 258, Cgroups(v2=True)),
    ],
)
def test_the_layout_of_control_groups(mountinfo: str, systemd: int, layout: Cgroups) -> None:
    assert host.cgroups({"linux": {"cgroupsPath": "/x"}}, "id", mountinfo, systemd) == layout
    assert layout.limiting == (mountinfo.startswith("31"))


@pytest.mark.parametrize("layout", [V1, HYBRID, V2])
def test_the_layout_is_told_whatever_pods_mount(layout: str) -> None:
    odd = "90 25 0:54 /a\u2028b\x1cc\\040d /mnt rw,relatime - tmpfs none rw\n"
    assert host.parse_mountinfo(odd + layout) == host.parse_mountinfo(layout)
    assert host.controllers(odd + layout) == host.controllers(layout)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("name", [b"\xff", b"x\ry", b"x\x0by"])
def test_a_mounted_directory_whose_name_is_no_text_is_in_nobodys_way(tmp_path: Path, name: bytes) -> None:
    odd, target = tmp_path / os.fsdecode(name), tmp_path / "target"
    odd.mkdir()
    target.mkdir()
    lines = "for line in host.mountinfo().split(chr(10))[:-1]: line.split(' ')[4:].index('-')"
    code = f"from hawser.runtime import host; print(host.controllers(host.mountinfo()))\n{lines}"
    script = 'mount --bind "$1" "$2" && exec "$3" -c "$4"'
    command = ["unshare", "--mount", "sh", "-c", script, "sh", odd, target, sys.executable, code]
    assert subprocess.check_output(command, text=True).strip() == str(host.controllers(host.mountinfo()))


def test_a_systemd_without_v1_is_refused_where_there_is_no_v2() -> None:
    with pytest.raises(EditError, match="systemd 258 knows cgroup v2 alone, which this node has not mounted"):
        host.cgroups({}, "id", V1, 258)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("kubepods-besteffort-pod1.slice:cri-containerd:abc",
         "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice/cri-containerd-abc.scope"),
        ("system.slice:runc:x", "/system.slice/runc-x.scope"),
        (":runc:x", "/system.slice/runc-x.scope"),
    ],
)  # fmt: skip
def test_a_scope_lies_where_systemd_nests_it(path: str, place: str) -> None:
    assert host.expand_scope(path) == place


@pytest.mark.parametrize(("path", "made"), [("/pods/x", "/pods/x"), ("", "/id"), ("rel", "/rel")])
def test_on_v1_the_place_of_the_named_group_is_known(tmp_path: Path, path: str, made: str) -> None:
    spec = {"linux": {"cgroupsPath": path}}
    found = host.cgroups(spec, "id", V1.replace("/sys/fs/cgroup/systemd", str(tmp_path)))
    assert found.named_systemd == f"{tmp_path}{made}"
    assert spec["linux"]["cgroupsPath"] == made


def test_a_control_group_is_made_over_to_root_of_a_user_namespace(tmp_path: Path) -> None:
    group = tmp_path / "pod/container"
    host.delegate(str(group), (0, 0))
    for name in ("cgroup.procs", "tasks", "memory.max"):
        (group / name).touch()
    host.delegate(str(group), (131072, 65536))
    owners = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in (group, *group.iterdir())}
    theirs = (131072, 65536)
    assert owners == {"container": theirs, "cgroup.procs": theirs, "tasks": theirs, "memory.max": (0, 0)}


def test_limits_are_the_pods_over_the_inherited_ones() -> None:
    limits = dict(host.limits({"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 2**64 - 1}]}))
    assert limits["NOFILE"] == "10:infinity"
    assert "STACK" in limits


def test_only_a_static_executable_can_be_an_init_in_any_image(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/bin/sh\n")
    (tmp_path / "script").chmod(0o755)
    assert not host.is_static(str(tmp_path / "script"))
    assert not host.is_static("/bin/ls")
    assert host.static_init((str(tmp_path / "none"), "/bin/ls")) == ""


def test_the_machine_id_outlives_a_restart_but_not_the_pod() -> None:
    def pod(sandbox: str, name: str) -> dict[str, str]:
        return {"io.kubernetes.cri.sandbox-id": sandbox, "io.kubernetes.cri.container-name": name}

    first = host.machine_id(pod("s", "a"), "1")
    assert first == host.machine_id(pod("s", "a"), "2")
    assert len({first, host.machine_id(pod("s", "b"), "1"), host.machine_id(pod("t", "a"), "1")}) == 3
    assert len(first) == 32


@pytest.mark.parametrize(("before", "after"), [("128\n", "8192"), ("8192\n", "8192\n"), ("1048576\n", "1048576\n")])
def test_the_limit_of_inotify_is_raised_and_never_lowered(tmp_path: Path, before: str, after: str) -> None:
    limit = tmp_path / "max_user_instances"
    limit.write_text(before)
    host.allow_watches(str(limit))
    assert limit.read_text() == after


def test_a_limit_that_can_not_be_raised_stays(tmp_path: Path) -> None:
    host.allow_watches(str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("mapped", "own"), [(0, ""), (65536, "/sys/fs/cgroup/pods/a")])
def test_on_v2_the_group_is_named_where_root_of_the_container_is_another_one(mapped: int, own: str) -> None:
    ids = [{"containerID": 0, "hostID": mapped, "size": 65536}]
    spec = {"linux": {"cgroupsPath": "/pods/a", "uidMappings": ids, "gidMappings": ids}}
    assert host.cgroups(spec, "a", "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n").own == own

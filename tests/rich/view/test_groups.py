"""Which control groups are a container's, by what the node's /proc tells of its processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from hawser.rich.view.groups import Groups

ROOT = "22 1 254:0 / / rw - ext4 /dev/root rw\n"
V2 = ROOT + "30 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = ROOT + "31 22 0:27 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio\n"
HYBRID = V1 + "30 22 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
SHOWN = "90 80 0:26 /pods/c /sys/fs/cgroup rw - cgroup2 cgroup rw\n"
ODD = "90 80 0:26 /pods/c /sys/fs/cgroup rw - cgroup2  rw\n"
"""A mount whose source is no word."""
BREAKS = ("\r", "\f", "\v", "\x1c", "\x85", "\u2028")
WHOLE = "90 80 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n"
LIMIT = "92 90 0:26 /pods/c/memory.max /sys/fs/cgroup/memory.max ro - cgroup2 cgroup rw\n"
ELSEWHERE = "91 80 0:26 / /host/sys/fs/cgroup rw - cgroup2 cgroup rw\n"


@pytest.mark.parametrize(
    ("node", "mounts", "member", "unified", "blkio"),
    [
        pytest.param(V2, SHOWN, "0::/pods/c/init.scope\n", "/sys/fs/cgroup/pods/c", "", id="with its own namespace"),
        pytest.param(V2, SHOWN + LIMIT, "0::/pods/c\n", "/sys/fs/cgroup/pods/c", "", id="whose limits are covered"),
        pytest.param(V2, SHOWN + ELSEWHERE, "0::/pods/c\n", "/sys/fs/cgroup/pods/c", "", id="that sees the node's"),
        pytest.param(V2, WHOLE, "0::/pods/c\n", "/sys/fs/cgroup/pods/c", "", id="with the node's namespace"),
        pytest.param(V2, ODD, "0::/pods/c\n", "/sys/fs/cgroup/pods/c", "", id="mounted by itself"),
        *(
            pytest.param(
                V1,
                f"1 1 0:26 /pods/c /x{end}1 1 0:26 /pods/d /sys/fs/cgroup rw - cgroup2 cgroup rw\n",
                f"4:name=systemd:/pods/c/x{end}3:blkio:/pods/d\n3:blkio:/pods/c\n0::/x{end}x\n",
                "",
                "/sys/fs/cgroup/blkio/pods/c",
                id=f"with {end!r} in names",
            )
            for end in BREAKS
        ),
        pytest.param(V2, "", "0::/\n", "", "", id="in no group"),
        pytest.param(V1, "", "3:cpu,blkio:/pods/c\n0::/\n", "", "/sys/fs/cgroup/blkio/pods/c", id="of version 1"),
        pytest.param(
            HYBRID,
            "",
            "3:blkio:/pods/c\n0::/pods/c\n",
            "/sys/fs/cgroup/unified/pods/c",
            "/sys/fs/cgroup/blkio/pods/c",
            id="of both",
        ),
        pytest.param(HYBRID, "", "3:blkio:/pods/c\n0::/\n", "", "/sys/fs/cgroup/blkio/pods/c", id="of one of both"),
    ],
)
def test_a_container_has_groups_of_its_own(
    tmp_path: Path, node: str, mounts: str, member: str, unified: str, blkio: str
) -> None:
    for name, mountinfo, cgroup in (("self", node, ""), ("7", mounts, member)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mountinfo").write_bytes(mountinfo.encode())
        (tmp_path / name / "cgroup").write_bytes(cgroup.encode())
    groups = Groups(str(tmp_path))
    assert (groups.unified(7), groups.blkio(7)) == (unified, blkio)

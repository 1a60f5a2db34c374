"""Volumes that are given to a group, with whatever containers have put into them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from hawser.node.volumes import ownership
from hawser.runtime import trees

GROUP = 2345
DEEP = 3000  # more than Python would call itself, and than a path may be long


def _seen(path: Path) -> tuple[int, int]:
    info = path.lstat()
    return info.st_gid, stat.S_IMODE(info.st_mode)


@pytest.mark.parametrize(("readonly", "file", "folder"), [(False, 0o660, 0o2770), (True, 0o440, 0o2550)])
def test_all_in_a_volume_is_the_groups(tmp_path: Path, readonly: bool, file: int, folder: int) -> None:
    volume, other = tmp_path / "volume", tmp_path / "other"
    (volume / "a/b").mkdir(parents=True)
    other.write_text("the node's")
    other.chmod(0o600)
    (volume / "a/link").symlink_to(other)
    (volume / "a/nowhere").symlink_to("/nowhere")
    os.mkfifo(volume / "a/pipe", 0)
    (volume / os.fsdecode(b"\xff\n")).write_text("")
    for path in (volume, *volume.rglob("*")):
        if not path.is_symlink():
            path.chmod(0)
    ownership.own(volume, GROUP, readonly=readonly)
    for path in (volume, volume / "a", volume / "a/b"):
        assert _seen(path) == (GROUP, folder)
    for path in (volume / "a/pipe", volume / os.fsdecode(b"\xff\n")):
        assert _seen(path) == (GROUP, file)
    assert {(volume / "a" / name).lstat().st_gid for name in ("link", "nowhere")} == {GROUP}
    assert _seen(other) == (other.parent.stat().st_gid, 0o600)
    assert ownership.is_owned(volume, GROUP) is not readonly


def test_a_volume_may_be_deeper_than_a_path_is_long(tmp_path: Path, deep: Callable[[Path, int], int]) -> None:
    here = deep(tmp_path, DEEP)
    ownership.own(tmp_path / "d", GROUP)
    info = os.fstat(here)
    os.close(here)
    trees.remove(tmp_path / "d")
    assert (info.st_gid, stat.S_IMODE(info.st_mode)) == (GROUP, 0o2770)

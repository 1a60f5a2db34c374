"""Directories of containers are measured and removed, whatever is in them, and nothing else is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hawser.runtime import trees

DEEP = 3000  # more than Python would call itself, and than a path may be long


def test_whatever_is_there_goes_and_what_links_lead_to_stays(tmp_path: Path, deep: Callable[[Path, int], int]) -> None:
    top, other = tmp_path / "top", tmp_path / "other"
    for folder in (top / "a/b", top / "c", other):
        folder.mkdir(parents=True)
    (other / "file").write_text("stays")
    for name in ("link", "a/link", "a/b/link"):
        (top / name).symlink_to(other)
    os.mkfifo(top / "a/pipe")
    (top / os.fsdecode(b"\xff\n")).write_text("")
    (top / "c").chmod(0)
    here = deep(top / "a", DEEP)
    file = os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here)
    os.write(file, b"x" * 100_000)
    os.close(file)
    os.close(here)
    assert trees.size(top) >= 100_000
    trees.remove(top)
    assert not top.exists()
    assert (other / "file").read_text() == "stays"


def test_what_is_no_directory_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    for name in ("file", "link", "none"):
        assert trees.size(tmp_path / name) == 0
        with pytest.raises(OSError, match="directory"):
            trees.remove(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "link"]


def test_what_is_moved_away_on_the_way_keeps_the_rest_from_being_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top, other = tmp_path / "top", tmp_path / "other"
    (top / "a").mkdir(parents=True)
    (top / "a/x").write_text("")
    (other / "a").mkdir(parents=True)
    unlink = os.unlink

    def moving(name: str, *, dir_fd: int) -> None:
        unlink(name, dir_fd=dir_fd)
        (top / "a").rename(other / "b")

    monkeypatch.setattr(os, "unlink", moving)
    with pytest.raises(OSError, match="moved meanwhile"):
        trees.remove(top)
    assert sorted(path.name for path in other.iterdir()) == ["a", "b"]

"""Mounts and paths below folders that others may change: on the real kernel."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawser.node.pod.env import ConfigError
from hawser.node.volumes import beneath, emptydir, mounts, ownership, subpaths

pytestmark = pytest.mark.containerd


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid():
        pytest.skip("needs root")
    yield tmp_path
    mounts.unmount_below(tmp_path)


@pytest.mark.parametrize("name", ["plain", "with blank", "ä\\b\tc", "a\u2028b\x1cc d", os.fsdecode(b"\xff e")])
def test_what_is_mounted_is_found_and_detached(place: Path, name: str) -> None:
    outer = place / name
    outer.mkdir()
    assert not mounts.is_mounted(outer) and not mounts.points(place)
    emptydir.tmpfs(outer, 1 << 20)
    (outer / "in").mkdir()
    (outer / "file").write_text("x")
    mounts.bind(str(place), outer / "in", readonly=True)
    assert mounts.is_mounted(outer) and mounts.points(place) == [outer / "in", outer]
    with pytest.raises(OSError, match="Read-only"):
        (outer / "in/new").touch()
    assert mounts.unmount_below(place) == [] and not (outer / "file").exists()


def test_what_a_pod_names_a_part_of_its_volume_hides_no_mount(place: Path) -> None:
    source, target, other = place / "source", place / "target", place / "other"
    target.mkdir()
    other.mkdir()
    emptydir.tmpfs(other)
    for name in ("a\u2028b c", "\x1c\\ \x85", os.fsdecode(b"\xff \xfe")):
        (source / name).mkdir(parents=True)
        held = os.open(source / name, os.O_PATH)
        mounts.bind(f"/proc/self/fd/{held}", target, readonly=True)
        os.close(held)
        assert mounts.points(other) == [other] and mounts.points(target) == [target]
        assert mounts.unmount_below(target) == []


def test_mounts_stacked_on_one_place_all_go(place: Path) -> None:
    for _ in range(3):
        emptydir.tmpfs(place)
    assert len(mounts.points(place)) == 3
    assert not mounts.unmount_below(place) and not mounts.is_mounted(place)


def test_a_folder_is_made_shared_once(place: Path) -> None:
    mounts.make_shared(place)
    mounts.make_shared(place)
    assert len(mounts.points(place)) <= 1


LINKS = [
    ("a/b", "a/b"),
    ("inside", "a/b"),
    ("a/up", "a/b"),
    ("absolute", "a/b"),
    ("out", None),
    ("a/far", None),
    ("out/passwd", None),
    ("../x", None),
]


@pytest.mark.parametrize(("path", "leads"), LINKS, ids=[row[0] for row in LINKS])
def test_links_lead_no_farther_than_the_volume(tmp_path: Path, path: str, leads: str | None) -> None:
    volume = tmp_path / "v"
    (volume / "a/b").mkdir(parents=True)
    (tmp_path / "x").mkdir()
    (volume / "inside").symlink_to("a/b")
    (volume / "a/up").symlink_to("../a/b")
    (volume / "absolute").symlink_to(volume / "a/b")
    (volume / "out").symlink_to("/etc")
    (volume / "a/far").symlink_to("../../x")
    if leads is None:
        with pytest.raises(OSError, match="cross-device"):
            beneath.open_below(volume, path, os.O_PATH)
        return
    descriptor = beneath.open_below(volume, path, os.O_PATH)
    assert os.fstat(descriptor).st_ino == (volume / leads).stat().st_ino
    os.close(descriptor)


def test_folders_are_made_below_and_nowhere_else(tmp_path: Path) -> None:
    volume = tmp_path / "v"
    volume.mkdir()
    (tmp_path / "x").mkdir()
    (volume / "out").symlink_to("../x")
    (volume / "in").symlink_to("real")
    (volume / "real").mkdir()
    beneath.make_folders(volume, "in/one/two", 0o2770)
    assert (volume / "real/one/two").stat().st_mode & 0o7777 == 0o2770
    with pytest.raises(OSError, match="cross-device"):
        beneath.make_folders(volume, "out/one", 0o777)
    assert not [*(tmp_path / "x").iterdir()]


def test_a_group_owns_all_but_what_links_lead_to(place: Path) -> None:
    volume = place / "v"
    (volume / "d").mkdir(parents=True)
    (volume / "d/f").write_text("")
    (volume / "d/f").chmod(0o600)
    other = place / "other"
    other.write_text("")
    (volume / "link").symlink_to(other)
    assert not ownership.is_owned(volume, 77)
    ownership.own(volume, 77)
    assert ownership.is_owned(volume, 77)
    modes = {p.name: (p.lstat().st_gid, oct(p.lstat().st_mode & 0o7777)) for p in (volume / "d", volume / "d/f")}
    assert modes == {"d": (77, "0o2775"), "f": (77, "0o660")}
    assert (volume / "link").lstat().st_gid == 77 and other.stat().st_gid == 0


def test_a_path_that_is_swapped_meanwhile_never_leads_out(place: Path) -> None:
    """What a container may do while its subPath is prepared: a folder is exchanged for a symlink, again and again."""
    volume, outside = place / "v", place / "outside"
    (volume / "real").mkdir(parents=True)
    (outside / "part").mkdir(parents=True)
    (volume / "real/part").mkdir()
    (volume / "link").symlink_to(outside)
    inside = (volume / "real/part").stat().st_ino
    (volume / "real").rename(volume / "way")
    over = threading.Event()
    libc = ctypes.CDLL(None)

    def swap() -> None:
        here, there = (os.fsencode(volume / name) for name in ("way", "link"))
        while not over.is_set():
            # AT_FDCWD, RENAME_EXCHANGE: renameat2(2)
            libc.renameat2(-100, here, -100, there, 2)

    container = threading.Thread(target=swap)
    container.start()
    try:
        seen = [prepared(place, volume) for _ in range(400)]
    finally:
        over.set()
        container.join()
    assert set(seen) <= {inside, None} and inside in seen
    assert not [*outside.glob("part/*")] and len([*outside.iterdir()]) == 1


def prepared(place: Path, volume: Path) -> int | None:
    """The inode that a container would get to see, if it got any."""
    try:
        return subpaths.prepare(place / "pod", volume, "way/part", "v", "c", 0).stat().st_ino
    except ConfigError:
        return None

"""The root file system that is kept for a container: which layers are below it, and how it is mounted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hawser.runtime import kept, keptdisk
from hawser.runtime.edited import EditError

LINE = "110 68 0:52 / {root} rw,relatime - overlay overlay rw,lowerdir={lower},upperdir=/c/6/fs,workdir=/c/6/work\n"


@pytest.mark.parametrize(
    ("lower", "expected"),
    [
        ("/c/4/fs:/c/3/fs", ["/c/4/fs", "/c/3/fs"]),
        ("4/fs:3/fs", ["/c/4/fs", "/c/3/fs"]),
        ("/c/4/fs,lowerdir+=/c/3/fs", ["/c/4/fs", "/c/3/fs"]),
    ],
)
def test_the_layers_of_the_image_are_told_by_the_mounts(lower: str, expected: list[str]) -> None:
    text = LINE.format(root="/other", lower="/x") + LINE.format(root="/b/rootfs", lower=lower)
    assert kept.layers(text, "/b/rootfs") == expected


@pytest.mark.parametrize("text", ["", "1 0 0:5 / /b rw - ext4 /dev/vda rw\n", LINE.format(root="/b", lower="/a\\134b")])
def test_what_is_no_overlay_can_not_be_kept(text: str) -> None:
    with pytest.raises(EditError, match="rootfs: keep"):
        kept.layers(text, "/b")


NAMES = {
    "io.kubernetes.cri.sandbox-namespace": "default",
    "io.kubernetes.cri.sandbox-name": "db-0",
    "io.kubernetes.cri.container-name": "main",
    "io.kubernetes.cri.image-name": "x:1",
}


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    if os.geteuid():
        pytest.skip("mounts overlays")
    # /tmp may be an overlay itself, on which none can lie.
    made = Path(f"/var/tmp/hawser-test-kept-{os.getpid()}")
    for variable in ("ROOTS", "RECORDS"):
        monkeypatch.setenv(f"HAWSER_{variable}", str(made / variable.lower()))
    monkeypatch.setenv("HAWSER_REAL", "/bin/false")
    (made / "bundle/rootfs").mkdir(parents=True)
    try:
        yield made
    finally:
        for line in Path("/proc/mounts").read_text().splitlines():
            if line.split()[1].startswith(str(made)):
                subprocess.run(["umount", "-l", line.split()[1]], check=True)
        shutil.rmtree(made)


def bundle(folder: Path, count: int) -> dict[str, Any]:
    """A bundle whose root is an overlay of so many layers."""
    lowers = [f"s/{number}-{'x' * 60}" for number in range(count)]
    for number, lower in enumerate(lowers):
        (folder / lower).mkdir(parents=True)
        (folder / lower / f"file{number}").write_text(str(number))
    (folder / "s/up/fs").mkdir(parents=True)
    (folder / "s/up/work").mkdir()
    # As runtimes do with many layers: relative, from where they all are.
    names = ":".join(lower.removeprefix("s/") for lower in lowers)
    options = f"lowerdir={names},upperdir={folder}/s/up/fs,workdir={folder}/s/up/work"
    command = ["mount", "-t", "overlay", "overlay", "-o", options, folder / "bundle/rootfs"]
    subprocess.run(command, cwd=folder / "s", check=True)
    return {"root": {"path": "rootfs"}, "linux": {}}


@pytest.mark.parametrize("count", [1, 30])
def test_what_is_written_is_there_for_the_next_container(folder: Path, count: int) -> None:
    lowers = bundle(folder, count)
    for number in range(2):
        spec = json.loads(json.dumps(lowers))
        mounted = kept.keep(spec, NAMES, f"id{number}", str(folder / "bundle"), 0)
        assert spec["root"]["path"] == mounted
        root = Path(mounted)
        assert [int(path.read_text()) for path in sorted(root.glob("file*"), key=lambda p: int(p.name[4:]))] == [
            *range(count)
        ]
        assert (root / "mine").exists() == bool(number)
        (root / "mine").write_text("x")
        if number:  # the first stays mounted, as a node agent's kill leaves it
            kept.release(mounted)
    assert not (folder / "s/up/fs/mine").exists()
    assert (folder / "roots").stat().st_mode & 0o777 == 0o700
    assert not any(
        "hawser-kept" in line for line in Path("/proc/mounts").read_text().splitlines() if str(folder) in line
    )


def fill(root: Path, name: str) -> int:
    """Writes until nothing more goes; the bytes that went."""
    with (root / name).open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left on device"):
        while True:
            file.write(b"x" * 65536)
    return (root / name).stat().st_size


class TestLimit:
    def test_a_full_one_is_a_full_disk_until_there_is_more_room(self, folder: Path) -> None:
        spec, mebibyte = bundle(folder, 2), 1 << 20

        def next_one(limit: int, **other: str) -> Path:
            return Path(
                kept.keep(json.loads(json.dumps(spec)), {**NAMES, **other}, "id", str(folder / "bundle"), limit)
            )

        place = folder / "roots/default/db-0/main"
        first = next_one(8 * mebibyte)
        assert 8 * mebibyte <= fill(first, "big") < 12 * mebibyte
        (first / "file0").unlink()  # as it is an image's, this is written, too
        second = next_one(16 * mebibyte)
        assert 7 * mebibyte <= fill(second, "more") < 12 * mebibyte
        kept.release(str(second))
        with pytest.raises(EditError, match="can not be had in rootfs-size 2097152"):
            next_one(2 * mebibyte)
        third = next_one(0)  # no limit any more: the last one
        assert not (third / "file0").exists()
        (third / "big").unlink()
        (third / "more").unlink()
        kept.release(str(third))
        fourth = next_one(2 * mebibyte)
        assert fill(fourth, "big") < 6 * mebibyte
        fifth = next_one(2 * mebibyte, **{"io.kubernetes.cri.image-name": "x:2"})
        assert sorted(path.name for path in fifth.iterdir()) == ["file0", "file1"]
        assert (place / "previous.ext4").exists()
        kept.release(str(fifth))
        assert not os.path.ismount(place / "space")
        assert list((folder / "records/.roots").iterdir()) == []

    def test_one_that_is_still_mounted_elsewhere_is_not_resized(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keptdisk, "_LOOKS", 1)
        spec, mebibyte = bundle(folder, 1), 1 << 20

        def next_one(limit: int) -> str:
            return kept.keep(json.loads(json.dumps(spec)), NAMES, "id", str(folder / "bundle"), limit)

        first = next_one(8 * mebibyte)
        elsewhere = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", "echo there; exec sleep 600"], stdout=subprocess.PIPE
        )
        try:
            assert elsewhere.stdout is not None and elsewhere.stdout.readline() == b"there\n"
            kept.release(first)
            with pytest.raises(EditError, match="is still used, and its size is to be another one now"):
                next_one(16 * mebibyte)
        finally:
            elsewhere.kill()
            elsewhere.communicate()
        monkeypatch.setattr(keptdisk, "_LOOKS", 20)
        kept.release(next_one(16 * mebibyte))

    def test_where_no_disk_can_be_made_it_is_measured(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(keptdisk, "_MAKE", ("/nonexistent/mkfs",))
        spec = bundle(folder, 1)
        root = Path(kept.keep(json.loads(json.dumps(spec)), NAMES, "id", str(folder / "bundle"), 1 << 20))
        (root / "big").write_bytes(b"x" * (3 << 20))
        with pytest.raises(EditError, match="bytes are kept for default/db-0/main, and rootfs-size allows 1048576"):
            kept.keep(spec, NAMES, "id", str(folder / "bundle"), 1 << 20)


def test_a_container_that_still_runs_is_not_disturbed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = bundle(folder, 2)
    kept.keep(dict(spec), NAMES, "old", str(folder / "bundle"), 0)
    runtime = folder / "runtime"
    runtime.write_text('#!/bin/sh\necho \'{"status": "running"}\'\n')
    runtime.chmod(0o755)
    monkeypatch.setenv("HAWSER_REAL", str(runtime))
    with pytest.raises(EditError, match="container old still runs"):
        kept.keep({"root": {"path": "rootfs"}, "linux": {}}, NAMES, "new", str(folder / "bundle"), 0)


@pytest.mark.parametrize(
    ("annotations", "linux", "why"),
    [
        ({}, {}, "does not tell of which pod"),
        ({**NAMES, "io.kubernetes.cri.sandbox-name": ".."}, {}, "does not tell of which pod"),
        ({**NAMES, "io.kubernetes.cri.sandbox-namespace": "a/b"}, {}, "does not tell of which pod"),
        (NAMES, {"uidMappings": [{}]}, "user namespace"),
    ],
)
def test_what_can_not_be_kept_is_refused(
    folder: Path, annotations: dict[str, str], linux: dict[str, Any], why: str
) -> None:
    with pytest.raises(EditError, match=why):
        kept.keep({"root": {"path": "rootfs"}, "linux": linux}, annotations, "id", str(folder / "bundle"), 0)

"""The file system of the view, mounted for real and served by a thread."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawser.rich.view.fuse import FileSystem
from hawser.rich.view.server import mount, unmount

pytestmark = pytest.mark.skipif(os.getuid() != 0 or not Path("/dev/fuse").exists(), reason="needs root and FUSE")
LONG = b"".join(b"line %d\n" % number for number in range(100_000))


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Path]:
    def refused(_process: int) -> bytes:
        raise OSError(errno.EOPNOTSUPP, "nothing here")

    count = iter(range(1000))
    contents = {
        "who": lambda process: b"%d\n" % process,
        "deep/count": lambda _process: b"%d\n" % next(count),
        "deep/long": lambda _process: LONG,
        "deep/er/refused": refused,
    }
    device = os.open("/dev/fuse", os.O_RDWR)
    mount(tmp_path, "test", "fuse", f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions")
    thread = threading.Thread(target=FileSystem(contents).serve, args=(device,))
    thread.start()
    yield tmp_path
    unmount(tmp_path)
    thread.join(10)
    os.close(device)
    assert not thread.is_alive()


def test_each_process_reads_its_own(files: Path) -> None:
    assert int((files / "who").read_text()) == threading.get_native_id()


def test_a_long_file_is_of_one_piece(files: Path) -> None:
    assert (files / "deep/long").read_bytes() == LONG


def test_what_is_read_again_from_the_start_is_new(files: Path) -> None:
    with (files / "deep/count").open("rb", buffering=0) as file:
        first = file.read()
        assert file.read() == b""
        file.seek(0)
        assert int(file.read()) == int(first) + 1


def test_many_files_may_be_open_at_once(files: Path) -> None:
    opened = [(files / "deep/long").open("rb", buffering=0) for _ in range(200)]
    assert all(file.read(6) == b"line 0" for file in opened)
    assert all(file.read(8) == b"\nline 1\n" for file in opened)
    for file in opened:
        file.close()


def test_folders_are_listed(files: Path) -> None:
    assert sorted(str(path.relative_to(files)) for path in files.rglob("*")) == sorted(
        ["who", "deep", "deep/count", "deep/long", "deep/er", "deep/er/refused"]
    )
    assert (files / "deep").is_dir() and (files / "who").is_file()


@pytest.mark.parametrize(
    ("name", "number"),
    [("deep/er/refused", errno.EOPNOTSUPP), ("none", errno.ENOENT), ("deep/who", errno.ENOENT), ("deep", errno.EISDIR)],
)
def test_errors_are_told(files: Path, name: str, number: int) -> None:
    with pytest.raises(OSError) as refused:
        (files / name).read_bytes()
    assert refused.value.errno == number


def test_nothing_can_be_changed(files: Path) -> None:
    for change in (lambda: (files / "new").touch(), lambda: (files / "who").unlink(), lambda: (files / "d").mkdir()):
        with pytest.raises(OSError):
            change()
    with pytest.raises(OSError):
        (files / "who").write_text("me")

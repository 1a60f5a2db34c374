"""The shim's light front: what it answers itself, and what it leaves to the real one."""

import json
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawser.native import compiler

# What a shim that was started finds.
_TELL = """
exec >../told
echo "$@"; echo $GOMAXPROCS; readlink /proc/self/fd/3 /proc/self/fd/0; cat /proc/self/oom_score_adj; umask
"""


@pytest.fixture
def shim(compiled: None, tmp_path: Path) -> Path:
    real = tmp_path / "real"
    real.write_text('#!/bin/sh\n[ -e ../told ] || exec echo "real $*"\n' + _TELL)
    real.chmod(0o755)
    texts = {"SHIM": str(real), "PROCESSORS": "2", "NOTES": str(tmp_path / "notes")}
    return compiler.provide(tmp_path / "shim", "shim.c", texts)


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    """A sandbox "box" whose shim listens, and its container "one", as containerd makes them."""
    for name in ("box", "one"):
        folder = tmp_path / "bundles" / name
        (folder / "rootfs").mkdir(parents=True)
        spec = {"process": {"args": ["x"] * 200}, "annotations": {"io.kubernetes.cri.sandbox-id": "box"}}
        (folder / "config.json").write_text(json.dumps(spec, separators=(",", ":")))
    return tmp_path / "bundles"


def call(shim: Path, folder: Path, verb: str, server: str = "/c.sock") -> bytes:
    words = ["-namespace", "k8s.io", "-address", server, "-publish-binary", "/usr/bin/containerd", "-id", folder.name]
    return subprocess.run([shim, *words, verb], cwd=folder, capture_output=True, check=True).stdout


def listening(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[socket.socket, str]:
    monkeypatch.chdir(bundles)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("s")
    listener.listen()
    address = f"unix://{bundles}/s"
    (bundles / "box" / "address").write_text(address)
    return listener, address


def test_a_further_container_gets_its_sandboxs_shim(shim: Path, bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listener, address = listening(bundles, monkeypatch)
    with listener:
        assert call(shim, bundles / "one", "start") == address.encode()
    assert (bundles / "one" / "address").read_text() == address
    assert not (bundles / "one" / ".address").exists()


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for that of a socket."""
    with tempfile.TemporaryDirectory(prefix="shim") as folder:
        yield Path(folder)


def test_a_sandbox_gets_a_shim_that_serves_a_socket_of_its_own(shim: Path, bundles: Path, short: Path) -> None:
    (short / "s").mkdir()
    os.mkfifo(bundles / "told")
    address = call(shim, bundles / "box", "start", f"{short}/c.sock").decode()
    assert address == f"unix://{short}/s/box" == (bundles / "box" / "address").read_text()
    words, processors, served, stdin, score, umask = (bundles / "told").read_text().splitlines()
    assert words == f"-namespace k8s.io -id box -address {short}/c.sock"
    assert (processors, served[:8], stdin) == ("2", "socket:[", "/dev/null")
    assert int(score) == int(Path("/proc/self/oom_score_adj").read_text()) + 1
    assert int(umask, 8) == os.umask(0o022) == 0o022
    assert (short / "s" / "box").stat().st_mode & 0o777 == 0o600


def test_a_sandbox_whose_socket_is_there_already_is_for_the_real_shim(shim: Path, bundles: Path, short: Path) -> None:
    assert call(shim, bundles / "box", "start", f"{short}/c.sock").startswith(b"real "), "no folder for sockets"
    (short / "s").mkdir()
    (short / "s" / "box").touch()
    assert call(shim, bundles / "box", "start", f"{short}/c.sock").startswith(b"real ")
    assert not (bundles / "box" / "address").exists()


def test_nobody_serves_a_socket_whose_address_could_not_be_written(
    shim: Path, bundles: Path, short: Path, tmp_path: Path
) -> None:
    (short / "s").mkdir()
    (bundles / "box" / ".address").write_text("what another attempt has left")
    (tmp_path / "real").write_text('#!/bin/sh\necho "$*" >>../started\n')
    assert call(shim, bundles / "box", "start", f"{short}/c.sock") == b""
    (only,) = (bundles / "started").read_text().splitlines()
    assert only.endswith(" start"), "the real shim has the word"
    assert not (short / "s" / "box").exists()


def test_a_container_whose_sandboxs_shim_is_dead_gets_a_real_one(
    shim: Path, bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener, _ = listening(bundles, monkeypatch)
    listener.close()
    assert call(shim, bundles / "one", "start").startswith(b"real ")
    assert not (bundles / "one" / "address").exists()


@pytest.mark.parametrize(
    "spec",
    [
        "{}",
        '{"annotations":{"io.kubernetes.cri.sandbox-id":"../x"}}',
        '{"annotations":{"io.kubernetes.cri.sandbox-id":"a\\\\"}}',
        '{"annotations":{"io.kubernetes.cri.sandbox-id":"box"',
        '{"annotations":{"io.containerd.runc.v2.group":"g","io.kubernetes.cri.sandbox-id":"box"}}',
    ],
)
def test_what_is_not_as_expected_is_for_the_real_shim(shim: Path, bundles: Path, spec: str) -> None:
    (bundles / "one" / "config.json").write_text(spec)
    assert call(shim, bundles / "one", "start").startswith(b"real ")


def test_of_a_container_that_was_deleted_only_its_end_is_told(shim: Path, bundles: Path, tmp_path: Path) -> None:
    (bundles / "one" / "options.json").write_text(f'{{"root":"{tmp_path}/crun"}}')
    (bundles / "one" / "init.pid").write_text("4711")
    said = call(shim, bundles / "one", "delete")
    # task.DeleteResponse: pid 4711, exit_status 137, exited_at a google.protobuf.Timestamp.
    assert said[:8] == bytes([0x08, 0xE7, 0x24, 0x10, 0x89, 0x01, 0x1A, len(said) - 8])
    assert said[8] == 0x08


@pytest.mark.parametrize("known", [True, False])
def test_a_container_that_the_runtime_may_still_know_is_for_the_real_shim(
    shim: Path, bundles: Path, tmp_path: Path, known: bool
) -> None:
    if known:
        (bundles / "one" / "options.json").write_text(f'{{"root":"{tmp_path}/crun"}}')
        (tmp_path / "crun" / "k8s.io" / "one").mkdir(parents=True)
    assert call(shim, bundles / "one", "delete").startswith(b"real ")


@pytest.mark.parametrize("kept", ["one", ".inside/one", ".roots/one", ".hooks/one"])
def test_a_rich_container_that_could_not_be_made_is_for_the_real_shim(
    shim: Path, bundles: Path, tmp_path: Path, kept: str
) -> None:
    """hawser-runtime has mounts for it that its own delete ends."""
    (bundles / "one" / "options.json").write_text(f'{{"root":"{tmp_path}/crun"}}')
    (tmp_path / f"notes{tmp_path}/crun/k8s.io" / kept).mkdir(parents=True)
    assert call(shim, bundles / "one", "delete").startswith(b"real ")


def test_other_verbs_are_for_the_real_shim(shim: Path, bundles: Path) -> None:
    assert call(shim, bundles / "one", "-v").startswith(b"real ")

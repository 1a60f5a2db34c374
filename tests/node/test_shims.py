"""Shims that no runtime knows are ended; all others are left alone."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawser.node.shims import LostShims, running

SOCKET = "/run/test/c.sock"


@pytest.fixture
def shim(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like a shim of sandbox "s1"."""
    program = tmp_path / "containerd-shim-runc-v2"
    shutil.copy("/bin/sh", program)
    words = ["-namespace", "k8s.io", "-id", "s1", "-address", SOCKET]
    script = "echo runs; read wait"
    process = subprocess.Popen([str(program), "-c", script, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    # Its arguments are not in /proc at once.
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


async def test_one_that_stays_unknown_is_ended(shim: subprocess.Popen[bytes]) -> None:
    now = 0.0
    lost = LostShims(f"unix://{SOCKET}", lambda: now)
    assert await lost.sweep([]) == []
    now = 59
    assert await lost.sweep([]) == []
    now = 61
    assert [s.pid for s in await lost.sweep([])] == [shim.pid]
    assert shim.wait(5) == -9


async def test_one_that_becomes_known_is_not(shim: subprocess.Popen[bytes]) -> None:
    now = 0.0
    lost = LostShims(f"unix://{SOCKET}", lambda: now)
    for now in (0, 30, 70):
        assert await lost.sweep(["s1"] if now == 30 else []) == []
    assert shim.poll() is None


def test_only_those_of_the_socket_are_found(shim: subprocess.Popen[bytes]) -> None:
    assert [(s.pid, s.id) for s in running(SOCKET)] == [(shim.pid, "s1")]
    assert running("/run/test/other.sock") == []

"""`hawser-runtime` runs on the node's Python: Debian 11's to the newest, and says what it does not run on."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from tests.clients import debian as releases
from tests.runtime.conftest import Containers

from hawser.runtime import entry, install

RELEASES = {"3.9": "bullseye", "3.13": "trixie", "3.14": "sid"}


def python(version: str, place: Path) -> Path:
    """A release's interpreter as a command of this machine: with the release's own C library, where it is newer."""
    packages = [f"python{version}-minimal", f"libpython{version}-minimal", f"libpython{version}-stdlib"]
    try:
        tree = releases.unpacked(RELEASES[version], packages, dependencies="lib*")
    except releases.Unavailable as error:
        pytest.skip(str(error))
    command = place / "usr/bin/python3"
    command.parent.mkdir(parents=True)
    (place / "usr/lib").symlink_to(tree / "usr/lib")
    program, libraries = tree / f"usr/bin/python{version}", tree / "usr/lib/x86_64-linux-gnu"
    if version == "3.9":  # its ld.so can not call a program by another name, and this machine's C library will do
        words = ["env", f"LD_LIBRARY_PATH={libraries}", program]
    else:
        words = [libraries / "ld-linux-x86-64.so.2", "--argv0", command, "--library-path", libraries, program]
    command.write_text(f'#!/bin/sh\nexec {shlex.join(map(str, words))} "$@"\n')
    command.chmod(0o755)
    return command


# Installed on the node: byte code; by another Python than the node's: sources.
@pytest.mark.parametrize(("version", "compiled"), [("3.9", True), ("3.13", True), ("3.14", False)])
def test_a_container_with_hooks_lives_its_life_on_it(
    containers: Containers,
    debian: Path,
    spec: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    compiled: bool,
) -> None:
    interpreter = python(version, tmp_path / "python")
    monkeypatch.setenv("HAWSER_PYTHON", str(interpreter))
    if compiled:
        install.install(tmp_path / "hawser-runtime", python=[str(interpreter)])
    hooks = {"prestart": "echo before >>/dev/shm-told", "poststop": "echo after $HAWSER_EXIT_CODE >&2"}
    spec["annotations"] |= {f"rich.hawser.dev/{phase}": line for phase, line in hooks.items()}
    spec["annotations"] |= {"rich.hawser.dev/init": "systemd", "rich.hawser.dev/mask-units": "cron"}
    spec["process"] |= {"args": ["sh", "-c", "cat /dev/shm-told; exit 7"], "user": {"uid": 0, "gid": 0, "umask": 0o27}}
    ran = containers.make(debian, spec).run()
    assert (ran.returncode, ran.stdout) == (7, b"before\n"), ran.stderr
    assert b"poststop-1: after 7" in ran.stderr


class TestTooOld:
    """A program that wants a newer Python than it gets."""

    @pytest.fixture
    def runtime(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(install, "PROGRAM", entry.PROGRAM.replace("(3, 9)", "(3, 99)"))
        return install.install(tmp_path / "hawser-runtime")

    def test_it_is_told_to_whoever_waits_for_the_container(
        self, containers: Containers, debian: Path, spec: dict[str, Any], runtime: Path
    ) -> None:
        container = containers.make(debian, spec)
        ran = container.run()
        assert ran.returncode == 1
        told = json.loads((container.directory / "log").read_text())
        assert told["level"] == "error"
        assert "3.9 or newer is needed: python=/path in /etc/hawser/runtime.conf names another" in told["msg"]

    def test_a_newer_one_beside_it_takes_over(
        self,
        containers: Containers,
        debian: Path,
        spec: dict[str, Any],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("HAWSER_PYTHON", str(python("3.9", tmp_path / "python")))
        monkeypatch.setattr(install, "PROGRAM", entry.PROGRAM.replace("(3, 9)", "(3, 10)"))
        install.install(tmp_path / "hawser-runtime")
        spec["annotations"]["rich.hawser.dev/init"] = "minimal"
        spec["process"]["args"] = ["sh", "-c", "exit 5"]
        ran = containers.make(debian, spec).run()
        assert ran.returncode == 5, ran.stderr

"""crun: which one is taken, and what executes it."""

import os
from pathlib import Path

import pytest

from hawser.cli.engine import crun
from hawser.native import compiler


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("crun version 1.8.1\ncommit: f8a096be060b22ccd3d5f3ebe44108517fbf6c30\n", (1, 8)),
        ("crun version 1.21.1\n", (1, 21)),
        ("crun version UNKNOWN\n", None),
        ("runc version 1.1.5+ds1\n", None),
    ],
)
def test_versions(text: str, version: tuple[int, int] | None) -> None:
    assert crun.version_of(text) == version


@pytest.mark.parametrize(("listed", "refused"), [("hugetlb rdma\n", True), ("\n", False), (None, False)])
def test_controllers_of_cgroup_v2_beside_v1_are_refused(tmp_path: Path, listed: str | None, refused: bool) -> None:
    if listed is not None:
        (tmp_path / "cgroup.controllers").write_text(listed)
    assert crun.refuses_cgroups(tmp_path / "cgroup.controllers") is refused


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("crun version 0.17", "crun version 0.17 is older than 1.8"),
        ("", "it is older than 1.8"),
    ],
)
def test_an_old_crun_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, why: str) -> None:
    (tmp_path / "crun").write_text(f"#!/bin/sh\necho '{said}'\n")
    (tmp_path / "crun").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert crun.find(tmp_path / "bin") == crun.Crun("", why)


def test_a_machine_without_crun_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert crun.find(tmp_path / "bin") == crun.Crun("", "it is not installed")


@pytest.mark.skipif(os.geteuid() != 0, reason="crun makes cgroups")
def test_a_crun_that_is_older_than_containerd_is_left_alone(tmp_path: Path) -> None:
    found = crun.find(tmp_path, (1, 6))
    if not found.path:
        pytest.skip(f"crun: {found.why}")
    assert crun.takes(found.path, "1.0.2") and not crun.takes(found.path, "99.0.0")
    newest = crun.find(tmp_path)
    assert bool(newest.path) == crun.takes(found.path, "1.3.0")
    assert newest.path or "no container of version 1.3.0" in newest.why


def test_it_is_replaced_only_by_another_one(tmp_path: Path) -> None:
    if not compiler.find_compiler():
        pytest.skip("no C compiler")
    first = crun.provide(tmp_path / "crun", "/bin/true", hybrid=False).stat()
    assert crun.provide(tmp_path / "crun", "/bin/true", hybrid=False).stat().st_ino == first.st_ino
    assert crun.provide(tmp_path / "crun", "/bin/false", hybrid=False).stat().st_ino != first.st_ino

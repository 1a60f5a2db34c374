"""The private containerd: what a machine must have for it."""

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hawser.cli.engine import containerd
from hawser.cli.engine.crun import Crun
from hawser.cli.engine.settings import Settings


@pytest.fixture
def engine(tmp_path: Path) -> Settings:
    (tmp_path / "containerd").mkdir()
    return Settings(tmp_path, "abc", "127.0.0.1:1", "127.0.0.1:2", "n", "10.42.0.0/16", "10.96.0.0/20")


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3", (1, 6)),
        ("containerd containerd.io 1.7.27 05044ec0a9a75232cad458027ca83437aae3f4da", (1, 7)),
        ("containerd github.com/containerd/containerd/v2 v2.1.4 75cb2b7193e4e490e9fbdc236c0e811ccaba3376", (2, 1)),
        ("something else", None),
    ],
)
def test_versions(text: str, version: tuple[int, int] | None) -> None:
    assert containerd.version_of(text) == version


@pytest.mark.parametrize(
    ("programs", "said"),
    [
        ({}, "containerd is not installed"),
        ({"containerd": "containerd x 1.6.0"}, "runc is not installed"),
        ({"containerd": "containerd x 1.5.13", "runc": ""}, "containerd is too old or unknown: containerd x 1.5.13"),
        ({"containerd": "", "runc": ""}, "containerd is too old or unknown: it says no version"),
    ],
)
def test_what_is_missing_is_said(
    engine: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: dict[str, str], said: str
) -> None:
    for name, answer in programs.items():
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(f"#!/bin/sh\necho '{answer}'\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    found = containerd.problem(engine)
    assert found is not None
    assert found[0] == said


def test_a_filesystem_without_overlays_is_said(engine: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containerd, "_overlay_problem", lambda folder: "invalid argument")
    monkeypatch.setattr(containerd.shutil, "which", lambda name: "/bin/echo")
    monkeypatch.setattr(containerd, "version_of", lambda text: (1, 7))
    found = containerd.problem(engine)
    assert found is not None
    assert "overlay mounts do not work there: invalid argument" in found[0]
    assert "--data-dir" in found[1]


def test_runc_keeps_its_state_in_the_engines_own_directory(engine: Settings) -> None:
    runtimes = _tables(engine, "/opt/crun")["runtimes"]
    roots = {name: Path(table["options"]["Root"]) for name, table in runtimes.items()}
    runc, crun = containerd.runc_dir(engine), containerd.crun_dir(engine)
    assert roots == {"runc": runc, "rich": runc, "crun": crun}
    assert all(folder.is_relative_to(engine.run_dir) for folder in (runc, crun))


@pytest.mark.parametrize(
    ("asked", "path", "default"),
    [("", "/opt/crun", "crun"), ("crun", "/opt/crun", "crun"), ("runc", "/opt/crun", "runc"), ("", "", "runc")],
)
def test_plain_pods_run_by_crun_where_it_works_and_runc_was_not_asked_for(
    engine: Settings, asked: str, path: str, default: str
) -> None:
    tables = _tables(replace(engine, oci_runtime=asked), path)
    assert tables["default_runtime_name"] == default
    assert tables["runtimes"].get("crun", {}).get("options", {}).get("BinaryName", "") == path


def test_crun_that_was_asked_for_and_does_not_work_is_said(engine: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containerd.shutil, "which", lambda name: "/bin/echo")
    monkeypatch.setattr(containerd, "version_of", lambda text: (1, 7))
    monkeypatch.setattr(containerd.crun, "find", lambda folder, version: Crun("", "it is not installed"))
    found = containerd.problem(replace(engine, oci_runtime="crun"))
    assert found == (
        "crun cannot run containers here: it is not installed",
        "`hawser up --oci-runtime auto` takes runc then",
    )


def _tables(engine: Settings, crun_path: str) -> dict[str, Any]:
    parsed = tomllib.loads(containerd.config(engine, may_raise_oom_score=True, crun_path=crun_path))
    tables: dict[str, Any] = parsed["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]
    return tables

"""What is left of containers whose `create` or `delete` was killed is found and deleted; nothing else is."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from hawser.runtime import leftovers, spawn

from .test_launcher import Launcher

OLD = 1000.0  # seconds


def make(path: Path, age: float) -> None:
    path.mkdir(parents=True) if path.parent.name == ".inside" else path.touch()
    os.utime(path, (time.time() - age,) * 2)


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """A running container, one being made, and two of which only the notes, or only the journal, are left."""
    root, records = tmp_path / "runc", tmp_path / "records" / str(tmp_path).lstrip("/") / "runc"
    (root / "runs").mkdir(parents=True)
    (records / ".inside").mkdir(parents=True)
    (records / ".journal").mkdir()
    for name, age in (("runs", OLD), ("begins", 0.0), ("noted", OLD)):
        make(records / name, age)
    for name, age in (("runs", OLD), ("written", OLD), ("begins", OLD), ("new", 0.0)):
        make(records / ".inside" / name, age)
    return records


def test_only_what_the_runtime_has_not_known_for_long_is_left(records: Path, tmp_path: Path) -> None:
    assert sorted(leftovers.found(str(records), str(tmp_path / "runc"), time.time())) == ["noted", "written"]


def test_the_launcher_deletes_it(records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = Launcher(tmp_path)
    monkeypatch.setenv("HAWSER_OCI_RUNTIME", str(launcher.real))
    monkeypatch.setenv("HAWSER_RUNTIME_STATE", str(launcher.records))
    started: list[int] = []
    start = spawn.start
    monkeypatch.setattr(spawn, "start", lambda *words, **how: started.append(start(*words, **how)))
    leftovers.clear(str(launcher.path), str(records), "")
    leftovers.clear(str(launcher.path), str(records), str(tmp_path / "none"))
    assert not started
    leftovers.clear(str(launcher.path), str(records), str(tmp_path / "runc"))
    assert [spawn.ended(pid) for pid in started] == [0, 0]
    assert sorted(path.name for path in records.iterdir() if path.is_file()) == ["begins", "runs"]
    assert sorted(path.name for path in (records / ".inside").iterdir()) == ["begins", "new", "runs"]

"""What is left of containers whose `create` or `delete` was killed is found and deleted; nothing else is."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hawser.runtime import leftovers, notes, spawn

from .conftest import PATIENCE, Containers
from .test_launcher import Launcher

OLD = 1000.0  # seconds


def make(path: Path, age: float) -> None:
    path.mkdir(parents=True) if path.parent.name == ".inside" else path.touch()
    os.utime(path, (time.time() - age,) * 2)


def await_that(check: Callable[[], bool]) -> None:
    end = time.monotonic() + 60 * PATIENCE
    while not check():
        assert time.monotonic() < end
        time.sleep(0.05)


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


def test_a_delete_that_was_killed_before_the_runtime_was_through_is_done_by_the_next_start(
    containers: Containers, debian: Path, spec: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec["annotations"]["rich.hawser.dev/init"] = "systemd"
    spec["process"]["args"] = ["sh", "-c", "echo on; exec sleep 1000"]
    gone, running, following = (containers.make(debian, copy.deepcopy(spec)) for _ in range(3))
    for one in (running, following):
        one.shares(gone)
    for one in (gone, running):
        one.start()
        one.until_output("on")
    gone.kill("KILL")
    gone.until_stopped()
    slow = tmp_path / "slow"
    slow.write_text('#!/bin/sh\ncase " $* " in *" delete "*) exec sleep 1000 ;; esac\nexec runc "$@"\n')
    slow.chmod(0o755)
    env = {**os.environ, "HAWSER_OCI_RUNTIME": str(slow)}
    killed = [
        subprocess.Popen(one.command("delete", one.name), env=env, start_new_session=True) for one in (gone, running)
    ]
    marks = next((tmp_path / "records").rglob(".inside")).parent / ".deleting"
    await_that(lambda: all((marks / one.name).exists() for one in (gone, running)))
    assert leftovers.interrupted(str(marks.parent)) == []  # they are at work
    for process in killed:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert gone.status() == "stopped"
    following.start()
    await_that(lambda: not list(marks.iterdir()))
    assert (gone.status(), running.status(), following.status()) == ("gone", "running", "running")
    assert [path for path in marks.parent.rglob(gone.name + "*") if path.is_file()] == [
        marks.parent / f".journal/{gone.name}.inside.jsonl"
    ]


def test_a_mark_of_which_nothing_else_is_left_goes(tmp_path: Path) -> None:
    launcher, root = Launcher(tmp_path), tmp_path / "runc"
    mark = Path(f"{launcher.records}{root}") / ".deleting/one"
    mark.parent.mkdir(parents=True)
    mark.write_text("1 --force\n")
    words = ["--root", str(root), "delete", "--force", "one"]
    assert launcher(*words) == words
    assert not mark.exists()


def test_a_container_of_the_same_name_is_not_the_one_that_was_to_be_deleted(tmp_path: Path) -> None:
    marks = tmp_path / ".deleting"
    marks.mkdir()
    for name in ("one", "other"):
        (marks / name).write_text("1 --force\n")
    assert sorted(leftovers.interrupted(str(tmp_path))) == [("one", "--force"), ("other", "--force")]
    notes.claim(str(tmp_path), "one")
    assert leftovers.interrupted(str(tmp_path)) == [("other", "--force")]

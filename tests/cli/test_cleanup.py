"""What is taken away with an engine, and above all what is not."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hawser.cli.engine import cleanup, processes, settings
from hawser.cli.engine.containerd import runc_dir
from hawser.cli.engine.settings import Settings
from hawser.cli.up import end_leftovers
from hawser.runtime import trees


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(settings, "RUN_ROOT", tmp_path / "run")
    data = tmp_path / "data"
    data.mkdir()
    made = Settings(data, "abc", "127.0.0.1:1", "127.0.0.1:2", "n", "10.42.0.0/16", "10.96.0.0/20")
    made.save()
    return made


@pytest.mark.parametrize("shared", [False, True])
def test_notes_on_containers_go_and_those_of_others_stay(
    engine: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    monkeypatch.setattr(cleanup, "RUNTIME_NOTES", tmp_path / "notes")
    mine = tmp_path / "notes" / str(runc_dir(engine)).lstrip("/")
    (mine / "k8s.io").mkdir(parents=True)
    (mine / "k8s.io" / "container").write_text("systemd\n")
    other = tmp_path / "notes" / "run" / "containerd"
    if shared:
        other.mkdir(parents=True)
    cleanup.remove_notes(mine)
    assert not mine.exists()
    assert other.exists() is shared
    assert (tmp_path / "notes").exists() is shared


@pytest.mark.parametrize(
    ("argument", "want"),
    [
        ("/data", True),
        ("/data/containerd/config.toml", True),
        ("--data-dir=/data", True),
        ("unix:///data/run/containerd.sock", True),
        ("/data2", False),
        ("/data2/config.toml", False),
        ("/mnt/data/containerd/config.toml", False),
        ("unix:///mnt/data/containerd.sock", False),
    ],
)
def test_only_paths_of_the_engine_itself_make_a_process_its_own(argument: str, want: bool) -> None:
    assert cleanup.names(argument, Path("/data")) is want


def test_a_process_of_another_engine_below_a_like_named_path_is_not_ours(engine: Settings, tmp_path: Path) -> None:
    other = tmp_path / "other" / str(engine.data_dir).lstrip("/")
    script = "import time; time.sleep(1000)"
    found = {}
    for folder in (other, engine.data_dir):
        command = ["containerd", "-c", script, "--config", str(folder / "containerd" / "config.toml")]
        with subprocess.Popen(command, executable=sys.executable) as process:
            while processes.argv(process.pid)[:1] != ["containerd"]:
                time.sleep(0.001)
            found[folder] = process.pid in cleanup.engine_pids(engine)
            process.kill()
    assert found == {other: False, engine.data_dir: True}


def test_what_a_killed_supervisor_left_ends_and_the_containers_view_goes_on(engine: Settings) -> None:
    view = engine.run_dir / "view"
    commands = [
        ["containerd", "--config", str(engine.data_dir / "containerd" / "config.toml")],
        ["lxcfs", "-f", str(view / "lxcfs")],
        ["python", "-m", "hawser.rich.view.statistics", str(view / "own")],
    ]
    running = []
    try:
        for name, *words in commands:
            command = [name, "-c", "import time; time.sleep(1000)", *words]
            running.append(subprocess.Popen(command, executable=sys.executable))
            while processes.argv(running[-1].pid) != command:
                time.sleep(0.001)
        assert cleanup.engine_pids(engine) == sorted(process.pid for process in running)
        end_leftovers(engine)
        assert [process.poll() for process in running] == [-signal.SIGTERM, None, None]
    finally:
        for process in running:
            process.kill()
            process.wait()


def test_what_is_left_is_told_and_what_has_ended_is_not() -> None:
    with subprocess.Popen(["true"]) as ending:
        os.waitid(os.P_PID, ending.pid, os.WEXITED | os.WNOWAIT)
        assert cleanup.told([ending.pid]) == [f"process {ending.pid} true, which is ending: Z"]
    [line] = cleanup.told([ending.pid, os.getpid()])
    assert line.startswith(f"process {os.getpid()} ") and "ending" not in line


@pytest.fixture
def mounted(engine: Settings) -> Iterator[list[Path]]:
    """The user's filesystem under the data directory, and a volume of the engine's."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    volume = engine.data_dir / "agent" / "pods" / "uid" / "an émpty dir"
    points = [engine.data_dir, volume]
    made: list[Path] = []
    try:
        for point in points:
            point.mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(point)], check=True)
            made.append(point)
        yield points
    finally:
        for point in reversed(made):
            subprocess.run(["umount", "--lazy", str(point)], check=False, capture_output=True)


def test_mounts_of_the_engine_are_taken_away_and_the_users_below_it_stays(
    engine: Settings, mounted: list[Path]
) -> None:
    data, volume = mounted
    assert cleanup.mounts_below(*cleanup.mount_dirs(engine)) == [str(volume)]
    cleanup.unmount_below(*cleanup.mount_dirs(engine))
    assert not volume.is_mount()
    assert data.is_mount()
    engine.save()
    assert cleanup.purge(engine) == []
    assert data.is_mount()
    assert list(data.iterdir()) == []


def test_data_is_not_purged_while_something_is_mounted_in_it(engine: Settings, mounted: list[Path]) -> None:
    (mounted[1] / "precious").touch()
    with pytest.raises(OSError, match="unmount it first"):
        cleanup.purge(engine)
    assert (mounted[1] / "precious").exists()


def test_purging_removes_the_engines_data_and_nothing_else(engine: Settings, deep: Callable[[Path, int], int]) -> None:
    for name in ("store", "pki", "logs"):
        (engine.data_dir / name).mkdir()
        (engine.data_dir / name / "file").touch()
    # What containers have left may be deeper than Python would call itself.
    os.close(deep(engine.data_dir / "logs", 2000))
    mine = engine.data_dir / "notes.txt"
    mine.touch()
    assert cleanup.purge(engine) == [mine]
    assert list(engine.data_dir.iterdir()) == [mine]


def test_an_interrupted_purge_can_be_repeated(engine: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("agent", "store"):
        (engine.data_dir / name).mkdir()

    def cut(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(trees, "remove", cut)
        with pytest.raises(KeyboardInterrupt):
            cleanup.purge(engine)
    assert settings.load(engine.data_dir) == engine
    cleanup.purge(engine)
    assert not engine.data_dir.exists()


def test_sockets_that_killed_shims_leave_are_found(engine: Settings) -> None:
    path = engine.data_dir.parent / "s"
    bundle = engine.cri_socket.parent / "state" / "io.containerd.runtime.v2.task" / "k8s.io" / "id"
    bundle.mkdir(parents=True)
    (bundle / "address").write_text(f"unix://{path}")
    assert cleanup.shim_sockets(engine) == []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        assert cleanup.shim_sockets(engine) == [path]
    assert cleanup.shim_sockets(replace(engine, instance="other")) == []

"""The supervisor: restarts what dies, stops in order, leaves no child; with real processes."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hawser.cli.engine import processes
from hawser.cli.engine.roles import Role
from hawser.cli.engine.settings import Settings
from hawser.cli.engine.supervisor import Child, Supervisor, after_exit, rotate

ROLE = Role("a", ["true"])


def test_back_off_doubles_up_to_ten_seconds() -> None:
    child, delays = Child(ROLE, pid=5, started=0.0), []
    for _ in range(9):
        child = after_exit(child, 1.0)
        assert child.next_start is not None
        delays.append(round(child.next_start - 1.0, 3))
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    assert child.restarts == 9
    assert child.pid == 0


def test_back_off_is_forgotten_after_a_calm_time() -> None:
    child = Child(ROLE, pid=5, started=100.0, delay=10.0)
    assert after_exit(child, 130.0).next_start == pytest.approx(130.1)
    assert after_exit(child, 129.0).next_start == pytest.approx(139.0)


def test_large_logs_are_moved_aside(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"x" * 12 + b"y" * 8)
        rotate(log, limit=100)
        assert log.stat().st_size == 20
        rotate(log, limit=10)
        assert log.stat().st_size == 0
        assert (tmp_path / "a.log.1").read_text() == "xx" + "y" * 8
        writer.write(b"more")
    assert log.read_text() == "more"


PROGRAM = """
import sys
from pathlib import Path
from hawser.cli.engine import supervisor, settings
from hawser.cli.engine.roles import Role
base = Path(sys.argv[1])
settings.RUN_ROOT = base / "run"
engine = settings.Settings(base, "abc", "127.0.0.1:1", "127.0.0.1:2", "n", "10.42.0.0/16", "10.96.0.0/20")
engine.run_dir.mkdir(parents=True)
engine.log_dir.mkdir()
supervisor.roles = lambda s: [
    Role("steady", ["sleep", "1000"]),
    Role("stubborn", ["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"], stop_after=0.2),
]
sys.exit(supervisor.Supervisor(engine).run())
"""


def state(base: Path) -> dict[str, int]:
    path = base / "run" / "abc" / "state.json"
    with contextlib.suppress(FileNotFoundError, ValueError):
        return {name: p["pid"] for name, p in json.loads(path.read_text())["processes"].items()}
    return {}


def eventually(check: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not check():
        assert time.monotonic() < deadline, "did not come in 120 s"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    return bool(processes.argv(pid))


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(PROGRAM), str(tmp_path)])
    try:
        eventually(lambda: len([p for p in state(tmp_path).values() if p]) == 2)
        yield process
    finally:
        left = state(tmp_path)
        process.kill()
        process.wait()
        # What ignores SIGTERM outlives it, as it would until the next start.
        for pid in filter(alive, left.values()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_a_killed_process_is_started_again(supervisor: subprocess.Popen[bytes], tmp_path: Path) -> None:
    first = state(tmp_path)
    os.kill(first["steady"], signal.SIGKILL)
    eventually(lambda: state(tmp_path)["steady"] not in (0, first["steady"]))
    assert state(tmp_path)["stubborn"] == first["stubborn"]


def test_sigterm_stops_all_even_what_ignores_it(supervisor: subprocess.Popen[bytes], tmp_path: Path) -> None:
    pids = state(tmp_path).values()
    supervisor.terminate()
    assert supervisor.wait(120) == 0
    assert not [p for p in pids if alive(p)]
    assert not (tmp_path / "run" / "abc" / "state.json").exists()


def test_processes_end_when_the_supervisor_is_killed(supervisor: subprocess.Popen[bytes], tmp_path: Path) -> None:
    pid = state(tmp_path)["steady"]
    supervisor.kill()
    supervisor.wait()
    eventually(lambda: not alive(pid))


def test_a_pid_file_has_one_holder(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    assert processes.holder(path) is None
    path.write_text("1\n")
    assert processes.holder(path) is None, "what a stale file says does not count"
    program = "import sys, time, pathlib\nfrom hawser.cli.engine import processes\n"
    program += "held = processes.lock(pathlib.Path(sys.argv[1]))\nprint(held, flush=True)\ntime.sleep(1000)"
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() not in (b"", b"None\n")
        path.write_text("1\n")
        assert processes.holder(path) == other.pid, "the kernel knows better than the file"
        assert processes.lock(path) is None
        other.kill()
    assert processes.holder(path) is None
    assert processes.lock(path) is not None


def test_a_program_that_cannot_be_started_is_tried_again(tmp_path: Path) -> None:
    engine = Settings(tmp_path, "abc", "127.0.0.1:1", "127.0.0.1:2", "n", "10.42.0.0/16", "10.96.0.0/20")
    engine.log_dir.mkdir()
    made = Supervisor(engine)
    made._children = {"gone": Child(Role("gone", [str(tmp_path / "no-such-program")]))}
    made._start("gone")
    child = made._children["gone"]
    assert (child.pid, child.restarts) == (0, 1)
    assert child.next_start is not None


def test_a_pid_that_is_another_process_by_now_is_left_alone() -> None:
    with subprocess.Popen(["sleep", "1000"]) as other:
        processes.kill(other.pid, lambda pid: False)
        assert other.poll() is None
        processes.kill(other.pid, lambda pid: pid == other.pid)
        assert other.wait(120) == -signal.SIGKILL

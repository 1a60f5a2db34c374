# Importing pathlib would double the start-up time of every container.
# ruff: noqa: PTH104, PTH118, PTH120, PTH123
"""Who sees a container's end: a process that makes the container and stays its parent until it has ended.

An OCI runtime is not told how a container ended; only its parent is. So the container of someone with poststop hooks is
made by a child of this program that takes orphans in (PR_SET_CHILD_SUBREAPER, prctl(2)), waits for the end without
reaping (watch.py; WNOWAIT, waitid(2)), has the hooks run and goes. Then the shim or conmon above inherits the dead
process, reaps it and reads its code as ever. If the witness itself is killed, they inherit the container at once, and
`delete` runs the hooks; how the container ended is not known then. containerd and the node agent have no part in it.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time

from . import hookrun, spawn
from .edited import EditError
from .entry import again
from .hookplan import Ending, ending_of
from .hooks import POSTSTOP, Hook
from .light import TYPE_CHECKING, Any, dumps, loads, suppress
from .notes import oom_kills_before
from .records import append

if TYPE_CHECKING:
    from typing import NoReturn

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_SAID_SECONDS = 5.0


def create(runtime: hookrun.Runtime, argv: list[str], home: str) -> tuple[int, int]:
    """Runs `argv` of the real runtime, which makes a container, below a witness; its exit code, the witness's pid.

    Raises EditError when there can be no witness.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _witness(runtime, argv, home, writing)
        except Exception as error:
            os.write(writing, f"1 {type(error).__name__}: {error}".encode()[:4000])
        finally:
            os._exit(1)
    os.close(writing)
    code, _, problem = os.read(reading, 4096).partition(b" ")
    os.close(reading)
    if problem:
        runtime.call("delete", "--force", load(home)["id"])
        raise EditError(problem.decode())
    return int(code or b"1"), child


def _witness(runtime: hookrun.Runtime, argv: list[str], home: str, writing: int) -> NoReturn:
    import ctypes  # here: for this one call, in this process alone

    os.setsid()
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    os.set_inheritable(lock(home), True)
    # Its standard streams are the container's, and what --preserve-fds names.
    code = spawn.run([runtime.path, *argv])
    if code != 0:
        os.write(writing, str(code).encode())
        os._exit(0)
    pid = int(runtime.state(load(home)["id"]).get("pid") or 0)
    with open(os.path.join(home, "witness.json"), "w", encoding="utf-8") as file:
        file.write(dumps({"runtime": runtime, "group": hookrun.group(pid)}))
    watching = again("watch", home, str(pid))
    log = hookrun.Log(pid)
    null = os.open("/dev/null", os.O_RDWR)
    for number, target in ((0, null), (1, null), (2, null if log.fd < 0 else log.fd)):
        os.dup2(target, number)
    os.chdir("/")
    os.write(writing, b"0")
    # Nothing of what this process has loaded is needed while it waits.
    os.execv(sys.executable, watching)


def finished(argv: list[str]) -> int:
    """`finish HOME STATUS KILLED TIME`, which the watching parent of a container runs at its end."""
    home, status, killed, when = argv
    with open(os.path.join(home, "witness.json"), encoding="utf-8") as file:
        known = loads(file.read())
    runtime = hookrun.Runtime(known["runtime"][0], tuple(known["runtime"][1]))
    note = load(home)
    before = oom_kills_before(_records(home), note["id"])
    kills = max(0, hookrun.oom_kills(known["group"]) - before)
    ending = ending_of(int(status), killed == "1", kills, _started(home), float(when))
    finish(runtime, note, ending, hookrun.Log(os.getppid()), home)
    return 0


def _started(home: str) -> float:
    """When the container started, 0 when it did not; `start` may not have said yet."""
    end = time.monotonic() + _SAID_SECONDS
    while told(home, "began") and not told(home, "failed") and time.monotonic() < end:
        if started := told(home, "started"):
            return started
        time.sleep(0.01)
    return told(home, "started")


def finish(runtime: hookrun.Runtime, note: dict[str, Any], ending: Ending, log: hookrun.Log, home: str) -> None:
    """Runs the poststop hooks of a container that has ended, once; not those of one whose start nobody tried."""
    if not note["poststop"] or not told(home, "began"):
        return
    try:
        os.close(os.open(os.path.join(home, "finished"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return
    with suppress(FileNotFoundError):  # the container is deleted by force meanwhile
        for hook, result in hookrun.poststop(runtime, note, ending, log, home):
            record(note, POSTSTOP, hook, result, home, code=ending.code, reason=ending.reason)


def record(note: dict[str, Any], phase: str, hook: Hook, result: hookrun.Result, home: str, **fields: Any) -> None:
    """Puts what a hook did into the container's journal."""
    told = {"phase": phase, "hook": hook.name, "problem": result.problem, "output": result.output, **fields}
    append(_records(home), note["id"], note["names"], "hook", seconds=round(result.seconds, 3), **told)


def _records(home: str) -> str:
    return os.path.dirname(os.path.dirname(home))


def lock(home: str, seconds: float | None = None) -> int:
    """Takes the lock that a witness holds; waits at most `seconds`. Returns its descriptor, -1 when time is over."""
    descriptor = os.open(os.path.join(home, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    end = time.monotonic() + (seconds or 0.0)
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if seconds is None else fcntl.LOCK_NB))
            return descriptor
        except BlockingIOError:
            if time.monotonic() > end:
                os.close(descriptor)
                return -1
            time.sleep(0.01)


def tell(home: str, name: str, when: float = 0.0) -> None:
    """Notes that something happened, now or at another time."""
    path = os.path.join(home, name)
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(repr(when or time.time()))
    os.rename(path + ".new", path)


def told(home: str, name: str) -> float:
    """When it happened, in seconds since 1970; 0 when it did not."""
    try:
        with open(os.path.join(home, name), encoding="utf-8") as file:
            return float(file.read() or 0)
    except (OSError, ValueError):
        return 0.0


def load(home: str) -> dict[str, Any]:
    """The note of a container. Raises FileNotFoundError."""
    with open(os.path.join(home, "plan.json"), encoding="utf-8") as file:
        note: dict[str, Any] = loads(file.read())
    return note

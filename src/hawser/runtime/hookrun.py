# Importing pathlib would double the start-up time of every container.
# ruff: noqa: PTH108, PTH112, PTH115, PTH208, PTH103, PTH118, PTH123
"""Running hooks, one after the other: with a time limit, with bounded output, and with nothing of them left behind."""

from __future__ import annotations

import os
import select
import time

from . import spawn
from .hookplan import Ending, hook_of, process
from .hooks import POSTSTOP, PRESTART, Hook
from .light import TYPE_CHECKING, Any, NamedTuple, dumps, loads, suppress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_KEPT = 1024  # bytes of a hook's output in its record: the end of it, which tells what went wrong
_COPIED = 64 * 1024  # bytes of it in the container's log
_GONE_SECONDS = 5.0
_LOOK_SECONDS = 0.1
_SIGKILL = 9


class Result(NamedTuple):
    """How a hook ended. `problem` is "" when all is well."""

    problem: str
    output: str
    seconds: float


class Log:
    """The container's own standard error, where kubectl logs finds what hooks write. Never blocks, never fails."""

    def __init__(self, pid: int) -> None:
        self.fd = -1
        with suppress(OSError):
            # Opened anew: not to block must not become a property of the application's own stream.
            flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            self.fd = os.open(f"/proc/{pid}/fd/2", flags)

    def write(self, data: bytes) -> None:
        """Writes as much as fits."""
        if self.fd >= 0:
            with suppress(OSError):
                os.write(self.fd, data)


class Runtime(NamedTuple):
    """The real runtime, and the global flags that every call needs."""

    path: str
    flags: tuple[str, ...]

    def words(self, *words: str) -> list[str]:
        """A command line."""
        return [self.path, *self.flags, *words]

    def call(self, *words: str) -> bool:
        """Whether a command succeeded; what it says is nobody's."""
        return spawn.run(self.words(*words), quiet=True) == 0

    def state(self, container_id: str) -> dict[str, Any]:
        """The state of a container as OCI has it; empty when there is none."""
        code, told = spawn.read(self.words("state", container_id))
        state = loads(told) if code == 0 else {}
        return state if isinstance(state, dict) else {}


def prestart(runtime: Runtime, note: dict[str, Any], pid: int, log: Log, home: str) -> Iterator[tuple[Hook, Result]]:
    """Runs the prestart hooks inside a container that waits for its start, until one fails that must not."""
    for entry in note["prestart"]:
        hook = hook_of(entry)
        path = os.path.join(home, "process.json")
        _write(path, process(note, PRESTART, hook))
        leader = os.path.join(home, "hook.pid")
        with suppress(FileNotFoundError):
            os.unlink(leader)
        words = runtime.words("exec", "--pid-file", leader, "--process", path, note["id"])
        result = run(words, hook, PRESTART, log, lambda: clear(pid), leader)
        # What a hook leaves running would keep its capabilities.
        if not clear(pid) and not result.problem:
            result = result._replace(problem="its processes could not be ended")
        yield hook, result
        if result.problem and hook.required:
            return


def poststop(
    runtime: Runtime, note: dict[str, Any], ending: Ending, log: Log, home: str
) -> Iterator[tuple[Hook, Result]]:
    """Runs the poststop hooks, each in a container of its own beside the one that has ended."""
    bundle = os.path.join(home, "poststop")
    name = note["id"] + "-poststop"
    with open(os.path.join(home, "poststop.json"), encoding="utf-8") as file:
        spec = loads(file.read())
    os.makedirs(bundle, mode=0o700, exist_ok=True)
    for entry in note["poststop"]:
        hook = hook_of(entry)
        _write(os.path.join(bundle, "config.json"), {**spec, "process": process(note, POSTSTOP, hook, ending)})
        runtime.call("delete", "--force", name)
        # What the runtime warns of (runc: mappings beside a user namespace to join) is no output of the hook.
        said = os.path.join(bundle, "log")
        words = runtime.words("--log", said, "run", "--bundle", bundle, name)
        result = run(words, hook, POSTSTOP, log, lambda: runtime.call("delete", "--force", name))
        if result.problem and not result.output:
            with suppress(OSError), open(said, encoding="utf-8", errors="replace") as file:
                result = result._replace(output=file.read()[-_KEPT:].strip())
        yield hook, result


def run(words: list[str], hook: Hook, phase: str, log: Log, stop: Callable[[], object], pid_file: str = "") -> Result:
    """Runs a hook's command line. stop: ends all of the hook's processes; called when its time is over.

    pid_file: where the runtime notes the hook's own process. runc goes on as long as anybody keeps the output open, so
    what is left when that process has ended is ended, too.
    """
    began = time.monotonic()
    pipe, writing = os.pipe()
    child = spawn.start(words, {0: -1, 1: writing, 2: writing}, session=True)
    os.close(writing)
    output = _Output(log, f"hawser: {phase} {hook.name}: ".encode())
    over = os.pidfd_open(child)
    in_time = _follow(pipe, over, output, began + hook.timeout, _Leader(pid_file, stop))
    if not in_time:
        stop()
        if not select.select([over], [], [], _GONE_SECONDS)[0]:
            os.kill(child, _SIGKILL)
    code = spawn.ended(child)
    os.close(over)
    os.close(pipe)
    output.end()
    problem = "" if in_time and code == 0 else f"exit code {code if code >= 0 else 128 - code}"
    if not in_time:
        problem = f"it did not end within {hook.timeout:g} s and was killed"
    return Result(problem, output.tail(), time.monotonic() - began)


class _Leader:
    """A hook's own process, below the runtime that started it; `stop` is called once when it has ended."""

    def __init__(self, pid_file: str, stop: Callable[[], object]) -> None:
        self._file, self._stop = pid_file, stop
        self._fds: list[int] = []

    @property
    def fds(self) -> list[int]:
        """What select(2) is to watch for it; looked up as soon as the process is there."""
        if self._file and not self._fds:
            try:
                with open(self._file, encoding="ascii") as file:
                    self._fds = [os.pidfd_open(int(file.read()))]
            except ProcessLookupError:
                self._end()
            except (FileNotFoundError, ValueError):
                pass  # it is not there yet
        return self._fds

    def wait(self, seconds: float) -> float:
        """How long to wait at most before the next look."""
        return min(seconds, _LOOK_SECONDS) if self._file and not self._fds else seconds

    def see(self, ready: list[int]) -> None:
        """Takes what select(2) found."""
        if self._fds and self._fds[0] in ready:
            os.close(self._fds.pop())
            self._end()

    def _end(self) -> None:
        self._file = ""
        self._stop()


def _follow(pipe: int, over: int, output: _Output, deadline: float, leader: _Leader) -> bool:
    """Reads until the child has ended, whoever else keeps its output open; False when time is over.

    over: the child, as pidfd_open(2) has it.
    """
    os.set_blocking(pipe, False)
    open_pipe = True
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        watched = [over, *leader.fds, *([pipe] if open_pipe else [])]
        ready, _, _ = select.select(watched, [], [], leader.wait(left))
        leader.see(ready)
        # The rest of what it wrote is in the pipe by the time it has ended.
        while open_pipe and (data := _read(pipe)) is not None:
            open_pipe = bool(data)
            output.add(data)
        if over in ready:
            return True


def _read(pipe: int) -> bytes | None:
    """What there is to read; None when there is nothing now, nothing at all at the end."""
    try:
        return os.read(pipe, 4096)
    except BlockingIOError:
        return None


class _Output:
    """A hook's output: line by line into the container's log, its end for the record."""

    def __init__(self, log: Log, prefix: bytes) -> None:
        self._log, self._prefix = log, prefix
        self._line, self._kept, self._copied = b"", b"", 0

    def add(self, data: bytes) -> None:
        self._kept = (self._kept + data)[-_KEPT:]
        *lines, self._line = (self._line + data)[-_COPIED:].split(b"\n")
        for line in lines:
            self._copy(line)

    def end(self) -> None:
        if self._line:
            self._copy(self._line)

    def tail(self) -> str:
        return self._kept.decode("utf-8", "replace").strip()

    def _copy(self, line: bytes) -> None:
        if self._copied < _COPIED:
            self._log.write(self._prefix + line[:4000] + b"\n")
            self._copied += len(line) + 1
            if self._copied >= _COPIED:
                self._log.write(self._prefix + b"(more output is left out)\n")


def clear(pid: int) -> bool:
    """Ends every process of a container but its first, which waits for its start; whether nothing is left."""
    directory, own = group(pid), mounts(pid)
    for _ in range(200):
        others = [other for other in members(directory, own) if other != pid]
        if not others:
            return True
        for other in others:
            with suppress(ProcessLookupError):
                os.kill(other, _SIGKILL)
        time.sleep(0.005)
    return False


def group(pid: int) -> str:
    """The directory of a process's control group that counts its memory; cgroups(7)."""
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
        entries = [line.rstrip("\n").split(":", 2) for line in file]
    for _, kinds, path in entries:
        # Where nothing is mounted, as on a node that has v2 by now, the kernel names it all the same.
        if "memory" in kinds.split(",") and os.path.isdir("/sys/fs/cgroup/memory"):
            return "/sys/fs/cgroup/memory" + path
    return "/sys/fs/cgroup" + next(path for _, kinds, path in entries if not kinds)


def oom_kills(directory: str) -> int:
    """How many processes of a control group the kernel has killed for want of memory."""
    for name in ("memory.events", "memory.oom_control"):
        with suppress(OSError), open(os.path.join(directory, name), encoding="utf-8") as file:
            for line in file:
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    return 0


def members(directory: str, own: str) -> list[int]:
    """The processes of a container: by its control group, and never one that has the node's own view of mounts.

    A group that this process is in, too, is not the container's alone (a node without the controller, say); then the
    container's mount namespace tells who belongs to it.
    """
    found = []
    for place, _, _ in os.walk(directory):
        with suppress(OSError), open(os.path.join(place, "cgroup.procs"), encoding="utf-8") as file:
            found += [int(line) for line in file]
    here, me = mounts(os.getpid()), os.getpid()
    if me in found or os.getppid() in found:
        return [int(name) for name in os.listdir("/proc") if name.isdigit() and mounts(int(name)) == own != here]
    return [pid for pid in found if mounts(pid) not in ("", here)]


def mounts(pid: int) -> str:
    """The mount namespace of a process, "" when it is gone."""
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:
        return ""


def _write(path: str, value: dict[str, Any]) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(dumps(value))

"""The supervisor: starts an engine's processes, restarts what dies, stops them in order.

A process of its own (``python -m hawser.cli.engine.supervisor --data-dir DIR``) that imports next to nothing, because
it lives as long as the engine. The processes die with it (PR_SET_PDEATHSIG); containers do not: their shims belong to
nobody here, and the next start finds them again.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from hawser.cli.engine import code, processes
from hawser.cli.engine.roles import Role, roles
from hawser.cli.engine.settings import Settings, SettingsError, load, split_listen
from hawser.runtime.host import allow_watches

SIGNALS = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_PR_SET_PDEATHSIG = 1
_CLONE_NEWNET, _CLONE_NEWUTS = 0x40000000, 0x04000000
_HOSTNAME_LIMIT = 64
_FIRST_DELAY = 0.1
_LONGEST_DELAY = 10.0
_LOOK_AT_LOGS = 300.0
_LOOK_AT_API = 0.02
# How long the others wait for an API server that does not come.
_PATIENCE = 5.0
_CALM = 30.0
"""A process that lived so many seconds starts again at once, its back-off forgotten."""


@dataclass(frozen=True, slots=True)
class Child:
    """What the supervisor knows of one process. next_start is set while it waits for its next start (monotonic s)."""

    role: Role
    pid: int = 0
    started: float = 0.0
    restarts: int = 0
    delay: float = _FIRST_DELAY
    next_start: float | None = None


def after_exit(child: Child, now: float) -> Child:
    """The state after its process ended: waiting, with exponential back-off (0.1 s doubling to 10 s)."""
    calm = now - child.started >= _CALM
    delay = _FIRST_DELAY if calm else child.delay
    return replace(
        child,
        pid=0,
        restarts=child.restarts + 1,
        delay=min(delay * 2, _LONGEST_DELAY),
        next_start=now + delay,
    )


class Supervisor:
    """Runs the roles of one engine until SIGTERM or SIGINT."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._children = {role.name: Child(role) for role in roles(settings)}
        self._signals = SIGNALS
        self._patience = 0.0
        self._code = ""

    def run(self) -> int:
        """Supervises; returns the exit code. Signals are taken synchronously, so nothing is ever interrupted."""
        signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        self._patience = time.monotonic() + _PATIENCE
        allow_watches()
        for name, child in self._children.items():
            if child.role.needs_api:
                self._children[name] = replace(child, next_start=time.monotonic())
            else:
                self._start(name)
        # Looking at all files takes 20 ms: while the others start, not before.
        self._code = code.stamp()
        while True:
            self._write_state()
            info = signal.sigtimedwait(self._signals, self._until_next_start())
            if info is not None and info.si_signo in (signal.SIGTERM, signal.SIGINT):
                break
            self._reap()
            if info is not None and info.si_signo == signal.SIGHUP:
                self._reload()
            self._rotate()
            now = time.monotonic()
            for name, child in self._children.items():
                if child.next_start is not None and child.next_start <= now and not self._waits(child):
                    self._start(name)
        self._stop_all()
        return 0

    def _reload(self) -> None:
        """Stops the processes of nodes that are to be off, starts those of nodes that are to be on."""
        try:
            wanted = {role.name: role for role in roles(self._settings)}
        except SettingsError as e:
            _say(f"the nodes stay as they are: {e}")
            return
        for name in [name for name in reversed(self._children) if name not in wanted]:
            self._stop(name)
            del self._children[name]
        for name, role in wanted.items():
            if name not in self._children:
                self._children[name] = Child(role)
                self._start(name)

    def _waits(self, child: Child) -> bool:
        """Whether a process is still to wait for the API server to listen: once, when the engine starts."""
        if not child.role.needs_api or not self._patience:
            return False
        if time.monotonic() < self._patience and not self._api_listens():
            return True
        self._patience = 0.0
        return False

    def _api_listens(self) -> bool:
        host, port = split_listen(self._settings.listen)
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.settimeout(1.0)
            return probe.connect_ex((host, port)) == 0

    def _start(self, name: str) -> None:
        child = self._children[name]
        try:
            with (self._settings.log_dir / f"{name}.log").open("ab") as out:
                process = subprocess.Popen(
                    child.role.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    env={**os.environ, **child.role.env},
                    start_new_session=True,
                    preexec_fn=_before_exec(os.getpid(), child.role),
                )
        except (OSError, subprocess.SubprocessError) as e:
            # A full disk or a binary that is being replaced: others go on, and it is tried again.
            _say(f"{name} cannot be started: {e}")
            self._children[name] = after_exit(replace(child, started=time.monotonic()), time.monotonic())
            return
        # Reaped by pid in _reap; Popen must not wait for it, too.
        process.returncode = 0
        self._children[name] = replace(child, pid=process.pid, started=time.monotonic(), next_start=None)
        _say(f"{name} started, pid {process.pid}")

    def _reap(self) -> None:
        by_pid = {c.pid: name for name, c in self._children.items() if c.pid}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            name = by_pid.get(pid)
            if name is None:
                continue
            self._children[name] = after_exit(self._children[name], time.monotonic())
            how = os.waitstatus_to_exitcode(status)
            said = f"was killed by signal {-how}" if how < 0 else f"ended with exit code {how}"
            _say(f"{name} {said}; it is started again (log: {self._settings.log_dir / (name + '.log')})")

    def _until_next_start(self) -> float:
        waits = [c.next_start - time.monotonic() for c in self._children.values() if c.next_start is not None]
        return max(_LOOK_AT_API if self._patience else 0.0, min(waits, default=_LOOK_AT_LOGS))

    def _rotate(self) -> None:
        for name in (*self._children, "supervisor"):
            rotate(self._settings.log_dir / f"{name}.log")

    def _stop_all(self) -> None:
        """Stops in reverse order, each with its grace; containers keep running."""
        for name in reversed(self._children):
            self._stop(name)
        with contextlib.suppress(FileNotFoundError):
            (self._settings.run_dir / "state.json").unlink()

    def _stop(self, name: str) -> None:
        child = self._children[name]
        if child.pid:
            _say(f"{name} is stopped")
            processes.terminate(child.pid, child.role.stop_after, reap=True)
            self._children[name] = replace(child, pid=0)

    def _write_state(self) -> None:
        now = time.monotonic()
        state = {
            name: {"pid": c.pid, "uptime": round(now - c.started, 3), "restarts": c.restarts, "time": time.time()}
            for name, c in self._children.items()
        }
        path = self._settings.run_dir / "state.json"
        tmp = path.with_suffix(".tmp")
        try:
            tmp.write_text(json.dumps({"supervisor": os.getpid(), "code": self._code, "processes": state}))
            tmp.replace(path)
        except OSError as e:
            _say(f"{path} cannot be written: {e}")


def rotate(log: Path, limit: int = 16 << 20) -> None:
    """Moves the last ``limit`` bytes of a larger log file to ``NAME.1`` and empties it: who appends to it goes on."""
    with contextlib.suppress(OSError):
        size = log.stat().st_size
        if size > limit:
            with log.open("rb") as source, log.with_name(log.name + ".1").open("wb") as copy:
                os.sendfile(copy.fileno(), source.fileno(), max(0, size - limit), limit)
            os.truncate(log, 0)


def _before_exec(parent: int, role: Role) -> Callable[[], None]:
    """For the child before exec: SIGTERM when the supervisor dies, default signal mask, its node's network and name."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter() -> None:
        namespace = os.open(role.namespace, os.O_RDONLY | os.O_CLOEXEC)
        if libc.setns(namespace, _CLONE_NEWNET) or libc.unshare(_CLONE_NEWUTS):
            raise OSError(ctypes.get_errno(), "a node's namespaces", role.namespace)
        socket.sethostname(role.hostname[:_HOSTNAME_LIMIT])

    def prepare() -> None:
        if role.namespace:
            enter()
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        if os.getppid() != parent:  # it died between fork and prctl
            os._exit(1)

    return prepare


def _say(text: str) -> None:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S")
    # A full disk or a closed terminal must not end the engine.
    with contextlib.suppress(OSError):
        print(f"{stamp} {text}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m hawser.cli.engine.supervisor", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True, help="the engine's data directory, prepared before")
    parser.add_argument("--release", type=int, help="descriptor of a lock to release once this engine is ours")
    options = parser.parse_args()
    # From here on a signal waits for the supervisor to be able to stop what it has started.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        settings = load(options.data_dir)
    except SettingsError as e:
        parser.error(str(e))
    if settings is None:
        parser.error("this data directory was never prepared; use `hawser up`")
    settings.run_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
    settings.log_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = processes.lock(settings.run_dir / "supervisor.pid")
    if lock is None:
        _say("another supervisor runs this engine")
        return 1
    if options.release is not None:
        fcntl.flock(options.release, fcntl.LOCK_UN)
        os.close(options.release)
    return Supervisor(settings).run()


if __name__ == "__main__":
    sys.exit(main())

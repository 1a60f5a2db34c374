# Importing pathlib would double the start-up time of every container.
# ruff: noqa: PTH103, PTH106, PTH108, PTH118, PTH123
"""What `create`, `run`, `start` and `delete` do for a container with hooks, around the real runtime."""

from __future__ import annotations

import os
import time

from . import hookrun, spawn, witness
from .edited import EditError
from .hookplan import Ending, plan, poststop_spec
from .hooks import PRESTART, Hooks
from .light import Any, dumps, suppress

_VALUED = ("--root", "--rootless", "--cgroup-manager", "--criu")
_DELETE_SECONDS = 8.0  # containerd gives `delete` ten
_FORWARDED = ("TERM", "INT", "HUP", "QUIT", "USR1", "USR2")


def home_of(records: str, container_id: str) -> str:
    """Where a container's hooks are noted: the launcher looks for it. Raises ValueError for an id that is none."""
    if container_id in ("", ".", "..") or "/" in container_id:
        raise ValueError(f"container id {container_id!r} is not a file name")
    return os.path.join(records, ".hooks", container_id)


def forget(home: str) -> None:
    """Removes what is noted of a container, as far as that works."""
    for folder, _, names in os.walk(home, topdown=False):
        with suppress(OSError):
            for name in names:
                os.unlink(os.path.join(folder, name))
            os.rmdir(folder)


def note(home: str, spec: dict[str, Any], hooks: Hooks, container_id: str, bundle: str) -> None:
    """Writes down what start and end need; `spec` is the container's before any edit."""
    forget(home)
    os.makedirs(home, mode=0o700)
    noted = plan(spec, hooks, container_id, bundle)
    files = {"plan.json": noted}
    if hooks.poststop:
        files["poststop.json"] = poststop_spec(spec, noted)
    for name, value in files.items():
        with open(os.open(os.path.join(home, name), os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="utf-8") as file:
            file.write(dumps(value))


def runtime_of(real: str, argv: list[str], verb: str) -> hookrun.Runtime:
    """The real runtime with the global flags of a command line that all calls have to share."""
    flags: list[str] = []
    rest = iter(argv[: argv.index(verb)])
    for word in rest:
        name, equals, _ = word.partition("=")
        if name in _VALUED:
            flags += [word] if equals else [word, next(rest, "")]
        elif word == "--systemd-cgroup":
            flags.append(word)
        elif name in ("--log", "--log-format") and not equals:
            next(rest, "")
    return hookrun.Runtime(real, tuple(flags))


def create(real: str, argv: list[str], verb: str, home: str) -> int:
    """`create` and `run` of a container with hooks. Raises EditError for a `run` at a terminal."""
    noted = witness.load(home)
    runtime = runtime_of(real, argv, verb)
    if verb == "create":
        if not noted["poststop"]:
            spawn.become([real, *argv])
        code = witness.create(runtime, argv, home)[0]
        if code != 0:
            forget(home)
        return code
    detached = bool({"-d", "--detach", "--detach=true"} & set(argv))
    if noted["terminal"] and not detached:
        raise EditError("run: a container with hooks and a terminal needs --detach, or create and start")
    dropped = ("-d", "--detach", "--detach=true", "--no-subreaper", "--keep")
    words = ["create" if word == "run" else word for word in argv if word not in dropped]
    code, child = witness.create(runtime, words, home)
    if code != 0:
        return code
    ids = [noted["id"]]
    failed = start(runtime, home, runtime.words("start", *ids))
    if failed:
        delete(runtime, runtime.words("delete", "--force", *ids), home, force=True)
        raise EditError(failed)
    if detached:
        return 0
    return _attend(runtime, home, child, ids[0])


def _attend(runtime: hookrun.Runtime, home: str, child: int, container_id: str) -> int:
    """Stays until the container has ended, as `run` does; returns its code."""
    import signal

    pid = int(runtime.state(container_id).get("pid") or 0)

    def forward(number: int, _frame: object) -> None:
        if pid:
            os.kill(pid, number)

    for name in _FORWARDED:
        signal.signal(getattr(signal, "SIG" + name), forward)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    delete(runtime, runtime.words("delete", "--force", container_id), home, force=True)
    return code


def start(runtime: hookrun.Runtime, home: str, words: list[str]) -> str:
    """Runs the prestart hooks, then starts the container by `words`; returns why not, "" when it runs."""
    noted = witness.load(home)
    witness.tell(home, "began")
    pid = int(runtime.state(noted["id"]).get("pid") or 0)
    log = hookrun.Log(pid)
    for hook, result in hookrun.prestart(runtime, noted, pid, log, home):
        witness.record(noted, PRESTART, hook, result, home)
        if result.problem and hook.required:
            said = f": {result.output[-300:]}" if result.output else ""
            witness.tell(home, "failed")
            return f"prestart hook {hook.name}: {result.problem}{said}"
    began = time.time()
    if spawn.run(words) != 0:
        witness.tell(home, "failed")
        return "the container could not be started"
    witness.tell(home, "started", began)
    return ""


def delete(runtime: hookrun.Runtime, words: list[str], home: str, force: bool) -> int:
    """Deletes a container by `words` once its poststop hooks have run, or take longer than a delete may."""
    noted = witness.load(home)
    status = runtime.state(noted["id"]).get("status")
    if status in ("running", "paused") and not force:
        return spawn.run(words)  # it says why not
    if status not in ("stopped", None):
        runtime.call("kill", "--all", noted["id"], "KILL")
    if noted["poststop"]:
        deadline = time.monotonic() + _DELETE_SECONDS
        watching = witness.lock(home, _DELETE_SECONDS)
        if watching >= 0 and not os.path.exists(os.path.join(home, "finished")):  # noqa: PTH110
            _finish_alone(runtime, noted, home, deadline)
    code = spawn.run(words)
    if code == 0:
        forget(home)
    return code


def _finish_alone(runtime: hookrun.Runtime, noted: dict[str, Any], home: str, deadline: float) -> None:
    """The witness is gone: the hooks run all the same, told that nobody knows how the container ended."""
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            started = witness.told(home, "started")
            ending = Ending(137, 0, False, started, time.time(), known=not started)
            witness.finish(runtime, noted, ending if started else ending._replace(code=128), hookrun.Log(0), home)
        finally:
            os._exit(0)
    while time.monotonic() < deadline and os.waitpid(child, os.WNOHANG)[0] == 0:
        time.sleep(0.01)


def main(verb: str, argv: list[str], container_id: str) -> int:
    """`start` and `delete`, as the launcher hands them over when there are hooks. Raises EditError."""
    real = os.environ.pop("HAWSER_REAL")
    home = home_of(os.environ.pop("HAWSER_RECORDS"), container_id)
    runtime = runtime_of(real, argv, verb)
    if verb == "delete":
        return delete(runtime, [real, *argv], home, force=bool({"--force", "-f", "--force=true"} & set(argv)))
    failed = start(runtime, home, [real, *argv])
    if failed and failed != "the container could not be started":
        raise EditError(failed)
    return 1 if failed else 0

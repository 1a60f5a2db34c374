"""``hawser up``: makes an engine when there is none, starts it, waits until pods can run."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from hawser.cli import context, ready
from hawser.cli.context import DataDir, Failure, out
from hawser.cli.engine import cleanup, containerd, pki, processes, settings
from hawser.cli.engine.settings import DEFAULT_DATA_DIR, Settings
from hawser.runtime.install import install


def up(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when the engine is ready.")] = False,
    listen: Annotated[
        str | None,
        typer.Option("--listen", metavar="HOST:PORT", help="API address (default: 127.0.0.1, first free from 6443)."),
    ] = None,
    runtime_endpoint: Annotated[
        str | None,
        typer.Option(metavar="unix:///PATH", help="A CRI socket to use instead of a private containerd."),
    ] = None,
) -> None:
    """Start the engine: a Kubernetes API, controllers, scheduler and node for this machine.

    The first start makes certificates, picks free ports and address ranges and imports the base images.
    Containers that ran before go on running; Ctrl-C stops the engine, not the containers.

    Examples:

      hawser up                           in the foreground

      hawser up --detach                  in the background

      hawser up -d --data-dir /srv/two    a second engine beside the first
    """
    with context.failures():
        context.need_root()
        engine = prepare(data_dir.resolve(), listen, runtime_endpoint)
        if context.supervisor_pid(engine) is not None:
            out.print(f"The engine in {engine.data_dir} runs already: {engine.server}")
            return
        if detach:
            start(engine.data_dir)
            ready.say(engine)
            return
        end_leftovers(engine)
        if os.fork() == 0:
            _watch_start(engine)
        os.execv(sys.executable, _supervisor(engine))


def start(data_dir: Path) -> Settings:
    """The engine of a data directory, running in the background and ready. Raises Failure."""
    engine = prepare(data_dir)
    if context.supervisor_pid(engine) is None:
        end_leftovers(engine)
        _spawn(engine)
    asyncio.run(ready.wait(engine))
    return engine


def prepare(data_dir: Path, listen: str | None = None, runtime_endpoint: str | None = None) -> Settings:
    """Makes or updates everything on disk that the processes need. Idempotent."""
    engine = settings.load(data_dir)
    if engine is None:
        engine = settings.create(data_dir, listen, runtime_endpoint or "")
    elif listen not in (None, engine.listen) or runtime_endpoint not in (None, engine.runtime_endpoint):
        if context.supervisor_pid(engine) is not None:
            raise Failure("the engine runs with other settings", "`hawser down` first, then start it with the new ones")
        changed = replace(
            engine,
            listen=listen or engine.listen,
            runtime_endpoint=engine.runtime_endpoint if runtime_endpoint is None else runtime_endpoint,
        )
        settings.split_listen(changed.listen)
        changed.save()
        engine = changed
    for directory in (engine.log_dir, engine.data_dir / "store", engine.data_dir / "agent"):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    settings.RUN_ROOT.mkdir(exist_ok=True, mode=0o711)
    engine.run_dir.mkdir(exist_ok=True, mode=0o711)
    pki.prepare(engine)
    containerd.prepare(engine)
    install(containerd.runtime_path(engine))
    return engine


def end_leftovers(engine: Settings) -> None:
    """Ends processes of the engine whose supervisor was killed; containers and their shims stay."""
    for pid in cleanup.engine_pids(engine):
        arguments = processes.argv(pid)
        shim = Path(arguments[0]).name.startswith("containerd-shim") if arguments else False
        if cleanup.is_role(arguments) and not shim:
            processes.terminate(pid, 5.0)


def _supervisor(engine: Settings) -> list[str]:
    return [sys.executable, "-m", "hawser.cli.engine.supervisor", "--data-dir", str(engine.data_dir)]


def _spawn(engine: Settings) -> None:
    with (engine.log_dir / "supervisor.log").open("ab") as log:
        subprocess.Popen(
            _supervisor(engine), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
        )


def _watch_start(engine: Settings) -> None:
    """In a child of the foreground supervisor: tells when the engine is ready, then ends."""
    code = 0
    try:
        with context.failures():
            asyncio.run(ready.wait(engine))
            ready.say(engine)
    except typer.Exit as e:
        code = e.exit_code
    os._exit(code)

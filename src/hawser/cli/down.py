"""``hawser down``: ends an engine and removes every trace of it."""

from __future__ import annotations

import asyncio
import shutil
from typing import Annotated

import typer

from hawser.cli import context
from hawser.cli.context import DataDir, Failure, out
from hawser.cli.engine import cleanup, processes, settings
from hawser.cli.engine.pods import stop_pods
from hawser.cli.engine.settings import DEFAULT_DATA_DIR, Settings
from hawser.cli.up import end_leftovers

_STOP_SECONDS = 60.0


def down(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    grace: Annotated[
        int, typer.Option(min=0, metavar="SECONDS", help="How long containers may take to stop before they are killed.")
    ] = 10,
    purge: Annotated[bool, typer.Option("--purge", help="Remove the data, too: objects, images, logs.")] = False,
) -> None:
    """Stop the engine and remove its containers, mounts, networks and cgroups from this machine.

    Objects, images and logs stay in the data directory: the next `hawser up` starts the same pods again. Fine to
    repeat; cleans up after a crash as well.

    Examples:

      hawser down                stop; data stays

      hawser down --purge        stop and forget everything
    """
    with context.failures():
        context.need_root()
        data_dir = data_dir.resolve()
        engine = settings.load(data_dir)
        if engine is None:
            out.print(f"There is no engine in {data_dir}: nothing to do")
            return
        left = stop(engine, grace)
        if left:
            raise Failure("not everything could be removed:\n  " + "\n  ".join(left), "run `hawser down` once more")
        if purge:
            shutil.rmtree(engine.data_dir)
            settings.unregister(engine.data_dir)
        out.print(f"The engine is down; nothing of it is left{'' if purge else f' but its data in {engine.data_dir}'}")


def stop(engine: Settings, grace: int) -> list[str]:
    """Stops pods gracefully, then the processes, then sweeps; returns what is left, in words."""
    pid = context.supervisor_pid(engine)
    if pid is not None:
        processes.terminate(pid, _STOP_SECONDS)
    end_leftovers(engine)
    stopped = asyncio.run(stop_pods(engine, grace))
    if stopped:
        out.print(f"Stopped {stopped} pods")
    return cleanup.sweep(engine)

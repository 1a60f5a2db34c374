"""``hawser down``: ends an engine and removes every trace of it."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Annotated

import typer

from hawser.cli import context
from hawser.cli.context import DataDir, Failure, out
from hawser.cli.engine import choices, cleanup, nodes, orphans, power, processes, settings, units
from hawser.cli.engine.pods import stop_pods
from hawser.cli.engine.settings import DEFAULT_DATA_DIR, Settings
from hawser.cli.graceful import CriticalGrace, Graceful, shut_down
from hawser.cli.up import STOP_SECONDS, end_leftovers


def down(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    grace: Annotated[
        int, typer.Option(min=0, metavar="SECONDS", help="How long containers may take to stop before they are killed.")
    ] = 10,
    graceful: Graceful = False,
    critical_grace: CriticalGrace = None,
    purge: Annotated[bool, typer.Option("--purge", help="Remove the data, too: objects, images, logs.")] = False,
) -> None:
    """Stop the engine and remove its containers, mounts, networks and cgroups from this machine.

    Objects, images and logs stay in the data directory: the next `hawser up` starts the same pods again. Fine to
    repeat; cleans up after a crash as well.

    With --graceful nodes shut down in good order: pods get their preStop hooks, those of system-critical priority end
    last, and all end as Failed with the reason Terminated, as on a node that is switched off for good.

    Examples:

      hawser down                stop; data stays

      hawser down --graceful     shut down nodes first, --grace 10 seconds for it

      hawser down --purge        stop and forget everything
    """
    with context.failures():
        context.need_root()
        data_dir = data_dir.resolve()
        if not data_dir.is_dir() or settings.load(data_dir) is None:
            _say_none(data_dir)
            return
        with settings.exclusive(data_dir):
            # Whoever was waited for may have been a `down --purge`.
            engine = settings.load(data_dir)
            if engine is None:
                _say_none(data_dir)
                with contextlib.suppress(OSError):
                    data_dir.rmdir()
                return
            if graceful and context.supervisor_pid(engine) is not None:
                shut_down(engine, nodes.known(engine), grace, critical_grace)
            left = stop(engine, grace)
            if left:
                what = "not everything could be removed:\n  " + "\n  ".join(left)
                raise Failure(what, "run `hawser down` once more")
            if purge:
                units.remove(engine)
            foreign = cleanup.purge(engine) if purge else []
            if purge:
                choices.unregister(engine.data_dir)
        but = f" but its data in {engine.data_dir}" if not purge else ""
        if foreign:
            but = " but what is not the engine's: " + ", ".join(str(path) for path in foreign)
        out.print(f"The engine is down; nothing of it is left{but}", markup=False)


def _say_none(data_dir: Path) -> None:
    removed = orphans.sweep(data_dir)
    nothing = "" if removed else ": nothing to do"
    for line in (f"There is no engine in {data_dir}{nothing}", *removed):
        out.print(line, markup=False)


def stop(engine: Settings, grace: int) -> list[str]:
    """Stops pods gracefully, then the processes, then sweeps; returns what is left, in words."""
    if units.is_installed(engine):
        # Or it would start anew what cannot start.
        units.stop(engine)
    pid = context.supervisor_pid(engine)
    if pid is not None:
        processes.terminate(pid, STOP_SECONDS)
    end_leftovers(engine)
    listed = nodes.known(engine)
    stopped = asyncio.run(_stop_all([nodes.view(engine, node) for node in listed], grace))
    if stopped:
        out.print(f"Stopped {stopped} pods")
    return power.clear(engine, listed)


async def _stop_all(views: list[Settings], grace: int) -> int:
    return sum(await asyncio.gather(*(stop_pods(view, grace) for view in views)))

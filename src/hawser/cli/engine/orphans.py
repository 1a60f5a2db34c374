"""What engines left on the machine whose data directory is gone: nobody would ever stop or sweep them again.

An engine that was killed leaves containers, cgroups, links and nftables tables, which its own next start or `down`
finds by its settings. Those are in its data directory; where somebody removed that, address ranges that seem free are
still guarded by old tables, and old containers hold memory. So every engine's settings are noted in its run directory,
too, and whoever starts or stops an engine takes away what is nobody's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from hawser.cli.engine import nodes, power, processes, settings
from hawser.cli.engine.choices import registering
from hawser.cli.engine.nodes import Node
from hawser.cli.engine.settings import Settings, SettingsError

_STOP_SECONDS = 10.0


def sweep(data_dir: Path) -> list[str]:
    """Removes what engines without a data directory left; tells what was removed, and what could not be, in words.

    data_dir: where an engine is about to start, or was asked to stop: what runs of one that was there before is ended.
    That of other directories is left alone as long as its supervisor lives.
    """
    with registering():
        return [line for engine, listed in _orphans() for line in _remove(engine, listed, data_dir)]


def _orphans() -> Iterator[tuple[Settings, list[Node]]]:
    for path in settings.RUN_ROOT.glob(f"*/{nodes.NOTE}"):
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, SettingsError):
            engine, listed = nodes.noted(path)
            if engine.run_dir == path.parent and not (engine.data_dir / "config.json").exists():
                yield engine, listed


def _remove(engine: Settings, listed: list[Node], data_dir: Path) -> list[str]:
    supervisor = processes.holder(engine.run_dir / "supervisor.pid")
    if supervisor is not None:
        if engine.data_dir != data_dir:
            return []
        processes.terminate(supervisor, _STOP_SECONDS)
    left = power.clear(engine, listed)
    but = f", but not {', '.join(left)}" if left else ""
    return [f"What an engine in {engine.data_dir} had left on this machine is removed{but}"]

"""How long an engine takes to start, and what it needs when idle.

    python bench/start.py --runs 5

Each run makes a new engine in a directory of its own (or starts a used one again with --data-dir) and stops the clock
when the API server first answers /readyz with 200 and when the node is Ready. Needs root. Everything is removed again.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from hawser.api.errors import APIError
from hawser.api.kinds import NODE
from hawser.cli import context, ready, up
from hawser.cli.down import stop
from hawser.cli.engine import choices, processes
from hawser.cli.engine.settings import Settings

ROOT = Path(__file__).parents[1]
_EVERY = 0.005


async def first_answers(engine: Settings, began: float) -> tuple[float, float]:
    """Seconds until /readyz answers and until the node is Ready."""
    api = 0.0
    async with context.admin(engine) as client:
        while True:
            try:
                if not api:
                    await client.raw("GET", "/readyz")
                    api = time.perf_counter() - began
                node = await client.get(NODE, engine.node_name)
                conditions = {c["type"]: c["status"] for c in node["status"].get("conditions") or ()}
                if conditions.get("Ready") == "True":
                    return api, time.perf_counter() - began
            except APIError:
                pass
            await asyncio.sleep(_EVERY)


def memory(engine: Settings) -> dict[str, int]:
    """Resident bytes of every process of the engine."""
    import json

    state = json.loads((engine.run_dir / "state.json").read_text())
    pids = {"supervisor": state["supervisor"], **{name: p["pid"] for name, p in state["processes"].items()}}
    return {name: processes.rss(pid) for name, pid in pids.items()}


def one(data_dir: Path, idle: float) -> tuple[float, float, dict[str, int]]:
    """Starts an engine whose files are prepared, waits, measures, stops it."""
    engine = up.prepare(data_dir)
    began = time.perf_counter()
    subprocess.Popen(
        up.supervisor_command(engine), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        api, node = asyncio.run(first_answers(engine, began))
        asyncio.run(ready.wait(engine))
        time.sleep(idle)
        return api, node, memory(engine)
    finally:
        stop(engine, 0)
        shutil.rmtree(engine.data_dir)
        choices.unregister(engine.data_dir)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--idle", type=float, default=5.0, help="seconds of rest before memory is read")
    given = parser.parse_args()
    rows = [one(Path(tempfile.mkdtemp(prefix="hawser-bench-", dir="/var/tmp")), given.idle) for _ in range(given.runs)]
    print(f"start_api_ready {statistics.median(r[0] for r in rows):.3f} s")
    print(f"start_node_ready {statistics.median(r[1] for r in rows):.3f} s")
    for name in rows[0][2]:
        print(f"idle_rss_{name} {statistics.median(r[2][name] for r in rows) / 2**20:.1f} MiB")
    print(f"idle_rss {statistics.median(sum(r[2].values()) for r in rows) / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()

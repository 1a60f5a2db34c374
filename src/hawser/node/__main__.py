"""``python -m hawser.node``: the node agent."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

from hawser import quickly

quickly.begin()

# ruff: noqa: E402
from hawser.client.config import ConfigError
from hawser.node.agent import Agent
from hawser.node.cri.errors import CRIError
from hawser.node.options import parse


async def _run(agent: Agent) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(agent.run(), name="agent")
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        pass


def main() -> int:
    """Runs the agent until SIGTERM; the exit status."""
    options = parse()
    logging.basicConfig(
        level=logging.INFO if options.verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )

    async def build_and_run() -> None:
        agent = Agent(options)
        quickly.settle()
        await _run(agent)

    try:
        asyncio.run(build_and_run())
    except (ConfigError, CRIError) as err:
        sys.stderr.write(f"hawser-node: {err}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

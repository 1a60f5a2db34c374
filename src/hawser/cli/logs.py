"""``hawser logs``: a container's log through the API."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from hawser.api.kinds import POD
from hawser.cli import context
from hawser.cli.context import Container, DataDir, Namespace, Pod
from hawser.cli.engine.settings import DEFAULT_DATA_DIR


def logs(
    pod: Pod,
    namespace: Namespace = "default",
    container: Container = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as the log grows.")] = False,
    previous: Annotated[bool, typer.Option("--previous", "-p", help="Of the container's last run.")] = False,
    tail: Annotated[int, typer.Option("--tail", metavar="LINES", help="Only the last lines; -1 is all.")] = -1,
    since: Annotated[int, typer.Option("--since", metavar="SECONDS", help="Only the last seconds; 0 is all.")] = 0,
    timestamps: Annotated[bool, typer.Option("--timestamps", help="Each line with its time.")] = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Print a container's log: what the application writes to stdout and stderr.

    Examples:

      hawser logs legacy-app

      hawser logs legacy-app -f --tail 20

      hawser logs web-7c9f -n shop -c nginx --previous
    """
    flags = {"follow": follow, "previous": previous, "timestamps": timestamps}
    params = {name: "true" for name, value in flags.items() if value}
    if container:
        params["container"] = container
    if tail >= 0:
        params["tailLines"] = str(tail)
    if since > 0:
        params["sinceSeconds"] = str(since)

    async def work() -> None:
        async with (
            context.admin(context.running(data_dir)) as client,
            client.stream("GET", POD.path(namespace, pod, "log"), params=params) as response,
        ):
            async for chunk in response:
                sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()

    context.run(work)

"""Graceful shutdown, as the commands that switch nodes off offer it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from hawser.cli.context import Failure, err
from hawser.cli.engine import power
from hawser.cli.engine.nodes import Node
from hawser.cli.engine.settings import Settings

Graceful = Annotated[
    bool, typer.Option("--graceful", help="Shut down in good order: pods end as Failed, critical ones last.")
]
Grace = Annotated[int, typer.Option(min=0, metavar="SECONDS", help="With --graceful: how long all pods may take.")]
CriticalGrace = Annotated[
    int | None,
    typer.Option(
        min=0, metavar="SECONDS", help="With --graceful: the part for system-critical pods (default: a third)."
    ),
]


def shut_down(engine: Settings, listed: Sequence[Node], grace: int, critical: int | None) -> None:
    """Ends the pods of nodes that are on. Raises Failure when more is left for the critical ones than for all."""
    critical = grace // 3 if critical is None else critical
    if critical > grace:
        raise Failure(
            f"--critical-grace {critical} is longer than --grace {grace}, which it is a part of", "give more --grace"
        )
    with err.status("Ending pods"):
        left = power.shut_down(engine, listed, grace, critical)
    if left:
        err.print(f"[yellow]Warning:[/] not all pods of {', '.join(left)} ended in time")

"""What is known of a pod's releases, from its annotation and from its container."""

from __future__ import annotations

from typing import Any

from hawser.api.errors import APIError
from hawser.api.types import Obj
from hawser.cli.context import Failure
from hawser.cli.releasing import record
from hawser.cli.releasing.inside import Inside
from hawser.cli.releasing.push import container_of, history
from hawser.client.client import Client


async def state(client: Client, pod: Obj, container: str) -> dict[str, Any]:
    """One row: what was released last, and whether the container still has it."""
    metadata = pod["metadata"]
    noted = record.released(pod)
    why, undoable = "", []
    try:
        inside = Inside(client, metadata["namespace"], metadata["name"], container_of(pod, container))
        undoable = await history(inside)
    except (Failure, APIError) as error:
        why = error.what if isinstance(error, Failure) else error.message
    last = undoable[0] if undoable else noted or {}
    known = {name: last.get(name, "") for name in ("id", "at", "unit", "command", "destination")}
    return {
        "pod": metadata["name"],
        "namespace": metadata["namespace"],
        "state": _state(noted, [one["id"] for one in undoable], why),
        **known,
        "undoable": [one["id"] for one in undoable],
        "why": why,
    }


def _state(noted: dict[str, Any] | None, inside: list[str], why: str) -> str:
    if why:
        return "unknown"
    if inside:
        return "released"
    # The container was made anew of its image since.
    return "lost" if noted else "none"

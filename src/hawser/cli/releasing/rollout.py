"""A release to several pods: so many at a time, and no further one after the first failure."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

from hawser.api.kinds import POD
from hawser.api.status import has_ended, is_ready
from hawser.api.types import Obj
from hawser.cli.context import Failure
from hawser.cli.releasing.push import Outcome, Result
from hawser.client.client import Client

One = Callable[[Obj], Awaitable[Outcome]]
_BAD = (Result.UNDONE, Result.FAILED)


def is_selector(text: str) -> bool:
    """Whether a word names pods by labels; names of pods have none of these characters."""
    return any(char in text for char in "=!,() ")


async def chosen(client: Client, namespace: str, words: str) -> list[Obj]:
    """The pods that a name or a selector means, those that are not ready first. Raises Failure, APIError 404."""
    if not is_selector(words):
        return [await client.get(POD, words, namespace)]
    found = (await client.list(POD, namespace, label_selector=words)).items
    living = [pod for pod in found if not has_ended(pod)]
    if not living:
        raise Failure(f"no pod in namespace {namespace} matches {words}")
    return sorted(living, key=lambda pod: (is_ready(pod), pod["metadata"]["name"]))


def unavailable_limit(text: str, total: int) -> int:
    """How many pods may be unavailable at a time: a number, or a part of `total` rounded down; at least one.

    Raises Failure.
    """
    number = text.removesuffix("%")
    if not number.isdigit():
        raise Failure(f'--max-unavailable is "{text}", neither a number of pods nor a percentage')
    value = math.floor(total * int(number) / 100) if text.endswith("%") else int(number)
    return max(value, 1)


def startable(todo: list[str], running: set[str], unready: set[str], parallel: int, limit: int) -> list[str]:
    """Whom to begin with now. Pure.

    unready: pods that are not ready, whatever for; one that is not ready already costs nothing when its turn comes.
    """
    picked: list[str] = []
    for name in todo:
        down = unready | running | set(picked) | {name}
        if len(running) + len(picked) >= parallel:
            break
        if len(down) <= limit or name in unready:
            picked.append(name)
    return picked


async def roll(
    client: Client, namespace: str, pods: list[Obj], words: str, parallel: int, limit: int, one: One
) -> list[Outcome]:
    """Does `one` to every pod; the outcomes in the pods' order. Raises APIError when the pods can not be listed."""
    outcomes = {pod["metadata"]["name"]: Outcome(pod["metadata"]["name"], namespace) for pod in pods}
    todo = list(outcomes)
    running: dict[str, asyncio.Task[Outcome]] = {}
    why = ""
    fresh = {pod["metadata"]["name"]: pod for pod in pods}
    while todo or running:
        if todo and not why:
            unready = {name for name, pod in fresh.items() if not is_ready(pod)}
            for name in startable(todo, set(running), unready, parallel, limit):
                todo.remove(name)
                if name in fresh:
                    running[name] = asyncio.ensure_future(one(fresh[name]))
                else:
                    outcomes[name].why = "the pod is gone"
            if todo and not running:
                down = ", ".join(sorted(unready))
                why = f"{len(unready)} pods are not ready ({down}); no more than {limit} may be"
        if not running:
            break
        await asyncio.wait(running.values(), return_when=asyncio.FIRST_COMPLETED)
        for name in [name for name, task in running.items() if task.done()]:
            outcomes[name] = running.pop(name).result()
            if outcomes[name].result in _BAD:
                why = why or f"{name} failed"
        fresh = {pod["metadata"]["name"]: pod for pod in await _again(client, namespace, words, fresh)}
    for name in todo:
        outcomes[name].why = why
    return list(outcomes.values())


async def _again(client: Client, namespace: str, words: str, known: dict[str, Obj]) -> list[Obj]:
    if not is_selector(words):
        return list(known.values())
    return (await client.list(POD, namespace, label_selector=words)).items

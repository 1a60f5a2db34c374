"""A release to one pod: files are synced, the unit is restarted, and what does not come up is undone.

Nothing is changed before all has arrived and what is there is saved; from then on any end of this program leaves a
release that the next one, or a rollback, undoes first.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from hawser.api.errors import APIError
from hawser.api.kinds import POD
from hawser.api.types import Obj
from hawser.cli.context import Failure
from hawser.cli.images.lifting.selection import Selection
from hawser.cli.releasing import record, scripts, watch
from hawser.cli.releasing.files import Files, deepest_first, digest, excluded, local
from hawser.cli.releasing.inside import Inside, Survey, lines, pack
from hawser.cli.releasing.plan import Plan, doubtful, plan
from hawser.client.client import Client
from hawser.client.clock import timestamp

_LOOK_SECONDS = 0.5
_STATE_DIRECTORY = "/var/lib/hawser/release"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Order:
    """What is released, and how. settle: seconds that all has to stay well, None: what the pod's probe needs."""

    source: Path = Path()
    destination: str = "/"
    unit: str = ""
    command: str = ""
    container: str = ""
    delete: bool = False
    exclude: tuple[str, ...] = ()
    owner: tuple[int, int] | None = None
    checksum: bool = False
    restart: bool = False
    settle: float | None = None
    timeout: float = 120.0
    keep: int = 3
    dry_run: bool = False


class Result(StrEnum):
    """How it went for one pod."""

    RELEASED = "released"
    UNCHANGED = "unchanged"
    PLANNED = "planned"
    UNDONE = "rolled back"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass
class Outcome:
    """What is told of one pod."""

    pod: str
    namespace: str
    container: str = ""
    release: str = ""
    result: Result = Result.SKIPPED
    plan: Plan = field(default_factory=Plan)
    seconds: float = 0.0
    why: str = ""

    def document(self) -> dict[str, Any]:
        """The JSON object."""
        told = {name: getattr(self, name) for name in ("pod", "namespace", "container", "release", "why")}
        return {**told, "result": str(self.result), "seconds": round(self.seconds, 2), **self.plan.document()}


def container_of(pod: Obj, wanted: str) -> str:
    """The container that is meant. Raises Failure."""
    names = [container["name"] for container in pod["spec"]["containers"]]
    default = (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container", "")
    chosen = wanted or default or (names[0] if len(names) == 1 else "")
    if not chosen:
        raise Failure(f"pod {pod['metadata']['name']} has several containers: {', '.join(names)}", "name one with -c")
    if chosen not in names:
        raise Failure(f"pod {pod['metadata']['name']} has no container {chosen}; it has {', '.join(names)}")
    return chosen


async def push(client: Client, pod: Obj, order: Order, say: Say) -> Outcome:
    """Releases to one pod; failures are part of the outcome."""
    one = _Push(client, pod, order, say)
    await _told(one, one.release())
    return one.outcome


async def undo(client: Client, pod: Obj, order: Order, say: Say) -> Outcome:
    """Undoes the last release of one pod; failures are part of the outcome."""
    one = _Push(client, pod, order, say)
    await _told(one, one.undo())
    return one.outcome


async def history(inside: Inside) -> list[dict[str, Any]]:
    """The releases of a container that can be undone, the newest first."""
    known = []
    for line in (await inside.run(scripts.HISTORY)).splitlines():
        # A container may have anything there.
        with contextlib.suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict) and isinstance(value.get("id"), str):
                known.append(value)
    return known


async def _told(one: _Push, work: Any) -> None:
    began = time.monotonic()
    try:
        await work
    except (Failure, APIError, OSError) as error:
        text = (
            error.what if isinstance(error, Failure) else error.message if isinstance(error, APIError) else str(error)
        )
        hint = f" ({error.hint})" if isinstance(error, Failure) and error.hint else ""
        one.outcome.result, one.outcome.why = Result.FAILED, text + hint
    one.outcome.seconds = time.monotonic() - began


class _Push:
    def __init__(self, client: Client, pod: Obj, order: Order, say: Say) -> None:
        self.client, self.pod, self.order, self.say = client, pod, order, say
        metadata = pod["metadata"]
        self.outcome = Outcome(metadata["name"], metadata["namespace"])
        self.before = watch.PodState("", "", ready=False)
        self.inside = Inside(client, metadata["namespace"], metadata["name"], "")
        self._here: Files = {}
        self._there: Files = {}

    def _begin(self) -> None:
        container = container_of(self.pod, self.order.container)
        self.before = watch.pod_state(self.pod, container)
        self.inside = replace(self.inside, container=container)
        self.outcome.container = container

    async def release(self) -> None:
        """Raises Failure or APIError when nothing was changed, or could not be undone."""
        self._begin()
        order = self.order
        name = "" if order.dry_run else datetime.now(UTC).strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(2)
        survey = await self.inside.survey(order.destination, name)
        decided = None
        try:
            await self._undo_unfinished(survey)
            decided = self.outcome.plan = await self._plan(survey)
            if order.dry_run or (decided.empty and not order.restart):
                self.outcome.result = Result.PLANNED if order.dry_run else Result.UNCHANGED
                decided = None
            else:
                await self._prepare(name, decided)
        except (Failure, APIError, OSError):
            decided = None
            raise
        finally:
            if decided is None and name:
                await self.inside.run(scripts.FORGET, name)
        if decided is not None:
            await self._change(name, decided)

    async def _undo_unfinished(self, survey: Survey) -> None:
        for name in survey.unfinished:
            if self.order.dry_run:
                raise Failure(f"release {name} ended half-way and is undone first", "run it without --dry-run")
            self.say(f"undoing {name}, which ended half-way")
            await self.inside.run(scripts.RESTORE, name)

    async def _plan(self, survey: Survey) -> Plan:
        order = self.order
        self.say("comparing")
        chosen = excluded(order.exclude)
        here = await asyncio.to_thread(local, order.source, chosen, order.owner)
        there = await self.inside.files(order.destination, list(here), order.delete)
        unsure = doubtful(here, there, order.checksum)
        sums = await self.inside.digests(order.destination, unsure) if unsure else {}
        same = {path: sums.get(path) == await asyncio.to_thread(digest, order.source / path) for path in unsure}
        keep = _beside_state(chosen, order)
        self._here, self._there = here, there
        return plan(here, there, same, delete=order.delete, keep=keep, owners=survey.root)

    async def _prepare(self, name: str, decided: Plan) -> None:
        """All that can fail without anything being changed."""
        await self._find_unit(name, decided)
        gone = deepest_first((*decided.deleted, *decided.retyped))
        # What is of another type now goes before the old is put back.
        folders = [path for path in decided.touched if self._there[path].is_directory]
        lists = {"directories": folders, "remove": gone}
        lists["touched"] = [path for path in decided.touched if path not in set(folders)]
        lists["added"] = deepest_first((*decided.added, *decided.retyped))
        for part, paths in lists.items():
            content = lines(paths)
            await self.inside.upload(name, part, content, len(content))
        await self.inside.run(scripts.SAVE, name, self.order.destination)
        archive, size = await asyncio.to_thread(pack, self.order.source, self._here, decided.sent)
        done = 0

        def sent(piece: int) -> None:
            nonlocal done
            done += piece
            self.say(f"sending {done * 100 // size}%")

        with archive:
            await self.inside.upload(name, "new.tar", archive, size, sent)

    async def _change(self, name: str, decided: Plan) -> None:
        order, outcome = self.order, self.outcome
        outcome.release = name
        try:
            self.say("replacing files")
            await self.inside.run(scripts.APPLY, name, order.destination)
            await self._restart()
            await self._until_well()
        except (Failure, APIError) as error:
            await self._failed(name, error)
            return
        told = {
            "id": name,
            "at": timestamp(datetime.now(UTC)),
            "unit": order.unit,
            "command": order.command,
            "destination": order.destination,
            "source": order.source.resolve().name,
            "containerID": self.before.container_id,
            **{key: len(getattr(decided, key)) for key in ("added", "changed", "deleted")},
        }
        await self.inside.run(scripts.KEEP, name, json.dumps(told, sort_keys=True), str(order.keep))
        await self._let_go()
        outcome.result = Result.RELEASED
        count = f"{told['added']} added, {told['changed']} changed, {told['deleted']} deleted in {order.destination}"
        after = f", {order.unit} restarted" if order.unit else ""
        outcome.why = await record.write(self.client, self.pod, told, "Released", f"release {name}: {count}{after}")
        if outcome.why:
            outcome.why = f"not noted on the pod: {outcome.why}"

    async def _failed(self, name: str, error: Failure | APIError) -> None:
        why = error.what if isinstance(error, Failure) else error.message
        if isinstance(error, watch.Replaced):
            await record.write(self.client, self.pod, record.released(self.pod), "ReleaseFailed", f"{name}: {why}")
            raise error
        last = await self._last_words()
        why += f"; it wrote: {last}" if last else ""
        self.say("undoing")
        try:
            await self.inside.run(scripts.RESTORE, name)
            await self._restart()
            await self._until_well()
            await self._let_go()
        except (Failure, APIError) as second:
            text = second.what if isinstance(second, Failure) else second.message
            why = f"{why}; what was there before was put back and does not come up either: {text}"
            await record.write(self.client, self.pod, record.released(self.pod), "ReleaseFailed", f"{name}: {why}")
            raise Failure(why) from None
        self.outcome.result, self.outcome.why = Result.UNDONE, why
        message = f"release {name} was undone: {why}"
        await record.write(self.client, self.pod, record.released(self.pod), "ReleaseFailed", message)

    async def undo(self) -> None:
        """Undoes what ended half-way, or else the last release. Raises Failure or APIError."""
        self._begin()
        survey = await self.inside.survey("/", "rollback")
        known = await history(self.inside)
        name = survey.unfinished[0] if survey.unfinished else known[0]["id"] if known else ""
        if not name:
            await self.inside.run(scripts.FORGET, "")
            raise Failure("there is no release in this container that could be undone")
        told = next((one for one in known if one["id"] == name), {})
        left = next((one for one in known if one["id"] != name), None)
        self.outcome.release = name
        self.order = replace(
            self.order,
            unit=self.order.unit or told.get("unit", ""),
            command=self.order.command or told.get("command", ""),
        )
        self.say(f"undoing {name}")
        await self.inside.run(scripts.RESTORE, name)
        await self._restart()
        await self._until_well()
        await self._let_go()
        self.outcome.result = Result.UNDONE
        await record.write(self.client, self.pod, left, "ReleaseUndone", f"release {name} was undone as asked")

    async def _find_unit(self, name: str, decided: Plan) -> None:
        """Raises Failure when the container has no such unit or script, and the release does not bring one."""
        file = self.order.unit if "." in self.order.unit else self.order.unit + ".service"
        script = file.removesuffix(".service")
        if not self.order.unit or any(path.rpartition("/")[2] in (file, script) for path in decided.sent):
            return
        found = watch.unit_state(await self.inside.run(scripts.UNIT, name, self.order.unit))
        if found.get("LoadState") == "not-found" and "SubState" not in found:
            raise Failure(f"there is no systemd and no /etc/init.d/{script}", "--command says what to run instead")
        if found.get("LoadState") == "not-found":
            hint = "`systemctl list-units --type=service` inside shows them; --command runs something else instead"
            raise Failure(f"the container has no unit {file}", hint)

    async def _restart(self) -> None:
        order = self.order
        if not order.unit and not order.command:
            return
        self.say(f"restarting {order.unit}" if order.unit else "running the command")
        try:
            async with asyncio.timeout(order.timeout):
                if order.command:
                    await self.inside.run(scripts.COMMAND, self.outcome.release, order.command)
                else:
                    # Long enough for this try and for the one that undoes it.
                    await self.inside.run(
                        scripts.RESTART, self.outcome.release, order.unit, str(int(order.timeout * 3))
                    )
        except TimeoutError:
            what = order.unit or "the command"
            raise Failure(f"{what} was not restarted within {order.timeout:g} s") from None

    async def _until_well(self) -> None:
        order, container = self.order, self.outcome.container
        settle = watch.settle_seconds(self.pod, container) if order.settle is None else order.settle
        watched = watch.Watch(order.unit, self.before, settle)
        loop = asyncio.get_running_loop()
        end = loop.time() + order.timeout
        while True:
            pod = await self.client.get(POD, self.outcome.pod, self.outcome.namespace)
            state = watch.pod_state(pod, container)
            unit = watch.unit_state(await self.inside.run(scripts.UNIT, self.outcome.release, order.unit))
            if watched.feed(loop.time(), state, unit):
                return
            if loop.time() > end:
                raise Failure(f"not well within {order.timeout:g} s: {watched.waiting or 'it does not stay so'}")
            self.say(watched.waiting or "well so far")
            await asyncio.sleep(_LOOK_SECONDS)

    async def _let_go(self) -> None:
        if self.order.unit.removesuffix(".service") == "hawser-app":
            await self.inside.run(scripts.LET_GO)

    async def _last_words(self) -> str:
        """The last line that the unit wrote; the application's are the container's log."""
        unit = self.order.unit
        if not unit:
            return ""
        try:
            text = await self.inside.run(scripts.JOURNAL, unit)
            if unit.removesuffix(".service") == "hawser-app":
                params = {"container": self.outcome.container, "tailLines": "3"}
                path = POD.path(self.outcome.namespace, self.outcome.pod, "log")
                text = (await self.client.raw("GET", path, params=params)).decode(errors="replace")
        except (Failure, APIError):
            return ""
        told = [line for line in text.splitlines() if line.strip()]
        return told[-1].strip()[:300] if told else ""


def _beside_state(chosen: Selection, order: Order) -> Selection:
    """What a release never deletes: what is excluded, and its own notes."""
    destination = order.destination.rstrip("/") + "/"
    if not _STATE_DIRECTORY.startswith(destination):
        return chosen
    return excluded((*order.exclude, "/" + _STATE_DIRECTORY.removeprefix(destination) + "/**"))

"""Tells the API what applications in this node's rich containers do: Events on their pods, and a condition.

The condition `rich.hawser.dev/ApplicationReady` may be a readiness gate: a pod whose application is being restarted
inside is then not Ready meanwhile. Works on any cluster; needs to read pods, patch their status and create Events.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from pathlib import Path
from typing import Any

import orjson

from hawser.api.errors import APIError
from hawser.api.kinds import POD
from hawser.api.types import Obj
from hawser.client.client import STRATEGIC, Client
from hawser.client.clock import Clock, SystemClock, timestamp
from hawser.client.events import EventRecorder
from hawser.client.informer import Informer
from hawser.notices import CLOSE_WRITE, CREATE, MODIFY, MOVED_TO, Notices
from hawser.rich.application import (
    Application,
    Row,
    Told,
    changed,
    condition,
    event,
    field_path,
    hook_event,
    misnamed,
    parse,
    statuses,
)
from hawser.rich.initmemory import InitMemory
from hawser.rich.journal import ROOT, Place, directories, find, unread

log = logging.getLogger(__name__)

COMPONENT = "hawser-rich"
# However fast containers write: so many seconds between two looks, and for a pod between two writes of its condition.
_PACE = 0.1
_RETRY_SECONDS = 1.0
_MEMORY_SECONDS = 20.0
_GONE = 100


def rich(pod: Obj) -> bool:
    """Whether a pod may have rich containers: whether its containers have another runtime than usual."""
    return bool(pod["spec"].get("runtimeClassName"))


class _Followed:
    """One container whose journal is followed."""

    def __init__(self, place: Place, name: str) -> None:
        self.place = place
        self.name = name
        self.application: Application | None = None
        if place.init == "minimal":
            # It has no init that could restart anything: the application runs as long as the container.
            self.application = Application("the application", "active")
        for line in place.told():
            self.application = parse(line) or self.application


class Reporter:
    """Follows the rich containers of one node while `run` runs.

    informer: the pods of this node. node: its name, for Events. root: where hawser-runtime keeps its notes.
    """

    def __init__(
        self, client: Client, informer: Informer, node: str, *, root: Path = ROOT, clock: Clock | None = None
    ) -> None:
        self._client = client
        self._informer = informer
        self._clock = clock or SystemClock()
        self._recorder = EventRecorder(client, COMPONENT, host=node, clock=self._clock)
        self._root = root
        self._memory = InitMemory(root)
        self._directories: list[Path] = []
        self._notices: Notices | None = None
        self._awake = asyncio.Event()
        self._followed: dict[str, dict[str, _Followed]] = {}  # uid of the pod, name of the container
        self._keys: dict[str, tuple[str, str]] = {}  # uid: namespace and name
        self._gone: OrderedDict[str, Obj] = OrderedDict()  # of late, by uid: their poststop hooks may still be told

    async def run(self) -> None:
        """Reports until it is cancelled."""
        loop = asyncio.get_running_loop()
        try:
            notices = self._notices = Notices(MODIFY | CLOSE_WRITE | MOVED_TO | CREATE)
            loop.add_reader(notices.descriptor, self._noticed, notices)
        except OSError as error:
            # The machine's users of inotify share a limit.
            log.warning("rich containers are looked at every %g s: %s", _RETRY_SECONDS, error)
        self._informer.on_change(self._pod_changed)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._recorder.run(), name="rich events")
                tasks.create_task(self._watch_memory(), name="memory of inits")
                while True:
                    await self._awake.wait()
                    self._awake.clear()
                    if not await self._safely() or self._notices is None:
                        loop.call_later(_RETRY_SECONDS, self._awake.set)
                    await asyncio.sleep(_PACE)
        finally:
            if self._notices is not None:
                loop.remove_reader(self._notices.descriptor)
                self._notices.close()

    async def _watch_memory(self) -> None:
        while True:
            await self._clock.sleep(_MEMORY_SECONDS)
            for uid, followed in self._followed.items():
                pod = self._informer.get(*self._keys[uid]) if uid in self._keys else None
                for one in followed.values() if pod is not None else ():
                    told = self._memory.look(one.place)
                    if told is not None and pod is not None:
                        self._tell(pod, told, one.name)

    def _noticed(self, notices: Notices) -> None:
        notices.read()
        self._awake.set()

    async def _safely(self) -> bool:
        try:
            return await self._look()
        except Exception:
            # It reads what tenants write: whatever that is, the node goes on.
            log.exception("rich containers are looked at again")
            return False

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        pod = new or old
        if pod is None or not rich(pod):
            return
        uid = pod["metadata"]["uid"]
        if new is None:
            for followed in self._followed.pop(uid, {}).values():
                followed.place.forget()
                self._memory.forget(followed.place.id)
            self._keys.pop(uid, None)
            self._gone[uid] = pod
            while len(self._gone) > _GONE:
                self._gone.popitem(last=False)
        else:
            self._keys[uid] = (pod["metadata"]["namespace"], pod["metadata"]["name"])
            if old is None and (told := misnamed(pod)) is not None:
                self._tell(pod, told)
        self._awake.set()

    async def _look(self) -> bool:
        """Reads what is new, and tells; whether all was told."""
        self._hooks()
        done = True
        for uid, (namespace, name) in list(self._keys.items()):
            pod = self._informer.get(namespace, name)
            if pod is None or pod["metadata"]["uid"] != uid:
                continue
            rows = self._rows(pod, self._followed.setdefault(uid, {}))
            if rows:
                done &= await self._write(pod, condition(rows))
        return done

    def _rows(self, pod: Obj, followed: dict[str, _Followed]) -> list[Row]:
        rows = []
        for status, lasting in statuses(pod):
            known = self._follow(pod, status, followed)
            if known is not None:
                self._read(pod, known)
                rows += [Row(status["name"], status, known.application)] if lasting else []
        return rows

    def _follow(self, pod: Obj, status: Obj, followed: dict[str, _Followed]) -> _Followed | None:
        """Who is followed for a row of the pod's status; None when that is no rich container, or none yet."""
        known = followed.get(status["name"])
        container_id = str(status.get("containerID") or "").rpartition("//")[2]
        if not container_id or (known is not None and known.place.id == container_id):
            return known
        if known is not None:
            self._read(pod, known)
            known.place.forget()
            self._memory.forget(known.place.id)
            del followed[status["name"]]
        place = self._find(container_id)
        if place is None:
            return None
        self._watch(place.inside)
        known = followed[status["name"]] = _Followed(place, status["name"])
        return known

    def _find(self, container_id: str) -> Place | None:
        place = find(container_id, self._directories)
        if place is None:
            self._look_around()
            place = find(container_id, self._directories)
        return place

    def _look_around(self) -> None:
        self._directories = list(directories(self._root))
        for directory in self._directories:
            self._watch(directory / ".journal")

    def _watch(self, path: Path) -> None:
        if self._notices is not None:
            with contextlib.suppress(OSError):  # it is gone
                self._notices.watch(path)

    def _read(self, pod: Obj, followed: _Followed) -> None:
        for line in followed.place.new():
            now = parse(line)
            if now is not None:
                followed.application = now
                self._tell(pod, event(now), followed.name)

    def _hooks(self) -> None:
        """What the node's own programs noted of the pods' hooks."""
        if not self._directories:
            self._look_around()  # a prestart hook may keep the first container of all from starting
        for directory in self._directories:
            with contextlib.suppress(OSError):
                for path in (directory / ".journal").iterdir():
                    if path.name.endswith(".jsonl") and not path.name.endswith(".inside.jsonl"):
                        self._hooks_of(path)

    def _hooks_of(self, path: Path) -> None:
        with contextlib.suppress(OSError, ValueError):
            with path.open("rb") as file:
                first: Any = orjson.loads(file.readline())
            uid = first.get("uid")
            pod = self._informer.get(*self._keys[uid]) if uid in self._keys else self._gone.get(uid)
            for line in (unread(path, path.with_suffix(".told")) or ()) if pod is not None else ():
                told = hook_event(orjson.loads(line))
                if told is not None and pod is not None:
                    self._tell(pod, told, str(first.get("container") or ""))

    def _tell(self, pod: Obj, told: Told, container: str = "") -> None:
        # What an informer keeps may lack them.
        whole = {"apiVersion": "v1", "kind": "Pod", **pod}
        self._recorder.event(whole, told.type, told.reason, told.message, field_path=field_path(pod, container))

    async def _write(self, pod: Obj, wanted: Obj) -> bool:
        row = changed(pod, wanted, timestamp(self._clock.now()))
        if row is None:
            return True
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        body = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": {"conditions": [row]}}
        try:
            self._informer.observe(await self._client.patch(POD, name, namespace, body, STRATEGIC, "status"))
        except APIError as error:
            if error.code not in (404, 409):  # gone, or replaced by a namesake
                log.warning("the condition of pod %s/%s is written later: %s", namespace, name, error.message)
                return False
        return True

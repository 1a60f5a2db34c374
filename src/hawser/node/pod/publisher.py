"""Writing a pod's status: one write at a time, the newest wins, nothing is written twice."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from hawser.api.errors import APIError
from hawser.api.kinds import POD
from hawser.api.types import Obj
from hawser.client.client import STRATEGIC, Client
from hawser.node.pod import view

log = logging.getLogger(__name__)

# Conditions that end by going away.
_PASSING = frozenset({"PodResizePending", "PodResizeInProgress"})
_LISTS = ("podIPs", "hostIPs")
_RETRY_SECONDS = 1.0


def changes(old: Obj, new: Obj) -> Obj:
    """The fields of ``new`` that ``old`` lacks or has otherwise; of the conditions only the node's own count."""
    changed = {k: v for k, v in new.items() if k != "conditions" and _plain(old.get(k)) != _plain(v)}
    before = {row["type"]: row for row in old.get("conditions") or ()}
    wanted = new.get("conditions") or ()
    over = _PASSING & (before.keys() - {row["type"] for row in wanted})
    if over or any(_plain(before.get(row["type"])) != _plain(row) for row in wanted):
        changed["conditions"] = wanted
    return changed


def patch(uid: str, old: Obj, changed: Obj) -> Obj:
    """A strategic merge patch of the status, for this pod only (a namesake has another uid)."""
    status: dict[str, Any] = dict(changed)
    before = {row["type"]: row for row in old.get("conditions") or ()}
    if "conditions" in status:
        # In a merge a field only goes away when it is named.
        status["conditions"] = [
            {**{k: None for k in ("reason", "message") if k in before.get(row["type"], {})}, **row}
            for row in status["conditions"]
        ]
        over = _PASSING & (before.keys() - {row["type"] for row in changed["conditions"]})
        status["conditions"] += [{"type": kind, "$patch": "delete"} for kind in over]
    for name in _LISTS:
        if name in status and old.get(name):
            # Lists that merge by key would keep the old addresses.
            status[name] = [*status[name], {"$patch": "replace"}]
    return {"metadata": {"uid": uid}, "status": status}


def _plain(value: Any) -> Any:
    """Without what the server drops or adds: empty maps, zero values of container statuses, null times."""
    if isinstance(value, dict):
        return {k: p for k, v in value.items() if (p := _plain(v)) not in (None, {}, [], "")}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value


class Publisher:
    """Keeps one pod's status in the API equal to the last one given to ``publish``.

    seen: called with the pod as the API returned it.
    """

    def __init__(self, client: Client, seen: Callable[[Obj], None]) -> None:
        self._client = client
        self._seen = seen
        self._wanted: Obj | None = None
        self._pod: Obj | None = None
        self._running: asyncio.Task[None] | None = None
        self._delayed: asyncio.TimerHandle | None = None
        self.busy = False

    def publish(self, pod: Obj, status: Obj, delay: float = 0.0) -> None:
        """Writes ``status`` when it differs from the pod's. delay: seconds to wait for something better to say."""
        self._pod, self._wanted = pod, status
        if self._delayed is not None and not delay:
            self._delayed.cancel()
            self._delayed = None
        if not delay:
            self._start()
        elif self._delayed is None:
            self._delayed = asyncio.get_running_loop().call_later(delay, self._start)

    async def flush(self) -> None:
        """Waits until the newest status is written, or could not be."""
        if self._delayed is not None:
            self._delayed.cancel()
            self._delayed = None
        self._start()
        while self._running is not None and not self._running.done():
            await asyncio.wait([self._running])

    def close(self) -> None:
        """Drops what is not written yet."""
        if self._delayed is not None:
            self._delayed.cancel()
        if self._running is not None:
            self._running.cancel()

    def _start(self) -> None:
        self._delayed = None
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._write(), name="pod status")

    async def _write(self) -> None:
        while self._wanted is not None and self._pod is not None:
            pod, wanted = self._pod, self._wanted
            old = pod.get("status") or {}
            changed = changes(old, wanted)
            if not changed:
                self._wanted = None
                return
            namespace, name = view.key(pod)
            try:
                body = patch(view.uid(pod), old, changed)
                written = await self._client.patch(POD, name, namespace, body, STRATEGIC, "status")
            except APIError as err:
                if err.code in (404, 409):
                    # Gone, or replaced by a namesake: the watch says so in a moment.
                    self._wanted = None
                    return
                log.warning("status of pod %s/%s is written again: %s", namespace, name, err.message)
                if err.code == 422:
                    self._wanted = None
                    return
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if self._wanted is wanted:
                self._wanted = None
            self._pod = written if self._pod is pod else self._pod
            self._seen(written)

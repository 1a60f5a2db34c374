"""Mirror pods: what the API shows of static pods, kept by the node whatever others do to them.

Source: Kubernetes documentation, "Create static Pods", "Observe static pod behavior".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from hawser.api.errors import APIError, ignoring
from hawser.api.kinds import POD
from hawser.api.types import Obj
from hawser.client.client import Client
from hawser.node.pod import view

log = logging.getLogger(__name__)

_RETRY_SECONDS = 2.0

Key = tuple[str, str]


def mirror_of(static: Obj, node: Obj) -> Obj:
    """The pod to create for a static pod. node: the Node, which owns it."""
    metadata = {k: v for k, v in static["metadata"].items() if k not in ("uid", "deletionTimestamp")}
    metadata.pop("deletionGracePeriodSeconds", None)
    owner = {"apiVersion": "v1", "kind": "Node", "name": node["metadata"]["name"], "controller": True}
    owner["uid"] = node["metadata"]["uid"]
    metadata["ownerReferences"] = [owner]
    metadata["annotations"] = {**metadata["annotations"], view.MIRROR: view.uid(static)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": static["spec"]}


def stale(mirror: Obj, static: Obj | None) -> bool:
    """Whether a mirror pod has to go: another's, an older manifest's, or one that somebody deletes."""
    hashed = (mirror["metadata"].get("annotations") or {}).get(view.MIRROR)
    return static is None or view.deleting(mirror) or hashed != view.uid(static)


class Mirrors:
    """Keeps the mirror pods of one node.

    static: the static pod of a namespace and name, as long as it is to run. node: the Node, once it is registered.
    seen: called with a static pod's uid and its mirror as the API has it, None for none.
    """

    def __init__(
        self,
        client: Client,
        node: Callable[[], Obj],
        static: Callable[[Key], Obj | None],
        seen: Callable[[str, Obj | None], None],
    ) -> None:
        self._client = client
        self._node = node
        self._static = static
        self._seen = seen
        self._known: dict[Key, Obj] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._again: set[Key] = set()

    def changed(self, key: Key, mirror: Obj | None) -> None:
        """A mirror pod is as the API has it now; None when it is gone."""
        if mirror is None:
            self._known.pop(key, None)
        else:
            self._known[key] = mirror
        static = self._static(key)
        if static is not None:
            self._seen(view.uid(static), None if mirror is not None and stale(mirror, static) else mirror)
        self.check(key)

    def check(self, key: Key) -> None:
        """Brings one mirror pod in line, soon."""
        if key in self._tasks:
            self._again.add(key)
            return
        task = asyncio.create_task(self._settle(key), name=f"mirror pod {key[0]}/{key[1]}")
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._ended(key))

    def _ended(self, key: Key) -> None:
        self._tasks.pop(key, None)
        if key in self._again:
            self._again.discard(key)
            self.check(key)

    async def _settle(self, key: Key) -> None:
        while True:
            try:
                await self._once(key)
                return
            except APIError as err:
                if err.code in (403, 422):
                    log.error("the mirror pod of %s/%s is refused: %s", *key, err.message)
                    return
                log.info("mirror pod %s/%s is tried again: %s", *key, err.message)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _once(self, key: Key) -> None:
        static, mirror = self._static(key), self._known.get(key)
        if mirror is not None and stale(mirror, static):
            with ignoring(404, 409):
                await self._client.delete(POD, key[1], key[0], grace_period=0, uid=view.uid(mirror))
            self._known.pop(key, None)
            mirror = None
        if static is None or mirror is not None or not self._node()["metadata"].get("uid"):
            return
        try:
            made = await self._client.create(POD, mirror_of(static, self._node()))
        except APIError as err:
            if err.reason != "AlreadyExists":
                raise
            # The watch brings it.
            return
        self._known.setdefault(key, made)
        self._seen(view.uid(static), made)

    def close(self) -> None:
        """Leaves everything as it is."""
        self._again.clear()
        for task in self._tasks.values():
            task.cancel()

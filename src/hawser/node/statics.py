"""Static pods among the node's pods: a worker for each manifest, and its mirror in the API."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hawser.api.types import Obj
from hawser.client.client import Client
from hawser.node.manifests import Folder
from hawser.node.mirrors import Key, Mirrors
from hawser.node.pod import view
from hawser.node.pod.worker import Worker


class Statics:
    """The static pods of a folder (path; None for none).

    start: makes and runs the worker of a pod; worker: finds it by uid.
    """

    def __init__(
        self,
        path: Path | None,
        node_name: str,
        client: Client,
        node: Callable[[], Obj],
        start: Callable[[Obj], None],
        worker: Callable[[str], Worker | None],
    ) -> None:
        self._start = start
        self._worker = worker
        self._wanted: dict[str, Obj] = {}
        # Those that run, until nothing of them is left.
        self._started: dict[str, Obj] = {}
        self._keys: dict[Key, str] = {}
        self._folder = None if path is None else Folder(path, node_name, self._read)
        self.mirrors = Mirrors(client, node, self._static, self._seen)

    def _static(self, key: Key) -> Obj | None:
        uid = self._keys.get(key)
        return None if uid is None else self._started.get(uid)

    def look(self) -> None:
        """Reads the folder, if there is one."""
        if self._folder is not None:
            self._folder.look()

    async def run(self) -> None:
        """Follows the folder until cancelled, once the node is registered; returns at once without one."""
        for key in self._keys:
            self.mirrors.check(key)
        if self._folder is not None:
            await self._folder.run()

    def uid(self, key: Key) -> str | None:
        """The uid of the static pod of a namespace and name."""
        return self._keys.get(key)

    def _read(self, pods: dict[str, Obj]) -> None:
        """The folder has these manifests: others end, new ones start once a predecessor of the name is gone."""
        before, self._wanted = self._wanted, pods
        for uid in before.keys() - pods.keys():
            worker = self._worker(uid)
            if worker is not None:
                worker.end()
        for uid, pod in pods.items():
            if uid not in before:
                self._begin(uid, pod)

    def _begin(self, uid: str, pod: Obj) -> None:
        key = view.key(pod)
        running = self._keys.get(key)
        if running is not None and running != uid and self._worker(running) is not None:
            return
        self._keys[key], self._started[uid] = uid, pod
        self._start(pod)
        self.mirrors.check(key)

    def gone(self, uid: str) -> None:
        """Nothing of a pod is left: its mirror goes, its successor may start."""
        self._started.pop(uid, None)
        for key in [key for key, known in self._keys.items() if known == uid]:
            del self._keys[key]
            self.mirrors.check(key)
            successor = next((pod for pod in self._wanted.values() if view.key(pod) == key), None)
            if successor is not None:
                self._begin(view.uid(successor), successor)

    def _seen(self, uid: str, mirror: Obj | None) -> None:
        worker = self._worker(uid)
        if worker is not None:
            worker.mirrored(mirror)

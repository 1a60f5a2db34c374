"""All pods of the node: a worker for each, news from the API and the runtime to the right one, orphans removed."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

from hawser.api.types import Obj
from hawser.client.informer import Informer
from hawser.node.cri.errors import CRIError
from hawser.node.cri.model import Container, Sandbox
from hawser.node.pod import configs, stopper, view
from hawser.node.pod.context import Context
from hawser.node.pod.env import referenced
from hawser.node.pod.preemption import PREEMPTED
from hawser.node.pod.records import Records
from hawser.node.pod.worker import Worker
from hawser.node.statics import Statics
from hawser.node.volumes import payload

log = logging.getLogger(__name__)


class Pods:
    """The pods that the API binds to this node."""

    def __init__(self, context: Context, informer: Informer, manifests: Path | None = None) -> None:
        self._context = context
        self._informer = informer
        self._workers: dict[str, Worker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._sweeping: set[str] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._known: set[str] | None = None
        self.statics = Statics(
            manifests, context.machine.node_name, context.client, context.node, self._start_static, self.by_uid
        )

    # For the kubelet API

    def lookup(self, namespace: str, name: str) -> Obj | None:
        """The pod as the API last had it, or a static pod as its manifest has it."""
        uid = self.statics.uid((namespace, name))
        worker = self._workers.get(uid) if uid else None
        return worker.pod if worker is not None else self._informer.get(namespace, name)

    def by_uid(self, uid: str) -> Worker | None:
        """The worker of a pod."""
        return self._workers.get(uid)

    def all(self) -> list[Worker]:
        """Every pod's worker."""
        return list(self._workers.values())

    def uids(self) -> set[str] | None:
        """The uids of the pods that the node is to have, not of those that it ends yet; None before all are known."""
        if not self._informer.has_synced:
            return None
        statics = {uid for uid, worker in self._workers.items() if view.is_static(worker.pod)}
        return statics | {view.uid(pod) for pod in self._informer.list()}

    def logs(self) -> Iterator[tuple[str, Path, bool]]:
        """Id and log of every container that the runtime has, and whether it runs."""
        for worker in self._workers.values():
            for container in worker.records.containers.values():
                yield container.id, worker.log_of(container), container.running

    # News

    def start_statics(self, known: set[str]) -> None:
        """Runs the node's static pods. known: uids of the pods that the runtime has something of."""
        self._known = known
        self._context.gate.expect(known)
        self.statics.look()

    def start(self) -> None:
        """Begins to take the API's news."""
        self._informer.on_change(self._pod_changed)

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        if old is not None and (new is None or view.uid(new) != view.uid(old)):
            worker = self._workers.get(view.uid(old))
            if worker is not None:
                worker.remove()
        either = new or old
        if either is not None and view.is_mirror(either):
            self.statics.mirrors.changed(view.key(either), new)
            return
        if new is None:
            return
        worker = self._workers.get(view.uid(new))
        if worker is not None:
            worker.update(new)
            return
        self._run(new, static=False)

    def _start_static(self, pod: Obj) -> None:
        self._run(pod, static=True)

    def _run(self, pod: Obj, *, static: bool) -> None:
        uid = view.uid(pod)
        fresh = self._known is not None and uid not in self._known and uid not in self._sweeping
        worker = Worker(self._context, pod, self._gone, fresh=fresh, static=static)
        self._workers[uid] = worker
        self._tasks[uid] = asyncio.create_task(worker.run(), name=f"pod {pod['metadata']['name']}")

    def _gone(self, uid: str) -> None:
        self._workers.pop(uid, None)
        self.statics.gone(uid)
        self._tasks.pop(uid, None)
        self._context.gate.release(uid)
        if self._known is not None:
            self._known.discard(uid)

    def preempt(self, uid: str) -> None:
        """Ends a pod so that a critical one has its place."""
        worker = self._workers.get(uid)
        if worker is not None:
            worker.evict(PREEMPTED, view.grace_period(worker.pod), "TerminationByKubelet")

    def wake(self, uid: str) -> None:
        """Something that a pod's status or containers depend on has changed."""
        worker = self._workers.get(uid)
        if worker is not None:
            worker.retry()

    def exited(self, object_id: str) -> None:
        """A container or sandbox exited: its pod's worker looks; of one nobody knows yet, those that start some."""
        workers = self._workers.values()
        known = [worker for worker in workers if worker.records.knows(object_id)]
        for worker in known or [worker for worker in workers if worker.memory.busy]:
            worker.exited(object_id)

    def listed(self, found: dict[str, tuple[list[Sandbox], list[Container]]]) -> None:
        """Everything in the runtime: tells workers what they do not know yet, and removes what is nobody's."""
        for uid, worker in list(self._workers.items()):
            worker.listed(*found.get(uid, ([], [])))
        if not self._informer.has_synced or self._known is None:
            return
        logs = Path(self._context.machine.root) / configs.LOG_FOLDER
        logged = {entry.name.rpartition("_")[2] for entry in logs.iterdir()} if logs.is_dir() else set()
        left = set(found) | set(self._context.folders.uids()) | set(self._context.cgroups.pods()) | logged
        left |= self._context.devices.uids()
        left -= set(self._workers)
        for uid in left - self._sweeping:
            self._sweeping.add(uid)
            task = asyncio.create_task(self._sweep(uid, found.get(uid, ([], []))), name=f"sweep {uid}")
            self._background.add(task)
            task.add_done_callback(self._background.discard)

    async def _sweep(self, uid: str, found: tuple[list[Sandbox], list[Container]]) -> None:
        """Removes what a pod left that the API does not know any more."""
        log.info("what is left of pod %s is removed", uid)
        records = Records(self._context.runtime, uid)
        try:
            await records.relist()
            await stopper.sweep(self._context, None, uid, records)
            parent = self._context.cgroups.pods().get(uid)
            if parent:
                await stopper.remove_cgroup(self._context, parent)
            logs = Path(self._context.machine.root) / configs.LOG_FOLDER
            for folder in logs.glob(f"*_{uid}"):
                shutil.rmtree(folder, ignore_errors=True)
        except CRIError as err:
            log.warning("what is left of pod %s is removed later: %s", uid, err)
        finally:
            self._sweeping.discard(uid)

    def object_changed(self, kind: str, namespace: str, name: str) -> None:
        """A ConfigMap or Secret changed: pods whose volumes show it are brought up to date."""
        for worker in self._workers.values():
            if view.key(worker.pod)[0] != namespace:
                continue
            maps, secrets, _ = payload.wanted(worker.pod)
            env_maps, env_secrets = referenced(worker.pod)
            if name in (maps if kind == "ConfigMap" else secrets):
                worker.refresh_volumes()
            elif name in (env_maps if kind == "ConfigMap" else env_secrets):
                worker.retry()

    async def close(self) -> None:
        """Leaves all pods running and ends their workers."""
        self.statics.mirrors.close()
        for worker in list(self._workers.values()):
            worker.close()
        tasks = [*self._tasks.values(), *self._background]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

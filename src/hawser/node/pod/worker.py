"""One serial worker for each pod: looks, plans, acts, reports; woken by whatever changed, never by a clock alone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

from hawser.api.errors import APIError
from hawser.api.types import Obj
from hawser.client.clock import parse_timestamp
from hawser.node.cri.errors import CRIError
from hawser.node.cri.model import Container, Labels, Sandbox
from hawser.node.pod import configs, stopper, view
from hawser.node.pod import plan as planning
from hawser.node.pod import status as reporting
from hawser.node.pod.context import Context
from hawser.node.pod.observed import Memory, Observed, Waiting
from hawser.node.pod.plan import (
    Action,
    CreateSandbox,
    FinishDeletion,
    KillContainer,
    Plan,
    RemoveContainer,
    RemoveSandbox,
    StartContainer,
    StopSandbox,
)
from hawser.node.pod.publisher import Publisher
from hawser.node.pod.records import Records
from hawser.node.pod.starter import Starter, termination_file
from hawser.node.volumes import payload
from hawser.node.volumes.payload import VolumeError

log = logging.getLogger(__name__)

# How long a status that only says "being created" waits for a better one.
_PATIENCE = 0.3
_RETRY_SECONDS = 1.0
_PULL_BACKOFF_SHOWS = 2.0
_RENEW_RETRY_SECONDS = 60.0
_PROBES = {"liveness": "livenessProbe", "startup": "startupProbe"}


class Worker:
    """Everything of one pod. gone: called when nothing of the pod is left."""

    def __init__(self, context: Context, pod: Obj, gone: Callable[[str], None], *, fresh: bool) -> None:
        self.context = context
        self.pod = pod
        self.uid = view.uid(pod)
        self.memory = Memory()
        self.records = Records(context.runtime, self.uid)
        self.starter = Starter(context, self.memory, self.records, self)
        self._publisher = Publisher(context.client, self._written)
        self._gone = gone
        # Of a pod that was just bound here the runtime knows nothing: no need to ask.
        self._stale = not fresh
        self._adopted = fresh
        self._removed = False
        self._done = False
        self._refresh_volumes = False
        self._refreshed_at = 0.0
        self._suspects: set[str] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._backed_off: set[str] = set()
        self._wake.set()

    # What others tell the worker

    def update(self, pod: Obj) -> None:
        """The pod changed in the API."""
        if _version(pod) < _version(self.pod):
            return
        before, self.pod = self.pod, pod
        if view.deleting(pod):
            self._cancel_starts()
            if view.deleting(before) and view.grace_period(pod) < view.grace_period(before):
                self._cancel("kill ")
        elif payload.shows_metadata(pod) and _shown(pod) != _shown(before):
            self._refresh_volumes = True
        self._wake.set()

    def remove(self) -> None:
        """The pod is gone from the API: end it, without writing anything.

        Only this node takes pods out of the API in good order, so one that vanishes was forced: it gets the shortest
        grace, also when it was ending slowly. A namesake may be on its way.
        """
        self._removed = True
        metadata = {**self.pod["metadata"], "deletionGracePeriodSeconds": 0}
        metadata.setdefault("deletionTimestamp", reporting.stamp(self.context.now()))
        self.pod = {**self.pod, "metadata": metadata}
        self._cancel_starts()
        self._cancel("kill ")
        self._wake.set()

    def exited(self, object_id: str) -> None:
        """A container or sandbox is said to have exited."""
        self._suspects.add(object_id)
        self._wake.set()

    def listed(self, sandboxes: Iterable[Sandbox], containers: Iterable[Container]) -> None:
        """The runtime's list of this pod, from a relist."""
        if not self._tasks and self.records.differs(sandboxes, containers):
            self._stale = True
            self._wake.set()

    def refresh_volumes(self) -> None:
        """An object that a volume is filled from has changed."""
        self._refresh_volumes = True
        self._wake.set()

    def retry(self) -> None:
        """Something that a container's configuration refers to has changed."""
        for name, why in self.memory.waiting.items():
            if why.reason == "CreateContainerConfigError":
                self.memory.retry_at.pop(name, None)
        self._wake.set()

    def probed(self, container_id: str, kind: str, ok: bool, message: str) -> None:
        """A probe has come to a result. kind: startup, liveness or readiness."""
        memory = self.memory
        if kind == "readiness":
            memory.ready[container_id] = ok
        elif kind == "startup" and ok:
            memory.started[container_id] = True
        elif not ok:
            memory.doomed[container_id] = message
            grace = self._probe_grace(container_id, kind)
            if grace is not None:
                memory.graces[container_id] = grace
        self._wake.set()

    def _probe_grace(self, container_id: str, kind: str) -> int | None:
        """The grace period that a probe has of its own."""
        container = self.records.containers.get(container_id)
        name = container.labels.get(Labels.CONTAINER_NAME) if container else None
        for _, spec in view.every_container(self.pod):
            if spec["name"] == name:
                seconds = (spec.get(_PROBES[kind]) or {}).get("terminationGracePeriodSeconds")
                return None if seconds is None else max(1, int(seconds))
        return None

    def close(self) -> None:
        """Leaves the pod running and forgets it (the agent ends)."""
        self._done = True
        self._publisher.close()
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks.values():
            task.cancel()
        self._wake.set()

    # The loop

    async def run(self) -> None:
        """Works until nothing of the pod is left."""
        while not self._done:
            await self._wake.wait()
            self._wake.clear()
            if self._done:
                return
            try:
                await self._round()
            except (CRIError, OSError) as err:
                log.warning("pod %s is looked at again: %s", view.full_name(self.pod), err)
                self._stale = True
                self._wake_in(_RETRY_SECONDS)

    async def _round(self) -> None:
        await self._look()
        if not self._adopted:
            self._adopt()
        now = self.context.now()
        self._check_deadline(now)
        observed = self.records.observed()
        decided = planning.plan(self.pod, observed, self.memory, now)
        self._renew_tokens(now)
        if self._refresh_volumes and "volumes" not in self._tasks:
            self._refresh_volumes, self._refreshed_at = False, now
            self._launch("volumes", self._update_volumes())
        for action in decided.actions:
            self._act(action)
        self._report_backoffs(decided)
        self._publish(observed, decided)
        if decided.wake_at is not None:
            self._wake_in(max(0.0, decided.wake_at - now) + 0.001)

    def _renew_tokens(self, now: float) -> None:
        """Brings service account tokens in volumes up to date before they expire."""
        due = self.context.objects.renewal(self.uid)
        if due is None or view.deleting(self.pod) or view.finished(self.pod):
            return
        due = max(due, self._refreshed_at + _RENEW_RETRY_SECONDS)
        if due <= now:
            self._refresh_volumes = True
        else:
            self._wake_in(due - now + 0.001)

    def _check_deadline(self, now: float) -> None:
        """Ends a pod that has been active longer than its spec allows (activeDeadlineSeconds)."""
        limit, start = self.pod["spec"].get("activeDeadlineSeconds"), (self.pod.get("status") or {}).get("startTime")
        if limit is None or not start or self.memory.evicted or view.finished(self.pod):
            return
        left = parse_timestamp(start).timestamp() + float(limit) - now
        if left > 0:
            self._wake_in(left)
            return
        text = "Pod was active on the node longer than the specified deadline"
        self.memory.evicted = Waiting("DeadlineExceeded", text)
        self.starter.event(self.pod, "Normal", "DeadlineExceeded", text)
        self._cancel_starts()

    async def _look(self) -> None:
        suspects, self._suspects = self._suspects, set()
        if self._stale:
            self._stale = False
            await self.records.relist()
        for suspect in suspects:
            if not self.records.knows(suspect):
                # It may be what is being started here and has ended before its start was through.
                if self.memory.busy:
                    self._suspects.add(suspect)
                continue
            # What is being stopped here is read when that is done.
            if f"kill {suspect}" not in self._tasks and f"stop {suspect}" not in self._tasks:
                await self.records.settle(suspect)
        for container in list(self.records.containers.values()):
            if container.exited and container.id not in self.memory.messages:
                self.context.prober.forget(container.id)
                self.memory.messages[container.id] = self._last_words(container)
                self.memory.doomed.pop(container.id, None)
        if not self.memory.busy:
            self.memory.keep_containers(self.records.containers)
            self._backed_off &= set(self.records.containers)

    def log_of(self, container: Container) -> Path:
        """Where the runtime writes a container's log."""
        name = container.labels.get(Labels.CONTAINER_NAME) or container.name
        folder = Path(configs.log_directory(self.context.machine.root, self.pod))
        return folder / configs.log_path(name, container.restart_count)

    def _last_words(self, container: Container) -> str:
        name = container.labels.get(Labels.CONTAINER_NAME) or container.name
        path = termination_file(self.context.folders.pod(self.uid), name, container.attempt)
        return stopper.termination_message(container, path, self.log_of(container))

    def _adopt(self) -> None:
        """Takes over what an earlier agent started: what the API called started and ready stays so until probed."""
        self._adopted = True
        if any(payload.wanted(self.pod)) or payload.shows_metadata(self.pod):
            # What changed meanwhile is caught up with, and from here on changes and expiring tokens are seen.
            self._refresh_volumes = self.records.observed().sandbox is not None
        status = self.pod.get("status") or {}
        rows = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
        for _, spec in view.every_container(self.pod):
            container = self.records.observed().newest(spec["name"])
            if container is None or not container.running:
                continue
            row: Obj = next((r for r in rows if r["name"] == spec["name"]), {})
            known = row.get("containerID", "").endswith(container.id)
            self.memory.started[container.id] = bool(known and row.get("started")) or not spec.get("startupProbe")
            self.memory.ready[container.id] = bool(known and row.get("ready")) or not spec.get("readinessProbe")
            self.context.prober.watch(self, self.pod, spec, container, self.starter.pod_ip(self.pod))

    # Acting

    def _act(self, action: Action) -> None:
        match action:
            case CreateSandbox():
                self._launch("", self.starter.sandbox(self.pod, action), busy="")
            case StartContainer(name=name):
                self._launch(f"start {name}", self._start(action), busy=name)
            case KillContainer(id=target):
                ip = self.starter.pod_ip(self.pod)
                self._launch(
                    f"kill {target}", stopper.kill(self.context, self.records, self.memory, self.pod, action, ip)
                )
            case StopSandbox(id=target):
                self._launch(f"stop {target}", self._stop_sandbox(target))
            case RemoveContainer(id=target):
                self._launch(f"remove {target}", self.records.remove_container(target))
            case RemoveSandbox(id=target):
                self._launch(f"remove {target}", self.records.remove_sandbox(target))
            case FinishDeletion():
                self._launch("finish", self._finish())

    def _launch(self, key: str, work: Coroutine[Any, Any, None], *, busy: str | None = None) -> None:
        if key in self._tasks:
            work.close()
            return
        if busy is not None:
            self.memory.busy.add(busy)
        task: asyncio.Task[None] = asyncio.create_task(work, name=f"pod {self.pod['metadata']['name']} {key}")
        self._tasks[key] = task

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.pop(key, None)
            if busy is not None:
                self.memory.busy.discard(busy)
            if task.cancelled():
                self._stale = True
                self._wake.set()
                return
            failure = task.exception()
            if failure is None:
                self._wake.set()
                return
            self._stale = True
            level = logging.WARNING if isinstance(failure, (CRIError, APIError, OSError)) else logging.ERROR
            log.log(
                level,
                "pod %s: %s: %s",
                view.full_name(self.pod),
                key,
                failure,
                exc_info=failure if level == logging.ERROR else None,
            )
            self._wake_in(_RETRY_SECONDS)

        task.add_done_callback(ended)

    async def _start(self, action: StartContainer) -> None:
        await self.starter.container(self.pod, action)
        why = self.memory.waiting.get(action.name)
        if why is not None and why.reason == "ErrImagePull":
            asyncio.get_running_loop().call_later(_PULL_BACKOFF_SHOWS, self._show_pull_backoff, action.name)

    def _show_pull_backoff(self, name: str) -> None:
        if not self._done and not view.deleting(self.pod):
            self.starter.back_off_pull(self.pod, name)
            self._wake.set()

    async def _stop_sandbox(self, sandbox_id: str) -> None:
        await self.context.runtime.stop_pod_sandbox(sandbox_id)
        await self.records.sandbox(sandbox_id)

    async def _finish(self) -> None:
        """The final status and the deletion in the API first, so that whoever waits does; cleaning up follows."""
        if not self._removed:
            await self._publisher.flush()
            await stopper.delete_from_api(self.context, self.pod)
        await stopper.sweep(self.context, self.pod, self.uid, self.records)
        self._done = True
        self._publisher.close()
        if self._timer is not None:
            self._timer.cancel()
        self._gone(self.uid)
        self._wake.set()

    async def _update_volumes(self) -> None:
        try:
            await self.starter.volumes(self.pod, only_payload=True)
        except (VolumeError, APIError) as err:
            self.starter.event(self.pod, "Warning", "FailedMount", str(err))

    def _cancel_starts(self) -> None:
        """A pod that is to end starts nothing more; a sandbox being made is waited for."""
        self._cancel("start ")

    def _cancel(self, prefix: str) -> None:
        for key, task in self._tasks.items():
            if key.startswith(prefix):
                task.cancel()

    # Reporting

    def _publish(self, observed: Observed, decided: Plan) -> None:
        if self._removed or ("finish" in self._tasks and not view.deleting(self.pod)):
            return
        running = any(c.running for c in observed.every())
        over = (view.deleting(self.pod) or self.memory.evicted is not None) and not running and not self.memory.busy
        wanted = reporting.status(
            self.pod,
            observed,
            self.memory,
            decided.waiting,
            self.context.now(),
            self.context.machine.node_ip,
            ended=over,
        )
        if view.finished(self.pod):
            wanted["phase"] = self.pod["status"]["phase"]
        starting = bool(self.memory.busy) or any(isinstance(a, CreateSandbox | StartContainer) for a in decided.actions)
        ending = view.deleting(self.pod) and "finish" not in self._tasks
        self._publisher.publish(self.pod, wanted, _PATIENCE if starting or ending else 0.0)

    def _written(self, pod: Obj) -> None:
        if view.uid(pod) == self.uid and _version(pod) >= _version(self.pod):
            finished = view.finished(pod) and not view.finished(self.pod)
            self.pod = pod
            if finished:
                self._wake.set()

    def _report_backoffs(self, decided: Plan) -> None:
        """One BackOff event for each crash that has to wait."""
        for name, why in decided.waiting.items():
            newest = self.records.observed().newest(name)
            if why.reason != "CrashLoopBackOff" or newest is None or newest.id in self._backed_off:
                continue
            self._backed_off.add(newest.id)
            text = f"Back-off restarting failed container {name} in pod {view.full_name(self.pod)}"
            self.starter.event(self.pod, "Warning", "BackOff", text, name)

    def _wake_in(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        moment = loop.time() + seconds
        if self._timer is not None and not self._timer.cancelled() and loop.time() < self._timer.when() <= moment:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(moment, self._wake.set)


def _shown(pod: Obj) -> tuple[Obj, Obj]:
    """What a downwardAPI volume may show and may change."""
    metadata = pod["metadata"]
    return metadata.get("labels") or {}, metadata.get("annotations") or {}


def _version(pod: Obj) -> int:
    text = pod["metadata"].get("resourceVersion") or "0"
    return int(text) if text.isdigit() else 0

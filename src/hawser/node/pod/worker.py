"""One serial worker for each pod: looks, plans, acts, reports; woken by whatever changed, never by a clock alone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from hawser.api.status import has_ended
from hawser.api.types import Obj
from hawser.client.clock import parse_timestamp
from hawser.node import startup
from hawser.node.cri.errors import CRIError
from hawser.node.cri.model import Container, Labels, Sandbox
from hawser.node.images.manager import PULL_REASONS
from hawser.node.pod import checkin, compare, resizing, restarts, stopper, view
from hawser.node.pod.actions import (
    Action,
    CreateSandbox,
    FinishDeletion,
    KillContainer,
    RemoveContainer,
    RemoveSandbox,
    ResetContainers,
    ResizePod,
    StartContainer,
    StopSandbox,
)
from hawser.node.pod.container_status import stamp
from hawser.node.pod.context import Context
from hawser.node.pod.jobs import Jobs
from hawser.node.pod.observed import Memory, Observed, Waiting
from hawser.node.pod.observer import Observer
from hawser.node.pod.records import Records
from hawser.node.pod.reporter import Reporter
from hawser.node.pod.resizer import Resizer
from hawser.node.pod.starter import Starter
from hawser.node.pod.upkeep import Volumes
from hawser.node.volumes import payload

log = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0
_PULL_BACKOFF_SHOWS = 2.0
_DEVICES_SECONDS = 3.0
_PROBES = {"liveness": "livenessProbe", "startup": "startupProbe"}


class Worker:
    """Everything of one pod. gone: called when nothing of the pod is left. fresh: the runtime has nothing of it.

    static: the pod comes from a manifest of the node; the API only has a mirror of it.
    """

    def __init__(
        self, context: Context, pod: Obj, gone: Callable[[str], None], *, fresh: bool, static: bool = False
    ) -> None:
        self.context = context
        self.pod = pod
        self.uid = view.uid(pod)
        self.memory = Memory()
        self.records = Records(context.runtime, self.uid)
        self.starter = Starter(context, self.memory, self.records, self)
        self._jobs = Jobs(lambda: view.full_name(self.pod), self.memory.busy, self._job_ended)
        self._observer = Observer(context, self.uid, self.memory, self.records, self._jobs)
        self._resizer = Resizer(context, self.memory, self.records, self._jobs)
        self._reporter = Reporter(context, self.memory, self._written)
        self._gone = gone
        # Of a pod that was just bound here the runtime knows nothing: no need to ask.
        self._observer.stale = not fresh
        self._adopted = fresh
        self._static = static
        self._mirror: Obj | None = None
        # What has started here before is not asked again whether it fits.
        self._checked = bool((pod.get("status") or {}).get("startTime"))
        if self._checked and not has_ended(pod):
            context.book.enter(pod)
        self._removed = False
        self._done = False
        self._volumes = Volumes(context, self.starter, self._jobs)
        self._jobs.wake.set()

    # What others tell the worker

    def update(self, pod: Obj) -> None:
        """The pod changed in the API."""
        if compare.version(pod) < compare.version(self.pod):
            return
        before, self.pod = self.pod, pod
        if view.deleting(pod):
            self._cancel_starts()
            if view.deleting(before) and view.grace_period(pod) < view.grace_period(before):
                self._jobs.cancel("kill ")
                self.memory.ending = None
        else:
            if compare.shown(pod) != compare.shown(before):
                self._volumes.stale |= payload.shows_metadata(pod)
                # Environment and subPathExpr may be made of labels and annotations.
                self._retry_configs()
            if compare.generation(pod) != compare.generation(before):
                self._resizer.changed(before, pod)
            if self.memory.retry_at and compare.generation(pod) != compare.generation(before):
                self._retry_configs()
        self._jobs.wake.set()

    def remove(self) -> None:
        """The pod is gone from the API: end it, without writing anything.

        Only this node takes pods out of the API in good order, so one that vanishes was forced: it gets the shortest
        grace, also when it was ending slowly. A namesake may be on its way.
        """
        self._removed = True
        self.context.book.release(self.uid)
        metadata = {**self.pod["metadata"], "deletionGracePeriodSeconds": 0}
        metadata.setdefault("deletionTimestamp", stamp(self.context.now()))
        self.pod = {**self.pod, "metadata": metadata}
        self._cancel_starts()
        self._jobs.cancel("kill ")
        self.memory.ending = None
        self._jobs.wake.set()

    def end(self) -> None:
        """The manifest of a static pod is gone: it ends within its grace period."""
        metadata = {**self.pod["metadata"], "deletionTimestamp": stamp(self.context.now())}
        metadata["deletionGracePeriodSeconds"] = view.grace_period(self.pod)
        self.pod = {**self.pod, "metadata": metadata}
        self._cancel_starts()
        self._jobs.wake.set()

    def mirrored(self, mirror: Obj | None) -> None:
        """The API shows a static pod so; None when it does not."""
        known = self._mirror
        if (
            mirror
            and known
            and view.uid(mirror) == view.uid(known)
            and compare.version(mirror) < compare.version(known)
        ):
            return
        self._mirror = mirror
        if mirror is not None:
            metadata = {**self.pod["metadata"], "generation": mirror["metadata"].get("generation")}
            self.pod = {**self.pod, "metadata": metadata, "status": mirror.get("status") or {}}
        self._jobs.wake.set()

    def exited(self, object_id: str) -> None:
        """A container or sandbox is said to have exited."""
        self._observer.suspects.add(object_id)
        self._jobs.wake.set()

    def listed(self, sandboxes: Iterable[Sandbox], containers: Iterable[Container]) -> None:
        """The runtime's list of this pod, from a relist."""
        if not self._jobs and self.records.differs(sandboxes, containers):
            self._observer.stale = True
            self._jobs.wake.set()

    def refresh_volumes(self) -> None:
        """An object that a volume is filled from has changed."""
        if self.records.observed().sandbox is None:
            # The pod has perhaps been waiting for just that.
            self.memory.retry_at.pop("", None)
        else:
            self._volumes.stale = True
        self._jobs.wake.set()

    def retry(self) -> None:
        """Something that a container's configuration refers to has changed."""
        self._retry_configs()
        self._jobs.wake.set()

    def _retry_configs(self) -> None:
        for name, why in self.memory.waiting.items():
            if why.reason == "CreateContainerConfigError":
                self.memory.retry_at.pop(name, None)

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
        self._jobs.wake.set()

    def _probe_grace(self, container_id: str, kind: str) -> int | None:
        """The grace period that a probe has of its own."""
        container = self.records.containers.get(container_id)
        spec = view.find(self.pod, container.labels.get(Labels.CONTAINER_NAME, "")) if container else None
        seconds = ((spec or {}).get(_PROBES[kind]) or {}).get("terminationGracePeriodSeconds")
        return None if seconds is None else max(1, int(seconds))

    def log_of(self, container: Container) -> Path:
        """Where the runtime writes a container's log."""
        return self._observer.log_of(self.pod, container)

    def close(self) -> None:
        """Leaves the pod running and forgets it (the agent ends)."""
        self._done = True
        self._reporter.close()
        self._jobs.close()

    # The loop

    async def run(self) -> None:
        """Works until nothing of the pod is left."""
        while not self._done:
            await self._jobs.wake.wait()
            self._jobs.wake.clear()
            if self._done:
                return
            try:
                await self._round()
            except (CRIError, OSError) as err:
                log.warning("pod %s is looked at again: %s", view.full_name(self.pod), err)
                self._observer.stale = True
                self._jobs.wake_in(_RETRY_SECONDS)

    async def _round(self) -> None:
        await self._observer.look(self.pod)
        if not self._adopted:
            self._adopt()
        if not self._checked:
            await self._check_in()
        if has_ended(self.pod):
            self.context.book.release(self.uid)
        now = self.context.now()
        self._check_deadline(now)
        observed = self.records.observed()
        self._resizer.settle(self.pod)
        pod = resizing.with_grant(self.pod, self.memory.grant)
        decided = startup.plan_in_turn(self.context.gate, pod, observed, self.memory, now, self._jobs, self._queued)
        self._volumes.keep(pod, now)
        for action in decided.actions:
            self._act(pod, action)
        if decided.ending and self.memory.ending is None:
            self.memory.ending = now
        self._reporter.back_offs(pod, observed, decided)
        finishing = "finish" in self._jobs
        shown = self._mirror if self._static else pod
        held = self._giving_back(pod, observed, ending=decided.ending)
        if shown is not None and not held and not self._removed and (view.deleting(self.pod) or not finishing):
            self._reporter.publish(pod, shown, observed, decided, finishing=finishing)
        if decided.wake_at is not None:
            self._jobs.wake_in(max(0.0, decided.wake_at - now) + 0.001)

    def _giving_back(self, pod: Obj, observed: Observed, *, ending: bool) -> bool:
        """Whether a pod that is over has devices yet: nobody hears of its end before they are given back."""
        if not self.context.devices.holds(self.uid) or any(container.running for container in observed.every()):
            return False
        if not ending and not restarts.complete(pod, observed):
            return False
        self._jobs.launch("devices", self._give_back())
        return True

    async def _give_back(self) -> None:
        try:
            await self.context.devices.release(self.uid)
        except CRIError as err:
            # As long as a driver is away the pod waits for it.
            log.warning("pod %s: devices are given back later: %s", view.full_name(self.pod), err)
            await asyncio.sleep(_DEVICES_SECONDS)

    def _adopt(self) -> None:
        self._adopted = True
        if any(payload.wanted(self.pod)) or payload.shows_metadata(self.pod):
            # What changed meanwhile is caught up with, and from here on changes and expiring tokens are seen.
            self._volumes.stale = self.records.observed().sandbox is not None
        self._observer.adopt(self.pod, self, self.starter.pod_ip(self.pod))
        self._resizer.adopt(self.pod)

    async def _check_in(self) -> None:
        """A pod that the node does not take has failed."""
        self._checked = True
        refusal = await checkin.refusal(self.context, self.pod, begun=bool(self.records.sandboxes))
        if refusal is None:
            return
        self.starter.event(self.pod, "Warning", refusal.reason, refusal.message)
        self.memory.rejected = True
        self.memory.evicted = Waiting(refusal.reason, f"Pod was rejected: {refusal.message}")

    def _queued(self, why: str) -> None:
        self.starter.event(self.pod, "Normal", startup.REASON, why)

    def _check_deadline(self, now: float) -> None:
        """Ends a pod that has been active longer than its spec allows (activeDeadlineSeconds)."""
        limit, start = self.pod["spec"].get("activeDeadlineSeconds"), (self.pod.get("status") or {}).get("startTime")
        if limit is None or not start or self.memory.evicted or has_ended(self.pod):
            return
        left = parse_timestamp(start).timestamp() + float(limit) - now
        if left > 0:
            self._jobs.wake_in(left)
            return
        text = "Pod was active on the node longer than the specified deadline"
        self.memory.evicted = Waiting("DeadlineExceeded", text)
        self.starter.event(self.pod, "Normal", "DeadlineExceeded", text)
        self._cancel_starts()

    def evict(self, why: Waiting, grace: int, disruption: str, *, quiet: bool = False) -> None:
        """The node can not keep the pod. grace: seconds; disruption: the reason of its condition; quiet: no event."""
        self.memory.evicted, self.memory.grace, self.memory.disruption = why, grace, disruption
        if not quiet:
            self.starter.event(self.pod, "Warning", why.reason, why.message)
        self._cancel_starts()
        self._jobs.wake.set()

    # Acting

    def _act(self, pod: Obj, action: Action) -> None:
        launch = self._jobs.launch
        match action:
            case CreateSandbox():
                launch("", self.starter.sandbox(pod, action), busy="")
            case StartContainer(name=name):
                launch(f"start {name}", self._start(pod, action), busy=name)
            case KillContainer(id=target, renew=renew):
                if renew:
                    self.memory.renewed.add(target)
                ip = self.starter.pod_ip(pod)
                launch(f"kill {target}", stopper.kill(self.context, self.records, self.memory, pod, action, ip))
            case StopSandbox(id=target):
                launch(f"stop {target}", self._stop_sandbox(target))
            case RemoveContainer(id=target):
                launch(f"remove {target}", self.records.remove_container(target))
            case RemoveSandbox(id=target):
                launch(f"remove {target}", self.records.remove_sandbox(target))
            case ResizePod():
                launch("resize", self._resizer.apply(pod, action))
            case ResetContainers(ids=ids):
                launch("reset", self._reset(ids))
            case FinishDeletion() if not self.context.devices.holds(self.uid):
                launch("finish", self._finish())

    def _job_ended(self, cut_short: bool) -> None:
        if cut_short:
            self._observer.stale = True

    async def _start(self, pod: Obj, action: StartContainer) -> None:
        await self.starter.container(pod, action)
        why = self.memory.waiting.get(action.name)
        if why is not None and why.reason in PULL_REASONS:
            asyncio.get_running_loop().call_later(_PULL_BACKOFF_SHOWS, self._show_pull_backoff, action.name)

    def _show_pull_backoff(self, name: str) -> None:
        if not self._done and not view.deleting(self.pod):
            self.starter.back_off_pull(self.pod, name)
            self._jobs.wake.set()

    async def _reset(self, ids: tuple[str, ...]) -> None:
        """The API knows first what ran how often: the runtime forgets it here."""
        await self._reporter.flush()
        for container_id in ids:
            self.context.prober.forget(container_id)
            await self.records.remove_container(container_id)

    async def _stop_sandbox(self, sandbox_id: str) -> None:
        await self.context.runtime.stop_pod_sandbox(sandbox_id)
        await self.records.sandbox(sandbox_id)

    async def _finish(self) -> None:
        """The final status and the deletion in the API first, so that whoever waits does; cleaning up follows."""
        self.context.book.release(self.uid)
        if not self._removed:
            await self._reporter.flush()
            if not self._static:
                await stopper.delete_from_api(self.context, self.pod)
        await stopper.sweep(self.context, self.pod, self.uid, self.records)
        self._done = True
        self._reporter.close()
        self._jobs.stop_timer()
        self._gone(self.uid)
        self._jobs.wake.set()

    def _cancel_starts(self) -> None:
        """A pod that is to end starts nothing more; a sandbox being made is waited for."""
        self._jobs.cancel("start ")

    def _written(self, pod: Obj) -> None:
        if self._static:
            self.mirrored(pod)
            return
        if view.uid(pod) != self.uid or compare.version(pod) < compare.version(self.pod):
            return
        if compare.asked(pod) != compare.asked(self.pod):
            # The answer brings news that the watch will bring a moment later.
            self.update(pod)
            return
        finished = has_ended(pod) and not has_ended(self.pod)
        self.pod = pod
        if finished:
            self._jobs.wake.set()

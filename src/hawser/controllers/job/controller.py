"""Jobs: pods that run to completion, as many and as often as asked for.

Source: "Jobs"; API reference, Job v1 batch. Reasons, messages and events are kube-controller-manager's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from time import perf_counter

from hawser.api.errors import APIError
from hawser.api.kinds import JOB
from hawser.api.selectors import LabelSelector
from hawser.api.types import Obj
from hawser.client.controller import Controller, Manager, controller_of
from hawser.client.informer import key_of
from hawser.controllers.job import backoff, pods, template
from hawser.controllers.job.backoff import Record
from hawser.controllers.job.counts import Counts
from hawser.controllers.job.plan import Outcome, Work, deadline, is_finished, outcome, work
from hawser.controllers.job.status import events, status, to_release
from hawser.controllers.job.view import View, is_orderly
from hawser.controllers.own_writes import OwnWrites
from hawser.controllers.pod_control import PodControl, is_namespace_terminating
from hawser.controllers.tally import ACTIVE, count

# Keys of pods that may hold a finalizer for a Job that will not count them; no namespace has a colon in it.
_POD = "pod:"
_OVER = "job pods that are over"
_INDEXES, _RESTARTS = "job pods' indexes", "job pods' restarts"
# What happens to pods in so short a time is written to the Job at once.
_BATCH_SECONDS = 0.05


@dataclass(slots=True)
class _Step:
    """How far the work on a Job has come."""

    todo: Work | None = None


class JobController(Controller):
    """See the module."""

    name = "job-controller"
    workers = 5

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._clock = manager.clock
        self._recorder = manager.recorder("job-controller")
        self._jobs = manager.informer(JOB)
        self._pods = PodControl(manager, self._recorder, JOB, finalizer=pods.FINALIZER, tallied=True)
        self._pods.informer.add_index(_OVER, pods.over_of)
        self._pods.informer.add_tally(_INDEXES, pods.active_index_of)
        self._pods.informer.add_tally(_RESTARTS, pods.restarts_of)
        self._records: dict[str, tuple[str, Record]] = {}
        self._counts = Counts()
        self._written = OwnWrites(self._jobs)
        self._jobs.on_change(self._job_changed)
        self._pods.informer.on_change(self._pod_changed)
        self._pods.on_orphan(self._enqueue_adopters)

    def exposed(self) -> Iterable[str]:
        return self._counts.lines()

    def _job_changed(self, old: Obj | None, new: Obj | None) -> None:
        if not self._written.has(new):
            self.enqueue(old, new)
        if old is None and new is not None and not _is_ours(new):
            self._counts.external(new)
        if new is None or is_finished(new):
            job = new or old
            assert job is not None
            for pod in self._pods.owned(job["metadata"]["uid"]):
                self._look_at(pod)

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        self._counts.pod_changed(old, new)
        for pod in (old, new):
            owner = controller_of(pod) if pod is not None else None
            if pod is not None and owner is not None and owner["kind"] == "Job":
                self.queue.add_after(f"{pod['metadata']['namespace']}/{owner['name']}", _BATCH_SECONDS)
        if new is not None and not pods.is_counted(new) and self._job_of(new) is None:
            self._look_at(new)

    def _enqueue_adopters(self, pod: Obj) -> None:
        for job in self._jobs.list(pod["metadata"]["namespace"]):
            if _selector(job).matches(pod["metadata"].get("labels")):
                self.enqueue(None, job)

    def _look_at(self, pod: Obj) -> None:
        if not pods.is_counted(pod):
            self.queue.add(_POD + key_of(pod))

    def _job_of(self, pod: Obj) -> Obj | None:
        """The unfinished Job that controls the pod."""
        owner = controller_of(pod)
        if owner is None or owner["kind"] != "Job":
            return None
        job = self._jobs.get(pod["metadata"]["namespace"], owner["name"])
        if job is None or job["metadata"]["uid"] != owner["uid"] or is_finished(job):
            return None
        return job

    async def reconcile(self, key: str) -> float | None:
        if key.startswith(_POD):
            await self._release_orphan(key.removeprefix(_POD))
            return None
        job = self._jobs.get_key(key)
        if job is None or is_finished(job):
            self._records.pop(key, None)
            return None
        if not _is_ours(job) or await self._pods.claim(job, _selector(job)) is None:
            return None
        return await self._advance(key, job)

    async def _advance(self, key: str, job: Obj) -> float | None:
        """Goes on, step by step, until the Job has to wait for something."""
        began = perf_counter()
        step = _Step()
        try:
            again = await self._steps(key, job, step)
        except Exception:
            self._counts.synced(job, step.todo, True, perf_counter() - began)
            raise
        self._counts.synced(job, step.todo, False, perf_counter() - began)
        return again

    async def _steps(self, key: str, job: Obj, step: _Step) -> float | None:
        ending: Outcome | None = None
        failure: APIError | None = None
        asked: set[str] = set()
        while True:
            now = self._clock.now()
            view = self._view(job)
            record = self._record(key, view)
            ending = ending or outcome(view, now)
            todo = step.todo
            if todo is None:
                todo = step.todo = work(view, ending, record, now)
                failure = await self._do(view, todo)
                if todo.create or todo.delete:
                    continue
            wanted = status(view, ending, now)
            if wanted != view.old:
                job = await self._write(job, wanted)
            elif released := [p for p in to_release(view, ending) if p["metadata"]["uid"] not in asked]:
                asked.update(pod["metadata"]["uid"] for pod in released)
                await asyncio.gather(*(self._pods.let_go(pod) for pod in released))
                self._counts.released(job, released)
            else:
                break
            if is_finished(job):
                self._records.pop(key, None)
                return None
        if failure is not None:
            raise failure
        # Pods that are active still are to end: it is only now that the deadline has passed.
        waits = (todo.look_again, None if ending and not view.active else deadline(view, now))
        return min((wait for wait in waits if wait is not None), default=None)

    def rest(self, key: str) -> float:
        job = self._jobs.get_key(key)
        return self._pods.rest(job["metadata"]["uid"]) if job is not None else 0.0

    def _view(self, job: Obj) -> View:
        uid, selector = job["metadata"]["uid"], _selector(job)
        owned = self._pods.owned(uid)
        if self._pods.all_match(uid, selector):
            tally, over = dict(self._pods.tally(uid)), self._pods.owned(uid, _OVER)
            if not self._pods.is_exact:
                return View(job, owned, tally, over)
            informer = self._pods.informer
            restarted = sum(times * number for times, number in informer.tally(_RESTARTS, uid).items())
            orderly = is_orderly(job, informer.tally(_INDEXES, uid), count(tally, *ACTIVE))
            return View(job, owned, tally, over, orderly, restarted)
        return View.of(job, [pod for pod in owned if selector.matches(pod["metadata"].get("labels"))])

    def _record(self, key: str, view: View) -> Record:
        """Failures in a row of the Job's pods."""
        uid = view.job["metadata"]["uid"]
        known = self._records.get(key)
        first = known is None or known[0] != uid
        record = Record() if first or known is None else known[1]
        # All that has ended since the last look is over and not yet counted.
        succeeded = [pod for pod in (view.pods if first else view.over) if pods.phase(pod) == "Succeeded"]
        record = backoff.latest(record, succeeded, [pod for pod in view.over if pods.is_failed(pod, view.job)])
        self._records[key] = uid, record
        return record

    async def _do(self, view: View, todo: Work) -> APIError | None:
        if todo.delete:
            if todo.uncounted:
                await asyncio.gather(*(self._pods.let_go(pod) for pod in todo.delete))
            return await self._pods.delete_all(view.job, todo.delete)
        replaced = view.delayed if todo.create and view.indexed else {}
        bodies = [
            template.pod(view.job, index, replaced.get(index) if index is not None else None) for index in todo.create
        ]
        failure = await self._pods.create_all(view.job, bodies)
        return None if failure is None or is_namespace_terminating(failure) else failure

    async def _write(self, job: Obj, wanted: Obj) -> Obj:
        written = await self._client.update(JOB, {**job, "status": wanted}, subresource="status")
        self._written.observe(written)
        self._counts.written(job, wanted)
        for kind, reason, message in events(job, wanted):
            self._recorder.event(job, kind, reason, message)
        return written

    async def _release_orphan(self, key: str) -> None:
        """Lets a pod go that nobody will count: its Job is gone or finished."""
        pod = self._pods.informer.get_key(key)
        if pod is None or pods.is_counted(pod) or self._job_of(pod) is not None:
            return
        owner = controller_of(pod)
        if owner is not None:
            if owner["kind"] != "Job" or not owner["apiVersion"].startswith("batch/"):
                return
            job = self._jobs.get(pod["metadata"]["namespace"], owner["name"])
            same = job is not None and job["metadata"]["uid"] == owner["uid"]
            if same and job is not None and not _is_ours(job):
                return
        await self._pods.let_go(pod)


def _is_ours(job: Obj) -> bool:
    """Whether no other controller is asked to manage the Job (KEP-4368)."""
    return bool(job["spec"].get("managedBy", pods.OWN_NAME) == pods.OWN_NAME)


def _selector(job: Obj) -> LabelSelector:
    return LabelSelector.from_object(job["spec"].get("selector"))

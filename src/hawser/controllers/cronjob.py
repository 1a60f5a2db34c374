"""CronJobs: a Job each time that a schedule says.

Source: "CronJob"; API reference, CronJob v1 batch. What decides is in ``cronjob_plan``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo
from pathlib import Path

from hawser.api.errors import APIError
from hawser.api.kinds import CRON_JOB, JOB
from hawser.api.types import Obj
from hawser.client.clock import timestamp
from hawser.client.controller import Controller, Manager
from hawser.client.informer import key_of
from hawser.controllers import cronjob_plan, pods
from hawser.controllers.pod_control import is_namespace_terminating
from hawser.exposition import exponential
from hawser.series import Histograms

# Clocks are set and zones change: no timer runs longer than this.
_LONGEST_WAIT = 600.0


class CronJobController(Controller):
    """See the module."""

    name = "cronjob-controller"
    workers = 5

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._clock = manager.clock
        self._recorder = manager.recorder("cronjob-controller")
        self._local = local_zone()
        text = "Time between when a cronjob is scheduled to be run, and when the corresponding job is created"
        name = "cronjob_controller_job_creation_skew_duration_seconds"
        self._skew = Histograms(name, text, (), exponential(1.0, 2.0, 10))
        self._cron_jobs = manager.informer(CRON_JOB)
        self._jobs = manager.informer(JOB)
        self._jobs.add_index("owner", pods.owner_uids)
        self._cron_jobs.on_change(self._changed)
        self._jobs.on_change(self.enqueue_owner("CronJob"))

    def exposed(self) -> Iterable[str]:
        return self._skew.lines()

    def _changed(self, old: Obj | None, new: Obj | None) -> None:
        if old is None or new is None or not cronjob_plan.is_rescheduled(old, new):
            self.enqueue(old, new)
            return
        due = cronjob_plan.due(new, new.get("status") or {}, self._clock.now(), self._local)
        self.queue.add_after(key_of(new), 0 if due.wait is None else min(due.wait, _LONGEST_WAIT))

    async def reconcile(self, key: str) -> float | None:
        cron_job = self._cron_jobs.get_key(key)
        if cron_job is None:
            return None
        jobs = self._jobs.by_index("owner", cron_job["metadata"]["uid"])
        status, events = cronjob_plan.settle(cron_job, jobs, await self._gone(cron_job, jobs))
        due = cronjob_plan.due(cron_job, status, self._clock.now(), self._local)
        failure: APIError | None = None
        for kind, reason, message in (*events, *due.events):
            self._recorder.event(cron_job, kind, reason, message)
        if due.start is not None:
            try:
                await self._start(cron_job, status, due.start)
            except APIError as err:
                failure = err
        if not pods.is_terminating(cron_job):
            for job in cronjob_plan.expired(cron_job, jobs):
                await self._delete(cron_job, job)
        if status != (cron_job.get("status") or {}):
            written = await self._client.update(CRON_JOB, {**cron_job, "status": status}, subresource="status")
            self._cron_jobs.observe(written)
        if failure is not None and not is_namespace_terminating(failure):
            raise failure
        return None if due.wait is None else min(due.wait, _LONGEST_WAIT)

    async def _gone(self, cron_job: Obj, jobs: list[Obj]) -> set[str]:
        """Uids of Jobs in the active list that the server does not have; the cache may not have them yet."""
        known = {job["metadata"]["uid"] for job in jobs}
        gone = set()
        for reference in (cron_job.get("status") or {}).get("active") or ():
            if reference.get("uid") not in known and not await self._exists(reference):
                gone.add(reference.get("uid"))
        return gone

    async def _exists(self, reference: Obj) -> bool:
        try:
            await self._client.get(JOB, reference["name"], reference["namespace"])
        except APIError as err:
            if err.code != 404:
                raise
            return False
        return True

    async def _start(self, cron_job: Obj, status: Obj, start: datetime) -> None:
        """Makes the Job of a run, and deletes others before when they are to be replaced. Changes the status."""
        active = list(status.get("active") or ())
        if cron_job["spec"].get("concurrencyPolicy") == "Replace":
            for reference in active:
                await self._replace(cron_job, reference)
                active = [r for r in active if r.get("uid") != reference.get("uid")]
                cronjob_plan.put_active(status, active)
        made = await self._create(cron_job, cronjob_plan.job(cron_job, start))
        if made is None or any(reference.get("uid") == made["metadata"]["uid"] for reference in active):
            return
        self._skew.of().observe(max(0.0, (self._clock.now() - start).total_seconds()))
        metadata = made["metadata"]
        fields = ("name", "namespace", "uid", "resourceVersion")
        reference = {"kind": "Job", "apiVersion": "batch/v1", **{field: metadata[field] for field in fields}}
        cronjob_plan.put_active(status, [*active, reference])
        status["lastScheduleTime"] = timestamp(start)

    async def _replace(self, cron_job: Obj, reference: Obj) -> None:
        try:
            job = await self._client.get(JOB, reference["name"], reference["namespace"])
        except APIError as err:
            self._recorder.event(cron_job, "Warning", "FailedGet", f"Get job: {err.message}")
            raise
        if not await self._delete(cron_job, job):
            name = f"{reference['namespace']}/{reference['name']}"
            raise APIError(500, "InternalError", f"could not replace job {name}")

    async def _create(self, cron_job: Obj, body: Obj) -> Obj | None:
        """The Job; one that a former life of this controller has made is taken for it. None: it is somebody else's."""
        name, namespace = body["metadata"]["name"], body["metadata"]["namespace"]
        try:
            made = await self._client.create(JOB, body)
        except APIError as err:
            if err.reason == "AlreadyExists":
                known = await self._client.get(JOB, name, namespace)
                return known if cron_job["metadata"]["uid"] in pods.owner_uids(known) else None
            if not is_namespace_terminating(err):
                self._recorder.event(cron_job, "Warning", "FailedCreate", f"Error creating job: {err.message}")
            raise
        self._jobs.observe(made)
        self._recorder.event(cron_job, "Normal", "SuccessfulCreate", f"Created job {name}")
        return made

    async def _delete(self, cron_job: Obj, job: Obj) -> bool:
        metadata = job["metadata"]
        try:
            await self._client.delete(
                JOB, metadata["name"], metadata["namespace"], uid=metadata["uid"], propagation="Background"
            )
        except APIError as err:
            if err.code != 404:
                self._recorder.event(cron_job, "Warning", "FailedDelete", f"Deleted job: {err.message}")
                return False
            return True
        self._recorder.event(cron_job, "Normal", "SuccessfulDelete", f"Deleted job {metadata['name']}")
        return True


def local_zone() -> tzinfo:
    """The time zone of this process, which schedules without one mean."""
    from zoneinfo import ZoneInfo

    name, machine = os.environ.get("TZ", "").removeprefix(":"), Path("/etc/localtime")
    try:
        if name:
            return ZoneInfo(name)
        with machine.open("rb") as file:
            return ZoneInfo.from_file(file, "Local")
    except (OSError, ValueError, KeyError):
        return UTC

"""Jobs that have finished go after ttlSecondsAfterFinished, with their pods.

Source: "Automatic Cleanup for Finished Jobs"; API reference, JobSpec.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from hawser.api.errors import APIError
from hawser.api.kinds import JOB
from hawser.api.status import condition
from hawser.api.types import Obj
from hawser.client.clock import parse_timestamp
from hawser.client.controller import Controller, Manager
from hawser.client.informer import key_of
from hawser.controllers import pods
from hawser.exposition import exponential
from hawser.series import Histograms


def expires_in(job: Obj, now: datetime) -> float | None:
    """Seconds until the Job may go; None when it has not finished, is going or stays."""
    left = _left(job, now)
    return None if left is None else max(0.0, left)


def _left(job: Obj, now: datetime) -> float | None:
    ttl = job["spec"].get("ttlSecondsAfterFinished")
    if ttl is None or pods.is_terminating(job):
        return None
    for kind in ("Complete", "Failed"):
        ended = condition(job, kind)
        if ended is not None and ended["status"] == "True":
            return float(ttl) - (now - parse_timestamp(ended["lastTransitionTime"])).total_seconds()
    return None


class TTLAfterFinishedController(Controller):
    """See the module."""

    name = "ttl-after-finished-controller"
    workers = 5

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._clock = manager.clock
        self._jobs = manager.informer(JOB)
        text = "The time it took to delete the job since it became eligible for deletion"
        name = "ttl_after_finished_controller_job_deletion_duration_seconds"
        self._late = Histograms(name, text, (), exponential(0.1, 2.0, 14))
        self._jobs.on_change(self._changed)

    def exposed(self) -> Iterable[str]:
        return self._late.lines()

    def _changed(self, old: Obj | None, new: Obj | None) -> None:
        wait = None if new is None else expires_in(new, self._clock.now())
        if new is not None and wait is not None:
            self.queue.add_after(key_of(new), wait)

    async def reconcile(self, key: str) -> float | None:
        job = self._jobs.get_key(key)
        wait = None if job is None else expires_in(job, self._clock.now())
        if job is None or wait is None or wait > 0:
            return wait
        metadata = job["metadata"]
        try:
            # The cache may not know that it was given more time.
            live = await self._client.get(JOB, metadata["name"], metadata["namespace"])
            wait = expires_in(live, self._clock.now())
            if wait == 0:
                uid = live["metadata"]["uid"]
                await self._client.delete(
                    JOB, metadata["name"], metadata["namespace"], uid=uid, propagation="Foreground"
                )
                self._late.of().observe(-(_left(live, self._clock.now()) or 0.0))
        except APIError as err:
            if err.code != 404:
                raise
            return None
        return wait or None

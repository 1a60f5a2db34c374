"""Keeping a running pod's volumes up to date: changed objects, changed metadata, tokens before they expire."""

from __future__ import annotations

from hawser.api.status import has_ended
from hawser.api.types import Obj
from hawser.node.pod import view
from hawser.node.pod.context import Context
from hawser.node.pod.jobs import Jobs
from hawser.node.pod.starter import Starter

_RETRY_SECONDS = 60.0


class Volumes:
    """One pod's volumes. stale: whether their files are to be made anew."""

    def __init__(self, context: Context, starter: Starter, jobs: Jobs) -> None:
        self._context = context
        self._starter = starter
        self._jobs = jobs
        self._refreshed_at = 0.0
        self.stale = False

    def keep(self, pod: Obj, now: float) -> None:
        """Brings them up to date when that is due, and arranges the next time. now: seconds since the epoch."""
        self._renew_tokens(pod, now)
        if self.stale and "volumes" not in self._jobs:
            self.stale, self._refreshed_at = False, now
            self._jobs.launch("volumes", self._update(pod))

    def _renew_tokens(self, pod: Obj, now: float) -> None:
        due = self._context.objects.renewal(view.uid(pod))
        if due is None or view.deleting(pod) or has_ended(pod):
            return
        due = max(due, self._refreshed_at + _RETRY_SECONDS)
        if due <= now:
            self.stale = True
        else:
            self._jobs.wake_in(due - now + 0.001)

    async def _update(self, pod: Obj) -> None:
        await self._starter.volumes(pod, only_payload=True)

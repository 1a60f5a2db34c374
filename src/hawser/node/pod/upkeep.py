"""Keeping a running pod's volumes up to date: changed objects, changed metadata, expiring tokens, claims that grow."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from hawser.api.pod_claims import claims_of
from hawser.api.status import has_ended
from hawser.api.types import Obj
from hawser.node.pod import view
from hawser.node.pod.context import Context
from hawser.node.pod.jobs import Jobs
from hawser.node.pod.starter import Starter

_RETRY_SECONDS = 60.0
_GROWTH_SECONDS = 10.0


class _Chore:
    """Work on a running pod's volumes that is done again and again, as long as it says that there is any."""

    def __init__(self, name: str, seconds: float, work: Callable[[Obj], Awaitable[bool]], jobs: Jobs) -> None:
        self._name = name
        self._seconds = seconds
        self._work = work
        self._jobs = jobs
        self._due = 0.0
        self._over = False

    def keep(self, pod: Obj, now: float) -> None:
        """Does it when it is due, and arranges the next time."""
        if self._over:
            return
        if not self._due:
            self._due = now + self._seconds
        if now < self._due:
            self._jobs.wake_in(self._due - now + 0.001)
        elif self._name not in self._jobs:
            self._due = now + self._seconds
            self._jobs.launch(self._name, self._do(pod))

    async def _do(self, pod: Obj) -> None:
        self._over = not await self._work(pod)


class Volumes:
    """One pod's volumes. stale: whether their files are to be made anew."""

    def __init__(self, context: Context, starter: Starter, jobs: Jobs) -> None:
        self._context = context
        self._starter = starter
        self._jobs = jobs
        self._refreshed_at = 0.0
        self._chores: list[_Chore] | None = None
        self.stale = False

    def keep(self, pod: Obj, now: float) -> None:
        """Brings them up to date when that is due, and arranges the next time. now: seconds since the epoch."""
        self._renew_tokens(pod, now)
        if (pod.get("status") or {}).get("phase") == "Running" and not view.deleting(pod):
            if self._chores is None:
                self._chores = self._wanted(pod)
            for chore in self._chores:
                chore.keep(pod, now)
        if self.stale and "volumes" not in self._jobs:
            self.stale, self._refreshed_at = False, now
            self._jobs.launch("volumes", self._update(pod))

    def _wanted(self, pod: Obj) -> list[_Chore]:
        """Most pods have no volumes that want anything."""
        claims, seconds = bool(claims_of(pod)), self._context.sync_seconds
        made = []
        if claims:
            made.append(_Chore("growth", min(_GROWTH_SECONDS, seconds), self._context.volumes.grow, self._jobs))
        if claims or any("csi" in volume for volume in pod["spec"].get("volumes") or ()):
            made.append(_Chore("publishing", seconds, self._starter.publish_again, self._jobs))
        return made

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

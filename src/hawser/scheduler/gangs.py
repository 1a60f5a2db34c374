"""PodGroups: which of them there are, watched from the first pod on that is of one.

Source: the coscheduling plugin of kubernetes-sigs/scheduler-plugins, whose CustomResourceDefinition a cluster needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hawser.api.kind import Kind
from hawser.api.types import Obj
from hawser.client.controller import Manager
from hawser.client.informer import Informer
from hawser.scheduler.hints import Concerns, refused_by

POD_GROUP = Kind("scheduling.x-k8s.io", "v1alpha1", "PodGroup", "podgroups", True)
_PATIENCE_SECONDS = 2.0
_PERMIT_SECONDS = 60


class Gangs:
    """Looks PodGroups up. wake: called with whom a change may help."""

    def __init__(self, manager: Manager, wake: Callable[[Concerns], None]) -> None:
        self._manager = manager
        self._wake = wake
        self._groups: Informer | None = None

    @property
    def ready(self) -> bool:
        """Whether PodGroups are watched."""
        return self._groups is not None

    async def start(self) -> None:
        """Begins to watch PodGroups; a cluster that has no such kind has none until it is defined."""
        if self._groups is None:
            groups = self._manager.informer(POD_GROUP)
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    await groups.synced()
            except TimeoutError:
                pass
            self._groups = groups
            groups.on_change(lambda old, new: self._wake(refused_by("Coscheduling")))
            from hawser.scheduler.group_status import GroupStatusController

            self._manager.add(GroupStatusController())

    def least(self, gang: str) -> int | None:
        """How many pods of a group must have a node for any to have one; None if there is no such group."""
        spec = self._spec(gang)
        return None if spec is None else int(spec.get("minMember") or 1)

    def patience(self, gang: str) -> float:
        """For how many seconds room is kept for a group that is not whole."""
        return float((self._spec(gang) or {}).get("scheduleTimeoutSeconds") or _PERMIT_SECONDS)

    def _spec(self, gang: str) -> Obj | None:
        group: Obj | None = self._groups.get_key(gang) if self._groups is not None else None
        if group is None or "deletionTimestamp" in group["metadata"]:
            return None
        return group.get("spec") or {}

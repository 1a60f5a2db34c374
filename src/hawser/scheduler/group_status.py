"""The status of PodGroups: how far the pods of each have come.

Source: the PodGroup controller of kubernetes-sigs/scheduler-plugins, which writes it beside the coscheduling plugin.
"""

from __future__ import annotations

from collections.abc import Sequence

from hawser.api.errors import APIError
from hawser.api.kinds import POD
from hawser.api.types import Obj
from hawser.client.controller import Controller, Manager
from hawser.scheduler.gangs import POD_GROUP
from hawser.scheduler.shapes import GANG_LABEL

PENDING, SCHEDULING, RUNNING, FINISHED, FAILED = "Pending", "Scheduling", "Running", "Finished", "Failed"
_COUNTS = {"Running": "running", "Succeeded": "succeeded", "Failed": "failed"}


def status(group: Obj, pods: Sequence[Obj]) -> Obj:
    """The status that follows the group's own. pods: its pods. Pure; ends in one that follows itself.

    A group begins as Pending, is Scheduling from when it has enough pods, and stays as it is once it has ended.
    """
    old: Obj = group.get("status") or {}
    least = int((group.get("spec") or {}).get("minMember") or 1)
    phase = old.get("phase") or ""
    if phase in (FINISHED, FAILED):
        return old
    if not phase:
        return {**old, "phase": PENDING}
    if phase == PENDING:
        if len(pods) < least:
            return old
        return {**old, "phase": SCHEDULING, **_occupier(pods)}
    phases = [(pod.get("status") or {}).get("phase") for pod in pods]
    counts = {field: phases.count(word) for word, field in _COUNTS.items()}
    made: Obj = {key: value for key, value in old.items() if key not in counts}
    made |= {field: count for field, count in counts.items() if count}
    going = counts["running"] + counts["succeeded"]
    if len(pods) < least:
        made["phase"] = PENDING
    elif counts["succeeded"] >= least:
        made["phase"] = FINISHED
    elif counts["failed"] and counts["failed"] + going >= least:
        made["phase"] = FAILED
    else:
        made["phase"] = RUNNING if going >= least else SCHEDULING
    return made


def _occupier(pods: Sequence[Obj]) -> Obj:
    """Whose pods fill the group, as the first of them says."""
    metadata = pods[0]["metadata"] if pods else {}
    names = sorted(f"{metadata['namespace']}/{owner['name']}" for owner in metadata.get("ownerReferences") or ())
    return {"occupiedBy": ",".join(names)} if names else {}


class GroupStatusController(Controller):
    """Writes it; added with the first pod that is of a group."""

    name = "podgroup-controller"
    workers = 1

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._groups = manager.informer(POD_GROUP)
        self._pods = manager.informer(POD)
        self._pods.add_index("gang", _gangs)
        self._groups.on_change(self.enqueue)
        self._pods.on_change(self._pod_changed)

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        for pod in (old, new):
            for key in _gangs(pod) if pod is not None else ():
                self.queue.add(key)

    async def reconcile(self, key: str) -> float | None:
        group = self._groups.get_key(key)
        if group is None:
            return None
        pods = sorted(self._pods.by_index("gang", key), key=lambda pod: str(pod["metadata"]["name"]))
        before: Obj = group.get("status") or {}
        wanted = status(group, pods)
        while (next_one := status({**group, "status": wanted}, pods)) != wanted:
            wanted = next_one
        if wanted == before:
            return None
        gone = {field: None for field in before if field not in wanted}
        metadata = group["metadata"]
        try:
            written = await self._client.patch(
                POD_GROUP, metadata["name"], metadata["namespace"], {"status": {**wanted, **gone}}, subresource="status"
            )
        except APIError as err:
            # A group that is gone, or a definition of the kind that keeps no status.
            if err.code != 404:
                raise
            return None
        self._groups.observe(written)
        return None


def _gangs(pod: Obj) -> list[str]:
    name = (pod["metadata"].get("labels") or {}).get(GANG_LABEL)
    return [f"{pod['metadata']['namespace']}/{name}"] if name else []

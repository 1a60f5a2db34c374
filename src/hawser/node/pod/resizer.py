"""Resizing a running pod: grants what fits the node, then gives it to the containers and the pod's cgroup.

Source: KEP-1287; events and conditions are kubelet's.
"""

from __future__ import annotations

import json

from hawser.api.status import has_ended
from hawser.api.types import Obj
from hawser.node.cri.errors import CRIError
from hawser.node.pod import resizing, resources, view
from hawser.node.pod.actions import ResizePod
from hawser.node.pod.context import Context
from hawser.node.pod.jobs import Jobs
from hawser.node.pod.observed import Memory, Waiting
from hawser.node.pod.records import Records

_RETRY_SECONDS = 5.0


class Resizer:
    """Resizes one pod."""

    def __init__(self, context: Context, memory: Memory, records: Records, jobs: Jobs) -> None:
        self._context = context
        self._memory = memory
        self._records = records
        self._jobs = jobs

    def changed(self, before: Obj, after: Obj) -> None:
        """The pod's spec is another: a resize is remembered with what containers have until then."""
        if not resizing.resized(before, after):
            return
        memory = self._memory
        if memory.grant is None:
            memory.grant = resizing.grant(before)
        self._note_actual(after, memory.grant)
        memory.resize = None

    def adopt(self, pod: Obj) -> None:
        """After a restart of the agent: what the pod was granted, and what its containers have, is in the API."""
        memory, status = self._memory, pod.get("status") or {}
        memory.grant = resizing.known_grant(pod)
        if pod["spec"].get("resources") and status.get("resources"):
            memory.actual[resizing.POD] = status["resources"]
        for field in ("initContainerStatuses", "containerStatuses"):
            for row in status.get(field) or ():
                container = self._records.observed().newest(row["name"])
                spec = view.find(pod, row["name"]) or {}
                if container is None or not container.running or not row.get("containerID", "").endswith(container.id):
                    continue
                if "resources" in row and resizing.differing(row["resources"], spec.get("resources") or {}):
                    memory.actual[container.id] = row["resources"]

    def _note_actual(self, pod: Obj, given: resizing.Grant) -> None:
        if given.get(resizing.POD):
            self._memory.actual.setdefault(resizing.POD, given[resizing.POD])
        for _, spec in view.every_container(pod):
            container = self._records.observed().newest(spec["name"])
            if container is not None and container.running:
                self._memory.actual.setdefault(container.id, given.get(spec["name"], {}))

    def settle(self, pod: Obj) -> None:
        """Grants the resize that the pod waits for, or says why not."""
        memory, book, node = self._memory, self._context.book, self._context.node()
        if memory.grant is None or view.deleting(pod) or has_ended(pod):
            return
        why = resizing.infeasible(pod, (node.get("status") or {}).get("allocatable") or {})
        if why is None and (short := book.lack(pod, node)):
            why = Waiting("Deferred", short)
            # Whoever leaves makes room.
            book.when_released(view.uid(pod), self._jobs.wake.set)
        if why is None:
            memory.grant, memory.resize = None, None
            book.enter(pod)
            self._event(pod, "Normal", "ResizeStarted", "started")
        elif why != memory.resize:
            memory.resize = why
            text = f"Pod resize {why.reason}: {_details(pod)}: {why.message}"
            self._context.recorder.event(pod, "Warning", f"Resize{why.reason}", text)

    def _event(self, pod: Obj, kind: str, reason: str, word: str) -> None:
        self._context.recorder.event(pod, kind, reason, f"Pod resize {word}: {_details(pod)}")

    async def apply(self, pod: Obj, action: ResizePod) -> None:
        """The pod's cgroup is widened first and narrowed last, so that its containers always fit in."""
        context, memory = self._context, self._memory
        parent = resources.cgroup_parent(context.machine.cgroup_root, pod)
        before = {resizing.POD: memory.actual.get(resizing.POD, {})}
        for container_id, name in action.containers:
            before[name] = memory.actual.get(container_id, {})
        wide = resources.pod_resources(resizing.with_grant(pod, {**resizing.grant(pod), **before}))
        narrow = resources.pod_resources(pod)
        context.cgroups.create(parent, _wider(wide, narrow))
        try:
            for container_id, name in action.containers:
                await self._give(pod, parent, container_id, name)
        except (CRIError, ValueError) as err:
            text = err.text if isinstance(err, CRIError) else str(err)
            if text != memory.resize_error:
                context.recorder.event(pod, "Warning", "ResizeError", f"Pod resize error: {_details(pod)}: {text}")
            memory.resize_error, memory.resize_at = text, context.now() + _RETRY_SECONDS
            return
        context.cgroups.create(parent, narrow)
        memory.actual.pop(resizing.POD, None)
        memory.resize_error = ""
        if not action.restarts:
            self._event(pod, "Normal", "ResizeCompleted", "completed")

    async def _give(self, pod: Obj, parent: str, container_id: str, name: str) -> None:
        machine, spec = self._context.machine, view.find(pod, name) or {}
        linux = resources.container_resources(pod, spec, machine.memory, cgroup_v2=machine.cgroup_v2)
        limit = linux.get("memory_limit_in_bytes")
        used = self._context.cgroups.memory_usage(f"{parent}/{container_id}") if limit else 0
        if limit and used > limit:
            raise ValueError(
                f"attempting to set container {json.dumps(name)} memory limit ({limit}) below current usage ({used})"
            )
        await self._context.runtime.update_container_resources(container_id, linux)
        self._memory.actual[container_id] = spec.get("resources") or {}


def _wider(one: Obj, other: Obj) -> Obj:
    """For each limit the larger; what only one of them limits is not limited."""
    return {key: max(one[key], other[key]) for key in one.keys() & other.keys()}


def _details(pod: Obj) -> str:
    """What events tell of a resize: the containers' resources and the generation that asks for them."""
    rows = [{"name": c["name"], "resources": c.get("resources") or {}} for c in view.containers(pod)]
    details: Obj = {"containers": rows, "generation": pod["metadata"].get("generation")}
    if pod["spec"].get("resources"):
        details["resources"] = pod["spec"]["resources"]
    return json.dumps(details, separators=(",", ":"))

"""Looking at a pod in the runtime: what has exited, its last words, and what an earlier agent left running."""

from __future__ import annotations

from pathlib import Path

from hawser.api.types import Obj
from hawser.node.cri.model import Container, Labels
from hawser.node.pod import configs, stopper, view
from hawser.node.pod.context import Context, ProbeSink
from hawser.node.pod.jobs import Jobs
from hawser.node.pod.observed import Memory
from hawser.node.pod.ownfiles import termination_file
from hawser.node.pod.records import Records
from hawser.node.rich import HANDLER, outlived


class Observer:
    """Keeps one pod's records and memory equal to what the runtime has.

    stale: whether the runtime is to be asked for everything of the pod. suspects: ids of what is said to have exited.
    """

    def __init__(self, context: Context, uid: str, memory: Memory, records: Records, jobs: Jobs) -> None:
        self._context = context
        self._uid = uid
        self._memory = memory
        self._records = records
        self._jobs = jobs
        self.stale = True
        self.suspects: set[str] = set()

    async def look(self, pod: Obj) -> None:
        """Asks for no more than what may have changed. Raises CRIError."""
        suspects, self.suspects = self.suspects, set()
        if self.stale:
            self.stale = False
            await self._records.relist()
        for suspect in suspects:
            if not self._records.knows(suspect):
                # It may be what is being started here and has ended before its start was through.
                if self._memory.busy:
                    self.suspects.add(suspect)
                continue
            # What is being stopped here is read when that is done.
            if f"kill {suspect}" not in self._jobs and f"stop {suspect}" not in self._jobs:
                await self._records.settle(suspect)
        for container in list(self._records.containers.values()):
            if container.exited and container.id not in self._memory.messages:
                self._context.prober.forget(container.id)
                self._memory.messages[container.id] = self._last_words(pod, container)
                if container.reason == "OOMKilled" and _outlived(pod, container.id):
                    self._memory.outlived.add(container.id)
                self._memory.doomed.pop(container.id, None)
        if not self._memory.busy:
            self._memory.keep_containers(self._records.containers)

    def log_of(self, pod: Obj, container: Container) -> Path:
        """Where the runtime writes a container's log."""
        name = container.labels.get(Labels.CONTAINER_NAME) or container.name
        folder = Path(configs.log_directory(self._context.machine.root, pod))
        return folder / configs.log_path(name, container.restart_count)

    def _last_words(self, pod: Obj, container: Container) -> str:
        name = container.labels.get(Labels.CONTAINER_NAME) or container.name
        path = termination_file(self._context.folders.pod(self._uid), name, container.attempt)
        return stopper.termination_message(container, path, self.log_of(pod, container))

    def adopt(self, pod: Obj, sink: ProbeSink, pod_ip: str) -> None:
        """Takes over what an earlier agent started: what the API called started and ready stays so until probed."""
        status = pod.get("status") or {}
        rows = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
        for field, spec in view.every_container(pod):
            if field == "ephemeralContainers":
                continue
            container = self._records.observed().newest(spec["name"])
            if container is None or not container.running:
                continue
            row: Obj = next((r for r in rows if r["name"] == spec["name"]), {})
            known = row.get("containerID", "").endswith(container.id)
            self._memory.started[container.id] = bool(known and row.get("started")) or not spec.get("startupProbe")
            self._memory.ready[container.id] = bool(known and row.get("ready")) or not spec.get("readinessProbe")
            started = self._memory.started[container.id]
            self._context.prober.watch(sink, pod, spec, container, pod_ip, started=started)


def _outlived(pod: Obj, container_id: str) -> bool:
    """Whether a container has ended otherwise than by what ran out of memory in it before, as far as anybody knows."""
    if pod["spec"].get("runtimeClassName") != HANDLER:
        return False
    status = pod.get("status") or {}
    for row in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        for state in (row.get("state"), row.get("lastState")):
            told = (state or {}).get("terminated") or {}
            # The journal may be gone when an agent starts anew.
            if str(told.get("containerID", "")).endswith(container_id):
                return bool(told.get("reason") != "OOMKilled")
    return outlived(container_id)

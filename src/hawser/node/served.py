"""What the kubelet API asks about pods, answered from their workers."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import orjson

from hawser.api.errors import APIError, bad_request, not_found
from hawser.api.types import Obj
from hawser.node.cri.errors import CRIError
from hawser.node.cri.model import Container
from hawser.node.pod import configs, view
from hawser.node.pod.worker import Worker
from hawser.node.pods import Pods


class ServedPods:
    """The pods of the node for ``hawser.node.server``. root: the agent's folder. All raise APIError when unknown."""

    def __init__(self, pods: Pods, root: Path) -> None:
        self._pods = pods
        self._root = root

    def pods(self) -> list[Obj]:
        """Every pod of the node."""
        return [worker.pod for worker in self._pods.all()]

    def container_id(self, namespace: str, pod: str, container: str) -> str:
        """The running container's id."""
        worker = self._worker(namespace, pod)
        newest = worker.records.observed().newest(container) if container else None
        if newest is None or not newest.running:
            raise not_found("", "container", container or "")
        return newest.id

    def sandbox_id(self, namespace: str, pod: str) -> str:
        """The id of the pod's running sandbox."""
        sandbox = self._worker(namespace, pod).records.observed().sandbox
        if sandbox is None or not sandbox.ready:
            raise not_found("", "pods", pod)
        return sandbox.id

    def log_path(self, namespace: str, pod: str, container: str, previous: bool) -> Path:
        """The log of the newest container, or of the one before."""
        worker = self._worker(namespace, pod)
        if all(c["name"] != container for _, c in view.every_container(worker.pod)):
            raise bad_request(f"container {container} is not valid for pod {pod}")
        instances = [c for c in worker.records.observed().containers.get(container, ()) if c.running or c.exited]
        if previous:
            # While a crashed container waits for its next start, its last instance is the one before.
            waits = container in worker.memory.waiting or container in worker.memory.busy
            ended = instances[:1] if waits and instances and instances[0].exited else instances[1:2]
            if not ended:
                raise bad_request(f'previous terminated container "{container}" in pod "{pod}" not found')
            return self._path(worker, container, ended[0])
        if not instances:
            raise bad_request(f'container "{container}" in pod "{pod}" is waiting to start: {_why(worker, container)}')
        return self._path(worker, container, instances[0])

    def log_ended(self, namespace: str, pod: str, container: str, path: Path) -> bool:
        """Whether the container that writes this log has ended."""
        found = self._pods.lookup(namespace, pod)
        worker = self._pods.by_uid(view.uid(found)) if found else None
        if worker is None:
            return True
        for instance in worker.records.observed().containers.get(container, ()):
            if self._path(worker, container, instance) == path:
                return not instance.running
        return True

    async def checkpoint(self, namespace: str, pod: str, container: str) -> bytes:
        """Freezes a running container into an archive below the agent's folder; JSON that says where (KEP-2008)."""
        container_id = self.container_id(namespace, pod, container)
        folder = self._root / "checkpoints"
        folder.mkdir(mode=0o700, exist_ok=True)
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        location = folder / f"checkpoint-{pod}_{namespace}-{container}-{moment}.tar"
        try:
            await self._worker(namespace, pod).context.runtime.checkpoint_container(container_id, str(location))
        except CRIError as err:
            text = f"checkpointing of {namespace}/{pod}/{container} failed ({err.text})"
            raise APIError(500, "InternalError", text) from err
        return orjson.dumps({"items": [str(location)]})

    def _path(self, worker: Worker, container: str, instance: Container) -> Path:
        folder = Path(configs.log_directory(str(self._root), worker.pod))
        return folder / configs.log_path(container, instance.restart_count)

    def _worker(self, namespace: str, pod: str) -> Worker:
        found = self._pods.lookup(namespace, pod)
        worker = self._pods.by_uid(view.uid(found)) if found else None
        if worker is None:
            raise not_found("", "pods", pod)
        return worker


def _why(worker: Worker, container: str) -> str:
    waiting = worker.memory.waiting.get(container)
    if waiting is not None and waiting.reason in ("ErrImagePull", "ImagePullBackOff"):
        return "trying and failing to pull image"
    if waiting is not None:
        return waiting.reason
    return "PodInitializing" if view.init_containers(worker.pod) else "ContainerCreating"

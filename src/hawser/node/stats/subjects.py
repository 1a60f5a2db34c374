"""The pods of the node as statistics look at them."""

from __future__ import annotations

from collections.abc import Iterator

from hawser.api.status import has_ended
from hawser.api.types import Obj
from hawser.node.cri.model import Container, Labels
from hawser.node.network.agent import NetworkAgent
from hawser.node.network.links import veth_name
from hawser.node.pod import configs, resources
from hawser.node.pod.worker import Worker
from hawser.node.pods import Pods
from hawser.node.stats.model import Subject
from hawser.node.volumes.errors import VolumeError
from hawser.node.volumes.folders import Folders, is_served


def subjects(pods: Pods, network: NetworkAgent | None) -> Iterator[Subject]:
    """Every pod that has a sandbox."""
    for worker in pods.all():
        if worker.records.sandboxes and not has_ended(worker.pod):
            yield _subject(worker, network)


def claims(pods: Pods) -> bool:
    """Whether any pod has a volume with a claim."""
    return any("persistentVolumeClaim" in v for worker in pods.all() for v in worker.pod["spec"].get("volumes") or ())


def _subject(worker: Worker, network: NetworkAgent | None) -> Subject:
    pod, machine = worker.pod, worker.context.machine
    running: dict[str, Container] = {}
    for container in worker.records.containers.values():
        if container.running:
            running[container.labels.get(Labels.CONTAINER_NAME) or container.name] = container
    sandbox = next((s for s in worker.records.sandboxes.values() if s.ready), None)
    link = ""
    if network is not None and sandbox is not None and network.record(sandbox.id) is not None:
        link = veth_name(network.config.link_prefix, sandbox.id)
    return Subject(
        pod,
        resources.cgroup_parent(machine.cgroup_root, pod),
        sandbox,
        running,
        link,
        configs.log_directory(machine.root, pod),
        _volumes(worker.context.folders, pod),
    )


def _volumes(folders: Folders, pod: Obj) -> dict[str, str]:
    """Where the pod's volumes lie, but for what is the host's or an image's."""
    found = {}
    for volume in pod["spec"].get("volumes") or ():
        if "image" in volume:
            continue
        try:
            path = folders.volume(pod, volume)
        except VolumeError:
            continue
        # Paths of the host, by way of a claim or not, and devices.
        if not path.is_relative_to(folders.pods):
            continue
        # What others serve is looked at by who waits for no answer.
        if is_served(path) or path.exists():
            found[volume["name"]] = str(path)
    return found

"""What the node and its pods use at one moment: the values that summaries and metrics are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hawser.api.types import Obj
from hawser.node.cri.model import Container, Sandbox
from hawser.node.stats.cgroup import Cpu, Memory, Usage
from hawser.node.stats.disk import Disk
from hawser.node.stats.interfaces import Interface


@dataclass(frozen=True, slots=True)
class Subject:
    """A pod to look at. containers: those that run, by name; link: the node's end of its network, "" for none;
    volumes: the folder of each volume that lies on the node's own disk or in memory, by name."""

    pod: Obj
    cgroup: str
    sandbox: Sandbox | None
    containers: Mapping[str, Container]
    link: str = ""
    logs: str = ""
    volumes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Group:
    """A cgroup with what it uses. rate: of CPU now, in nanocores; None until it was looked at twice. at: when."""

    path: str
    usage: Usage
    at: float
    rate: int | None = None

    @property
    def cpu(self) -> Cpu | None:
        return self.usage.cpu

    @property
    def memory(self) -> Memory | None:
        return self.usage.memory


@dataclass(frozen=True, slots=True)
class ContainerUse:
    """A running container. rootfs: its writable layer; logs: all its log files. Disks are None unless asked for."""

    name: str
    container: Container
    group: Group
    rootfs: Disk | None = None
    logs: Disk | None = None


@dataclass(frozen=True, slots=True)
class VolumeUse:
    """A volume of a pod. claim: the name of its PersistentVolumeClaim; ephemeral: counts as the pod's own storage."""

    name: str
    disk: Disk
    claim: str = ""
    ephemeral: bool = True


@dataclass(frozen=True, slots=True)
class PodUse:
    """A pod with its running containers. sandbox: the cgroup of the container that holds its namespaces."""

    subject: Subject
    group: Group
    containers: tuple[ContainerUse, ...]
    sandbox: Group | None = None
    network: tuple[Interface, ...] = ()
    volumes: tuple[VolumeUse, ...] = ()

    @property
    def namespace(self) -> str:
        return str(self.subject.pod["metadata"].get("namespace") or "")

    @property
    def name(self) -> str:
        return str(self.subject.pod["metadata"]["name"])

    @property
    def uid(self) -> str:
        return str(self.subject.pod["metadata"].get("uid") or "")

    def ephemeral(self) -> tuple[int, int]:
        """Bytes and inodes that the pod holds on the node's disk: layers, logs and volumes of its own."""
        disks = [d for c in self.containers for d in (c.rootfs, c.logs) if d is not None]
        disks += [v.disk for v in self.volumes if v.ephemeral]
        return sum(d.used for d in disks), sum(d.inodes_used for d in disks)


@dataclass(frozen=True, slots=True)
class NodeUse:
    """The node as a whole. pods: the cgroup of all pods; agent, runtime: these processes."""

    name: str
    started: float
    group: Group
    memory_capacity: int
    swap_capacity: int
    swap_used: int
    network: tuple[Interface, ...]
    disk: Disk | None
    images: Disk | None
    containers: Disk | None
    processes: int
    processes_limit: int
    pods: Group
    agent: Group
    runtime: Group


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything at one moment; full: with disks."""

    node: NodeUse
    pods: tuple[PodUse, ...]
    at: float
    full: bool

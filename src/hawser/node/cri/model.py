"""What the runtime reports, as small frozen values. Times are seconds since the epoch; 0 means never."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

from hawser.node.cri import schema
from hawser.node.cri.words import usual

NANO = 1e-9


class Labels(StrEnum):
    """Labels and annotations that kubelet writes on sandboxes and containers, and other tools read.

    Source: pkg/kubelet/types and kuberuntime labels, as documented for CRI users (crictl, cAdvisor).
    """

    POD_NAME = "io.kubernetes.pod.name"
    POD_NAMESPACE = "io.kubernetes.pod.namespace"
    POD_UID = "io.kubernetes.pod.uid"
    CONTAINER_NAME = "io.kubernetes.container.name"
    HASH = "io.kubernetes.container.hash"
    RESTART_COUNT = "io.kubernetes.container.restartCount"
    TERMINATION_PATH = "io.kubernetes.container.terminationMessagePath"
    TERMINATION_POLICY = "io.kubernetes.container.terminationMessagePolicy"
    PRE_STOP = "io.kubernetes.container.preStopHandler"
    CONTAINER_PORTS = "io.kubernetes.container.ports"
    GRACE_PERIOD = "io.kubernetes.pod.terminationGracePeriod"
    INSTANCE = "hawser.dev/instance"
    """Which engine of the machine it belongs to; the one label that kubelet does not write."""


class ContainerState(IntEnum):
    """runtime.v1 ContainerState."""

    CREATED = 0
    RUNNING = 1
    EXITED = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A pod sandbox. ips: empty for host network, or until asked with ``pod_sandbox_status``."""

    id: str
    name: str
    namespace: str
    uid: str
    attempt: int
    ready: bool
    created_at: float
    runtime_handler: str = ""
    ips: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    host_network: bool | None = None


@dataclass(frozen=True, slots=True)
class Container:
    """A container. Exit fields and ``image_id`` are known only from ``container_status``; then ``detailed`` is true.

    user: uid, gid and further groups of its first process; stop_signal: as the API names it. Only newer runtimes tell.
    """

    id: str
    name: str
    attempt: int
    sandbox_id: str
    state: ContainerState
    created_at: float
    image: str = ""
    image_ref: str = ""
    started_at: float = 0
    finished_at: float = 0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    log_path: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = ""
    user: tuple[int, int, tuple[int, ...]] | None = None
    detailed: bool = False

    @property
    def pod_uid(self) -> str:
        return self.labels.get(Labels.POD_UID, "")

    @property
    def running(self) -> bool:
        return self.state == ContainerState.RUNNING

    @property
    def exited(self) -> bool:
        return self.state in (ContainerState.EXITED, ContainerState.UNKNOWN)

    @property
    def restart_count(self) -> int:
        """How often the container was started before this instance (kubelet's annotation, else the attempt)."""
        text = self.annotations.get(Labels.RESTART_COUNT, "")
        return int(text) if text.isdigit() else self.attempt


@dataclass(frozen=True, slots=True)
class Image:
    """An image of the runtime. uid is None when the image names its user (``username``) or root by default."""

    id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    size: int
    uid: int | None
    username: str
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class ExecResult:
    """Output of a finished command."""

    stdout: bytes
    stderr: bytes
    exit_code: int


@dataclass(frozen=True, slots=True)
class Version:
    """The runtime's name and version."""

    name: str
    version: str
    api: str


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of the runtime: RuntimeReady, NetworkReady."""

    type: str
    status: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Features:
    """What the runtime says it can do; by default nothing, as of one that is too old to tell.

    handlers: names of the runtime handlers, "" for the default one. user_namespaces, recursive_read_only: the handlers
    that have them. supplemental_groups_policy: whether ``Strict`` works.
    """

    handlers: tuple[str, ...] = ()
    user_namespaces: frozenset[str] = frozenset()
    recursive_read_only: frozenset[str] = frozenset()
    supplemental_groups_policy: bool = False


@dataclass(frozen=True, slots=True)
class Stats:
    """Resource use of one container. cpu_ns counts up; memory figures are bytes, None when unknown."""

    id: str
    name: str
    labels: Mapping[str, str]
    timestamp: float
    cpu_ns: int
    memory_working_set: int | None
    memory_usage: int | None
    memory_rss: int | None
    disk_bytes: int
    disk_inodes: int


@dataclass(frozen=True, slots=True)
class ImageDisk:
    """Where images lie, and bytes and inodes that they take there."""

    mountpoint: str
    used: int
    inodes: int


def sandbox_of(row: Any) -> Sandbox:
    """From runtime.v1 PodSandbox, or PodSandboxStatus (then with addresses)."""
    ips: tuple[str, ...] = ()
    host_network: bool | None = None
    if hasattr(row, "network"):
        ips = tuple(ip for ip in (row.network.ip, *(more.ip for more in row.network.additional_ips)) if ip)
        host_network = row.linux.namespaces.options.network == 2
    return Sandbox(
        id=row.id,
        name=row.metadata.name,
        namespace=row.metadata.namespace,
        uid=row.metadata.uid,
        attempt=row.metadata.attempt,
        ready=row.state == 0,
        created_at=row.created_at * NANO,
        runtime_handler=row.runtime_handler,
        ips=ips,
        labels=dict(row.labels),
        annotations=dict(row.annotations),
        host_network=host_network,
    )


def container_of(row: Any) -> Container:
    """From runtime.v1 Container (a list's row)."""
    return Container(
        id=row.id,
        name=row.metadata.name,
        attempt=row.metadata.attempt,
        sandbox_id=row.pod_sandbox_id,
        state=ContainerState(row.state),
        created_at=row.created_at * NANO,
        image=row.image.image,
        image_ref=row.image_ref,
        labels=dict(row.labels),
        annotations=dict(row.annotations),
    )


def status_of(row: Any, sandbox_id: str) -> Container:
    """From runtime.v1 ContainerStatus, which does not name its sandbox."""
    return Container(
        id=row.id,
        name=row.metadata.name,
        attempt=row.metadata.attempt,
        sandbox_id=sandbox_id,
        state=ContainerState(row.state),
        created_at=row.created_at * NANO,
        image=row.image.image,
        image_ref=row.image_ref,
        started_at=row.started_at * NANO,
        finished_at=row.finished_at * NANO,
        exit_code=row.exit_code,
        reason=row.reason,
        message=usual(row.message),
        log_path=row.log_path,
        labels=dict(row.labels),
        annotations=dict(row.annotations),
        stop_signal=_signal(row) if row.stop_signal else "",
        user=_user(row.user.linux) if row.has("user") and row.user.has("linux") else None,
        detailed=True,
    )


def _user(row: Any) -> tuple[int, int, tuple[int, ...]]:
    """User, group and further groups of a container's first process."""
    return row.uid, row.gid, tuple(row.supplemental_groups)


def signal_value(name: str) -> str:
    """CRI's word for a signal of the API: ``SIGRTMIN+3`` is SIGRTMINPLUS3 there."""
    return name.replace("+", "PLUS").replace("-", "MINUS")


def _signal(row: Any) -> str:
    name = next((name for name, number in schema.cri().enum("Signal").items() if number == row.stop_signal), "")
    return name.replace("PLUS", "+").replace("MINUS", "-")


def image_of(row: Any) -> Image:
    """From runtime.v1 Image."""
    return Image(
        id=row.id,
        tags=tuple(row.repo_tags),
        digests=tuple(row.repo_digests),
        size=row.size,
        uid=row.uid.value if row.has("uid") else None,
        username=row.username,
        pinned=row.pinned,
    )


def features_of(row: Any) -> Features:
    """From runtime.v1 StatusResponse."""
    rows = row.runtime_handlers
    return Features(
        handlers=tuple(handler.name for handler in rows),
        user_namespaces=frozenset(handler.name for handler in rows if handler.features.user_namespaces),
        recursive_read_only=frozenset(handler.name for handler in rows if handler.features.recursive_read_only_mounts),
        supplemental_groups_policy=row.features.supplemental_groups_policy,
    )


def stats_of(row: Any) -> Stats:
    """From runtime.v1 ContainerStats."""

    def value(part: Any, name: str) -> int | None:
        return int(getattr(part, name).value) if part.has(name) else None

    return Stats(
        id=row.attributes.id,
        name=row.attributes.metadata.name,
        labels=dict(row.attributes.labels),
        timestamp=row.cpu.timestamp * NANO,
        cpu_ns=value(row.cpu, "usage_core_nano_seconds") or 0,
        memory_working_set=value(row.memory, "working_set_bytes"),
        memory_usage=value(row.memory, "usage_bytes"),
        memory_rss=value(row.memory, "rss_bytes"),
        disk_bytes=value(row.writable_layer, "used_bytes") or 0,
        disk_inodes=value(row.writable_layer, "inodes_used") or 0,
    )

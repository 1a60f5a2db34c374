"""What is there of a pod: its sandboxes and containers in the runtime, and what the agent remembers of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hawser.api.types import Obj
from hawser.node.cri.model import Container, Labels, Sandbox
from hawser.node.pod.backoff import Backoff


@dataclass(frozen=True, slots=True)
class Observed:
    """A pod in the runtime. sandboxes and every list of containers: newest first. containers: by container name."""

    sandboxes: tuple[Sandbox, ...] = ()
    containers: Mapping[str, tuple[Container, ...]] = field(default_factory=dict)

    @property
    def sandbox(self) -> Sandbox | None:
        """The newest sandbox."""
        return self.sandboxes[0] if self.sandboxes else None

    def newest(self, name: str) -> Container | None:
        """The newest instance of a container."""
        instances = self.containers.get(name, ())
        return instances[0] if instances else None

    def every(self) -> list[Container]:
        """All instances of all containers."""
        return [c for instances in self.containers.values() for c in instances]

    @classmethod
    def of(cls, sandboxes: Iterable[Sandbox], containers: Iterable[Container]) -> Observed:
        """From the runtime's lists, in any order."""
        by_name: dict[str, list[Container]] = {}
        for container in containers:
            by_name.setdefault(container.labels.get(Labels.CONTAINER_NAME, container.name), []).append(container)
        return cls(
            tuple(sorted(sandboxes, key=lambda s: (s.attempt, s.created_at), reverse=True)),
            {
                name: tuple(sorted(instances, key=lambda c: (c.attempt, c.created_at), reverse=True))
                for name, instances in by_name.items()
            },
        )


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a container does not run: reason and message of its waiting state."""

    reason: str
    message: str = ""


SHUTDOWN = Waiting("Terminated", "Pod was terminated in response to imminent node shutdown.")


@dataclass(slots=True)
class Memory:
    """What the agent knows of a pod beyond the runtime's records; lost when the agent restarts, and rebuilt.

    crashes: back-off of containers, by name. doomed: containers (by id) that a failed probe or hook condemns, with
    the message of their Killing event; graces: the seconds they get, when their probe has its own. started, ready:
    results of startup and readiness probes, by container id. hooked: containers whose preStop hook was begun.
    waiting: the last failure of each container's start. retry_at: earliest next try of a container's start, by name;
    "" for the pod's sandbox and volumes. messages: termination messages, by container id. busy: containers (by name)
    that are being started now; "" is the pod's sandbox. evicted: why the node ended the pod; rejected: it never
    ran here. renewed: containers (by id) that run again whatever their restart policy says. hooking: containers whose
    postStart hook has not ended. outlived: rich containers (by id) whose application was started after what ran out of
    memory in them. ending: when the pod's end began. held: why no
    app container may start now. grant: resources by container name that the pod goes
    on with while a resize is not granted; resize: why it is not. actual: resources of containers (by id; "" is the
    pod as a whole) that had others when they were started. resize_error: why giving them what was granted failed;
    resize_at: the next try. grace: seconds that the node gives a pod that it ends, when not the pod's own; disruption:
    the reason of its DisruptionTarget condition then, "" for none.
    """

    crashes: Backoff = field(default_factory=Backoff)
    pulls: Backoff = field(default_factory=Backoff)
    setups: Backoff = field(default_factory=lambda: Backoff(1.0, 60.0))
    doomed: dict[str, str] = field(default_factory=dict)
    graces: dict[str, int] = field(default_factory=dict)
    started: dict[str, bool] = field(default_factory=dict)
    ready: dict[str, bool] = field(default_factory=dict)
    hooked: set[str] = field(default_factory=set)
    waiting: dict[str, Waiting] = field(default_factory=dict)
    retry_at: dict[str, float] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)
    evicted: Waiting | None = None
    rejected: bool = False
    renewed: set[str] = field(default_factory=set)
    hooking: set[str] = field(default_factory=set)
    outlived: set[str] = field(default_factory=set)
    ending: float | None = None
    held: Waiting | None = None
    grant: Mapping[str, Obj] | None = None
    resize: Waiting | None = None
    actual: dict[str, Obj] = field(default_factory=dict)
    resize_error: str = ""
    resize_at: float = 0
    grace: int | None = None
    disruption: str = ""

    def keep_containers(self, known: Iterable[str]) -> None:
        """Drops what is known of instances other than these."""
        ids = {*known, ""}
        tables: tuple[dict[str, Any], ...] = (
            *(self.doomed, self.graces, self.started, self.ready, self.messages),
            self.actual,
        )
        for table in tables:
            for container_id in [i for i in table if i not in ids]:
                del table[container_id]
        self.hooked &= ids
        self.renewed &= ids
        self.outlived &= ids

"""What a pod's worker may be told to do. Each may be cut short at any point: the next plan starts from what is then."""

from __future__ import annotations

from dataclasses import dataclass, field

from hawser.node.pod.observed import Waiting


@dataclass(frozen=True, slots=True)
class CreateSandbox:
    """Prepare volumes and cgroups and run a sandbox."""

    attempt: int


@dataclass(frozen=True, slots=True)
class StopSandbox:
    """Stop a sandbox in which nothing runs any more."""

    id: str


@dataclass(frozen=True, slots=True)
class RemoveSandbox:
    """Remove a dead sandbox that a newer one has replaced."""

    id: str


@dataclass(frozen=True, slots=True)
class StartContainer:
    """Pull if needed, create and start. previous: when the last instance ended, for the back-off; 0 for none."""

    name: str
    attempt: int
    previous: float = 0


@dataclass(frozen=True, slots=True)
class KillContainer:
    """Run preStop, stop the container. message: the words of the Killing event. grace: None for the pod's own.

    renew: it is to run again whatever its restart policy says.
    """

    id: str
    name: str
    message: str
    grace: int | None = None
    renew: bool = False


@dataclass(frozen=True, slots=True)
class RemoveContainer:
    """Remove an instance that is not needed for status or logs any more."""

    id: str


@dataclass(frozen=True, slots=True)
class ResetContainers:
    """Write the status, then remove these containers in their order, running or not: all start anew afterwards."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ResizePod:
    """Give running containers (id and name) what they were granted. restarts: others are started anew for it."""

    containers: tuple[tuple[str, str], ...]
    restarts: bool = False


@dataclass(frozen=True, slots=True)
class FinishDeletion:
    """Nothing runs: write the final status and take the pod out of the API."""


Action = (
    CreateSandbox
    | StopSandbox
    | RemoveSandbox
    | StartContainer
    | KillContainer
    | RemoveContainer
    | ResetContainers
    | ResizePod
    | FinishDeletion
)


@dataclass(frozen=True, slots=True)
class Plan:
    """Actions to take now, all at once; when to plan again; and why containers wait meanwhile.

    ending: the pod's own end has begun, by deletion or otherwise.
    """

    actions: tuple[Action, ...] = ()
    wake_at: float | None = None
    waiting: dict[str, Waiting] = field(default_factory=dict)
    ending: bool = False

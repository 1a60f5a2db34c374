"""What to do about a pod next: a pure function of its spec, what is observed, and the time.

Every action may be cut short at any point: the next plan starts from what the runtime then reports. Source of the
rules: Kubernetes documentation, "Pod Lifecycle", "Init Containers", "Sidecar Containers" (KEP-753).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hawser.api.types import Obj
from hawser.node.cri.model import Container, ContainerState, Labels
from hawser.node.pod import view
from hawser.node.pod.configs import spec_hash
from hawser.node.pod.observed import Memory, Observed, Waiting


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
    """Run preStop, stop the container. message: the words of the Killing event. grace: None for the pod's own."""

    id: str
    name: str
    message: str
    grace: int | None = None


@dataclass(frozen=True, slots=True)
class RemoveContainer:
    """Remove an instance that is not needed for status or logs any more."""

    id: str


@dataclass(frozen=True, slots=True)
class FinishDeletion:
    """Nothing runs: write the final status and take the pod out of the API."""


Action = CreateSandbox | StopSandbox | RemoveSandbox | StartContainer | KillContainer | RemoveContainer | FinishDeletion


@dataclass(frozen=True, slots=True)
class Plan:
    """Actions to take now, all at once; when to plan again; and why containers wait meanwhile."""

    actions: tuple[Action, ...] = ()
    wake_at: float | None = None
    waiting: dict[str, Waiting] = field(default_factory=dict)


def plan(pod: Obj, observed: Observed, memory: Memory, now: float) -> Plan:
    """The next actions for a pod. now: seconds since the epoch."""
    if view.deleting(pod) or view.finished(pod) or memory.evicted:
        return _end(pod, observed, memory)
    sandbox = observed.sandbox
    if sandbox is None or not sandbox.ready:
        return _replace_sandbox(pod, observed, memory, now)
    return _Steps(pod, observed, memory, now).take()


def complete(pod: Obj, observed: Observed) -> bool:
    """Whether the pod has come to its end by itself: nothing of it runs or will run again."""
    policy = view.restart_policy(pod)
    for container in view.init_containers(pod):
        newest = observed.newest(container["name"])
        if not view.is_sidecar(container) and _failed_for_good(policy, newest):
            return True
    if policy == "Always":
        return False
    instances = [observed.newest(c["name"]) for c in view.containers(pod)]
    return all(c is not None and c.exited and not _restarts(policy, c) for c in instances)


def _end(pod: Obj, observed: Observed, memory: Memory) -> Plan:
    if "" in memory.busy:
        # A sandbox that is being made is waited for: cutting it short would leave its parts behind.
        return Plan()
    running = [c for c in observed.every() if c.running]
    sidecars = {c["name"] for c in view.init_containers(pod) if view.is_sidecar(c)}
    apps = [c for c in running if c.labels.get(Labels.CONTAINER_NAME) not in sidecars]
    # Sidecars outlive the app containers that may depend on them (KEP-753).
    if apps or running:
        return Plan(tuple(_kill(c, f"Stopping container {_name(c)}") for c in apps or running))
    ready = [s for s in observed.sandboxes if s.ready]
    if ready:
        return Plan(tuple(StopSandbox(s.id) for s in ready))
    return Plan((FinishDeletion(),)) if view.deleting(pod) else Plan()


def _replace_sandbox(pod: Obj, observed: Observed, memory: Memory, now: float) -> Plan:
    running = [c for c in observed.every() if c.running]
    if running:
        return Plan(tuple(_kill(c, f"Stopping container {_name(c)}") for c in running))
    if complete(pod, observed) or "" in memory.busy:
        return Plan()
    if memory.retry_at.get("", 0) > now:
        return Plan(wake_at=memory.retry_at[""])
    attempt = observed.sandboxes[0].attempt + 1 if observed.sandboxes else 0
    if (
        attempt
        and view.restart_policy(pod) == "Never"
        and any(observed.newest(c["name"]) for c in view.containers(pod))
    ):
        return Plan()
    # Only the newest dead sandbox is kept, for its attempt number.
    older = tuple(RemoveSandbox(s.id) for s in observed.sandboxes[1:])
    return Plan((CreateSandbox(attempt), *older))


class _Steps:
    """One round of planning for a pod whose sandbox is ready."""

    def __init__(self, pod: Obj, observed: Observed, memory: Memory, now: float) -> None:
        assert observed.sandbox is not None
        self.pod = pod
        self.observed = observed
        self.memory = memory
        self.now = now
        self.sandbox_id = observed.sandbox.id
        self.policy = view.restart_policy(pod)
        self.actions: list[Action] = []
        self.waiting: dict[str, Waiting] = {}
        self.wake_at: float | None = None

    def take(self) -> Plan:
        if complete(self.pod, self.observed):
            return self._wind_down()
        if self._initialized():
            for container in view.containers(self.pod):
                self._step(container, self.policy)
        self._prune()
        return Plan(tuple(self.actions), self.wake_at, self.waiting)

    def _wind_down(self) -> Plan:
        running = [c for c in self.observed.every() if c.running]
        if running:
            return Plan(tuple(_kill(c, f"Stopping container {_name(c)}") for c in running))
        return Plan((StopSandbox(self.sandbox_id),))

    def _initialized(self) -> bool:
        """Steps through init containers; whether the app containers may run."""
        inits = view.init_containers(self.pod)
        # Once an app container was created in this sandbox, initialization is over, whatever records are gone.
        begun = any(
            c.sandbox_id == self.sandbox_id for app in view.containers(self.pod) if (c := self._newest(app)) is not None
        )
        for container in inits:
            newest = self._newest(container)
            here = newest is not None and newest.sandbox_id == self.sandbox_id
            if view.is_sidecar(container):
                self._step(container, "Always")
                up = here and newest is not None and newest.running and self.memory.started.get(newest.id, False)
                if not up and not begun:
                    return False
            elif begun or (here and newest is not None and newest.exited and newest.exit_code == 0):
                continue
            else:
                self._step(container, "OnFailure" if self.policy == "Always" else self.policy, again=not here)
                return False
        return True

    def _step(self, container: Obj, policy: str, *, again: bool = False) -> None:
        """One container: start, restart, kill or leave it. again: run it although it was successful before."""
        name = container["name"]
        newest = self._newest(container)
        if name in self.memory.busy and not (newest is not None and newest.running):
            return
        if newest is None:
            self._start(name, self._first_attempt(name))
        elif newest.state == ContainerState.CREATED:
            # Left by an agent that was killed between create and start.
            self.actions.append(RemoveContainer(newest.id))
            self._start(name, newest.attempt + 1)
        elif newest.running:
            self._watch_over(container, newest)
        elif again or _restarts(policy, newest):
            self._restart(name, newest)

    def _watch_over(self, container: Obj, newest: Container) -> None:
        name = container["name"]
        if newest.id in self.memory.doomed:
            message, grace = self.memory.doomed[newest.id], self.memory.graces.get(newest.id)
            self.actions.append(KillContainer(newest.id, name, message, grace))
        elif newest.annotations.get(Labels.HASH, spec_hash(container)) != spec_hash(container):
            self.actions.append(_kill(newest, f"Container {name} definition changed, will be restarted"))

    def _restart(self, name: str, newest: Container) -> None:
        ended = newest.finished_at or newest.created_at
        until = self.memory.crashes.until(name, ended)
        if until > self.now:
            delay = _duration(self.memory.crashes.delay(name))
            text = f"back-off {delay} restarting failed container={name} pod={view.full_name(self.pod)}"
            self.waiting[name] = Waiting("CrashLoopBackOff", text)
            self._wake(until)
            return
        self._start(name, newest.restart_count + 1, ended)

    def _start(self, name: str, attempt: int, previous: float = 0) -> None:
        earliest = self.memory.retry_at.get(name, 0)
        if earliest > self.now:
            if name in self.memory.waiting:
                self.waiting[name] = self.memory.waiting[name]
            self._wake(earliest)
            return
        self.actions.append(StartContainer(name, attempt, previous))

    def _first_attempt(self, name: str) -> int:
        """0, or what follows the API's count when the runtime has lost its record of an earlier instance."""
        status = self.pod.get("status") or {}
        for field_name in ("initContainerStatuses", "containerStatuses"):
            for row in status.get(field_name) or ():
                if row["name"] == name and row.get("containerID"):
                    return int(row.get("restartCount") or 0) + 1
        return 0

    def _prune(self) -> None:
        """Keeps the newest instance and the one before, for lastState and ``kubectl logs --previous``."""
        for instances in self.observed.containers.values():
            self.actions.extend(RemoveContainer(c.id) for c in instances[2:] if not c.running)

    def _newest(self, container: Obj) -> Container | None:
        return self.observed.newest(container["name"])

    def _wake(self, moment: float) -> None:
        self.wake_at = moment if self.wake_at is None else min(self.wake_at, moment)


def _restarts(policy: str, container: Container) -> bool:
    if policy == "Always":
        return True
    return policy == "OnFailure" and container.exit_code != 0


def _failed_for_good(policy: str, container: Container | None) -> bool:
    return policy == "Never" and container is not None and container.exited and container.exit_code != 0


def _kill(container: Container, message: str) -> KillContainer:
    return KillContainer(container.id, _name(container), message)


def _name(container: Container) -> str:
    return container.labels.get(Labels.CONTAINER_NAME) or container.name


def _duration(seconds: float) -> str:
    """As Go prints durations: 10s, 1m20s, 5m0s."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"

"""What to do about a pod next: a pure function of its spec, what is observed, and the time.

Source of the rules: Kubernetes documentation, "Pod Lifecycle", "Init Containers", "Sidecar Containers" (KEP-753),
"Ephemeral Containers" (KEP-277); restart policies are in ``restarts``, ends in ``ending``.
"""

from __future__ import annotations

from hawser.api import durations
from hawser.api.status import has_ended
from hawser.api.types import Obj
from hawser.node.cri.model import Container, ContainerState, Labels
from hawser.node.pod import ending, resizing, restarts, view
from hawser.node.pod.actions import (
    Action,
    CreateSandbox,
    Plan,
    RemoveContainer,
    RemoveSandbox,
    ResetContainers,
    ResizePod,
    StartContainer,
    StopSandbox,
)
from hawser.node.pod.configs import spec_hash
from hawser.node.pod.observed import Memory, Observed, Waiting


def plan(pod: Obj, observed: Observed, memory: Memory, now: float) -> Plan:
    """The next actions for a pod. now: seconds since the epoch."""
    if view.deleting(pod) or has_ended(pod) or memory.evicted:
        return ending.end(pod, observed, memory, now)
    sandbox = observed.sandbox
    if sandbox is None or not sandbox.ready:
        return _replace_sandbox(pod, observed, memory, now)
    return _Steps(pod, observed, memory, now).take()


def _replace_sandbox(pod: Obj, observed: Observed, memory: Memory, now: float) -> Plan:
    if kills := ending.stop_next(pod, observed, memory, now):
        return Plan(kills)
    if restarts.complete(pod, observed) or "" in memory.busy:
        return Plan()
    if memory.retry_at.get("", 0) > now:
        return Plan(wake_at=memory.retry_at[""])
    attempt = observed.sandboxes[0].attempt + 1 if observed.sandboxes else 0
    begun = any(observed.newest(c["name"]) for c in view.containers(pod))
    if attempt and begun and not any(restarts.after_kill(pod, c) for c in view.containers(pod)):
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
        self.actions: list[Action] = []
        self.waiting: dict[str, Waiting] = {}
        self.wake_at: float | None = None
        self._resizes: list[tuple[str, str]] = []
        self._anew = False

    def take(self) -> Plan:
        trigger = restarts.restarting_all(self.pod, self.observed)
        if trigger is not None:
            return self._reset(trigger)
        if restarts.complete(self.pod, self.observed) and not self.memory.renewed:
            return self._wind_down()
        for container in view.ephemeral_containers(self.pod):
            self._once(container)
        if self._initialized():
            for container in view.containers(self.pod):
                self._step(container)
        if self.memory.actual and not self.memory.busy:
            self._resize()
        self._prune()
        return Plan(tuple(self.actions), self.wake_at, self.waiting)

    def _wind_down(self) -> Plan:
        kills = ending.stop_next(self.pod, self.observed, self.memory, self.now)
        return Plan(kills or (StopSandbox(self.sandbox_id),), ending=True)

    def _reset(self, trigger: Container) -> Plan:
        """Everything but ephemeral containers goes; the container that asked for it last, so that it is not forgotten.

        As KEP-5532 has it: at once, without preStop hooks.
        """
        if self.memory.busy:
            return Plan()
        kept = {c["name"] for c in view.ephemeral_containers(self.pod)}
        ids = [c.id for c in self.observed.every() if ending.name_of(c) not in kept and c.id != trigger.id]
        return Plan((ResetContainers((*ids, trigger.id)),))

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
                self._step(container)
                up = here and newest is not None and newest.running and self.memory.started.get(newest.id, False)
                if not up and not begun:
                    return False
            elif begun or (here and newest is not None and newest.exited and newest.exit_code == 0):
                continue
            else:
                self._step(container, again=not here)
                return False
        return True

    def _once(self, container: Obj) -> None:
        """An ephemeral container: started when nothing of it is there, and never again."""
        name = container["name"]
        newest = self._newest(container)
        if name in self.memory.busy:
            return
        if newest is None and not self._first_attempt(name):
            self._start(name, 0)
        elif newest is not None and newest.state == ContainerState.CREATED:
            self.actions.append(RemoveContainer(newest.id))
            self._start(name, newest.attempt + 1)

    def _step(self, container: Obj, *, again: bool = False) -> None:
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
        elif again or newest.id in self.memory.renewed or restarts.again(self.pod, container, newest.exit_code):
            self._restart(container, newest)

    def _watch_over(self, container: Obj, newest: Container) -> None:
        name = container["name"]
        if newest.id in self.memory.doomed:
            message, grace = self.memory.doomed[newest.id], self.memory.graces.get(newest.id)
            if message.startswith("Container ") and restarts.after_kill(self.pod, container):
                message += ", will be restarted"
            self.actions.append(ending.kill(newest, message, grace))
        elif newest.annotations.get(Labels.HASH, spec_hash(container)) != spec_hash(container):
            message = f"Container {name} definition changed, will be restarted"
            self.actions.append(ending.kill(newest, message, renew=True))
        elif newest.id in self.memory.actual:
            have = self.memory.actual[newest.id]
            if resizing.restarts_container(container, have):
                self._anew = True
                self.actions.append(ending.kill(newest, f"Container {name} resize requires restart", renew=True))
            elif resizing.differing(have, container.get("resources") or {}):
                self._resizes.append((newest.id, name))

    def _resize(self) -> None:
        whole = self.memory.actual.get(resizing.POD)
        if whole is not None and resizing.differing(whole, self.pod["spec"].get("resources") or {}):
            # Containers without limits of their own have the pod's.
            kept = {c["name"] for c in view.ephemeral_containers(self.pod)}
            running = [(c.id, ending.name_of(c)) for c in self.observed.every() if c.running]
            self._resizes = [(container_id, name) for container_id, name in running if name not in kept]
        elif not self._resizes:
            return
        if self.memory.resize_at > self.now:
            self._wake(self.memory.resize_at)
            return
        self.actions.append(ResizePod(tuple(self._resizes), self._anew))

    def _restart(self, container: Obj, newest: Container) -> None:
        name = container["name"]
        ended = newest.finished_at or newest.created_at
        key = crash_key(container)
        until = self.memory.crashes.until(key, ended)
        if until > self.now:
            delay = durations.text(self.memory.crashes.delay(key))
            text = f"back-off {delay} restarting failed container={name} pod={view.full_name(self.pod)}"
            self.waiting[name] = Waiting("CrashLoopBackOff", text)
            self._wake(until)
            return
        self._start(name, newest.restart_count + 1, ended)

    def _start(self, name: str, attempt: int, previous: float = 0) -> None:
        held = self.memory.held
        if held is not None and any(c["name"] == name for c in view.containers(self.pod)):
            self.waiting[name] = held
            return
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
        for field_name in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
            for row in status.get(field_name) or ():
                if row["name"] != name:
                    continue
                if row.get("containerID"):
                    return int(row.get("restartCount") or 0) + 1
                # Its end is counted already.
                return int(row.get("restartCount") or 0) if (row.get("lastState") or {}).get("terminated") else 0
        return 0

    def _prune(self) -> None:
        """Keeps the newest instance and the one before, for lastState and ``kubectl logs --previous``."""
        for instances in self.observed.containers.values():
            self.actions.extend(RemoveContainer(c.id) for c in instances[2:] if not c.running)

    def _newest(self, container: Obj) -> Container | None:
        return self.observed.newest(container["name"])

    def _wake(self, moment: float) -> None:
        self.wake_at = moment if self.wake_at is None else min(self.wake_at, moment)


def crash_key(container: Obj) -> str:
    """What a container's crashes are counted by: another image starts anew."""
    return f"{container['name']} {spec_hash(container)}"

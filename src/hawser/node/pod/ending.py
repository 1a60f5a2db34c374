"""How a pod ends: which of its containers are stopped next, and how long they get. Pure.

Source: Kubernetes documentation, "Termination of Pods", "Sidecar containers and Pod termination" (KEP-753).
"""

from __future__ import annotations

from hawser.api.types import Obj
from hawser.node.cri.model import Container, Labels
from hawser.node.pod import view
from hawser.node.pod.actions import FinishDeletion, KillContainer, Plan, StopSandbox
from hawser.node.pod.observed import Memory, Observed

# Whoever's turn comes last still gets this long to hear the signal.
_SHORTEST = 2


def end(pod: Obj, observed: Observed, memory: Memory, now: float) -> Plan:
    """The next step of ending a pod that is being deleted, has failed or is finished."""
    if "" in memory.busy:
        # A sandbox that is being made is waited for: cutting it short would leave its parts behind.
        return Plan()
    if kills := stop_next(pod, observed, memory, now):
        return Plan(kills, ending=True)
    ready = [s for s in observed.sandboxes if s.ready]
    if ready:
        return Plan(tuple(StopSandbox(s.id) for s in ready), ending=True)
    return Plan((FinishDeletion(),) if view.deleting(pod) else (), ending=True)


def stop_next(pod: Obj, observed: Observed, memory: Memory, now: float) -> tuple[KillContainer, ...]:
    """The containers to stop now: the apps at once; when they are gone one sidecar after another, the last first."""
    running = {name_of(c): c for c in observed.every() if c.running}
    if not running:
        return ()
    sidecars = [c["name"] for c in view.init_containers(pod) if view.is_sidecar(c) and c["name"] in running]
    apps = [c for name, c in running.items() if name not in sidecars]
    # Sidecars outlive the app containers that may depend on them, and what was started before them.
    turn = apps or [running[sidecars[-1]]]
    grace = memory.grace if memory.ending is None or apps else _left(pod, memory, now)
    return tuple(kill(c, f"Stopping container {name_of(c)}", grace) for c in turn)


def _left(pod: Obj, memory: Memory, now: float) -> int:
    """What is left of the pod's grace period: all of its containers share it."""
    whole = view.grace_period(pod) if memory.grace is None else memory.grace
    return max(min(whole, _SHORTEST), int(whole - (now - (memory.ending or now))))


def kill(container: Container, message: str, grace: int | None = None, *, renew: bool = False) -> KillContainer:
    return KillContainer(container.id, name_of(container), message, grace, renew)


def name_of(container: Container) -> str:
    """The name that a container has in its pod."""
    return container.labels.get(Labels.CONTAINER_NAME) or container.name

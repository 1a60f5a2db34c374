"""What the API and the users hear of a pod after each look: its status, and events of crashes that have to wait."""

from __future__ import annotations

from collections.abc import Callable

from hawser.api.status import has_ended
from hawser.api.types import Obj
from hawser.node.pod import status as reporting
from hawser.node.pod import view
from hawser.node.pod.actions import CreateSandbox, Plan, StartContainer
from hawser.node.pod.context import Context
from hawser.node.pod.observed import Memory, Observed
from hawser.node.pod.publisher import Publisher

# How long a status that only says "being created" waits for a better one.
_PATIENCE = 0.3
_PATIENCE_IN_A_RUSH = 2.0


class Reporter:
    """Reports on one pod. written: called with the pod as the API returned it."""

    def __init__(self, context: Context, memory: Memory, written: Callable[[Obj], None]) -> None:
        self._context = context
        self._memory = memory
        self._publisher = Publisher(context.client, written)
        self._backed_off: set[str] = set()
        self._crashed: set[str] = set()

    def publish(self, pod: Obj, shown: Obj, observed: Observed, decided: Plan, *, finishing: bool) -> None:
        """Writes the status that follows.

        shown: the pod in the API, a mirror for a static pod. finishing: the pod is being taken out of the API.
        """
        memory = self._memory
        running = any(c.running for c in observed.every())
        over = (view.deleting(pod) or memory.evicted is not None) and not running and not memory.busy
        context = self._context
        wanted = reporting.status(
            pod, observed, memory, decided.waiting, context.now(), context.machine.node_ips, ended=over
        )
        context.devices.show(pod, wanted.get("containerStatuses") or ())
        if has_ended(pod):
            wanted["phase"] = pod["status"]["phase"]
        starting = bool(memory.busy) or any(isinstance(a, CreateSandbox | StartContainer) for a in decided.actions)
        crashed = {c.id for c in observed.every() if c.exited and c.exit_code}
        # A crash is shown, although the container may run again in a moment; what the node itself ended is not.
        starting, self._crashed = starting and not (crashed - self._crashed - memory.hooked), crashed
        ending = view.deleting(pod) and not finishing
        patience = _PATIENCE_IN_A_RUSH if context.rush.on else _PATIENCE
        self._publisher.publish(shown, wanted, patience if starting or ending else 0.0)

    def back_offs(self, pod: Obj, observed: Observed, decided: Plan) -> None:
        """One BackOff event for each crash that has to wait."""
        self._backed_off &= {c.id for c in observed.every()} if self._backed_off else set()
        for name, why in decided.waiting.items():
            newest = observed.newest(name)
            if why.reason != "CrashLoopBackOff" or newest is None or newest.id in self._backed_off:
                continue
            self._backed_off.add(newest.id)
            text = f"Back-off restarting failed container {name} in pod {view.full_name(pod)}"
            path = view.field_path(pod, name)
            self._context.recorder.event(pod, "Warning", "BackOff", text, field_path=path)

    async def flush(self) -> None:
        """Waits until the newest status is written, or could not be."""
        await self._publisher.flush()

    def close(self) -> None:
        """Drops what is not written yet."""
        self._publisher.close()

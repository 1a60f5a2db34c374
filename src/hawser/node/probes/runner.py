"""Runs probes: one small task for each, started with the container and ended with it."""

from __future__ import annotations

import asyncio
import time

from hawser.api.types import Obj
from hawser.client.events import EventRecorder
from hawser.node.cri.client import Runtime
from hawser.node.cri.errors import Unavailable
from hawser.node.cri.model import Container
from hawser.node.metrics.counters import Counters
from hawser.node.pod import handlers, view
from hawser.node.pod.context import ProbeSink
from hawser.node.pod.handlers import Outcome, Subject
from hawser.node.probes import state as states
from hawser.node.probes.state import Kind, Settings

_FIELDS = {
    Kind.STARTUP: "startupProbe",
    Kind.LIVENESS: "livenessProbe",
    Kind.READINESS: "readinessProbe",
}
# A container that is not ready yet is asked again soon after its start: most are up within a second.
_EAGER_SECONDS = 0.25
_EAGER_CHECKS = 8


class Probes:
    """The probes of all containers of the node."""

    def __init__(self, runtime: Runtime, recorder: EventRecorder, counters: Counters) -> None:
        self._runtime = runtime
        self._recorder = recorder
        self._counters = counters
        self._tasks: dict[str, dict[Kind, asyncio.Task[None]]] = {}

    def watch(
        self, sink: ProbeSink, pod: Obj, spec: Obj, container: Container, pod_ip: str, *, started: bool = False
    ) -> None:
        """Starts the probes of a running container. started: its startup probe has succeeded before."""
        kinds = [kind for kind, field in _FIELDS.items() if spec.get(field) and not (started and kind == Kind.STARTUP)]
        if container.id in self._tasks or not kinds:
            return
        up = asyncio.Event()
        if Kind.STARTUP not in kinds:
            up.set()
        self._tasks[container.id] = {
            kind: asyncio.create_task(
                self._probe(kind, sink, pod, spec, container, pod_ip, up), name=f"{kind} probe {spec['name']}"
            )
            for kind in kinds
        }

    def end_liveness(self, container_id: str) -> None:
        """A container that is being stopped is only asked whether it is still ready."""
        for kind in (Kind.STARTUP, Kind.LIVENESS):
            task = self._tasks.get(container_id, {}).get(kind)
            if task is not None:
                task.cancel()

    def forget(self, container_id: str) -> None:
        """Ends the probes of a container."""
        for task in self._tasks.pop(container_id, {}).values():
            task.cancel()

    def close(self) -> None:
        """Ends all probes."""
        for container_id in list(self._tasks):
            self.forget(container_id)

    async def _probe(
        self, kind: Kind, sink: ProbeSink, pod: Obj, spec: Obj, container: Container, pod_ip: str, up: asyncio.Event
    ) -> None:
        probe = spec[_FIELDS[kind]]
        settings = Settings.of(probe)
        current = states.initial(kind)
        if kind != Kind.STARTUP:
            await up.wait()
        if settings.initial_delay:
            await asyncio.sleep(max(0.0, container.started_at + settings.initial_delay - time.time()))
        checks = 0
        while True:
            outcome = await self._check(kind, pod, spec, container, pod_ip, settings)
            checks += 1
            if outcome.error is not None:
                # Not the container's failure: as on a kubelet it does not count.
                await asyncio.sleep(settings.period)
                continue
            current, verdict = states.after(current, settings, outcome.ok)
            if verdict is not None:
                sink.probed(container.id, kind.value, verdict, _killing(kind, spec))
            if kind == Kind.STARTUP and current.result is not None:
                if current.result:
                    up.set()
                return
            if kind == Kind.LIVENESS and current.result is False:
                return
            # Early checks cost a container nothing: it counts as not ready until the first success anyway.
            eager = kind == Kind.READINESS and current.result is not True and checks <= _EAGER_CHECKS
            await asyncio.sleep(min(_EAGER_SECONDS, settings.period) if eager else settings.period)

    async def _check(
        self, kind: Kind, pod: Obj, spec: Obj, container: Container, pod_ip: str, settings: Settings
    ) -> Outcome:
        began = time.perf_counter()
        subject = Subject(spec, container.id, pod_ip, self._runtime, settings.timeout)
        outcome = await handlers.run(spec[_FIELDS[kind]], subject)
        result = "unknown" if outcome.error is not None else "successful" if outcome.ok else "failed"
        about = (*view.key(pod), view.uid(pod))
        self._counters.probe(kind.value.title(), result, spec["name"], about, time.perf_counter() - began)
        if not outcome.ok:
            self._unhealthy(kind, pod, spec, outcome)
        elif outcome.warning:
            text = f"{kind.value.title()} probe warning: {outcome.message}"
            self._recorder.event(pod, "Warning", "ProbeWarning", text, field_path=view.field_path(pod, spec["name"]))
        return outcome

    def _unhealthy(self, kind: Kind, pod: Obj, spec: Obj, outcome: Outcome) -> None:
        if isinstance(outcome.error, Unavailable):
            return
        what = "failed" if outcome.error is None else "errored and resulted in unknown state"
        text = f"{kind.value.title()} probe {what}: {outcome.message}"
        path = view.field_path(pod, spec["name"])
        self._recorder.event(pod, "Warning", "Unhealthy", text, field_path=path)


def _killing(kind: Kind, spec: Obj) -> str:
    """The message of the Killing event that a failure leads to, if the container is not to be restarted."""
    return f"Container {spec['name']} failed {kind.value} probe"

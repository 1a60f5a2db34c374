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
from hawser.node.pod.handlers import Outcome
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
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def watch(self, sink: ProbeSink, pod: Obj, spec: Obj, container: Container, pod_ip: str) -> None:
        """Starts the probes of a running container."""
        if container.id in self._tasks or not any(spec.get(field) for field in _FIELDS.values()):
            return
        work = self._all(sink, pod, spec, container, pod_ip)
        self._tasks[container.id] = asyncio.create_task(work, name=f"probes {spec['name']}")

    def forget(self, container_id: str) -> None:
        """Ends the probes of a container."""
        task = self._tasks.pop(container_id, None)
        if task is not None:
            task.cancel()

    def close(self) -> None:
        """Ends all probes."""
        for container_id in list(self._tasks):
            self.forget(container_id)

    async def _all(self, sink: ProbeSink, pod: Obj, spec: Obj, container: Container, pod_ip: str) -> None:
        if spec.get("startupProbe"):
            # The other probes wait for this one.
            await self._probe(Kind.STARTUP, sink, pod, spec, container, pod_ip)
        async with asyncio.TaskGroup() as tasks:
            for kind in (Kind.LIVENESS, Kind.READINESS):
                if spec.get(_FIELDS[kind]):
                    tasks.create_task(self._probe(kind, sink, pod, spec, container, pod_ip))

    async def _probe(self, kind: Kind, sink: ProbeSink, pod: Obj, spec: Obj, container: Container, pod_ip: str) -> None:
        probe = spec[_FIELDS[kind]]
        settings = Settings.of(probe)
        current = states.initial(kind)
        await asyncio.sleep(settings.initial_delay)
        checks = 0
        while True:
            began = time.perf_counter()
            outcome = await handlers.run(probe, spec, container.id, pod_ip, self._runtime, settings.timeout)
            checks += 1
            result = "unknown" if outcome.error is not None else "successful" if outcome.ok else "failed"
            about = (*view.key(pod), view.uid(pod))
            self._counters.probe(kind.value.title(), result, spec["name"], about, time.perf_counter() - began)
            if not outcome.ok:
                self._unhealthy(kind, pod, spec, outcome)
            if outcome.error is not None:
                # Not the container's failure: as on a kubelet it does not count.
                await asyncio.sleep(settings.period)
                continue
            current, verdict = states.after(current, settings, outcome.ok)
            if verdict is not None:
                sink.probed(container.id, kind.value, verdict, _killing(kind, spec))
            if kind == Kind.STARTUP and current.result is not None:
                return
            if kind == Kind.LIVENESS and current.result is False:
                return
            # Early checks cost a container nothing: it counts as not ready until the first success anyway.
            eager = kind == Kind.READINESS and current.result is not True and checks <= _EAGER_CHECKS
            await asyncio.sleep(min(_EAGER_SECONDS, settings.period) if eager else settings.period)

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

"""What the scheduler counts, under kube-scheduler's names.

An attempt costs a few additions; what can be found by looking at queue and cache is found when somebody asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from hawser.api.types import Obj
from hawser.client.clock import Clock
from hawser.exposition import exponential, family, gauge, labels
from hawser.scheduler.cache import Cache
from hawser.scheduler.queue import Entry, SchedulingQueue, State
from hawser.series import Counters, Histograms

_ATTEMPT = exponential(0.001, 2.0, 15)
_MANY = 15
_QUEUES = {
    State.READY: "active",
    State.BACKOFF: "backoff",
    State.DELAYED: "backoff",
    State.PARKED: "unschedulable",
}
_PENDING = (
    "Number of pending pods, by the queue type. 'active' means number of pods in activeQ; 'backoff' means number of "
    "pods in backoffQ; 'unschedulable' means number of pods in unschedulablePods that the scheduler attempted to "
    "schedule and failed; 'gated' is the number of unschedulable pods that the scheduler never attempted to schedule "
    "because they are gated."
)
_UNSCHEDULABLE = (
    "The number of unschedulable pods broken down by plugin name. A pod will increment the gauge for all plugins that "
    "caused it to not schedule and so this metric have meaning only when broken down by plugin."
)
_SLI = (
    "E2e latency for a pod being scheduled, from the time the pod enters the scheduling queue and might involve "
    "multiple scheduling attempts."
)


class Counts:
    """Of one scheduler. points: seconds by extension point, status and profile; victims: of preemptions.

    claims: made for extended resources. slow_devices, device_waits: devices that take time to be bound.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        text = (
            "Number of attempts to schedule pods, by the result. 'unschedulable' means a pod could not be scheduled, "
            "while 'error' means an internal scheduler problem."
        )
        both = ("result", "profile")
        self._attempts = Counters("scheduler_schedule_attempts_total", text, both)
        text = "Scheduling attempt latency in seconds (scheduling algorithm + binding)"
        self._seconds = Histograms("scheduler_scheduling_attempt_duration_seconds", text, both, _ATTEMPT)
        text = "Scheduling algorithm latency in seconds"
        self.algorithm = Histograms("scheduler_scheduling_algorithm_duration_seconds", text, (), _ATTEMPT)
        edges = exponential(0.01, 2.0, 20)
        self._sli = Histograms("scheduler_pod_scheduling_sli_duration_seconds", _SLI, ("attempts",), edges)
        text = "Number of attempts to successfully schedule a pod."
        self._tries = Histograms("scheduler_pod_scheduling_attempts", text, (), exponential(1.0, 2.0, 5))
        text = (
            "Number of pods that were successfully scheduled after being flushed from unschedulablePods due to timeout."
            " This metric helps detect potential queueing hint misconfigurations or event handling issues."
        )
        self._flushed = Counters("scheduler_pod_scheduled_after_flush_total", text)
        text = "Latency for running all plugins of a specific extension point."
        name, edges = "scheduler_framework_extension_point_duration_seconds", exponential(0.0001, 2.0, 12)
        self.points = Histograms(name, text, ("extension_point", "status", "profile"), edges)
        self.preemptions = Counters(
            "scheduler_preemption_attempts_total", "Total preemption attempts in the cluster till now"
        )
        text = "Number of selected preemption victims"
        self.victims = Histograms("scheduler_preemption_victims", text, (), exponential(1.0, 2.0, 7))

        text = "Number of ResourceClaims creation requests within scheduler"
        self.claims = Counters("scheduler_resourceclaim_creates_total", text, ("status",))
        names = ("profile", "driver", "status")
        text = "Number of allocations using devices with BindingConditions, counted per driver per scheduling attempt"
        self.slow_devices = Counters("scheduler_dra_bindingconditions_allocations_total", text, names)
        text = "Time in seconds spent waiting for BindingConditions to be satisfied during PreBind."
        name, edges = "scheduler_dra_bindingconditions_wait_duration_seconds", exponential(0.1, 2.0, 14)
        self.device_waits = Histograms(name, text, names, edges)

    def scheduled(self, entry: Entry) -> None:
        """The pod is bound."""
        self._sli.of(str(entry.tries) if entry.tries < _MANY else f"{_MANY}+").observe(
            self._clock.monotonic() - entry.added
        )
        self._tries.of().observe(entry.tries)
        if entry.flushed:
            self._flushed.add()
        self._ended(entry, "scheduled")

    def unschedulable(self, entry: Entry) -> None:
        """The pod has no place now."""
        self._ended(entry, "unschedulable")

    def failed(self, entry: Entry) -> None:
        """An attempt went wrong."""
        self._ended(entry, "error")

    def _ended(self, entry: Entry, result: str) -> None:
        profile = entry.pod.shape.scheduler
        self._attempts.add(result, profile)
        self._seconds.of(result, profile).observe(self._clock.monotonic() - entry.began)

    def lines(self, queue: SchedulingQueue, cache: Cache, pods: Iterable[Obj]) -> Iterator[str]:
        """In Prometheus' text format. pods: all pods, of which those count that wait behind gates."""
        families = (self._attempts, self._seconds, self.algorithm, self._sli, self._tries, self._flushed)
        of_devices = (self.claims, self.slow_devices, self.device_waits)
        for each in (*families, self.points, self.preemptions, self.victims, *of_devices):
            yield from each.lines()
        yield from gauge("scheduler_pending_pods", _PENDING, _pending(queue, pods), ("queue",))
        name = "scheduler_queue_incoming_pods_total"
        yield family(name, "counter", "Number of pods added to scheduling queues by event and queue type.")
        for (where, event), count in queue.incoming.items():
            yield f"{name}{{{labels({'queue': where, 'event': event})}}} {count}"
        refused: Counter[tuple[str, ...]] = Counter()
        for entry in queue.entries():
            if entry.state is State.PARKED:
                refused.update((plugin, entry.pod.shape.scheduler) for plugin in entry.plugins)
        yield from gauge("scheduler_unschedulable_pods", _UNSCHEDULABLE, refused, ("plugin", "profile"))
        nodes, placed, assumed = cache.sizes()
        sizes: dict[tuple[str, ...], float] = {("nodes",): nodes, ("pods",): placed, ("assumed_pods",): assumed}
        text = "Number of nodes, pods, and assumed (bound) pods in the scheduler cache."
        yield from gauge("scheduler_cache_size", text, sizes, ("type",))


def _pending(queue: SchedulingQueue, pods: Iterable[Obj]) -> dict[tuple[str, ...], float]:
    found: dict[tuple[str, ...], float] = {(name,): 0.0 for name in ("active", "backoff", "unschedulable")}
    for entry in queue.entries():
        where = _QUEUES.get(entry.state)
        if where is not None:
            found[(where,)] += 1
    found[("gated",)] = sum(1 for pod in pods if pod["spec"].get("schedulingGates"))
    return found

"""What the agent counts of its own work. Counting is a dict lookup and an addition.

Names are those of the kubelet's metrics, so that its dashboards and alerts work; ``kubelet.py`` writes them.
"""

from __future__ import annotations

from collections import Counter

from hawser.exposition import Histogram

DEFAULT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""The edges of Prometheus' client libraries."""
POD_START = (
    *(0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600),
)
_AT_ONCE = 0.05
_PODS = 1000
PROBE = (*DEFAULT, 30.0, 60.0)


class Counters:
    """All of one agent.

    requests: by method, path and long running. probes: results by probe type, result, container, pod, namespace, uid.
    evictions: by signal. images_collected: by reason. pulling: seconds spent with the images of pods that are being
    started, by uid. started: containers by type; start_failed: those that could not be, by type and code.
    """

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, bool]] = Counter()
        self.request_seconds: dict[tuple[str, str, bool], Histogram] = {}
        self.probes: Counter[tuple[str, str, str, str, str, str]] = Counter()
        self.probe_seconds: dict[tuple[str, str, str, str], Histogram] = {}
        self.evictions: Counter[str] = Counter()
        self.eviction_age: dict[str, Histogram] = {}
        self.images_collected: Counter[str] = Counter()
        self.started: Counter[str] = Counter()
        self.start_failed: Counter[tuple[str, str]] = Counter()
        self.pulling: dict[str, float] = {}
        self.pods_started = 0
        self.pods_failed: Counter[str] = Counter()
        self.pod_start = Histogram(POD_START)
        self.pod_start_sli = Histogram(POD_START)
        self.relists = Histogram(DEFAULT)
        self.relist_intervals = Histogram(DEFAULT)
        self.relisted_at = 0.0

    def request(self, method: str, path: str, long_running: bool, seconds: float) -> None:
        """A request to the agent was answered."""
        key = (method, path, long_running)
        self.requests[key] += 1
        found = self.request_seconds.get(key)
        if found is None:
            found = self.request_seconds[key] = Histogram(DEFAULT)
        found.observe(seconds)

    def probe(self, kind: str, result: str, container: str, pod: tuple[str, str, str], seconds: float) -> None:
        """A probe was run. kind: Liveness, Readiness or Startup; result: successful, failed or unknown; pod: namespace,
        name and uid."""
        namespace, name, uid = pod
        self.probes[(kind, result, container, name, namespace, uid)] += 1
        key = (kind, container, name, namespace)
        found = self.probe_seconds.get(key)
        if found is None:
            found = self.probe_seconds[key] = Histogram(PROBE)
        found.observe(seconds)

    def pulled(self, uid: str, seconds: float) -> None:
        """The image of one of a pod's containers was there after so many seconds; a pod that never runs is dropped."""
        if seconds < _AT_ONCE:
            return
        if len(self.pulling) >= _PODS:
            self.pulling.pop(next(iter(self.pulling)))
        self.pulling[uid] = self.pulling.get(uid, 0.0) + seconds

    def forget_probes(self, namespace: str, pod: str) -> None:
        """The pod is gone: its series end."""
        for key in [k for k in self.probes if (k[4], k[3]) == (namespace, pod)]:
            del self.probes[key]
        for other in [k for k in self.probe_seconds if (k[3], k[2]) == (namespace, pod)]:
            del self.probe_seconds[other]

    def relisted(self, now: float, seconds: float) -> None:
        """Everything in the runtime was listed. now: seconds since the epoch."""
        if self.relisted_at:
            self.relist_intervals.observe(now - self.relisted_at)
        self.relisted_at = now
        self.relists.observe(seconds)

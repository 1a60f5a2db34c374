"""How long pods take to start, as everybody who watches them sees it.

Source: Kubernetes SLO "Pod startup latency": from the pod's creation until all its containers are reported as started
and that is seen in a watch, without the time for pulling images.
"""

from __future__ import annotations

import time

from hawser.api.types import Obj
from hawser.client.clock import parse_timestamp
from hawser.client.informer import Informer
from hawser.node.metrics.counters import Counters


def follow(pods: Informer, counters: Counters) -> None:
    """Counts the starts of pods that an informer tells of."""
    seen: dict[str, float] = {}

    def changed(old: Obj | None, new: Obj | None) -> None:
        if old is not None and new is None:
            seen.pop(old["metadata"]["uid"], None)
            counters.forget_probes(old["metadata"].get("namespace") or "", old["metadata"]["name"])
        if new is None:
            return
        uid = new["metadata"]["uid"]
        status = new.get("status") or {}
        if old is None:
            if status.get("phase") == "Pending" and not status.get("startTime"):
                seen[uid] = time.time()
        elif uid in seen and _started(status):
            now, first = time.time(), seen.pop(uid)
            created = parse_timestamp(new["metadata"]["creationTimestamp"]).timestamp()
            counters.pod_start.observe(now - first)
            counters.pod_start_sli.observe(max(0.0, now - created - counters.pulling.pop(uid, 0.0)))

    pods.on_change(changed)


def _started(status: Obj) -> bool:
    rows = status.get("containerStatuses") or ()
    states = [row.get("state") or {} for row in rows]
    return bool(rows) and all("running" in state or "terminated" in state for state in states)

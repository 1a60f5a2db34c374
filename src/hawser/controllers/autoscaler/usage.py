"""How many replicas a metric asks for. Pure.

Source: "Horizontal Pod Autoscaling", "Algorithm details": desired = ceil(current * usage / target), with pods that are
not ready or have no metrics taken so that they dampen the change. Errors are kube-controller-manager's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from hawser.api.pod_resources import pod_requests
from hawser.api.quantity import milli
from hawser.api.status import condition, is_ready
from hawser.api.types import Obj
from hawser.client.clock import parse_timestamp
from hawser.controllers import pods as any_pods

_MOST = 2**31 - 1
_MOST_USAGE = 2**63 - 1


class UnknownUsage(Exception):
    """Nothing can be computed; says why."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one pod uses. value: in thousandths. at: the end of the window, of so many seconds, that was measured."""

    value: int
    at: datetime
    window: float = 60.0


Samples = Mapping[str, Sample]
"""By the names of pods."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """By how much, as a share, usage may be below or above its target without any change."""

    down: float = 0.1
    up: float = 0.1

    def covers(self, ratio: float) -> bool:
        return 1.0 - self.down <= ratio <= 1.0 + self.up


@dataclass(frozen=True, slots=True)
class Patience:
    """How long, in seconds, the CPU usage of pods that start is not believed.

    initialization: a pod's first time, in which it has to be ready for a whole window. readiness: in which it may
    become unready for the first time.
    """

    initialization: float = 300.0
    readiness: float = 30.0


@dataclass(frozen=True, slots=True)
class Groups:
    """Names of pods. ready: how many others there are."""

    ready: int
    unready: frozenset[str]
    missing: frozenset[str]
    ignored: frozenset[str]


def group(pods: Iterable[Obj], samples: Samples, resource: str, patience: Patience, now: datetime) -> Groups:
    """Pods by what their samples are worth. resource: cpu, or another one (or none) that does not ask who is ready."""
    unready, missing, ignored = set(), set(), set()
    ready = 0
    for pod in pods:
        name, phase = pod["metadata"]["name"], pod.get("status", {}).get("phase")
        if any_pods.is_terminating(pod) or phase == "Failed":
            ignored.add(name)
        elif phase == "Pending":
            unready.add(name)
        elif name not in samples:
            missing.add(name)
        elif resource == "cpu" and _is_unready(pod, samples[name], patience, now):
            unready.add(name)
        else:
            ready += 1
    return Groups(ready, frozenset(unready), frozenset(missing), frozenset(ignored))


def _is_unready(pod: Obj, sample: Sample, patience: Patience, now: datetime) -> bool:
    found, started = condition(pod, "Ready"), pod.get("status", {}).get("startTime")
    if found is None or not started:
        return True
    start, unready = parse_timestamp(started), found["status"] == "False"
    since = parse_timestamp(found.get("lastTransitionTime") or started)
    if start + timedelta(seconds=patience.initialization) > now:
        return unready or sample.at < since + timedelta(seconds=sample.window)
    return unready and start + timedelta(seconds=patience.readiness) > since


def per_pod(
    current: int,
    samples: Samples,
    groups: Groups,
    tolerance: Tolerance,
    ratio_of: Callable[[Mapping[str, int]], float],
    full: Callable[[str], int],
) -> int:
    """Replicas for what each pod uses.

    samples: of pods neither unready nor ignored. ratio_of: usage over target of such values. full: what a pod without a
    sample is taken to use when replicas would go.
    """
    values = {name: sample.value for name, sample in samples.items()}
    ratio = ratio_of(values)
    starting = bool(groups.unready) and ratio > 1.0
    if not starting and not groups.missing:
        return current if tolerance.covers(ratio) else math.ceil(ratio * groups.ready)
    if ratio < 1.0:
        values |= {name: full(name) for name in groups.missing}
    elif ratio > 1.0:
        values |= dict.fromkeys(groups.missing, 0)
    if starting:
        values |= dict.fromkeys(groups.unready, 0)
    again = ratio_of(values)
    if tolerance.covers(again) or (ratio < 1.0 < again) or (again < 1.0 < ratio):
        return current
    wanted = math.ceil(again * len(values))
    # What was made up must not turn the direction.
    if (again < 1.0 and wanted > current) or (again > 1.0 and wanted < current):
        return current
    return wanted


def believed(samples: Samples, groups: Groups) -> Samples:
    """The samples that count. Raises UnknownUsage when there are none."""
    left = {n: sample for n, sample in samples.items() if n not in groups.ignored and n not in groups.unready}
    if not left:
        raise UnknownUsage("did not receive metrics for targeted pods (pods might be unready)")
    return left


@dataclass(frozen=True, slots=True)
class Utilization:
    """Usage as a share of what is requested. percent: of all pods. average: thousandths a pod."""

    ratio: float
    percent: int
    average: int


def utilization(values: Mapping[str, int], requests: Mapping[str, int], target: int) -> Utilization:
    """Usage over requests, compared to a target in percent. Raises UnknownUsage without requests."""
    known = [name for name in values if name in requests]
    requested, used = sum(requests[name] for name in known), sum(values[name] for name in known)
    if not requested:
        raise UnknownUsage("no metrics returned matched known pods")
    percent = used * 100 // requested
    return Utilization(percent / target, percent, used // len(known))


def average(values: Mapping[str, int]) -> int:
    return sum(values.values()) // len(values)


def of_whole(current: int, usage: int, target: int, tolerance: Tolerance, ready: Callable[[], int]) -> int:
    """Replicas for a value of something else than the pods. ready: counts the pods that serve now."""
    ratio = usage / target
    if not current:
        return math.ceil(ratio)
    if tolerance.covers(ratio):
        return current
    return min(_MOST, math.ceil(ratio * ready()))


def of_share(current: int, usage: int, target: int, tolerance: Tolerance) -> tuple[int, int]:
    """Replicas, and each one's part, for a value that is shared out. current: replicas that there are."""
    ratio = usage / (target * current) if current else math.inf
    wanted = current if tolerance.covers(ratio) else min(_MOST, math.ceil(usage / target))
    return wanted, _MOST_USAGE if usage >= _MOST_USAGE or not current else math.ceil(usage / current)


def ready_pods(pods: Sequence[Obj]) -> int:
    """Pods that run and are ready. Raises UnknownUsage when there are no pods."""
    if not pods:
        raise UnknownUsage(
            "unable to calculate ready pods: no pods returned by selector while calculating replica count"
        )
    return sum(p.get("status", {}).get("phase") == "Running" and is_ready(p) for p in pods)


def requests_of(pods: Iterable[Obj], resource: str, container: str) -> dict[str, int]:
    """What each pod, or one container of it, requests, in thousandths. Raises UnknownUsage when one does not say."""
    return {pod["metadata"]["name"]: _request(pod, resource, container) for pod in pods}


def _request(pod: Obj, resource: str, container: str) -> int:
    spec, name = pod["spec"], pod["metadata"]["name"]
    if not container and (spec.get("resources") or {}).get("requests"):
        found = pod_requests(spec).get(resource)
        if found is None:
            raise UnknownUsage(f"missing pod-level request for {resource} in Pod {name}")
        return found if resource == "cpu" else found * 1000
    beside = (c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always")
    total = 0
    for one in (*spec["containers"], *beside):
        if container not in ("", one["name"]):
            continue
        request = ((one.get("resources") or {}).get("requests") or {}).get(resource)
        if request is None:
            raise UnknownUsage(f"missing request for {resource} in container {one['name']} of Pod {name}")
        if container:
            return milli(request)
        total += milli(request)
    if container:
        raise UnknownUsage(f"container {container} not found in Pod {name}")
    return total

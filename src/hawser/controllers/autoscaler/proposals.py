"""What each metric of an autoscaler proposes: replicas, what to call it, and its current value for the status."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from hawser.api.errors import APIError
from hawser.api.kinds import Kind
from hawser.api.quantity import canonical, milli
from hawser.api.selectors import shown
from hawser.api.types import Obj
from hawser.controllers.autoscaler import usage
from hawser.controllers.autoscaler.metrics import Metrics, selector_text
from hawser.controllers.autoscaler.usage import Groups, Patience, Samples, Tolerance, UnknownUsage
from hawser.controllers.scales import Scales

_FAILED = {
    "Resource": ("FailedGetResourceMetric", "failed to get {} resource metric value"),
    "ContainerResource": ("FailedGetContainerResourceMetric", "failed to get {} container metric value"),
    "Pods": ("FailedGetPodsMetric", "failed to get pods metric value"),
    "Object": ("FailedGetObjectMetric", "failed to get object metric value"),
    "External": ("FailedGetExternalMetric", "failed to get {} external metric value"),
}


class Unproposed(Exception):
    """A metric could not be had. reason: of the event and the condition. cause, message: without and with its name."""

    def __init__(self, reason: str, cause: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.cause = cause
        self.message = message


@dataclass(frozen=True, slots=True)
class Proposal:
    """replicas: asked for. name: of the metric. status: an entry of currentMetrics."""

    replicas: int
    name: str
    status: Obj


@dataclass(frozen=True, slots=True)
class Target:
    """What is scaled, as it is now. replicas: asked for and counted. selector: text; pods: those it selects."""

    namespace: str
    replicas: int
    counted: int
    selector: str
    pods: Sequence[Obj]
    tolerance: Tolerance
    patience: Patience
    now: datetime


class Proposer:
    """Asks the metrics APIs, and computes."""

    def __init__(self, metrics: Metrics, scales: Scales) -> None:
        self._metrics = metrics
        self._scales = scales

    async def propose(self, spec: Obj, target: Target) -> Proposal:
        """The proposal of one entry of spec.metrics. Raises Unproposed."""
        kind = spec["type"]
        makers = {
            "Resource": self._resource,
            "ContainerResource": self._resource,
            "Pods": self._pods,
            "Object": self._object,
            "External": self._external,
        }
        if kind not in makers:
            message = f'unknown metric source type "{kind}"'
            raise Unproposed("InvalidMetricSourceType", message, message)
        field = kind[0].lower() + kind[1:]
        reason, told = _FAILED[kind]
        try:
            return await makers[kind](spec[field], target)
        except UnknownUsage as err:
            named = spec[field].get("container") or spec[field].get("name") or spec[field].get("metric", {}).get("name")
            raise Unproposed(reason, str(err), f"{told.format(named)}: {_inner(kind, spec[field])}{err}") from err

    async def _resource(self, source: Obj, target: Target) -> Proposal:
        name, container, goal = source["name"], source.get("container", ""), source["target"]
        plain = goal.get("averageValue") is not None
        if not plain and goal.get("averageUtilization") is None:
            lacks = "neither an average utilization target nor an average value (usage) target was set"
            raise UnknownUsage(f"invalid resource metric source: {lacks}")
        try:
            return await self._resource_of(name, container, goal, target)
        except UnknownUsage as err:
            raise UnknownUsage(f"failed to get {name} {'usage' if plain else 'utilization'}: {err}") from err

    async def _resource_of(self, name: str, container: str, goal: Obj, target: Target) -> Proposal:
        try:
            samples = await self._metrics.of_pods(name, target.namespace, target.selector, container)
        except UnknownUsage as err:
            raise UnknownUsage(f"unable to get metrics for resource {name}: {err}") from err
        groups, known = _grouped(target, samples, name)
        if goal.get("averageValue") is not None:
            replicas, value = _plain(target, groups, known, milli(goal["averageValue"]))
            return Proposal(
                replicas, f"{name} resource", _resource_status(name, container, {"averageValue": _text(value)})
            )
        percent = goal["averageUtilization"]
        requests = usage.requests_of(target.pods, name, container)
        now = usage.utilization(_values(known), requests, percent)
        fallback = max(100, percent)

        def ratio(values: Mapping[str, int]) -> float:
            return usage.utilization(values, requests, percent).ratio

        replicas = usage.per_pod(
            target.replicas, known, groups, target.tolerance, ratio, lambda pod: requests[pod] * fallback // 100
        )
        part = "container resource" if container else "resource"
        current = {"averageUtilization": now.percent, "averageValue": _text(now.average)}
        return Proposal(
            replicas, f"{name} {part} utilization (percentage of request)", _resource_status(name, container, current)
        )

    async def _pods(self, source: Obj, target: Target) -> Proposal:
        metric = source["metric"]
        name, chosen = metric["name"], selector_text(metric.get("selector"))
        try:
            samples = await self._metrics.custom_of_pods(name, target.namespace, target.selector, chosen)
        except UnknownUsage as err:
            raise UnknownUsage(f"unable to get metric {name}: {err}") from err
        groups, known = _grouped(target, samples, "")
        replicas, value = _plain(target, groups, known, milli(source["target"]["averageValue"]))
        status = {"type": "Pods", "pods": {"metric": metric, "current": {"averageValue": _text(value)}}}
        return Proposal(replicas, f"pods metric {name}", status)

    async def _object(self, source: Obj, target: Target) -> Proposal:
        metric, goal, described = source["metric"], source["target"], source["describedObject"]
        name = metric["name"]
        kind = await self._kind(described)
        try:
            value = await self._metrics.custom_of_object(
                name, target.namespace, kind, described["name"], selector_text(metric.get("selector"))
            )
        except UnknownUsage as err:
            # The words stand as Kubernetes has them.
            where = f"{described['kind']} on {target.namespace} {described['name']}"
            raise UnknownUsage(f"unable to get metric {name}: {where}/{err}") from err
        replicas, current = _of_goal(goal, value, target, "object")
        status = {"type": "Object", "object": {"metric": metric, "current": current, "describedObject": described}}
        title = f"{described['kind']} metric {name}" if goal["type"] == "Value" else _external_title(metric)
        return Proposal(replicas, title, status)

    async def _kind(self, described: Obj) -> Kind:
        try:
            return await self._scales.preferred(described.get("apiVersion", ""), described["kind"])
        except APIError as err:
            raise UnknownUsage(err.message) from err

    async def _external(self, source: Obj, target: Target) -> Proposal:
        metric = source["metric"]
        try:
            values = await self._metrics.external(
                metric["name"], target.namespace, selector_text(metric.get("selector"))
            )
        except UnknownUsage as err:
            where = f"{target.namespace}/{metric['name']}/{shown(metric.get('selector'))}"
            raise UnknownUsage(f"unable to get external metric {where}: {err}") from err
        replicas, current = _of_goal(source["target"], sum(values), target, "external")
        return Proposal(
            replicas, _external_title(metric), {"type": "External", "external": {"metric": metric, "current": current}}
        )


def _inner(kind: str, source: Obj) -> str:
    """What Kubernetes says once more of metrics that are not the pods' own, but not in their event."""
    if kind not in ("Object", "External"):
        return ""
    name, goal = source["metric"]["name"], source["target"]
    if goal.get("averageValue") is not None:
        return f"failed to get {name} {kind.lower()} metric: "
    return f"failed to get external metric {name}: " if kind == "External" and goal.get("value") is not None else ""


def _external_title(metric: Obj) -> str:
    return f"external metric {metric['name']}({shown(metric.get('selector'))})"


def _of_goal(goal: Obj, value: int, target: Target, source: str) -> tuple[int, Obj]:
    """Replicas and current value of a metric that is not the pods' own."""
    if goal.get("averageValue") is not None:
        replicas, share = usage.of_share(target.counted, value, milli(goal["averageValue"]), target.tolerance)
        return replicas, {"averageValue": _text(share)}
    if goal.get("value") is not None:
        ready: Callable[[], int] = partial(usage.ready_pods, target.pods)
        wanted = usage.of_whole(target.replicas, value, milli(goal["value"]), target.tolerance, ready)
        return wanted, {"value": _text(value)}
    raise UnknownUsage(f"invalid {source} metric source: neither a value target nor an average value target was set")


def _grouped(target: Target, samples: Samples, resource: str) -> tuple[Groups, Samples]:
    if not target.pods:
        raise UnknownUsage("no pods returned by selector while calculating replica count")
    groups = usage.group(target.pods, samples, resource, target.patience, target.now)
    return groups, usage.believed(samples, groups)


def _values(samples: Samples) -> dict[str, int]:
    return {name: sample.value for name, sample in samples.items()}


def _plain(target: Target, groups: Groups, samples: Samples, goal: int) -> tuple[int, int]:
    """Replicas for an average a pod, and what it is now."""

    def ratio(values: Mapping[str, int]) -> float:
        return usage.average(values) / goal

    replicas = usage.per_pod(target.replicas, samples, groups, target.tolerance, ratio, lambda pod: goal)
    return replicas, usage.average(_values(samples))


def _resource_status(name: str, container: str, current: Obj) -> Obj:
    if container:
        listed = {"name": name, "container": container, "current": current}
        return {"type": "ContainerResource", "containerResource": listed}
    return {"type": "Resource", "resource": {"name": name, "current": current}}


def _text(thousandths: int) -> str:
    return canonical(f"{thousandths}m")

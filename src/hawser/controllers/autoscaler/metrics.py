"""Metrics from the APIs that serve them: metrics.k8s.io, custom.metrics.k8s.io, external.metrics.k8s.io.

The last two are an adapter's (APIService). Errors are worded as those of kube-controller-manager's metrics client.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import orjson

from hawser.api import durations
from hawser.api.errors import APIError
from hawser.api.kinds import NAMESPACE, POD_METRICS, Kind
from hawser.api.quantity import milli
from hawser.api.selectors import LabelSelector
from hawser.api.types import Obj
from hawser.client.client import Client
from hawser.client.clock import parse_timestamp
from hawser.controllers.autoscaler.usage import Sample, UnknownUsage

CUSTOM = "custom.metrics.k8s.io"
EXTERNAL = "external.metrics.k8s.io"
_WINDOW = 60.0


class Metrics:
    """Asks for them."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._custom = ""

    async def of_pods(self, resource: str, namespace: str, selector: str, container: str) -> dict[str, Sample]:
        """What pods, or one container of each, use of a resource. Raises UnknownUsage."""
        try:
            items = (await self._client.list(POD_METRICS, namespace, selector)).items
        except APIError as err:
            raise UnknownUsage(f"unable to fetch metrics from resource metrics API: {err.message}") from err
        if not items:
            raise UnknownUsage("no metrics returned from resource metrics API")
        found = {}
        for item in items:
            values = _usages(item, resource, container)
            if values and all(value is not None for value in values):
                window = durations.seconds(item["window"]) if item.get("window") else _WINDOW
                total = sum(milli(value) for value in values if value is not None)
                found[item["metadata"]["name"]] = Sample(total, parse_timestamp(item["timestamp"]), window)
        return found

    async def custom_of_pods(self, metric: str, namespace: str, pods: str, metrics: str) -> dict[str, Sample]:
        """A custom metric of each pod. pods, metrics: label selectors. Raises UnknownUsage."""
        params = {"labelSelector": pods, "metricLabelSelector": metrics}
        items = await self._ask(CUSTOM, f"namespaces/{namespace}/pods/*/{metric}", params)
        return {
            item["describedObject"]["name"]: Sample(
                milli(item["value"]), _moment(item), float(item.get("windowSeconds") or _WINDOW)
            )
            for item in items
        }

    async def custom_of_object(self, metric: str, namespace: str, kind: Kind, name: str, metrics: str) -> int:
        """A custom metric of one object, in thousandths. Raises UnknownUsage."""
        resource = f"{kind.plural}.{kind.group}" if kind.group else kind.plural
        path = f"namespaces/{namespace}/{resource}/{name}/{metric}"
        if kind is NAMESPACE:
            path = f"namespaces/{name}/metrics/{metric}"
        elif not kind.namespaced:
            path = f"{resource}/{name}/{metric}"
        items = await self._ask(CUSTOM, path, {"metricLabelSelector": metrics})
        return milli(items[0]["value"])

    async def external(self, metric: str, namespace: str, metrics: str) -> list[int]:
        """The values of an external metric, in thousandths. Raises UnknownUsage."""
        items = await self._ask(EXTERNAL, f"namespaces/{namespace}/{metric}", {"labelSelector": metrics})
        return [milli(item["value"]) for item in items]

    async def _ask(self, group: str, path: str, params: Mapping[str, str]) -> list[Obj]:
        api = "custom" if group == CUSTOM else "external"
        given = {name: text for name, text in params.items() if text}
        try:
            version = "v1beta1" if group == EXTERNAL else await self._custom_version()
            answer = orjson.loads(await self._client.raw("GET", f"/apis/{group}/{version}/{path}", params=given))
        except APIError as err:
            self._custom = ""
            raise UnknownUsage(f"unable to fetch metrics from {api} metrics API: {err.message}") from err
        items: list[Obj] = answer.get("items") or []
        if not items:
            raise UnknownUsage(f"no metrics returned from {api} metrics API")
        return items

    async def _custom_version(self) -> str:
        """The version of the custom metrics API that is served, the newer one by choice."""
        if not self._custom:
            group = orjson.loads(await self._client.raw("GET", f"/apis/{CUSTOM}"))
            served = {version["version"] for version in group.get("versions") or ()}
            self._custom = "v1beta1" if "v1beta2" not in served and "v1beta1" in served else "v1beta2"
        return self._custom


def _usages(item: Obj, resource: str, container: str) -> list[str | None]:
    containers = item.get("containers") or ()
    if not container:
        return [one["usage"].get(resource) for one in containers]
    for one in containers:
        if one["name"] == container:
            return [one["usage"].get(resource)]
    metadata = item["metadata"]
    name = f"{metadata['namespace']}/{metadata['name']}"
    raise UnknownUsage(f"failed to get container metrics: container {container} not present in metrics for pod {name}")


def _moment(item: Obj) -> datetime:
    return parse_timestamp(item["timestamp"])


def selector_text(selector: Obj | None) -> str:
    """A metric's selector as a parameter; none selects all of its values. Raises UnknownUsage."""
    try:
        return str(LabelSelector.from_object(selector or {}))
    except APIError as err:
        raise UnknownUsage(err.message) from err

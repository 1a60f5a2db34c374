"""metrics.k8s.io: what nodes and pods use now, for ``kubectl top`` and autoscalers, with nothing installed.

An APIService of the group, as metrics-server brings one, takes its place. Nothing is asked of agents before a request
wants to know. Source: API metrics.k8s.io v1beta1; texts and rules are metrics-server's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime

import orjson
from aiohttp import web

from hawser.api.encoding import dumps
from hawser.api.errors import APIError, method_not_supported
from hawser.api.kinds import METRICS, NODE, NODE_METRICS, POD, POD_METRICS, Kind
from hawser.api.types import Obj
from hawser.apiserver import forms, negotiation
from hawser.apiserver.agents import Agents
from hawser.apiserver.listing import Selection
from hawser.apiserver.paths import Target
from hawser.apiserver.relay import Relay
from hawser.apiserver.reply import Reply
from hawser.apiserver.resources import Resources
from hawser.apiserver.usage.samples import NODE as WHOLE
from hawser.apiserver.usage.samples import Key, Use
from hawser.apiserver.usage.scraper import Scraper

_ROOT = f"/apis/{NODE_METRICS.api_version}/"
_KINDS = {kind.plural: kind for kind in METRICS}


class MetricsAPI:
    """Serves it."""

    def __init__(self, resources: Resources, agents: Agents, relay: Relay) -> None:
        self._resources = resources
        self._scraper = Scraper(agents, relay)

    def serves(self, target: Target) -> Kind | None:
        """The row that a request is about, or None when it is about something else."""
        if not target.path.startswith(_ROOT) or target.subresource:
            return None
        kind = _KINDS.get(target.resource)
        return None if kind is None or (target.namespace and not kind.namespaced) else kind

    async def serve(self, request: web.BaseRequest, target: Target, kind: Kind) -> Reply:
        """Answer a get or list. APIError 400, 404, 405, 406."""
        if target.verb not in kind.verbs:
            raise method_not_supported(kind.group, kind.plural, target.verb)
        form = negotiation.accepted(request.headers.get("Accept", ""), custom=True)
        include = target.query.get("includeObject", "")
        now = self._resources.now()
        selection = Selection.read(kind, target.query, target.name)
        if kind.namespaced:
            found = await self._pods(target.namespace, selection)
        else:
            found = await self._nodes(selection)
        values = [dumps(obj) for obj in found]
        if not target.name:
            return Reply(forms.many(kind, values, {}, form, include, now), 200, form.content_type, line=form.line)
        if not values:
            name = f"{target.namespace}/{target.name}" if kind.namespaced else target.name
            raise _not_found(kind, name)
        return Reply(forms.one(kind, values[0], form, include, now), 200, form.content_type, line=form.line)

    async def _nodes(self, selection: Selection) -> list[Obj]:
        resource = self._resources[NODE]
        records = resource.store.list(resource.prefix)
        nodes: list[Obj] = [orjson.loads(r.value) for r in records if selection.matches(NODE, r)]
        self._scraper.forget({record.key.rpartition("/")[2] for record in records})
        names = [node["metadata"]["name"] for node in nodes]
        looked = await asyncio.gather(*(self._scraper.node(name) for name in names))
        rows = []
        for node, uses in zip(nodes, looked, strict=True):
            if WHOLE in uses:
                rows.append({**_head(NODE_METRICS, node, uses[WHOLE]), "usage": _usage(uses[WHOLE])})
        return rows

    async def _pods(self, namespace: str, selection: Selection) -> list[Obj]:
        resource = self._resources[POD]
        prefix = f"{resource.prefix}{namespace}/" if namespace else resource.prefix
        found = (orjson.loads(r.value) for r in resource.store.list(prefix) if selection.matches(POD, r))
        pods: list[Obj] = [pod for pod in found if (pod.get("status") or {}).get("phase") == "Running"]
        names = sorted({pod["spec"].get("nodeName") or "" for pod in pods} - {""})
        looked = await asyncio.gather(*(self._scraper.node(name) for name in names))
        nodes = dict(zip(names, looked, strict=True))
        rows = (pod_metrics(pod, nodes.get(pod["spec"].get("nodeName") or "", {})) for pod in pods)
        return [row for row in rows if row is not None]


def pod_metrics(pod: Obj, uses: Mapping[Key, Use]) -> Obj | None:
    """The PodMetrics of a pod; None while something that runs in it was not measured."""
    metadata = pod["metadata"]
    spec, status = pod["spec"], pod.get("status") or {}
    names = [container["name"] for container in spec["containers"]]
    names += [c["name"] for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    rows = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    ended = {row["name"] for row in rows if "terminated" in (row.get("state") or {})}
    measured = {n: uses.get((metadata["namespace"], metadata["name"], n)) for n in names if n not in ended}
    known = {name: use for name, use in measured.items() if use is not None}
    if not known or len(known) < len(measured):
        return None
    oldest = min(known.values(), key=lambda use: use.at)
    containers = [{"name": name, "usage": _usage(use)} for name, use in known.items()]
    return {**_head(POD_METRICS, pod, oldest), "containers": containers}


def _head(kind: Kind, obj: Obj, use: Use) -> Obj:
    of: Obj = obj["metadata"]
    moment = datetime.fromtimestamp(use.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    metadata: Obj = {"name": of["name"]}
    if kind.namespaced:
        metadata["namespace"] = of["namespace"]
    metadata["creationTimestamp"] = moment
    if of.get("labels"):
        metadata["labels"] = of["labels"]
    return {
        "kind": kind.kind,
        "apiVersion": kind.api_version,
        "metadata": metadata,
        "timestamp": moment,
        "window": f"{use.window:.3f}s" if use.window < 60 else f"{int(use.window // 60)}m{use.window % 60:.3f}s",
    }


def _usage(use: Use) -> Obj:
    """Quantities as metrics-server writes them."""
    return {"cpu": f"{use.cpu}n" if use.cpu else "0", "memory": f"{use.memory // 1024}Ki"}


def _not_found(kind: Kind, name: str) -> APIError:
    """404 with metrics-server's name of the resource."""
    resource = kind.kind.lower()
    details = {"name": name, "group": kind.group, "kind": resource}
    return APIError(404, "NotFound", f'{resource}.{kind.group} "{name}" not found', details=details)

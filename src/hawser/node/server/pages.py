"""Pages of the kubelet API that tell of the agent and of what runs: statistics, metrics, settings, running pods.

What makes them is imported when one is first asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain

import orjson

from hawser.api.errors import bad_request
from hawser.api.types import Obj
from hawser.client.client import Client
from hawser.exposition import CONTENT_TYPE
from hawser.node.cri.client import Runtime
from hawser.node.cri.model import ContainerState, Labels
from hawser.node.devices.devices import Devices
from hawser.node.metrics.counters import Counters
from hawser.node.options import Options
from hawser.node.pod import view
from hawser.node.pods import Pods
from hawser.node.server.server import Extra
from hawser.node.stats import subjects
from hawser.node.stats.collector import Collector

_JSON = "application/json"
_STATES = {
    ContainerState.CREATED: "created",
    ContainerState.RUNNING: "running",
    ContainerState.EXITED: "exited",
    ContainerState.UNKNOWN: "unknown",
}


class Pages:
    """Makes them."""

    def __init__(
        self,
        options: Options,
        client: Client,
        runtime: Runtime,
        pods: Pods,
        counters: Counters,
        collector: Collector,
        devices: Devices,
    ) -> None:
        self._devices = devices
        self._options = options
        self._client = client
        self._runtime = runtime
        self._pods = pods
        self._counters = counters
        self._collector = collector
        self._build: Obj = {}

    def all(self) -> Mapping[str, Extra]:
        """Each page by its path."""
        return {
            "/stats/summary": self._summary,
            "/metrics": self._metrics,
            "/metrics/cadvisor": self._cadvisor,
            "/metrics/resource": self._resource,
            "/metrics/probes": self._probes,
            "/configz": self._configz,
            "/runningpods": self._running,
        }

    async def _summary(self, query: Mapping[str, str]) -> tuple[str, bytes]:
        from hawser.node.stats.summary import summary

        short = query.get("only_cpu_and_memory", "")
        if short not in ("", "true", "false", "1", "0"):
            raise bad_request(f'strconv.ParseBool: parsing "{short}": invalid syntax')
        brief = short in ("true", "1")
        snapshot = await self._collector.snapshot(full=not brief, rates=True)
        made = summary(snapshot, cpu_and_memory=brief)
        return _JSON, orjson.dumps(made, option=orjson.OPT_INDENT_2)

    async def _metrics(self, query: Mapping[str, str]) -> tuple[str, bytes]:
        from hawser.node.metrics import kubelet

        if not self._build:
            # The agent is of the API server's own version.
            self._build = orjson.loads(await self._client.raw("GET", "/version"))
        workers = self._pods.all()
        containers = [c for worker in workers for c in worker.records.containers.values()]
        ready = sum(1 for w in workers if any(s.ready for s in w.records.sandboxes.values()))
        state = kubelet.State(
            self._options.node_name,
            self._build,
            len(workers),
            ready,
            Counter(_STATES[c.state] for c in containers),
            sum(1 for worker in workers if view.is_static(worker.pod)),
        )
        # Nothing is measured for this page but volumes with claims.
        pods = (await self._collector.snapshot(full=True)).pods if subjects.claims(self._pods) else ()
        lines = kubelet.render(state, self._counters, self._runtime.operations, pods)
        return _text(chain(lines, self._devices.metrics()))

    async def _cadvisor(self, query: Mapping[str, str]) -> tuple[str, bytes]:
        from hawser.node.metrics import cadvisor

        return _text(cadvisor.render(await self._collector.snapshot(full=True)))

    async def _resource(self, query: Mapping[str, str]) -> tuple[str, bytes]:
        from hawser.node.metrics import resource

        return _text(resource.render(await self._collector.snapshot()))

    async def _probes(self, query: Mapping[str, str]) -> tuple[str, bytes]:
        from hawser.node.metrics import kubelet

        return _text(kubelet.render_probes(self._counters))

    async def _configz(self, query: Mapping[str, str]) -> tuple[str, bytes]:
        from hawser.node.server.configz import document

        return _JSON, orjson.dumps({"kubeletconfig": document(self._options)})

    async def _running(self, query: Mapping[str, str]) -> tuple[str, bytes]:
        """The pods that the runtime runs, with no more of them than it knows."""
        pods: dict[str, Obj] = {}
        for container in await self._runtime.list_containers():
            if not container.running or not container.pod_uid:
                continue
            labels = container.labels
            pod = pods.setdefault(
                container.pod_uid,
                {
                    "metadata": {
                        "name": labels.get(Labels.POD_NAME),
                        "namespace": labels.get(Labels.POD_NAMESPACE),
                        "uid": container.pod_uid,
                    },
                    "spec": {"containers": []},
                    "status": {},
                },
            )
            row: Obj = {"name": labels.get(Labels.CONTAINER_NAME), "image": container.image, "resources": {}}
            pod["spec"]["containers"].append(row)
        listed = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": list(pods.values())}
        return _JSON, orjson.dumps(listed)


def _text(lines: Iterable[str]) -> tuple[str, bytes]:
    # Line by line: a page of many pods has megabytes, which need not be there twice.
    page = bytearray()
    for line in lines:
        page += line.encode()
        page += b"\n"
    return CONTENT_TYPE, bytes(page)

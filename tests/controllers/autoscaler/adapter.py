"""A metrics adapter, as an APIService brings one: pods', objects' and external metrics, said by the test."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from hawser.api.kinds import API_SERVICE, NAMESPACE, SERVICE
from hawser.client.client import Client

Obj = dict[str, Any]
GROUPS = {"metrics.k8s.io": "v1beta1", "custom.metrics.k8s.io": "v1beta2", "external.metrics.k8s.io": "v1beta1"}


class Adapter:
    """usage: by pod, then container, what of resources. custom: by the last parts of paths. external: by metric."""

    def __init__(self) -> None:
        self.usage: dict[str, dict[str, Obj]] = {}
        self.custom: dict[str, list[Obj]] = {}
        self.external: dict[str, list[str]] = {}
        self.asked: list[str] = []

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        group, rest = (parts[1], "/".join(parts[3:])) if len(parts) > 2 else ("", "")
        if not rest:
            resources = [
                {"name": "any", "singularName": "", "namespaced": True, "kind": "Any", "verbs": ["get", "list"]}
            ]
            document = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "/".join(parts[1:3])}
            return web.json_response({**document, "resources": resources})
        self.asked.append(str(request.rel_url))
        now = datetime.now(UTC).isoformat()
        if group == "metrics.k8s.io":
            return web.json_response({"items": [self._pod(name, parts[4], now) for name in self.usage]})
        if group == "external.metrics.k8s.io":
            values = self.external.get(parts[-1], [])
            return web.json_response({"items": [{"metricName": "m", "timestamp": now, "value": v} for v in values]})
        found = self.custom.get("/".join(parts[-3:]))
        if found is None:
            return web.json_response({"kind": "Status", "message": "no such metric", "code": 404}, status=404)
        return web.json_response({"items": [{"timestamp": now, **item} for item in found]})

    def _pod(self, name: str, namespace: str, now: str) -> Obj:
        containers = [{"name": c, "usage": used} for c, used in self.usage[name].items()]
        metadata = {"name": name, "namespace": namespace}
        return {"metadata": metadata, "timestamp": now, "window": "10s", "containers": containers}


@asynccontextmanager
async def serving(client: Client, folder: Path) -> AsyncIterator[Adapter]:
    """The adapter as three APIServices. folder: has tls.crt and tls.key."""
    made = Adapter()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    listening = web.Server(made.serve)
    runner = web.ServerRunner(listening, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    port = runner.addresses[0][1]
    try:
        await _register(client, port)
        yield made
        for group, version in GROUPS.items():
            await client.delete(API_SERVICE, f"{version}.{group}")
    finally:
        for connection in listening.connections:
            if connection.transport is not None:
                connection.transport.abort()
        await runner.cleanup()


async def _register(client: Client, port: int) -> None:
    namespace = f"metrics-{port}"
    await client.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    spec: Obj = {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]}
    metadata = {"name": "adapter", "namespace": namespace}
    await client.create(SERVICE, {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
    for group, version in GROUPS.items():
        spec = {"group": group, "version": version, "groupPriorityMinimum": 100, "versionPriority": 10}
        spec |= {"insecureSkipTLSVerify": True, "service": {"namespace": namespace, "name": "adapter", "port": port}}
        await client.create(API_SERVICE, {"metadata": {"name": f"{version}.{group}"}, "spec": spec})

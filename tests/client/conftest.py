"""A small API server that speaks the real list and watch protocol over HTTP."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiohttp import web

from hawser.api import errors
from hawser.api.errors import APIError
from hawser.api.kinds import BY_RESOURCE, Kind
from hawser.client.client import Client


class API:
    """Objects in memory, with revisions, history, watches, and switches for what can go wrong."""

    def __init__(self) -> None:
        self.revision = 100
        self.objects: dict[tuple[Kind, str, str], dict[str, Any]] = {}
        self.history: list[tuple[int, Kind, str, dict[str, Any]]] = []
        self.compacted = 0
        self.requests: list[str] = []
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.failures: list[web.Response] = []
        self.lists = 0
        self.page: int | None = None
        self.changed = asyncio.Event()
        self.cut = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self.handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        self.cut_watches()
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    def cut_watches(self) -> None:
        self.cut.set()
        self.cut = asyncio.Event()

    def write(self, kind: Kind, obj: dict[str, Any], event: str = "") -> dict[str, Any]:
        obj = copy.deepcopy(obj)
        metadata = obj["metadata"]
        key = (kind, metadata.get("namespace") or "", metadata["name"])
        self.revision += 1
        metadata["resourceVersion"] = str(self.revision)
        known = self.objects.get(key, {}).get("metadata", {})
        metadata.setdefault("uid", known.get("uid", f"uid-{self.revision}"))
        obj.setdefault("apiVersion", kind.api_version)
        obj.setdefault("kind", kind.kind)
        event = event or ("MODIFIED" if key in self.objects else "ADDED")
        if event == "DELETED":
            del self.objects[key]
        else:
            self.objects[key] = obj
        self.history.append((self.revision, kind, event, obj))
        self.changed.set()
        self.changed = asyncio.Event()
        return obj

    def delete(self, kind: Kind, namespace: str, name: str) -> None:
        self.write(kind, self.objects[(kind, namespace, name)], "DELETED")

    def compact(self) -> None:
        self.compacted = self.revision
        self.history.clear()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path_qs}")
        self.headers.append(dict(request.headers))
        raw = await request.read()
        self.bodies.append(orjson.loads(raw) if raw else None)
        if self.failures:
            return self.failures.pop(0)
        try:
            return await self.serve(request)
        except APIError as err:
            return web.json_response(err.status, status=err.code)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        if parts[0] == "livez":
            return web.Response(text="ok")
        group, version, rest = ("", parts[1], parts[2:]) if parts[0] == "api" else (parts[1], parts[2], parts[3:])
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        kind = BY_RESOURCE[(group, version, rest[0])]
        if len(rest) == 1:
            if request.method == "GET" and request.query.get("watch"):
                return await self.watch(request, kind, namespace)
            if request.method == "GET":
                return self.listing(request, kind, namespace)
            if request.method == "POST":
                body = self.bodies[-1]
                body["metadata"]["namespace"] = namespace
                if (kind, namespace, body["metadata"]["name"]) in self.objects:
                    raise errors.already_exists(kind.group, kind.plural, body["metadata"]["name"])
                return web.json_response(self.write(kind, body), status=201)
            return web.json_response({"kind": "Status", "status": "Success"})
        key = (kind, namespace, rest[1])
        if key not in self.objects:
            raise errors.not_found(kind.group, kind.plural, rest[1])
        if request.method == "DELETE":
            self.delete(*key)
            return web.json_response({"kind": "Status", "status": "Success"})
        if request.method == "PATCH":
            return web.json_response(self.write(kind, {**self.objects[key], **self.bodies[-1]}))
        if request.method == "PUT":
            return web.json_response(self.write(kind, self.bodies[-1]))
        return web.json_response(self.objects[key])

    def listing(self, request: web.Request, kind: Kind, namespace: str) -> web.Response:
        self.lists += 1
        items = [o for (k, ns, _), o in self.objects.items() if k is kind and namespace in ("", ns)]
        metadata = {"resourceVersion": str(self.revision)}
        limit = int(request.query.get("limit") or 0)
        start = int(request.query.get("continue") or 0)
        if limit and start + limit < len(items):
            metadata["continue"] = str(start + limit)
        items = items[start : start + limit] if limit else items
        bare = [{k: v for k, v in o.items() if k not in ("kind", "apiVersion")} for o in items]
        return web.json_response({"kind": f"{kind.kind}List", "metadata": metadata, "items": bare})

    async def watch(self, request: web.Request, kind: Kind, namespace: str) -> web.StreamResponse:
        version = int(request.query.get("resourceVersion") or 0)
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        cut = self.cut
        if version < self.compacted:
            status = errors.expired("too old resource version").status
            await response.write(orjson.dumps({"type": "ERROR", "object": status}) + b"\n")
            return response
        while not cut.is_set():
            changed = self.changed
            for revision, k, event, obj in list(self.history):
                if revision > version and k is kind and namespace in ("", obj["metadata"].get("namespace")):
                    await response.write(orjson.dumps({"type": event, "object": obj}) + b"\n")
            version = self.revision
            waits = [asyncio.ensure_future(changed.wait()), asyncio.ensure_future(cut.wait())]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
        return response


@pytest.fixture
async def api() -> AsyncIterator[API]:
    api = API()
    await api.start()
    yield api
    await api.stop()


@pytest.fixture
async def client(api: API, clock: Any) -> AsyncIterator[Client]:
    async with Client(api.url, token="secret", sleep=clock.sleep) as client:
        yield client

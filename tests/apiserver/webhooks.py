"""A webhook server for tests: real HTTPS, answers as the test says, and remembers what it was asked."""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web

from .conftest import Api, Server

Obj = dict[str, Any]
Respond = Callable[[Obj], "Obj | web.Response | Awaitable[web.Response]"]


class Hook:
    """A running webhook server. asked: the requests of all reviews, in order."""

    def __init__(self, port: int, ca: str) -> None:
        self.port = port
        self.ca = ca
        self.asked: list[Obj] = []
        self.respond: dict[str, Respond] = {}

    def client(self, path: str = "/") -> Obj:
        """A WebhookClientConfig by URL."""
        return {"url": f"https://127.0.0.1:{self.port}{path}", "caBundle": self.ca}

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        review = orjson.loads(await request.read())
        self.asked.append({**review["request"], "path": request.path})
        if review["kind"] == "ConversionReview":
            converted = self.respond[request.path](review["request"])
            assert isinstance(converted, web.Response)
            return converted
        answer = self.respond[request.path](review["request"])
        if isinstance(answer, Awaitable):
            return await answer
        if isinstance(answer, web.Response):
            return answer
        response = {"uid": review["request"]["uid"], **answer}
        return web.json_response({"kind": "AdmissionReview", "apiVersion": review["apiVersion"], "response": response})


@asynccontextmanager
async def hook(server: Server, *names: str) -> AsyncIterator[Hook]:
    """A webhook server; names: of Services that it also serves as."""
    certificate, key = server.authority.issue("hook", "hook", server=True, names=names)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    made = Hook(0, base64.b64encode(server.authority.certificate.read_bytes()).decode())
    listening = web.Server(made.serve)
    runner = web.ServerRunner(listening, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    made.port = runner.addresses[0][1]
    try:
        yield made
    finally:
        for connection in listening.connections:
            # TLS' goodbye would outlive the test's event loop.
            if connection.transport is not None:
                connection.transport.abort()
        await runner.cleanup()


def patch(*operations: Obj) -> Obj:
    """An answer that changes the object."""
    encoded = base64.b64encode(orjson.dumps(operations)).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": encoded}


@asynccontextmanager
async def configured(api: Api, plural: str, *webhooks: Obj) -> AsyncIterator[str]:
    """A configuration of webhooks (which are completed) for the test's namespace; its name."""
    kind = "MutatingWebhookConfiguration" if plural.startswith("mutating") else "ValidatingWebhookConfiguration"
    path = f"/apis/admissionregistration.k8s.io/v1/{plural}"
    rule = {"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
    common = {
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "rules": [rule],
        "timeoutSeconds": 30,
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": api.namespace}},
    }
    name = f"{api.namespace}-{plural}"
    complete = [{**common, "name": f"hook{n}.example.com", **w} for n, w in enumerate(webhooks)]
    body = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}}
    await api.create(path, {**body, "webhooks": complete})
    try:
        yield name
    finally:
        assert (await api.call("DELETE", f"{path}/{name}")).status == 200

"""Unmodified kubectl understands the documents: discovery, tables, explain and validation.

A tiny server on loopback serves nothing but them and a few objects.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from aiohttp import web

from hawser.api import discovery, kinds, openapi, tables
from hawser.api.errors import not_found
from hawser.api.types import Obj

KUBECTLS = [
    path
    for path in dict.fromkeys((shutil.which("kubectl"), shutil.which("kubectl", path=str(Path(sys.executable).parent))))
    if path
]
pytestmark = pytest.mark.skipif(not KUBECTLS, reason="needs kubectl")

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "namespace": "default", "resourceVersion": "1"},
    "spec": {"containers": [{"name": "c", "image": "x"}]},
    "status": {"phase": "Running", "containerStatuses": [{"name": "c", "ready": True, "state": {"running": {}}}]},
}
MANIFEST: Obj = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {"containers": [{"name": "c", "image": "y"}, {"name": "d", "image": "z"}]},
}
NOW = datetime(2030, 1, 1, tzinfo=UTC)


class Server:
    """Serves the documents, a list of pods, and remembers what it was sent."""

    def __init__(self) -> None:
        self.url = ""
        self.patches: list[tuple[str, Obj]] = []
        self.fetched: list[str] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.fetched.append(request.path)
        accept = request.headers.get("Accept", "")
        if found := openapi.find(request.path, accept):
            headers = {"ETag": found.etag, "Content-Encoding": "gzip", "Content-Type": found.content_type}
            return web.Response(body=found.compressed, headers=headers)
        if request.path in ("/api", "/apis") and (version := discovery.accepted_aggregation(accept)):
            document = discovery.aggregated(core=request.path == "/api", version=version)
            content_type = discovery.aggregated_content_type(version)
            return web.Response(body=orjson.dumps(document), headers={"Content-Type": content_type})
        if request.path == "/api/v1/namespaces/default/pods/web":
            if request.method == "PATCH":
                self.patches.append((request.content_type, orjson.loads(await request.read())))
            return web.json_response(POD)
        document = self.document(request.path)
        if document is None:
            error = not_found("", "pods", request.path)
            return web.json_response(error.status, status=error.code)
        return web.json_response(document)

    def document(self, path: str) -> Obj | None:
        parts = path.strip("/").split("/")
        match parts:
            case ["version"]:
                return discovery.version_document()
            case ["api"]:
                return discovery.api_versions()
            case ["apis"]:
                return discovery.api_group_list()
            case ["api", version]:
                return discovery.api_resource_list("", version)
            case ["apis", group, version]:
                return discovery.api_resource_list(group, version)
            case ["api", "v1", "namespaces", "default", "pods"]:
                return tables.table(kinds.POD, [POD], {"resourceVersion": "1"}, now=NOW)
        return None


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    served = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", served.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield served
    await runner.cleanup()


class Kubectl:
    """Runs one kubectl with a home of its own."""

    def __init__(self, path: str, server: Server, home: Path) -> None:
        self._path = path
        self._server = server
        self._home = home

    async def __call__(self, *args: str, stdin: str = "", code: int = 0) -> str:
        process = await asyncio.create_subprocess_exec(
            self._path,
            f"--server={self._server.url}",
            *args,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={"HOME": str(self._home), "PATH": "/usr/bin:/bin"},
        )
        output, _ = await process.communicate(stdin.encode())
        assert process.returncode == code, output.decode()
        return output.decode()


@pytest.fixture(params=KUBECTLS)
def kubectl(request: pytest.FixtureRequest, server: Server, tmp_path: Path) -> Kubectl:
    return Kubectl(request.param, server, tmp_path)


async def test_versions_and_resources_are_listed(kubectl: Kubectl) -> None:
    assert f"Server Version: {discovery.version_document()['gitVersion']}" in await kubectl("version")
    assert "apps/v1" in (await kubectl("api-versions")).split()
    listed = await kubectl("api-resources", "--no-headers", "-o", "name")
    names = {f"{kind.plural}.{kind.group}" if kind.group else kind.plural for kind in kinds.KINDS}
    assert names == set(listed.split())
    assert "deploy" in await kubectl("api-resources", "--categories=all")


async def test_pods_are_shown_as_a_table(kubectl: Kubectl) -> None:
    header, row = (await kubectl("get", "pods")).splitlines()
    assert header.split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert row.split() == ["web", "1/1", "Running", "0", "<unknown>"]
    assert "NOMINATED NODE" in await kubectl("get", "po", "-o", "wide")


async def test_explain_knows_fields_types_and_descriptions(kubectl: Kubectl) -> None:
    text = await kubectl("explain", "pods.spec.containers")
    assert "KIND:       Pod" in text
    assert "FIELD: containers <[]Container>" in text
    assert "imagePullPolicy\t<string>" in text
    assert "resources\t<ResourceRequirements>" in text
    assert "List of containers belonging to the pod." in text
    assert "limits\t<map[string]Quantity>" in await kubectl("explain", "pods.spec.containers.resources")
    assert "GROUP:      apps" in await kubectl("explain", "deploy.spec.strategy.rollingUpdate.maxSurge")
    assert "does not exist" in await kubectl("explain", "pods.spec.nope", code=1)


@pytest.mark.parametrize("kind", kinds.KINDS, ids=lambda kind: kind.kind)
async def test_explain_goes_through_every_kind(server: Server, tmp_path: Path, kind: kinds.Kind) -> None:
    kubectl = Kubectl(KUBECTLS[-1], server, tmp_path)
    # A name with its group would be read as a path of fields where the core group has the name, too.
    text = await kubectl("explain", kind.plural, f"--api-version={kind.api_version}", "--recursive")
    assert f"KIND:       {kind.kind}" in text
    assert "metadata\t<ObjectMeta>" in text


async def test_explain_reads_the_older_form_too(kubectl: Kubectl) -> None:
    text = await kubectl("explain", "pods.spec.containers", "--output=plaintext-openapiv2", "--recursive")
    assert "RESOURCE: containers <[]Object>" in text
    assert "memory" not in text
    assert "containerPort\t<integer>" in text


@pytest.mark.parametrize("validate", ["strict", "warn", "ignore"])
async def test_the_server_is_trusted_with_validation(kubectl: Kubectl, validate: str) -> None:
    flags = ("create", "--dry-run=client", f"--validate={validate}", "-o", "name", "-f", "-")
    assert await kubectl(*flags, stdin=json.dumps(MANIFEST)) == "pod/web\n"


async def test_apply_finds_the_merge_keys(kubectl: Kubectl, server: Server) -> None:
    await kubectl("apply", "-f", "-", stdin=json.dumps(MANIFEST))
    ((content_type, patch),) = server.patches
    assert content_type == "application/strategic-merge-patch+json"
    assert patch["spec"] == {
        "$setElementOrder/containers": [{"name": "c"}, {"name": "d"}],
        "containers": [{"image": "y", "name": "c"}, {"image": "z", "name": "d"}],
    }
    assert "/openapi/v3/api/v1" in server.fetched
    assert "/openapi/v2" not in server.fetched

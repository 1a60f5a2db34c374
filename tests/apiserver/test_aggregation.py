"""An extension API server behind this one: discovery, requests, identity, availability."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aiohttp import web

from hawser.apiserver.aggregation.services import Reference, absent
from hawser.apiserver.aggregation.specifications import read

from .conftest import Api, Server
from .test_observing import scraped

Obj = dict[str, Any]
SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"


class Extension:
    """An API server of one resource, kept in memory."""

    def __init__(self, group: str) -> None:
        self.group = group
        self.port = 0
        self.seen: list[tuple[str, str, dict[str, list[str]]]] = []
        self.well = True
        self.hash = "1"

    @property
    def root(self) -> str:
        return f"/apis/{self.group}/v1"

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = {name: request.headers.getall(name) for name in request.headers if name.startswith("X-Remote")}
        if headers["X-Remote-User"][0] not in ("system:kube-aggregator", "system:aggregator"):
            self.seen.append((request.method, request._message.path, headers))
        if not self.well:
            return web.Response(status=500, text="ill")
        if request.path.startswith("/openapi/"):
            found = self.documents().get(request.path)
            return web.json_response(found) if found is not None else web.Response(status=404)
        if request.path == self.root:
            flunder = {"name": "flunders", "singularName": "flunder", "namespaced": True, "kind": "Flunder"}
            resources = [{**flunder, "verbs": ["get", "list", "create"], "shortNames": ["fl"]}]
            document = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{self.group}/v1"}
            return web.json_response({**document, "resources": resources})
        if request.path.endswith("/echo"):
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            async for message in socket:
                await socket.send_str(message.data.upper())
            return socket
        if request.query.get("watch"):
            answer = web.StreamResponse()
            await answer.prepare(request)
            for number in range(3):
                await answer.write(orjson.dumps({"type": "ADDED", "object": {"n": number}}) + b"\n")
            return answer
        body = await request.read()
        return web.json_response({"kind": "Echo", "method": request.method, "body": body.decode()})

    def documents(self) -> dict[str, Obj]:
        """OpenAPI documents as extension servers have them: shared parameters, and paths of others, too."""
        place = self.root.removeprefix("/")
        gvk = {"group": self.group, "version": "v1", "kind": "Flunder"}
        flunder = {
            "type": "object",
            "description": f"A flunder of {self.hash}",
            "properties": {
                "spec": {"type": "object", "description": "What is wanted"},
                "metadata": {"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},
            },
            "x-kubernetes-group-version-kind": [gvk],
        }
        answer = {"200": {"description": "OK", "schema": {"$ref": "#/definitions/com.example.Flunder"}}}
        listed = {
            "responses": answer,
            "parameters": [{"$ref": "#/parameters/limit"}],
            "x-kubernetes-group-version-kind": gvk,
        }
        second = {
            "swagger": "2.0",
            "info": {"title": "x", "version": "1"},
            "paths": {f"{self.root}/flunders": {"get": listed}, "/api/v1/pods": {"get": {"responses": {}}}},
            "parameters": {"limit": {"name": "limit", "in": "query", "type": "integer"}},
            "definitions": {
                "com.example.Flunder": flunder,
                "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta": {"type": "object", "description": "Another's"},
            },
        }
        third = {"openapi": "3.0.0", "info": second["info"], "paths": {}, "components": {"schemas": {"F": flunder}}}
        urls = {path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={self.hash}"} for path in (place, "apis/apps/v1")}
        return {"/openapi/v2": second, "/openapi/v3": {"paths": urls}, f"/openapi/v3/{place}": third}


@asynccontextmanager
async def running(server: Server, extension: Extension, name: str) -> AsyncIterator[None]:
    certificate, key = server.authority.issue("extension", "extension", server=True, names=(name,))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    listening = web.Server(extension.serve)
    runner = web.ServerRunner(listening, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", extension.port, ssl_context=tls).start()
    extension.port = runner.addresses[0][1]
    try:
        yield
    finally:
        for connection in listening.connections:
            if connection.transport is not None:
                connection.transport.abort()
        await runner.cleanup()


async def condition(api: Api, name: str, wanted: str) -> Obj:
    """The Available condition, once its reason is the wanted one."""
    found: Obj = {}
    for _ in range(600):
        service = (await api.get(f"{SERVICES}/{name}")).json
        conditions = (service.get("status") or {}).get("conditions") or [{}]
        found = conditions[0]
        if found.get("reason") == wanted:
            return found
        await asyncio.sleep(0.02)
    pytest.fail(f"still {found}")


async def told(api: Api, group: str) -> Any:
    """What aggregated discovery says of a group's one version; None when it says nothing of the group."""
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    items = (await api.get("/apis", accept=accept)).json["items"]
    found = [item["versions"] for item in items if item["metadata"]["name"] == group]
    return found[0][0] if found else None


@pytest.fixture
async def extension(api: Api, server: Server) -> AsyncIterator[Extension]:
    made = Extension(f"{api.namespace}.example.com")
    ca = server.authority.certificate.read_bytes()
    async with running(server, made, f"ext.{api.namespace}.svc"):
        service = {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": made.port}]}
        await api.create(api.path("services"), {"metadata": {"name": "ext"}, "spec": service})
        spec = {
            "group": made.group,
            "version": "v1",
            "groupPriorityMinimum": 100,
            "versionPriority": 10,
            "service": {"namespace": api.namespace, "name": "ext", "port": made.port},
            "caBundle": base64.b64encode(ca).decode(),
        }
        name = f"v1.{made.group}"
        await api.create(SERVICES, {"metadata": {"name": name}, "spec": spec})
        assert (await condition(api, name, "Passed"))["status"] == "True"
        yield made
        await api.call("DELETE", f"{SERVICES}/{name}")


async def test_an_extension_server_is_discovered_and_used(api: Api, extension: Extension) -> None:
    groups = (await api.get("/apis")).json["groups"]
    assert extension.group in [group["name"] for group in groups]
    group = (await api.get(f"/apis/{extension.group}")).json
    assert group["preferredVersion"]["groupVersion"] == f"{extension.group}/v1"
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    items = (await api.get("/apis", accept=accept)).json["items"]
    (found,) = (item for item in items if item["metadata"]["name"] == extension.group)
    assert found["versions"][0]["resources"][0]["resource"] == "flunders"
    path = f"{extension.root}/namespaces/{api.namespace}/flunders?x=a%20b"
    answer = await api.call("POST", path, {"a": 1}, headers={"X-Remote-User": "faked", "X-Remote-Group": "faked"})
    assert (answer.status, answer.json["body"]) == (200, '{"a":1}')
    method, seen, headers = extension.seen[-1]
    assert (method, seen) == ("POST", path)
    assert headers["X-Remote-User"] == ["admin"]
    assert "system:masters" in headers["X-Remote-Group"]
    assert "faked" not in headers["X-Remote-Group"]


async def test_who_is_answered_finds_the_group_in_discovery(api: Api, extension: Extension) -> None:
    where = f"{SERVICES}/v1.{extension.group}"
    service = (await api.get(where)).json
    await api.call("DELETE", where)
    await api.create(SERVICES, {"metadata": {"name": service["metadata"]["name"]}, "spec": service["spec"]})
    async with asyncio.timeout(120):
        while (answer := await api.get(f"{extension.root}/flunders")).status != 200:
            assert answer.status in (404, 503)
    assert extension.group in [group["name"] for group in (await api.get("/apis")).json["groups"]]


async def documented(api: Api, path: str, has: bool = True) -> None:
    """Waits until OpenAPI shows an extension server's document, or no longer."""
    async with asyncio.timeout(120):
        while (path in (await api.get("/openapi/v3")).json["paths"]) is not has:
            pass


async def test_openapi_of_an_extension_server_is_shown(api: Api, extension: Extension, kubectl: Any) -> None:
    own = (await api.get("/openapi/v3")).json["paths"]["apis/apps/v1"]
    place = extension.root.removeprefix("/")
    await documented(api, place)
    urls = (await api.get("/openapi/v3")).json["paths"]
    assert urls[place] == {"serverRelativeURL": f"/openapi/v3/{place}?hash=1"}
    assert urls["apis/apps/v1"] == own
    third = await api.get(urls[place]["serverRelativeURL"])
    assert third.json["components"]["schemas"]["F"]["description"] == "A flunder of 1"
    assert extension.seen[-1][2]["X-Remote-User"] == ["admin"]
    second = (await api.get("/openapi/v2")).json
    parameters = second["paths"][f"{extension.root}/flunders"]["get"]["parameters"]
    assert parameters == [{"name": "limit", "in": "query", "type": "integer"}]
    assert "com.example.Flunder" in second["definitions"]
    assert second["paths"]["/api/v1/pods"]["get"]["responses"]
    assert "Another's" not in str(second["definitions"]["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"])
    protobuf = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    assert f"{extension.root}/flunders".encode() in (await api.get("/openapi/v2", accept=protobuf)).body
    assert "A flunder of 1" in kubectl("explain", "flunders", "--output=plaintext-openapiv2")
    assert (await api.call("DELETE", f"{SERVICES}/v1.{extension.group}")).status == 200
    await documented(api, place, False)
    assert "com.example.Flunder" not in (await api.get("/openapi/v2")).json["definitions"]
    assert (await api.get(f"/openapi/v3/{place}")).status == 404


@pytest.mark.parametrize("second", [b"{", b"[]", b'{"paths": {"/apis/g/v1/x": {"get": 1}}}', b'{"paths": [1]}'])
def test_nonsense_is_no_openapi_document(second: bytes) -> None:
    with pytest.raises(ValueError, match="no OpenAPI document"):
        read(Reference("v1.g", "g", "v1", "n", "s", 443, "", False, (0, "g", 0, (0, 0, 0, ""))), b"", second)


async def test_watches_of_an_extension_server_stream(api: Api, extension: Extension) -> None:
    events = [event async for event in api.watch(f"{extension.root}/flunders?watch=true")]
    assert [event["object"]["n"] for event in events] == [0, 1, 2]


async def test_an_extension_server_may_upgrade(api: Api, extension: Extension) -> None:
    url = f"{api.server.url}{extension.root}/echo"
    async with api.session.ws_connect(url, headers={"Authorization": "Bearer admin-token"}, ssl=api.tls) as socket:
        for word in ("one", "two"):
            await socket.send_str(word)
            assert await socket.receive_str() == word.upper()
    assert extension.seen[-1][2]["X-Remote-User"] == ["admin"]


async def test_a_refused_upgrade_is_no_way_to_the_extension_server(api: Api, extension: Extension) -> None:
    host, port = api.server.url.removeprefix("https://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=api.tls, server_hostname="localhost")
    path = f"{extension.root}/flunders"
    first = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer joe-token\r\nConnection: Upgrade\r\n"
    first += "Upgrade: websocket\r\n\r\n"
    second = f"GET {path}?second HTTP/1.1\r\nHost: x\r\nX-Remote-User: admin\r\nX-Remote-Group: system:masters\r\n\r\n"
    role = {"apiGroups": [extension.group], "resources": ["*"], "verbs": ["*"]}
    rbac = "rbac.authorization.k8s.io"
    await api.create(f"/apis/{rbac}/v1/clusterroles", {"metadata": {"name": extension.group}, "rules": [role]})
    reference = {"apiGroup": rbac, "kind": "ClusterRole", "name": extension.group}
    subjects = [{"apiGroup": rbac, "kind": "User", "name": "joe"}]
    body = {"metadata": {"name": extension.group}, "roleRef": reference, "subjects": subjects}
    await api.create(f"/apis/{rbac}/v1/clusterrolebindings", body)
    writer.write((first + second).encode())
    answered = await reader.read()
    writer.transport.abort()
    assert answered.startswith(b"HTTP/1.1 200 ")
    assert b'"kind": "Echo"' in answered
    assert [(seen, headers["X-Remote-User"]) for _, seen, headers in extension.seen] == [(path, ["joe"])]


async def test_kubectl_finds_what_an_extension_server_serves(api: Api, extension: Extension, kubectl: Any) -> None:
    listed = kubectl("api-resources", "--api-group", extension.group, "--no-headers").split()
    assert listed == ["flunders", "fl", f"{extension.group}/v1", "true", "Flunder"]


async def test_an_extension_server_that_is_gone_is_unavailable(api: Api, server: Server) -> None:
    made = Extension(f"{api.namespace}.example.com")
    name = f"v1.{made.group}"
    service = {"namespace": api.namespace, "name": "ext", "port": 443}
    priorities = {"groupPriorityMinimum": 100, "versionPriority": 10}
    spec = {"group": made.group, "version": "v1", **priorities, "service": service, "insecureSkipTLSVerify": True}
    await api.create(SERVICES, {"metadata": {"name": name}, "spec": spec})
    missing = await condition(api, name, "ServiceNotFound")
    assert missing["message"] == f'service/ext in "{api.namespace}" is not present'
    answer = await api.get(f"{made.root}/flunders")
    assert (answer.status, answer.json["reason"]) == (503, "ServiceUnavailable")
    assert await told(api, made.group) == {"version": "v1", "freshness": "Stale"}
    group = (await api.get(f"/apis/{made.group}")).json
    assert group["preferredVersion"] == {"groupVersion": f"{made.group}/v1", "version": "v1"}
    assert made.group in [group["name"] for group in (await api.get("/apis")).json["groups"]]
    await api.create(api.path("services"), {"metadata": {"name": "ext"}, "spec": {"ports": [{"port": 443}]}})
    await condition(api, name, "EndpointsNotFound")
    metadata = {"name": "ext-1", "labels": {"kubernetes.io/service-name": "ext"}}
    path = f"/apis/discovery.k8s.io/v1/namespaces/{api.namespace}/endpointslices"
    await api.create(path, {"metadata": metadata, "addressType": "IPv4", "endpoints": [], "ports": []})
    await condition(api, name, "MissingEndpoints")
    samples = await scraped(api)
    assert samples[f'aggregator_unavailable_apiservice{{name="{name}"}}'] == 1
    assert samples[f'aggregator_unavailable_apiservice_total{{name="{name}",reason="ServiceNotFound"}}'] == 1
    merge = {"content": "application/merge-patch+json"}
    assert (await api.call("PATCH", f"{SERVICES}/{name}", {"metadata": {"labels": {"a": "b"}}}, **merge)).status == 200
    assert (await api.call("DELETE", f"{SERVICES}/{name}")).status == 200
    assert (await api.get(made.root)).status == 404
    assert await told(api, made.group) is None


async def test_what_an_extension_server_serves_is_stale_while_it_does_not_answer(
    api: Api, extension: Extension
) -> None:
    name, where = f"v1.{extension.group}", f"{SERVICES}/v1.{extension.group}"
    first = await told(api, extension.group)
    assert (first["freshness"], [each["resource"] for each in first["resources"]]) == ("Current", ["flunders"])
    extension.well = False
    # Whatever changes of an APIService is a reason to ask its server.
    merge = {"content": "application/merge-patch+json"}
    await api.call("PATCH", where, {"metadata": {"labels": {"a": "b"}}}, **merge)
    failed = await condition(api, name, "FailedDiscoveryCheck")
    assert failed["status"] == "False"
    assert "bad status from https://localhost:" in failed["message"]
    assert await told(api, extension.group) == {"version": "v1", "freshness": "Stale"}
    extension.well = True
    await api.call("PATCH", where, {"metadata": {"labels": {"a": "c"}}}, **merge)
    await condition(api, name, "Passed")
    assert await told(api, extension.group) == first


PLACE = Reference("v1.g", "g", "v1", "n", "s", 443, "", False, (0, "g", 0, (0, 0, 0, "")))
PORTS = [{"name": "x", "port": 80}, {"name": "https", "port": 443}]


def endpoints(port: str, *ready: bool | None) -> Obj:
    conditions = [{} if each is None else {"ready": each} for each in ready]
    return {"ports": [{"name": port, "port": 8443}], "endpoints": [{"conditions": each} for each in conditions]}


@pytest.mark.parametrize(
    ("spec", "slices", "wanted"),
    [
        (None, [], ("ServiceNotFound", 'service/s in "n" is not present')),
        ({"ports": PORTS[:1]}, [], ("ServicePortError", 'service/s in "n" is not listening on port 443')),
        ({"ports": PORTS}, [], ("EndpointsNotFound", 'cannot find endpointslices for service/s in "n"')),
        *(
            (
                {"type": "ClusterIP", "ports": PORTS},
                slices,
                ("MissingEndpoints", 'endpointslices for service/s in "n" have no addresses with port name "https"'),
            )
            for slices in ([endpoints("https")], [endpoints("https", False)], [endpoints("x", True)])
        ),
        ({"ports": PORTS}, [endpoints("x", True), endpoints("https", False, None)], None),
        ({"ports": [{"port": 443}]}, [endpoints("", True)], None),
        ({"type": "NodePort", "ports": []}, [], None),
        ({"type": "ExternalName"}, [], None),
    ],
)
def test_why_nobody_can_be_asked_is_said_as_kube_aggregator_says_it(
    spec: Obj | None, slices: list[Obj], wanted: tuple[str, str] | None
) -> None:
    assert absent(PLACE, None if spec is None else {"spec": spec}, slices) == wanted


async def test_own_groups_have_api_services(api: Api) -> None:
    for name in ("v1.", "v1.apps", "v2.autoscaling"):
        assert (await condition(api, name, "Local"))["status"] == "True"

"""Who may ask for what, documents, and the life of the process."""

from __future__ import annotations

import hashlib
import signal
import ssl
from typing import Any

import aiohttp
import pytest


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/version", "/readyz?verbose"])
async def test_anybody_may_see_health_and_version(api: Any, path: str) -> None:
    assert (await api.get(path, token=None)).status == 200


@pytest.mark.parametrize("path", ["/api", "/apis", "/openapi/v3", "/api/v1/pods", "/metrics", "/nope", "/livez/ping"])
async def test_nobody_in_particular_may_see_no_more(api: Any, path: str) -> None:
    answer = await api.get(path, token=None)
    assert (answer.status, answer.json["reason"]) == (403, "Forbidden")
    assert 'User "system:anonymous" cannot' in answer.message


async def test_roles_may_be_bound_to_nobody_in_particular(api: Any) -> None:
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]
    await api.create(api.path("roles", group="rbac.authorization.k8s.io"), {"metadata": {"name": "r"}, "rules": rules})
    group = {"kind": "Group", "name": "system:unauthenticated", "apiGroup": "rbac.authorization.k8s.io"}
    role = {"kind": "Role", "name": "r", "apiGroup": "rbac.authorization.k8s.io"}
    binding = {"metadata": {"name": "b"}, "subjects": [group], "roleRef": role}
    await api.create(api.path("rolebindings", group="rbac.authorization.k8s.io"), binding)
    assert (await api.get(api.path("configmaps"), token=None)).status == 200
    assert (await api.get(api.path("secrets"), token=None)).status == 403


async def test_nobody_in_particular_may_be_refused(own_server: Any) -> None:
    own_server.extra = ["--anonymous-auth=false"]
    own_server.start()
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{own_server.url}/livez", ssl=own_server.tls()) as answer,
    ):
        assert answer.status == 401


async def test_an_unknown_token_is_unauthorized_everywhere(api: Any) -> None:
    assert (await api.get("/livez", token="wrong")).status == 401


async def test_a_client_certificate_names_user_and_groups(api: Any) -> None:
    tls = api.server.tls("admin")
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    answer = await api.call("POST", path, body, token=None, tls=tls)
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert((api.server.folder / "admin.crt").read_text())).hexdigest()
    assert answer.json["status"]["userInfo"] == {
        "username": "admin",
        "groups": ["system:masters", "system:authenticated"],
        "extra": {"authentication.kubernetes.io/credential-id": [f"X509SHA256={digest}"]},
    }


@pytest.mark.parametrize(
    ("token", "method", "path", "message"),
    [
        (
            "joe-token",
            "GET",
            "/api/v1/namespaces/default/pods",
            'pods is forbidden: User "joe" cannot list resource "pods" in API group "" in the namespace "default"',
        ),
        (
            "joe-token",
            "GET",
            "/apis/apps/v1/deployments",
            (
                'deployments.apps is forbidden: User "joe" cannot list resource "deployments" in API group "apps" '
                "at the cluster scope"
            ),
        ),
        (
            "joe-token",
            "DELETE",
            "/api/v1/nodes/n1",
            'nodes "n1" is forbidden: User "joe" cannot delete resource "nodes" in API group "" at the cluster scope',
        ),
        ("joe-token", "GET", "/metrics", 'forbidden: User "joe" cannot get path "/metrics"'),
        (
            "node-token",
            "DELETE",
            "/api/v1/namespaces/default/services/s",
            (
                'services "s" is forbidden: User "system:node:n1" cannot delete resource "services" in API group "" '
                'in the namespace "default"'
            ),
        ),
    ],
)
async def test_what_is_not_allowed_is_forbidden_in_kubernetes_words(
    api: Any, token: str, method: str, path: str, message: str
) -> None:
    answer = await api.call(method, path, token=token)
    assert answer.status == 403
    assert answer.message == message


async def test_a_node_may_report_itself(api: Any) -> None:
    node = {"metadata": {"name": "n1"}, "status": {"nodeInfo": {}}}
    made = await api.create("/api/v1/nodes", node, token="node-token")
    assert "status" in made
    pods = "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1"
    assert (await api.get(pods, token="node-token")).status == 200
    assert (await api.call("DELETE", "/api/v1/nodes/n1")).status == 200


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/api", "APIVersions"),
        ("/apis", "APIGroupList"),
        ("/apis/apps", "APIGroup"),
        ("/apis/apps/v1", "APIResourceList"),
        ("/api/v1", "APIResourceList"),
    ],
)
async def test_discovery(api: Any, path: str, kind: str) -> None:
    assert (await api.get(path, token="joe-token")).json["kind"] == kind


@pytest.mark.parametrize("path", ["/openapi/v2", "/openapi/v3", "/openapi/v3/apis/apps/v1"])
async def test_openapi_is_sent_whatever_form_objects_are_wanted_in(api: Any, path: str) -> None:
    """As a client asks that is configured for protobuf, or a person's with compression."""
    accept = "application/vnd.kubernetes.protobuf,application/json"
    for headers in ({"Accept-Encoding": "gzip"}, {"Accept-Encoding": "gzip", "User-Agent": "curl/8"}):
        found = await api.get(path, accept=accept, headers=headers)
        assert found.status == 200
        assert found.json


async def test_openapi_is_not_sent_twice(api: Any) -> None:
    first = await api.get("/openapi/v3/apis/apps/v1")
    assert first.json["openapi"].startswith("3.")
    again = await api.get("/openapi/v3/apis/apps/v1", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status == 304


async def test_openapi_at_a_url_with_its_hash_may_be_kept(api: Any) -> None:
    url = (await api.get("/openapi/v3")).json["paths"]["apis/apps/v1"]["serverRelativeURL"]
    kept = await api.get(url)
    assert kept.headers["Cache-Control"] == "public, immutable"
    assert "Expires" in kept.headers
    assert kept.headers["ETag"].strip('"') == url.partition("hash=")[2]
    moved = await api.get("/openapi/v3/apis/apps/v1?hash=OLD")
    # The client has followed.
    assert (moved.status, moved.body) == (200, kept.body)
    plain = await api.get("/openapi/v3/apis/apps/v1")
    assert plain.headers["Cache-Control"] == "no-cache, private"


@pytest.mark.parametrize(
    ("path", "accept", "status", "content"),
    [
        ("/openapi/v3/api/v1", "application/xml", 406, "text/plain"),
        ("/openapi/v3/api/v1", "application/*", 200, "application/json"),
        (
            "/openapi/v3/api/v1",
            "application/com.github.proto-openapi.spec.v3@v1.0+protobuf, application/json",
            200,
            "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
        ),
        (
            "/openapi/v3/api/v1",
            "application/com.github.proto-openapi.spec.v3.v1.0+protobuf;q=0.5, application/json",
            200,
            "application/json",
        ),
        ("/openapi/v3", "application/xml", 200, "application/json"),
        ("/openapi/v2", "application/xml", 406, "text/plain"),
        (
            "/openapi/v2",
            "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
            200,
            "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
        ),
    ],
)
async def test_openapi_is_sent_in_a_form_that_is_taken(
    api: Any, path: str, accept: str, status: int, content: str
) -> None:
    answer = await api.get(path, accept=accept)
    assert (answer.status, answer.headers["Content-Type"].partition(";")[0]) == (status, content)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_nothing_acknowledged_is_lost_whatever_ends_the_server(own_server: Any, how: signal.Signals) -> None:
    own_server.start()
    headers = {"Authorization": "Bearer admin-token"}
    path = "/api/v1/namespaces/default/services"
    async with aiohttp.ClientSession(headers=headers) as session:
        tls = own_server.tls()
        for number in range(5):
            body = {"metadata": {"name": f"s{number}"}, "spec": {"ports": [{"port": 80}]}}
            async with session.post(own_server.url + path, json=body, ssl=tls) as answer:
                assert answer.status == 201
    status = own_server.stop(how)
    assert status == (0 if how is signal.SIGTERM else -signal.SIGKILL)
    own_server.start()
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.get(own_server.url + path, ssl=tls) as answer:
            items = (await answer.json())["items"]
        addresses = {item["spec"]["clusterIP"] for item in items}
        assert len(addresses) == len(items) == 6
        # Addresses of before the restart stay taken.
        body = {
            "metadata": {"name": "t"},
            "spec": {"ports": [{"port": 80}], "clusterIP": items[-1]["spec"]["clusterIP"]},
        }
        async with session.post(own_server.url + path, json=body, ssl=tls) as answer:
            assert answer.status == 422


async def test_stopping_ends_watches_cleanly(own_server: Any) -> None:
    own_server.start()
    headers = {"Authorization": "Bearer admin-token"}
    async with aiohttp.ClientSession(headers=headers) as session:
        url = own_server.url + "/api/v1/namespaces?watch=1&resourceVersion=0"
        async with session.get(url, ssl=own_server.tls()) as answer:
            await answer.content.readline()
            assert own_server.stop() == 0
            rest = await answer.content.read()
    assert b'"ERROR"' not in rest


def test_a_second_server_on_the_same_data_says_why_it_does_not_start(own_server: Any) -> None:
    own_server.start()
    second = type(own_server).__new__(type(own_server))
    second.__dict__.update(own_server.__dict__)
    with pytest.raises(AssertionError):
        second.start()
    second.process.stderr.close()
    assert second.process.wait(120) == 1

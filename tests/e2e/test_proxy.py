"""The proxy subresources: web servers in pods, services and the node agent, reached through the API server alone."""

from __future__ import annotations

import http.client
import json
import ssl
import uuid
from collections.abc import Iterator
from contextlib import closing

import pytest

from .conftest import Engine, Obj, eventually, pod

CGI = '#!/bin/sh\necho "Content-Type: text/plain"; echo; echo "$REQUEST_METHOD $PATH_INFO $QUERY_STRING"; cat'
START = (
    f"mkdir -p /tmp/www/cgi-bin; cd /tmp/www; echo front > index.html; printf '%s' '{CGI}' > cgi-bin/echo; "
    "chmod +x cgi-bin/echo; exec httpd -f -p 8080 -h /tmp/www"
)
ANSWERS = {"tcpSocket": {"port": 8080}, "periodSeconds": 1, "timeoutSeconds": 20, "failureThreshold": 20}
SERVICE: Obj = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web"},
    "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
}


@pytest.fixture
def web(engine: Engine, namespace: str) -> Iterator[str]:
    """A namespace with a web server behind a Service."""
    manifest = pod("web", START)
    manifest["metadata"]["labels"] = {"app": "web"}
    manifest["spec"]["containers"][0] |= {"ports": [{"containerPort": 8080}], "readinessProbe": ANSWERS}
    engine.apply(manifest, namespace)
    engine.apply(SERVICE, namespace)
    engine.wait_ready("web", namespace)
    yield namespace


def call(engine: Engine, method: str, path: str, body: str | None = None) -> tuple[int, dict[str, str], str]:
    """One request with the administrator's token."""
    config = json.loads((engine.data_dir / "config.json").read_text())
    token = (engine.data_dir / "pki" / "tokens.csv").read_text().split(",")[0]
    tls = ssl.create_default_context(cafile=str(engine.data_dir / "pki" / "ca.crt"))
    with closing(http.client.HTTPSConnection(config["listen"], context=tls, timeout=60)) as connection:
        connection.request(method, path, body, {"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()


def test_pods_and_services_answer_through_the_api_server(engine: Engine, web: str) -> None:
    root = f"/api/v1/namespaces/{web}"
    eventually(lambda: call(engine, "GET", f"{root}/services/web/proxy/")[0] == 200, "an endpoint")
    for path in ("pods/web", "pods/web:8080", "pods/http:web:8080", "services/web", "services/web:http"):
        status, headers, body = call(engine, "GET", f"{root}/{path}/proxy/")
        assert (status, body.strip()) == (200, "front"), path
        assert "Content-Type" in headers
    for path in ("pods/web", "services/http:web:80"):
        where = f"{root}/{path}/proxy/cgi-bin/echo/a%20b?x=1&y=%2F"
        assert call(engine, "POST", where, "hello")[2] == "POST /a b x=1&y=%2F\nhello"
    status, headers, _ = call(engine, "GET", f"{root}/pods/web/proxy?x=1")
    assert (status, headers["Location"]) == (301, f"{root}/pods/web/proxy/?x=1")
    assert call(engine, "GET", f"{root}/pods/web/proxy/none")[0] == 404


@pytest.fixture
def proxy_namespace(engine: Engine) -> Iterator[str]:
    """A namespace whose name begins as the subresource is called: it is one like any other."""
    name = f"proxy-{uuid.uuid4().hex[:8]}"
    engine.kubectl("create", "namespace", name)
    yield name
    engine.kubectl("delete", "namespace", name, "--wait=false")


def test_links_of_pages_lead_through_the_api_server(engine: Engine, proxy_namespace: str) -> None:
    namespace = proxy_namespace
    page = "mkdir /tmp/www; cd /tmp/www; echo '<a href=\"/there\">go</a>' > index.html; mkdir sub; "
    manifest = pod("page", f"{page} exec httpd -f -p 8080 -h /tmp/www")
    manifest["spec"]["containers"][0] |= {"ports": [{"containerPort": 8080}], "readinessProbe": ANSWERS}
    engine.apply(manifest, namespace)
    engine.wait_ready("page", namespace)
    proxy = f"/api/v1/namespaces/{namespace}/pods/http:page:8080/proxy"
    status, headers, body = call(engine, "GET", f"{proxy}/")
    assert (status, body) == (200, f'<a href="{proxy}/there">go</a>\n')
    assert headers["Content-Type"].startswith("text/html")
    status, headers, _ = call(engine, "GET", f"{proxy}/sub")
    assert (status, headers["Location"]) == (302, f"{proxy}/sub/")


def test_what_cannot_be_reached_is_said_so(engine: Engine, web: str) -> None:
    root = f"/api/v1/namespaces/{web}"
    for path, code, words in [
        ("services/none", 404, 'services "none" not found'),
        ("pods/none", 404, 'pods "none" not found'),
        ("pods/web:1", 503, "error trying to reach service:"),
        ("services/web:nope", 503, 'no service port "nope" found for service "web"'),
        ("pods/ftp:web:1", 400, 'invalid request "ftp:web:1"'),
    ]:
        status, _, body = call(engine, "GET", f"{root}/{path}/proxy/")
        assert status == code, path
        assert words in json.loads(body)["message"]
    engine.kubectl("delete", "pod", "web", "-n", web, "--grace-period=1")
    wanted = 'no endpoints available for service "web"'

    def answered() -> bool:
        status, _, body = call(engine, "GET", f"{root}/services/web/proxy/")
        return status == 503 and json.loads(body)["message"] == wanted

    eventually(answered, wanted)


def test_the_node_agent_answers_through_the_api_server(engine: Engine) -> None:
    name = engine.kubectl("get", "nodes", "-o", "name").stdout.strip().removeprefix("node/")
    assert call(engine, "GET", f"/api/v1/nodes/{name}/proxy/healthz")[::2] == (200, "ok")

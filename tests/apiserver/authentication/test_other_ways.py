"""Proxies in front and bootstrap tokens."""

from __future__ import annotations

import base64
import ssl
import time
from typing import Any

import orjson
import pytest

from hawser.apiserver.authentication import bootstrap_tokens

WHO_AM_I = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


@pytest.fixture
def proxies(own_server: Any) -> Any:
    """A CA of proxies, which the server is told of."""
    folder = own_server.folder / "front"
    folder.mkdir()
    authority = type(own_server.authority)(folder, "proxies")
    authority.issue("proxy", "front-proxy-client")
    authority.issue("other", "somebody-else")
    own_server.extra = [
        *("--requestheader-client-ca-file", str(folder / "ca.crt")),
        *("--requestheader-allowed-names", "front-proxy-client"),
        "--enable-bootstrap-token-auth",
    ]

    def tls(name: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(own_server.authority.certificate))
        context.load_cert_chain(folder / f"{name}.crt", folder / f"{name}.key")
        return context

    return tls


HEADERS = {"X-Remote-User": "jane", "X-Remote-Group": "system:masters", "X-Remote-Extra-Example.com%2FTeam": "a"}


async def test_a_proxy_says_who_asks(proxies: Any, own_api: Any) -> None:
    answer = await own_api.call("POST", WHO_AM_I, {}, token=None, tls=proxies("proxy"), headers=HEADERS)
    assert answer.json["status"]["userInfo"] == {
        "username": "jane",
        "groups": ["system:masters", "system:authenticated"],
        "extra": {"example.com/team": ["a"]},
    }
    # The proxy itself is nobody, another of its CA neither: certificates that are no users'.
    # Headers of others say nothing.
    assert (await own_api.get("/api", token=None, tls=proxies("proxy"))).status == 401
    assert (await own_api.get("/api", token=None, tls=proxies("other"), headers=HEADERS)).status == 401
    admin = own_api.server.tls("admin")
    answer = await own_api.call("POST", WHO_AM_I, {}, token=None, tls=admin, headers=HEADERS)
    assert answer.json["status"]["userInfo"]["username"] == "admin"
    assert (await own_api.get("/api", token=None, headers=HEADERS)).status == 403


async def test_aggregated_servers_are_told_whom_to_believe(proxies: Any, own_api: Any) -> None:
    path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
    data = (await own_api.get(path)).json["data"]
    assert data["client-ca-file"] == own_api.server.authority.certificate.read_text()
    assert data["requestheader-client-ca-file"] == (own_api.server.folder / "front/ca.crt").read_text()
    assert orjson.loads(data["requestheader-allowed-names"]) == ["front-proxy-client"]
    assert orjson.loads(data["requestheader-extra-headers-prefix"]) == ["X-Remote-Extra-"]


def _secret(**changed: str) -> dict[str, Any]:
    data = {
        "token-id": "abcdef",
        "token-secret": "0123456789abcdef",
        "usage-bootstrap-authentication": "true",
        **changed,
    }
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    metadata = {"name": "bootstrap-token-abcdef", "namespace": "kube-system"}
    return {"metadata": metadata, "type": "bootstrap.kubernetes.io/token", "data": encoded}


@pytest.mark.parametrize(
    ("changed", "groups"),
    [
        ({}, ("system:bootstrappers", "system:authenticated")),
        (
            {"auth-extra-groups": "system:bootstrappers:a,system:bootstrappers:b"},
            ("system:bootstrappers", "system:bootstrappers:a", "system:bootstrappers:b", "system:authenticated"),
        ),
        ({"auth-extra-groups": "system:masters"}, None),
        ({"usage-bootstrap-authentication": "false"}, None),
        ({"expiration": "2020-01-01T00:00:00Z"}, None),
        ({"expiration": "soon"}, None),
        ({"expiration": "2999-01-01T00:00:00Z"}, ("system:bootstrappers", "system:authenticated")),
        ({"token-secret": "fedcba9876543210"}, None),
        ({"token-id": "fedcba"}, None),
    ],
)
def test_what_a_bootstrap_token_is_good_for(changed: dict[str, str], groups: tuple[str, ...] | None) -> None:
    user = bootstrap_tokens.user_of(_secret(**changed), "abcdef", "0123456789abcdef", time.time())
    assert (user.groups if user is not None else None) == groups
    if user is not None:
        assert user.name == "system:bootstrap:abcdef"


async def test_a_bootstrap_token_logs_in_until_its_secret_is_gone(proxies: Any, own_api: Any) -> None:
    await own_api.create("/api/v1/namespaces/kube-system/secrets", _secret())
    token = "abcdef.0123456789abcdef"
    answer = await own_api.call("POST", WHO_AM_I, {}, token=token)
    assert answer.json["status"]["userInfo"]["username"] == "system:bootstrap:abcdef"
    await own_api.call("DELETE", "/api/v1/namespaces/kube-system/secrets/bootstrap-token-abcdef")
    assert (await own_api.get("/version", token=token)).status == 401


async def test_bootstrap_tokens_are_off_unless_wanted(api: Any) -> None:
    secret = _secret()
    await api.create("/api/v1/namespaces/kube-system/secrets", secret)
    assert (await api.get("/version", token="abcdef.0123456789abcdef")).status == 401
    await api.call("DELETE", "/api/v1/namespaces/kube-system/secrets/bootstrap-token-abcdef")

"""Service account tokens: asked for, used, and no longer good once what they are bound to is gone."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

ISSUER = "https://kubernetes.default.svc.cluster.local"
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"


async def _account(api: Any, name: str = "robot") -> dict[str, Any]:
    found: dict[str, Any] = await api.create(api.path("serviceaccounts"), {"metadata": {"name": name}})
    return found


async def _pod(api: Any, name: str = "p", account: str = "robot") -> dict[str, Any]:
    spec = {
        "serviceAccountName": account,
        "automountServiceAccountToken": False,
        "containers": [{"name": "c", "image": "i"}],
    }
    found: dict[str, Any] = await api.create(api.path("pods"), {"metadata": {"name": name}, "spec": spec})
    return found


async def _ask(api: Any, spec: dict[str, Any], account: str = "robot") -> Any:
    return await api.call("POST", api.path("serviceaccounts", f"{account}/token"), {"spec": spec})


async def _token(api: Any, **spec: Any) -> str:
    answer = await _ask(api, spec)
    assert answer.status == 201, answer.body
    return str(answer.json["status"]["token"])


def _claims(token: str) -> dict[str, Any]:
    middle = token.split(".")[1]
    claims: dict[str, Any] = orjson.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    return claims


async def _review(api: Any, token: str, *audiences: str) -> dict[str, Any]:
    status: dict[str, Any] = (await api.create(REVIEWS, {"spec": {"token": token, "audiences": list(audiences)}}))[
        "status"
    ]
    return status


async def test_a_token_names_the_account_and_its_namespace(api: Any) -> None:
    account = await _account(api)
    token = await _token(api)
    claims = _claims(token)
    assert claims["sub"] == f"system:serviceaccount:{api.namespace}:robot"
    assert claims["aud"] == [ISSUER]
    assert claims["exp"] - claims["iat"] == 3600
    status = await _review(api, token)
    assert status["user"] == {
        "username": claims["sub"],
        "uid": account["metadata"]["uid"],
        "groups": [
            "system:serviceaccounts",
            f"system:serviceaccounts:{api.namespace}",
            "system:authenticated",
        ],
        "extra": {"authentication.kubernetes.io/credential-id": [f"JTI={claims['jti']}"]},
    }


async def test_a_pods_token_names_the_pod_and_its_node_and_ends_with_it(api: Any) -> None:
    await _account(api)
    pod = await _pod(api)
    node = await api.create("/api/v1/nodes", {"metadata": {"name": f"n-{api.namespace}"}})
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": node["metadata"]["name"]}}
    await api.create(api.path("pods", "p/binding"), binding)
    ref = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": pod["metadata"]["uid"]}
    token = await _token(api, boundObjectRef=ref)
    private = _claims(token)["kubernetes.io"]
    assert private["pod"] == {"name": "p", "uid": pod["metadata"]["uid"]}
    assert private["node"] == {"name": node["metadata"]["name"], "uid": node["metadata"]["uid"]}
    status = await _review(api, token)
    assert status["authenticated"]
    assert status["audiences"] == [ISSUER]
    extra = status["user"]["extra"]
    assert extra["authentication.kubernetes.io/pod-name"] == ["p"]
    assert extra["authentication.kubernetes.io/node-uid"] == [node["metadata"]["uid"]]
    await api.call("DELETE", api.path("pods", "p"), {"gracePeriodSeconds": 0})
    assert await _review(api, token) == {
        "user": {},
        "error": "[invalid bearer token, service account token has been invalidated]",
    }
    assert (await api.get("/version", token=token)).status == 401


async def test_a_token_ends_with_its_account_even_when_one_of_that_name_comes_again(api: Any) -> None:
    await _account(api)
    token = await _token(api)
    assert (await api.get("/version", token=token)).status == 200
    await api.call("DELETE", api.path("serviceaccounts", "robot"))
    assert (await api.get("/version", token=token)).status == 401
    await _account(api)
    assert (await api.get("/version", token=token)).status == 401


async def test_the_projected_token_of_a_pod_lasts_longer_than_it_says(api: Any) -> None:
    await _account(api)
    await _pod(api)
    ref = {"apiVersion": "v1", "kind": "Pod", "name": "p"}
    claims = _claims(await _token(api, boundObjectRef=ref, expirationSeconds=3607))
    assert claims["exp"] - claims["iat"] == 365 * 24 * 3600
    assert claims["kubernetes.io"]["warnafter"] == claims["iat"] + 3607
    claims = _claims(await _token(api, boundObjectRef=ref, expirationSeconds=3607, audiences=["vault"]))
    assert claims["exp"] - claims["iat"] == 3607


async def test_a_token_for_others_is_none_for_this_server(api: Any) -> None:
    await _account(api)
    token = await _token(api, audiences=["vault"])
    assert (await api.get("/version", token=token)).status == 401
    assert "authenticated" not in await _review(api, token)
    status = await _review(api, token, "vault", "other")
    assert (status["authenticated"], status["audiences"]) == (True, ["vault"])


@pytest.mark.parametrize(
    ("spec", "code", "message"),
    [
        (
            {"expirationSeconds": 599},
            422,
            "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
        ),
        (
            {"expirationSeconds": (1 << 32) + 1},
            422,
            "may not specify a duration larger than 2^32 seconds",
        ),
        (
            {"boundObjectRef": {"apiVersion": "v1", "kind": "Service", "name": "x"}},
            400,
            "cannot bind token to object of type /v1, Kind=Service",
        ),
        (
            {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "nope"}},
            404,
            'pods "nope" not found',
        ),
        (
            {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "others"}},
            400,
            'cannot bind token for serviceaccount "robot" to pod running with different serviceaccount name.',
        ),
        (
            {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}},
            409,
            'Operation cannot be fulfilled on Pod "p": the UID in the bound object reference (u) does not match',
        ),
    ],
)
async def test_what_a_token_cannot_be_asked_for(api: Any, spec: dict[str, Any], code: int, message: str) -> None:
    await _account(api)
    await _account(api, "other")
    await _pod(api)
    await _pod(api, "others", "other")
    answer = await _ask(api, spec)
    assert answer.status == code
    assert message in answer.message


async def test_there_is_no_token_of_an_account_that_does_not_exist(api: Any) -> None:
    answer = await _ask(api, {}, "nobody")
    assert (answer.status, answer.message) == (404, 'serviceaccounts "nobody" not found')


async def test_the_issuer_publishes_its_keys(api: Any) -> None:
    document = (await api.get("/.well-known/openid-configuration")).json
    assert document["issuer"] == ISSUER
    assert document["jwks_uri"] == f"{api.server.url}/openid/v1/jwks"
    assert document["id_token_signing_alg_values_supported"] == ["ES256"]
    answer = await api.get("/openid/v1/jwks")
    assert answer.headers["Content-Type"] == "application/jwk-set+json"
    (key,) = answer.json["keys"]
    await _account(api)
    header = (await _token(api)).split(".")[0]
    assert orjson.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))["kid"] == key["kid"]


async def test_service_accounts_may_read_what_verifies_them(api: Any) -> None:
    await _account(api)
    token = await _token(api)
    for path in ("/.well-known/openid-configuration", "/openid/v1/jwks"):
        assert (await api.get(path, token=token)).status == 200
        assert (await api.get(path, token=None)).status == 403


async def test_tokens_outlive_a_restart_of_the_server(own_server: Any) -> None:
    import aiohttp

    own_server.start()
    headers = {"Authorization": "Bearer admin-token"}
    root = "/api/v1/namespaces/default/serviceaccounts"
    async with aiohttp.ClientSession() as session:
        tls = own_server.tls()
        for path, body in ((root, {"metadata": {"name": "r"}}), (f"{root}/r/token", {})):
            async with session.post(own_server.url + path, json=body, headers=headers, ssl=tls) as answer:
                assert answer.status == 201
                made = await answer.json()
    own_server.stop()
    own_server.start()
    headers = {"Authorization": f"Bearer {made['status']['token']}"}
    async with (
        aiohttp.ClientSession() as session,
        session.get(own_server.url + "/version", headers=headers, ssl=own_server.tls()) as answer,
    ):
        assert answer.status == 200


def test_kubectl_creates_a_token_and_reviews_itself_with_it(api: Any, kubectl: Any) -> None:
    kubectl("create", "serviceaccount", "robot", namespace=api.namespace)
    token = kubectl("create", "token", "robot", "--duration=10m", namespace=api.namespace).strip()
    assert _claims(token)["sub"] == f"system:serviceaccount:{api.namespace}:robot"

"""Secrets that hold the token of a service account."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hawser.api import jws
from hawser.api.errors import APIError
from hawser.api.jws import SigningKey
from hawser.api.kinds import SECRET, SERVICE_ACCOUNT, TOKEN_REVIEW
from hawser.client.client import Client
from hawser.controllers import token_secrets as sut
from hawser.controllers.token_secrets import TokenSecretController

from .running import running

Obj = dict[str, Any]


def _secret(account: str, **annotations: str) -> Obj:
    metadata = {
        "name": f"{account}-token",
        "namespace": "default",
        "annotations": {"kubernetes.io/service-account.name": account, **annotations},
    }
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": sut.TYPE}


def _account(name: str) -> Obj:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "default"}}


def test_a_filled_secret_stays_as_it_is_and_keeps_its_token() -> None:
    key = SigningKey(jws.new_signing_key(), "test")
    account = _account("a")
    account["metadata"]["uid"] = "7"
    made = sut.filled(_secret("a"), account, b"CA", key)
    assert made is not None
    assert made["metadata"]["annotations"]["kubernetes.io/service-account.uid"] == "7"
    assert made["data"].keys() == {"ca.crt", "namespace", "token"}
    assert sut.filled(made, account, b"CA", key) is None
    again = sut.filled(made, account, b"other CA", key)
    assert again is not None
    assert again["data"]["token"] == made["data"]["token"]


@pytest.fixture
async def client(api_server: Any) -> AsyncIterator[Client]:
    controller = TokenSecretController()
    controller.key_file = api_server.folder / "data/sa.key"
    async with running(api_server.kubeconfig, controller) as made:
        yield made


async def _token(client: Client, name: str) -> str:
    async with asyncio.timeout(60):
        while True:
            found = (await client.get(SECRET, name, "default")).get("data") or {}
            if found.get("token"):
                return base64.b64decode(found["token"]).decode()
            await asyncio.sleep(0.02)


async def _review(client: Client, token: str) -> Obj:
    asked = {"apiVersion": TOKEN_REVIEW.api_version, "kind": TOKEN_REVIEW.kind, "spec": {"token": token}}
    status: Obj = (await client.create(TOKEN_REVIEW, asked))["status"]
    return status


async def test_its_token_is_good_until_the_secret_or_the_account_goes(client: Client) -> None:
    await client.create(SERVICE_ACCOUNT, _account("robot"))
    await client.create(SECRET, _secret("robot"))
    token = await _token(client, "robot-token")
    status = await _review(client, token)
    assert status["user"]["username"] == "system:serviceaccount:default:robot"
    await client.delete(SECRET, "robot-token", "default")
    assert "authenticated" not in await _review(client, token)
    await client.create(SECRET, _secret("robot"))
    await _token(client, "robot-token")
    assert "authenticated" in await _review(client, await _token(client, "robot-token"))
    await client.delete(SERVICE_ACCOUNT, "robot", "default")
    async with asyncio.timeout(60):
        with pytest.raises(APIError):
            while await client.get(SECRET, "robot-token", "default"):  # noqa: ASYNC110 - it goes over the network
                await asyncio.sleep(0.02)

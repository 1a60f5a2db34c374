"""Bootstrap tokens: what signs cluster-info, and what is cleaned away."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import hashlib
import hmac
from typing import Any

import pytest

from hawser.api import jws
from hawser.api.kinds import CONFIG_MAP, SECRET
from hawser.client.client import Client
from hawser.client.controller import Manager
from hawser.controllers import bootstrap_signer, token_cleaner
from hawser.controllers.bootstrap_signer import BootstrapSigner
from hawser.controllers.token_cleaner import TokenCleaner

NOW = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
Obj = dict[str, Any]


def token(identifier: str = "abcdef", **changed: str) -> Obj:
    data = {"token-id": identifier, "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true", **changed}
    metadata = {"name": f"bootstrap-token-{identifier}", "namespace": "kube-system"}
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": token_cleaner.TYPE, "data": encoded}


def info(**data: str) -> Obj:
    metadata = {"name": "cluster-info", "namespace": "kube-public"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"kubeconfig": "who", **data}}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("", None),
        ("2030-01-01T00:01:00Z", 60.0),
        ("2029-12-31T23:59:00Z", 0.0),
        ("2030-01-01T02:00:00+02:00", 0.0),
        ("soon", 0.0),
        ("2031-01-01T00:00:00", 0.0),
    ],
)
def test_when_a_token_ends(text: str, left: float | None) -> None:
    assert token_cleaner.left(token(expiration=text), NOW) == left


def test_a_signature_is_of_the_content_and_leaves_it_out() -> None:
    made = bootstrap_signer.signed(info(), [token()], NOW)
    assert made is not None
    header, middle, signature = made["data"]["jws-kubeconfig-abcdef"].split(".")
    assert jws.decode(header) == b'{"alg":"HS256","kid":"abcdef"}'
    assert middle == ""
    over = f"{header}.{jws.encode(b'who')}".encode()
    assert jws.decode(signature) == hmac.digest(b"0123456789abcdef", over, hashlib.sha256)
    assert bootstrap_signer.signed(made, [token()], NOW) is None


@pytest.mark.parametrize(
    "changed",
    [{"usage-bootstrap-signing": "false"}, {"expiration": "2029-01-01T00:00:00Z"}, {"token-id": "other1"}],
)
def test_only_good_tokens_sign_and_old_signatures_go(changed: dict[str, str]) -> None:
    one = {**token(), "data": token(**changed)["data"]}
    made = bootstrap_signer.signed(info(**{"jws-kubeconfig-abcdef": "old"}), [one], NOW)
    assert made is not None
    assert made["data"] == {"kubeconfig": "who"}


async def test_an_ended_token_is_removed_and_its_signature_with_it(api_server: Any) -> None:
    async with Client.from_kubeconfig(api_server.kubeconfig) as client:
        manager = Manager(client)
        manager.add(BootstrapSigner())
        manager.add(TokenCleaner())
        task = asyncio.create_task(manager.run())
        try:
            await client.create(CONFIG_MAP, info())
            made = await client.create(SECRET, token())
            await _until(client, lambda data: "jws-kubeconfig-abcdef" in data)
            await client.update(SECRET, {**made, "data": token(expiration="2020-01-01T00:00:00Z")["data"]})
            await _until(client, lambda data: "jws-kubeconfig-abcdef" not in data)
            async with asyncio.timeout(60):
                while (await client.list(SECRET, "kube-system")).items:  # noqa: ASYNC110 - it goes over the network
                    await asyncio.sleep(0.02)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _until(client: Client, condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition((await client.get(CONFIG_MAP, "cluster-info", "kube-public"))["data"]):  # noqa: ASYNC110
            await asyncio.sleep(0.02)

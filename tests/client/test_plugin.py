"""Credentials from programs that a kubeconfig names, beside a real API server."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conftest import APIServerProcess

from hawser.api.errors import APIError
from hawser.api.kinds import NAMESPACE
from hawser.client.client import Client
from hawser.client.config import ConfigError

V1 = "client.authentication.k8s.io/v1"
# Notes what it is told, and prints what the test has written.
PROGRAM = """#!/bin/sh
printf '%s %s %s\\n' "$1" "$MODE" "$KUBERNETES_EXEC_INFO" >>"$0.told"
cat "$0.answer"
"""


class Program:
    """A program beside a kubeconfig of the server, and what it answers."""

    def __init__(self, folder: Path, server: APIServerProcess) -> None:
        self.path, self.kubeconfig = folder / "login", folder / "config"
        self.path.write_text(PROGRAM)
        self.path.chmod(0o755)
        document = yaml.safe_load(server.kubeconfig.read_text())
        settings = {"apiVersion": V1, "command": "./login", "args": ["get"], "env": [{"name": "MODE", "value": "m"}]}
        settings |= {"interactiveMode": "Never", "provideClusterInfo": True, "installHint": "get it"}
        document["users"][0]["user"] = {"exec": settings}
        self.document = document
        self.write(**settings)

    def write(self, **settings: Any) -> None:
        self.document["users"][0]["user"]["exec"] |= settings
        self.kubeconfig.write_text(yaml.safe_dump(self.document))

    def answers(self, version: str = V1, **status: Any) -> None:
        answer = {"apiVersion": version, "kind": "ExecCredential", "status": status}
        self.path.with_suffix(".answer").write_text(json.dumps(answer))

    def told(self) -> list[str]:
        return self.path.with_suffix(".told").read_text().splitlines()


@pytest.fixture
def program(api_server: APIServerProcess, tmp_path: Path) -> Program:
    return Program(tmp_path, api_server)


async def test_a_token_counts_until_it_expires(program: Program) -> None:
    program.answers(token="admin-token", expirationTimestamp="2099-01-01T00:00:00Z")
    async with Client.from_kubeconfig(program.kubeconfig) as client:
        for _ in range(3):
            assert await client.list(NAMESPACE)
    [line] = program.told()
    word, mode, info = line.split(" ", 2)
    assert (word, mode) == ("get", "m")
    spec = json.loads(info)["spec"]
    assert (spec["interactive"], spec["cluster"]["server"][:8]) == (False, "https://")
    assert spec["cluster"]["certificate-authority-data"]


async def test_an_expired_token_is_asked_for_again(program: Program) -> None:
    program.answers(token="admin-token", expirationTimestamp=(datetime.now(UTC) - timedelta(seconds=1)).isoformat())
    async with Client.from_kubeconfig(program.kubeconfig) as client:
        await client.list(NAMESPACE)
        await client.list(NAMESPACE)
        assert len(program.told()) == 3
        program.path.write_text("#!/bin/sh\nexit 4\n")
        with pytest.raises(APIError, match=r"getting credentials: exec: executable .* failed with exit code 4"):
            await client.list(NAMESPACE)


@pytest.mark.parametrize(
    ("status", "settings", "message"),
    [
        ({"clientCertificateData": "x"}, {}, "returned only certificate or key, not both"),
        ({}, {}, "didn't return a token or cert/key pair"),
        ({"version": "v2", "token": "x"}, {}, f"configured to use API version {V1}, plugin returned version v2"),
        ({"token": "x", "expirationTimestamp": "soon"}, {}, "that is no time: soon"),
        ({"clientCertificateData": "x", "clientKeyData": "y"}, {}, "cannot be read"),
        ({"token": "x"}, {"command": "no-such-login"}, "executable no-such-login not found: get it"),
        ({"token": "x"}, {"command": "true"}, "executable true printed no ExecCredential"),
    ],
)
def test_what_gives_no_credentials_is_said(
    program: Program, status: dict[str, Any], settings: dict[str, str], message: str
) -> None:
    program.answers(**status)
    program.write(**settings)
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        Client.from_kubeconfig(program.kubeconfig)


async def test_a_certificate_is_shown_to_the_server(program: Program, api_server: APIServerProcess) -> None:
    cert, key = ((api_server.folder / f"tls.{part}").read_text() for part in ("crt", "key"))
    program.answers(clientCertificateData=cert, clientKeyData=key)
    async with Client.from_kubeconfig(program.kubeconfig) as client:
        with pytest.raises(APIError) as refused:
            await client.list(NAMESPACE)
    assert (refused.value.code, 'User "hawser-test"' in refused.value.message) == (403, True), refused.value.message

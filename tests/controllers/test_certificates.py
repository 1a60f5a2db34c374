"""Certificate requests: recognized, signed and cleaned; the pure part, then kubectl approve to a certificate's use."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hawser.api import certificates
from hawser.api.kinds import CERTIFICATE_SIGNING_REQUEST as CSR
from hawser.client.client import Client
from hawser.controllers import csr_approver, csr_cleaner, csr_signer
from hawser.controllers.csr_approver import ApproverController
from hawser.controllers.csr_signer import Authority, SignerController

from .running import running

Obj = dict[str, Any]
NOW = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
NODE_USAGES = ["digital signature", "client auth"]


def key_and_request(name: str, *groups: str, dns: str = "") -> tuple[bytes, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, name)])
    )
    if dns:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(dns)]), critical=False)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return secret, base64.b64encode(pem).decode()


def csr(signer: str, request: str, usages: list[str], **spec: Any) -> Obj:
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": "r"},
        "spec": {"signerName": signer, "request": request, "usages": usages, **spec},
    }


@pytest.mark.parametrize(
    ("signer", "name", "groups", "dns", "usages", "problem"),
    [
        (certificates.CLIENT, "jane", (), "", ["client auth"], ""),
        (certificates.CLIENT, "jane", (), "", ["digital signature"], "missing required usage for client certificate"),
        (certificates.CLIENT, "j", (), "", ["server auth"], "invalid usage for client certificate: server auth"),
        (certificates.KUBELET_CLIENT, "system:node:n", ("system:nodes",), "", NODE_USAGES, ""),
        (certificates.KUBELET_CLIENT, "system:node:n", (), "", NODE_USAGES, "organization is not system:nodes"),
        (certificates.KUBELET_CLIENT, "n", ("system:nodes",), "", NODE_USAGES, "does not begin with system:node:"),
        (
            *(certificates.KUBELET_CLIENT, "system:node:n", ("system:nodes",), "a.b", NODE_USAGES),
            "DNS subjectAltNames are not allowed",
        ),
        (
            *(certificates.KUBELET_CLIENT, "system:node:n", ("system:nodes",), "", ["client auth"]),
            "usages did not match [client auth digital signature key encipherment]",
        ),
        (
            *(certificates.KUBELET_SERVING, "system:node:n", ("system:nodes",), ""),
            ["digital signature", "server auth"],
            "DNS or IP subjectAltName is required",
        ),
        (
            *(certificates.KUBELET_SERVING, "system:node:n", ("system:nodes",), "n.example.com"),
            ["digital signature", "key encipherment", "server auth"],
            "",
        ),
        ("example.com/mine", "jane", (), "", ["client auth"], "unrecognized signerName"),
    ],
)
def test_each_signer_signs_what_it_is_for(
    signer: str, name: str, groups: tuple[str, ...], dns: str, usages: list[str], problem: str
) -> None:
    request = certificates.parse(key_and_request(name, *groups, dns=dns)[1])
    if not problem:
        certificates.check(signer, request, usages)
        return
    with pytest.raises(certificates.RequestError) as raised:
        certificates.check(signer, request, usages)
    assert problem in str(raised.value)


def test_only_nodes_requests_are_decided_without_people() -> None:
    request = key_and_request("system:node:n", "system:nodes")[1]
    asked = csr(certificates.KUBELET_CLIENT, request, NODE_USAGES, username="system:node:n")
    assert [subresource for subresource, _ in csr_approver.questions(asked)] == ["selfnodeclient", "nodeclient"]
    asked["spec"]["username"] = "bootstrapper"
    assert [subresource for subresource, _ in csr_approver.questions(asked)] == ["nodeclient"]
    assert csr_approver.questions(csr_approver.approved(asked, "yes")) == []
    assert csr_approver.questions(csr(certificates.CLIENT, request, ["client auth"])) == []


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (None, dt.timedelta(days=1)),
        (1, dt.timedelta(minutes=10)),
        (3600, dt.timedelta(hours=1)),
        (10**8, dt.timedelta(days=1)),
    ],
)
def test_certificates_last_as_long_as_asked_within_bounds(asked: int | None, given: dt.timedelta) -> None:
    assert csr_signer.lifetime(asked, dt.timedelta(days=1)) == given


def _status(kind: str, hours: float, **status: Any) -> Obj:
    stamp = (NOW - dt.timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions = [{"type": kind, "status": "True", "lastUpdateTime": stamp}] if kind else []
    return {"metadata": {"name": "r", "creationTimestamp": stamp}, "status": {"conditions": conditions, **status}}


@pytest.mark.parametrize(
    ("made", "due"),
    [
        (_status("Approved", 0.5, certificate="eA=="), False),
        (_status("Approved", 2, certificate="eA=="), True),
        (_status("Approved", 2), False),
        (_status("Approved", 25), True),
        (_status("Denied", 2), True),
        (_status("Failed", 0.5), False),
        (_status("", 23), False),
        (_status("", 25), True),
    ],
)
def test_what_is_done_or_forgotten_goes(made: Obj, due: bool) -> None:
    assert csr_cleaner.due(made, NOW) is due


@pytest.fixture
async def client(api_server: Any) -> AsyncIterator[Client]:
    """A client, with approver and signer running on the server's own authority."""
    signer = SignerController()
    signer.authority = Authority(api_server.folder / "tls.crt", api_server.folder / "tls.key")
    async with running(api_server.kubeconfig, signer, ApproverController()) as made:
        yield made


async def _seen(client: Client, name: str, field: str) -> Any:
    async with asyncio.timeout(60):
        while not (found := ((await client.get(CSR, name)).get("status") or {}).get(field)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return found


def _kubectl(api_server: Any, *arguments: str) -> str:
    command = [str(Path(sys.executable).parent / "kubectl"), "--kubeconfig", str(api_server.kubeconfig), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_an_approved_request_becomes_a_certificate_that_logs_in(
    client: Client, api_server: Any, tmp_path: Path
) -> None:
    key, request = key_and_request("jane", "dev")
    asked = csr(certificates.CLIENT, request, ["client auth"], expirationSeconds=3600)
    await client.create(CSR, {**asked, "metadata": {"name": "jane"}})
    await asyncio.to_thread(_kubectl, api_server, "certificate", "approve", "jane")
    pem = base64.b64decode(await _seen(client, "jane", "certificate"))
    made = x509.load_pem_x509_certificate(pem)
    assert made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value == x509.ExtendedKeyUsage(
        [ExtendedKeyUsageOID.CLIENT_AUTH]
    )
    assert made.not_valid_after_utc - dt.datetime.now(dt.UTC) < dt.timedelta(hours=1, seconds=5)
    assert "Approved,Issued" in await asyncio.to_thread(_kubectl, api_server, "get", "csr", "jane")
    (tmp_path / "jane.crt").write_bytes(pem)
    (tmp_path / "jane.key").write_bytes(key)
    server = f"https://127.0.0.1:{api_server.port}"
    flags = ["--client-certificate", str(tmp_path / "jane.crt"), "--client-key", str(tmp_path / "jane.key")]
    command = [
        *(str(Path(sys.executable).parent / "kubectl"), "--kubeconfig", "/dev/null", "--server", server, *flags),
        *("--certificate-authority", str(api_server.folder / "tls.crt"), "auth", "whoami", "-o", "json"),
    ]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    user = json.loads(done.stdout)["status"]["userInfo"]
    assert (user["username"], user["groups"]) == ("jane", ["dev", "system:authenticated"])


async def test_a_denied_request_gets_nothing_and_a_wrong_one_is_told_why(client: Client, api_server: Any) -> None:
    _, request = key_and_request("joe")
    wrong = csr(certificates.CLIENT, request, ["client auth", "server auth"])
    await client.create(CSR, {**wrong, "metadata": {"name": "denied"}})
    await client.create(CSR, {**wrong, "metadata": {"name": "wrong"}})
    await asyncio.to_thread(_kubectl, api_server, "certificate", "deny", "denied")
    await asyncio.to_thread(_kubectl, api_server, "certificate", "approve", "wrong")
    async with asyncio.timeout(60):
        while len(found := await _seen(client, "wrong", "conditions")) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert found[1]["type"] == "Failed"
    assert found[1]["message"] == "invalid usage for client certificate: server auth"
    assert "certificate" not in (await client.get(CSR, "denied"))["status"]


async def test_a_node_that_may_have_its_certificate_gets_it_at_once(client: Client) -> None:
    _, request = key_and_request("system:node:n9", "system:nodes")
    asked = csr(certificates.KUBELET_CLIENT, request, NODE_USAGES)
    await client.create(CSR, {**asked, "metadata": {"name": "node"}})
    assert await _seen(client, "node", "certificate")

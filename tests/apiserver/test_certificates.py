"""CertificateSigningRequests: what may be asked, who decides, and what does not change."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

CSRS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"


def request(name: str = "jane", *groups: str) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()


def csr(name: str, **spec: Any) -> dict[str, Any]:
    usual = {"request": request(), "signerName": "example.com/signer", "usages": ["client auth"]}
    return {"metadata": {"name": name}, "spec": {**usual, **spec}}


async def test_who_asks_is_who_sends_it_and_nothing_is_approved_beforehand(api: Any) -> None:
    body = csr(api.namespace, username="root", groups=["system:masters"])
    body["status"] = {"conditions": [{"type": "Approved", "status": "True"}]}
    headers = {"Impersonate-User": "jane", "Impersonate-Group": "system:masters", "Impersonate-Extra-A": "b"}
    made = await api.create(CSRS, body, headers=headers)
    assert made["spec"]["username"] == "jane"
    assert made["spec"]["groups"] == ["system:masters", "system:authenticated"]
    assert made["spec"]["extra"] == {"a": ["b"]}
    assert made["status"] == {}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"request": base64.b64encode(b"x").decode()}, "PEM block type must be CERTIFICATE REQUEST"),
        ({"usages": []}, "spec.usages: Required value: usages must be provided"),
        ({"usages": ["client auth", "client auth"]}, 'spec.usages[1]: Duplicate value: "client auth"'),
        ({"usages": ["flying"]}, 'spec.usages[0]: Unsupported value: "flying"'),
        ({"signerName": "x"}, "must be a fully qualified domain and path of the form 'example.com/signer-name'"),
        ({"signerName": "x/y"}, "should be a domain with at least two segments separated by dots"),
        (
            {"signerName": "kubernetes.io/legacy-unknown"},
            "the legacy signerName is not allowed via this API version",
        ),
        (
            {"expirationSeconds": 599},
            "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)",
        ),
    ],
)
async def test_what_cannot_be_asked(api: Any, spec: dict[str, Any], message: str) -> None:
    answer = await api.call("POST", CSRS, csr(api.namespace, **spec))
    assert answer.status == 422, answer.body
    assert message in answer.message


async def test_what_is_asked_does_not_change(api: Any) -> None:
    made = await api.create(CSRS, csr(api.namespace))
    made["spec"]["signerName"] = "example.com/other"
    made["metadata"]["labels"] = {"a": "b"}
    answer = await api.call("PUT", f"{CSRS}/{api.namespace}", made)
    assert answer.status == 200
    assert answer.json["spec"]["signerName"] == "example.com/signer"
    assert answer.json["metadata"]["labels"] == {"a": "b"}


async def test_an_approval_lasts_and_excludes_a_denial(api: Any) -> None:
    made = await api.create(CSRS, csr(api.namespace))
    path = f"{CSRS}/{api.namespace}/approval"
    made["status"] = {"conditions": [{"type": "Approved", "status": "True", "reason": "R", "message": "m"}]}
    answer = await api.call("PUT", path, made)
    assert answer.status == 200, answer.body
    approved = answer.json
    (condition,) = approved["status"]["conditions"]
    assert condition["lastUpdateTime"] == condition["lastTransitionTime"]
    denied = {**approved, "status": {"conditions": [condition, {"type": "Denied", "status": "True"}]}}
    answer = await api.call("PUT", path, denied)
    assert "Approved and Denied conditions are mutually exclusive" in answer.message
    answer = await api.call("PUT", path, {**approved, "status": {}})
    assert 'updates may not remove a condition of type "Approved"' in answer.message
    assert (await api.get(path)).status == 200


async def test_approvals_are_not_given_by_status_nor_certificates_by_approval(api: Any) -> None:
    made = await api.create(CSRS, csr(api.namespace))
    status = {"conditions": [{"type": "Approved", "status": "True"}]}
    answer = await api.call("PUT", f"{CSRS}/{api.namespace}/status", {**made, "status": status})
    assert 'updates may not add a condition of type "Approved"' in answer.message
    pem = base64.b64encode(api.server.authority.certificate.read_bytes()).decode()
    answer = await api.call("PUT", f"{CSRS}/{api.namespace}/approval", {**made, "status": {"certificate": pem}})
    assert answer.status == 200
    assert "certificate" not in answer.json["status"]
    answer = await api.call("PUT", f"{CSRS}/{api.namespace}/status", {**made, "status": {"certificate": "eA=="}})
    assert "status.certificate: Invalid value" in answer.message
    current = (await api.get(f"{CSRS}/{api.namespace}")).json
    answer = await api.call("PUT", f"{CSRS}/{api.namespace}/status", {**current, "status": {"certificate": pem}})
    assert answer.json["status"]["certificate"] == pem
    other = base64.b64encode(api.server.authority.certificate.read_bytes() * 2).decode()
    answer = await api.call("PUT", f"{CSRS}/{api.namespace}/status", {**answer.json, "status": {"certificate": other}})
    assert "updates may not modify existing certificate content" in answer.message

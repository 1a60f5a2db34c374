"""Who signs certificates must be allowed to for the signer."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from .conftest import RBAC, Obj, Rules

PATH = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
SIGNER = "example.com/serving"


def request(name: str, common_name: str, signer: str) -> Obj:
    key = ec.generate_private_key(ec.SECP256R1())
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes")
    subject = x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem = made.public_bytes(serialization.Encoding.PEM)
    usages = ["digital signature", "client auth"]
    spec = {"request": b64encode(pem).decode(), "signerName": signer, "usages": usages}
    return {"metadata": {"name": name}, "spec": spec}


@pytest.mark.parametrize("granted", [SIGNER, "example.com/*", ""])
async def test_signing_needs_the_verb_sign_for_the_signer(api: Any, rules: Rules, granted: str) -> None:
    name = f"s-{api.namespace}"
    await api.create(PATH, request(name, "x", SIGNER))
    held = [
        rules.rule("get patch", "certificates.k8s.io", "certificatesigningrequests certificatesigningrequests/status")
    ]
    if granted:
        held.append(rules.rule("sign", "certificates.k8s.io", "signers", granted))
    await api.create(f"{RBAC}/clusterroles", {"metadata": {"name": name}, "rules": held})
    await api.create(f"{RBAC}/clusterrolebindings", rules.binding(name, name, "joe", kind="ClusterRole"))
    condition = {"type": "Failed", "status": "True", "reason": "no", "message": "no"}
    answer = await api.call(
        "PATCH",
        f"{PATH}/{name}/status",
        {"status": {"conditions": [condition]}},
        token="joe-token",
        content="application/merge-patch+json",
    )
    await api.call("DELETE", f"{RBAC}/clusterrolebindings/{name}")
    if granted:
        assert answer.status == 200, answer.body
    else:
        assert answer.status == 403
        assert answer.message == (
            f'certificatesigningrequests.certificates.k8s.io "{name}" is forbidden: user not permitted to sign '
            f'requests with signerName "{SIGNER}"'
        )


@pytest.mark.parametrize(("common_name", "status"), [("system:node:n1", 201), ("system:node:n2", 403)])
async def test_a_node_asks_for_certificates_of_its_own(api: Any, common_name: str, status: int) -> None:
    body = request(f"n-{api.namespace}", common_name, "kubernetes.io/kube-apiserver-client-kubelet")
    answer = await api.call("POST", PATH, body, token="node-token")
    assert answer.status == status, answer.body
    if status == 403:
        assert answer.message.endswith("can only create a node CSR with CN=system:node:n1")

"""Certificate signing requests: what they ask for, the signers of Kubernetes, and what each of them signs. Pure.

Source: Kubernetes documentation, "Certificates and Certificate Signing Requests" (signers); API reference. The library
that reads requests is imported when the first one comes.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import TYPE_CHECKING

from hawser.api.types import Obj

if TYPE_CHECKING:
    from cryptography import x509

CLIENT = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"
LEGACY_UNKNOWN = "kubernetes.io/legacy-unknown"
APPROVED, DENIED, FAILED = "Approved", "Denied", "Failed"
USAGES = (
    *("signing", "digital signature", "content commitment", "key encipherment", "key agreement", "data encipherment"),
    *("cert sign", "crl sign", "encipher only", "decipher only", "any", "server auth", "client auth", "code signing"),
    *("email protection", "s/mime", "ipsec end system", "ipsec tunnel", "ipsec user", "timestamping", "ocsp signing"),
    *("microsoft sgc", "netscape sgc"),
)
_HEAD = b"-----BEGIN CERTIFICATE REQUEST-----"
_NODE = "system:node:"
_SIGN, _ENCIPHER, _CLIENT_AUTH, _SERVER_AUTH = "digital signature", "key encipherment", "client auth", "server auth"


class RequestError(ValueError):
    """A request that cannot be read, or that its signer does not sign; the text says why."""


def parse(encoded: str) -> x509.CertificateSigningRequest:
    """The PKCS#10 request of a ``spec.request``, its own signature verified. RequestError."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        pem = base64.b64decode(encoded, validate=True)
    except (ValueError, binascii.Error):
        pem = b""
    if not pem.lstrip().startswith(_HEAD):
        raise RequestError("PEM block type must be CERTIFICATE REQUEST")
    try:
        request = x509.load_pem_x509_csr(pem)
        good = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm) as error:
        raise RequestError(str(error)) from None
    if not good:
        raise RequestError("the request's signature does not verify")
    return request


def condition(csr: Obj, kind: str) -> bool:
    """Whether a condition is there and not False."""
    listed = (csr.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == kind and one.get("status") in ("True", "", None) for one in listed)


def check(signer: str, request: x509.CertificateSigningRequest, usages: Iterable[str]) -> None:
    """RequestError when one of Kubernetes' signers does not sign this."""
    wanted = set(usages)
    if signer == CLIENT:
        _client(list(usages))
    elif signer == KUBELET_CLIENT:
        _node_names(request, serving=False)
        _node_usages(wanted, _CLIENT_AUTH)
    elif signer == KUBELET_SERVING:
        _node_names(request, serving=True)
        _node_usages(wanted, _SERVER_AUTH)
    else:
        raise RequestError(f"unrecognized signerName: {signer}")


def is_node_client(csr: Obj, request: x509.CertificateSigningRequest) -> bool:
    """Whether a node asks for its client certificate."""
    spec = csr["spec"]
    if spec.get("signerName") != KUBELET_CLIENT:
        return False
    try:
        check(KUBELET_CLIENT, request, spec.get("usages") or ())
    except RequestError:
        return False
    return True


def common_name(request: x509.CertificateSigningRequest) -> str:
    """CN of the subject; empty without one."""
    from cryptography.x509.oid import NameOID

    return _first(str(one.value) for one in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME))


def _first(values: Iterable[str]) -> str:
    return next(iter(values), "")


def _client(usages: list[str]) -> None:
    for usage in usages:
        if usage not in (_SIGN, _ENCIPHER, _CLIENT_AUTH):
            raise RequestError(f"invalid usage for client certificate: {usage}")
    if _CLIENT_AUTH not in usages:
        raise RequestError(f"missing required usage for client certificate: {_CLIENT_AUTH}")


def _node_usages(usages: set[str], auth: str) -> None:
    if usages not in ({_SIGN, auth}, {_SIGN, _ENCIPHER, auth}):
        raise RequestError(f"usages did not match [{' '.join(sorted((_SIGN, _ENCIPHER, auth)))}]")


def _node_names(request: x509.CertificateSigningRequest, *, serving: bool) -> None:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    groups = [one.value for one in request.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    if groups != ["system:nodes"]:
        raise RequestError("subject organization is not system:nodes")
    try:
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    has = {type(name) for name in names}
    if serving and not has & {x509.DNSName, x509.IPAddress}:
        raise RequestError("DNS or IP subjectAltName is required")
    refused: list[tuple[str, type[x509.GeneralName]]] = [
        ("Email", x509.RFC822Name),
        ("URI", x509.UniformResourceIdentifier),
    ]
    if not serving:
        refused = [("DNS", x509.DNSName), ("Email", x509.RFC822Name), ("IP", x509.IPAddress), refused[1]]
    for word, kind in refused:
        if kind in has:
            raise RequestError(f"{word} subjectAltNames are not allowed")
    if not common_name(request).startswith(_NODE):
        raise RequestError(f"subject common name does not begin with {_NODE}")

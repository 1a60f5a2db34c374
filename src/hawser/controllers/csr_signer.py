"""Signs approved certificate requests of Kubernetes' own signers with the cluster's certificate authority.

Source: Kubernetes documentation, "Certificates and Certificate Signing Requests"; kube-controller-manager's flags
``--cluster-signing-cert-file``, ``--cluster-signing-key-file`` and ``--cluster-signing-duration``.
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hawser.api import certificates
from hawser.api.certificates import APPROVED, CLIENT, DENIED, FAILED, KUBELET_CLIENT, KUBELET_SERVING, RequestError
from hawser.api.kinds import CERTIFICATE_SIGNING_REQUEST
from hawser.api.types import Obj
from hawser.client.controller import Controller, Manager

if TYPE_CHECKING:
    from cryptography import x509

_SIGNERS = (CLIENT, KUBELET_CLIENT, KUBELET_SERVING)
_KEY_USAGES = frozenset({"digital signature", "key encipherment"})
"""What Kubernetes' signers let through of RFC 5280's key usages."""
_BACKDATE = dt.timedelta(minutes=5)
_LEAST = dt.timedelta(minutes=10)
_SHORT = dt.timedelta(hours=8)


@dataclass(frozen=True, slots=True)
class Authority:
    """certificate, key: PEM files. longest: how long certificates last unless less is asked for."""

    certificate: Path
    key: Path
    longest: dt.timedelta = dt.timedelta(days=365)

    def sign(self, csr: Obj, now: dt.datetime) -> bytes:
        """The certificate that a request gets, PEM. RequestError when its signer does not sign it; OSError, ValueError
        when the authority's files cannot be read."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec, rsa

        spec = csr["spec"]
        usages: list[str] = spec.get("usages") or []
        request = certificates.parse(spec["request"])
        certificates.check(spec["signerName"], request, usages)
        issuer = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        key = serialization.load_pem_private_key(self.key.read_bytes(), None)
        if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
            raise ValueError(f"{self.key} is neither an RSA nor an elliptic curve key")
        life = lifetime(spec.get("expirationSeconds"), self.longest)
        since = now - _BACKDATE
        # Short ones last as long as was asked for, backdated or not.
        until = min((now if life < _SHORT else since) + life, issuer.not_valid_after_utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(request.subject)
            .issuer_name(issuer.subject)
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(since)
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        )
        # An extension that allows nothing makes a certificate invalid.
        if _KEY_USAGES & set(usages):
            builder = builder.add_extension(_key_usage(usages), critical=True)
        if extended := _extended(usages):
            builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
        try:
            names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            builder = builder.add_extension(names, critical=False)
        except x509.ExtensionNotFound:
            pass
        return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def lifetime(asked: int | None, longest: dt.timedelta) -> dt.timedelta:
    """Seconds that were asked for, within what is given at all."""
    if asked is None:
        return longest
    return min(max(dt.timedelta(seconds=asked), _LEAST), longest)


def _key_usage(usages: Iterable[str]) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature="digital signature" in usages,
        key_encipherment="key encipherment" in usages,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _extended(usages: Iterable[str]) -> list[x509.ObjectIdentifier]:
    from cryptography.x509.oid import ExtendedKeyUsageOID

    known = {"client auth": ExtendedKeyUsageOID.CLIENT_AUTH, "server auth": ExtendedKeyUsageOID.SERVER_AUTH}
    return [known[usage] for usage in usages if usage in known]


def outcome(csr: Obj, authority: Authority, now: dt.datetime) -> Obj | None:
    """The request with its certificate, or with why there is none; None when there is nothing to do."""
    status = csr.get("status") or {}
    if status.get("certificate") or csr["spec"].get("signerName") not in _SIGNERS:
        return None
    if not certificates.condition(csr, APPROVED) or any(certificates.condition(csr, one) for one in (DENIED, FAILED)):
        return None
    try:
        made = authority.sign(csr, now)
    except RequestError as error:
        failed = {"type": FAILED, "status": "True", "reason": "SignerValidationFailure", "message": str(error)}
        return {**csr, "status": {**status, "conditions": [*(status.get("conditions") or ()), failed]}}
    return {**csr, "status": {**status, "certificate": base64.b64encode(made).decode()}}


class SignerController(Controller):
    """Does nothing when the process was not told of an authority."""

    name = "certificatesigningrequest-signing-controller"
    authority: Authority | None = None

    def configure(self, options: Mapping[str, Any]) -> None:
        certificate, key = options["cluster_signing_cert_file"], options["cluster_signing_key_file"]
        if certificate and key:
            self.authority = Authority(certificate, key, dt.timedelta(hours=options["cluster_signing_duration"]))

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._clock = manager.clock
        self._requests = manager.informer(CERTIFICATE_SIGNING_REQUEST)
        self._requests.on_change(self.enqueue)

    async def reconcile(self, key: str) -> float | None:
        csr = self._requests.get_key(key)
        if csr is None or self.authority is None:
            return None
        done = outcome(csr, self.authority, self._clock.now())
        if done is not None:
            self._requests.observe(await self._client.update(CERTIFICATE_SIGNING_REQUEST, done, "status"))
        return None

"""A certificate that vouches for itself, for an endpoint that was given none; it lives as long as the process."""

from __future__ import annotations

import socket
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_LIFE = timedelta(days=365)


def load(context: ssl.SSLContext, address: str) -> None:
    """Makes one for an address and gives it to the context."""
    certificate, key = _make(address)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tls.pem"
        path.touch(0o600)
        path.write_bytes(key + certificate)
        context.load_cert_chain(path)


def _make(address: str) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{socket.gethostname()}@{now:%s}"[:64])])
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address(address)), x509.IPAddress(ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _LIFE)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM), encoded

"""An engine's certificates, tokens and kubeconfigs.

One CA of its own signs everything: the API server's and the node agent's serving certificates and one client
certificate for each part, whose subject is its identity (CN user, O groups; Kubernetes' "PKI certificates and
requirements"). Keys are ECDSA P-256, readable by root only. Existing files are kept; serving certificates are made
again when an address is missing from them or they end within 30 days.
"""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import json
import os
import secrets
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hawser.cli.engine.settings import Settings, SettingsError, split_listen
from hawser.node import machine

_CA_DAYS = 3650
_CERT_DAYS = 365
_RENEW_DAYS = 30
# The engine's own agents enforce network policies, so they may know more than other nodes.
_AGENT_GROUPS = ("system:nodes", "hawser:network-agents")


@dataclass(frozen=True, slots=True)
class _Leaf:
    name: str
    user: str
    groups: tuple[str, ...] = ()
    server_names: tuple[str, ...] = ()


def prepare(settings: Settings) -> None:
    """Makes every certificate, token and kubeconfig that is missing or about to end. Idempotent."""
    settings.pki_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    (settings.data_dir / "kubeconfig").mkdir(exist_ok=True, mode=0o700)
    ca_cert, ca_key = _ca(settings.pki_dir)
    for leaf in _leaves(settings):
        _leaf(settings.pki_dir, leaf, ca_cert, ca_key)
    # A CA of its own: whoever has one of its certificates may say for whom it asks.
    proxies = _ca(settings.pki_dir, "front-proxy-ca", "hawser-front-proxy-ca")
    _leaf(settings.pki_dir, _Leaf("front-proxy-client", "front-proxy-client"), *proxies)
    accounts = settings.pki_dir / "sa.key"
    if not accounts.exists():
        _write(accounts, _key_bytes(ec.generate_private_key(ec.SECP256R1())))
    tokens = settings.pki_dir / "tokens.csv"
    if not tokens.exists():
        _write(tokens, f'{secrets.token_urlsafe(32)},admin,admin,"system:masters"\n'.encode())
    for config, client in (("admin", "admin"), ("controllers", "controllers"), ("agent", "agent")):
        _write(settings.kubeconfig(config), kubeconfig(settings, client))


def prepare_node(engine: Settings, view: Settings, addresses: Sequence[str]) -> None:
    """The certificates and the kubeconfig of a further node's agent, which reaches the API at the gateway.

    view: the settings as the node has them; addresses: its InternalIPs. Idempotent.
    """
    view.pki_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    view.kubeconfig("agent").parent.mkdir(exist_ok=True, mode=0o700)
    ca_cert, ca_key = _ca(engine.pki_dir)
    user, names = f"system:node:{view.node_name}", ("localhost", "127.0.0.1", view.node_name, *addresses)
    for leaf in (_Leaf("agent", user, _AGENT_GROUPS), _Leaf("kubelet", user, ("system:nodes",), names)):
        _leaf(view.pki_dir, leaf, ca_cert, ca_key)
    _write(view.pki_dir / "ca.crt", ca_cert.public_bytes(serialization.Encoding.PEM), 0o644)
    server = f"https://{engine.gateway}:{split_listen(engine.listen)[1]}"
    _write(view.kubeconfig("agent"), kubeconfig(view, "agent", server))


def admin_token(settings: Settings) -> str:
    """The administrator's static bearer token."""
    return (settings.pki_dir / "tokens.csv").read_text().split(",", 1)[0]


def kubeconfig(settings: Settings, client: str, server: str = "") -> bytes:
    """A kubeconfig for one client certificate, everything inline, as JSON (which is YAML).

    server: the URL of the API, where it is not the one of clients on this host.
    """

    def inline(name: str) -> str:
        return base64.b64encode((settings.pki_dir / name).read_bytes()).decode()

    doc = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "hawser",
                "cluster": {"server": server or settings.server, "certificate-authority-data": inline("ca.crt")},
            }
        ],
        "users": [
            {
                "name": client,
                "user": {
                    "client-certificate-data": inline(f"{client}.crt"),
                    "client-key-data": inline(f"{client}.key"),
                },
            }
        ],
        "contexts": [{"name": "hawser", "context": {"cluster": "hawser", "user": client}}],
        "current-context": "hawser",
    }
    return json.dumps(doc, indent=2).encode() + b"\n"


def _leaves(settings: Settings) -> list[_Leaf]:
    service_ip = str(ipaddress.ip_network(settings.service_cidr)[1])
    towards_pods = settings.gateway
    hosts = ["localhost", "127.0.0.1", "::1", settings.node_name, *host_addresses()]
    for listen in (settings.listen, settings.kubelet_listen):
        address = split_listen(listen)[0]
        if address not in ("0.0.0.0", "::"):
            hosts.append(address)
    kubernetes = [f"kubernetes{s}" for s in ("", ".default", ".default.svc", ".default.svc.cluster.local")]
    return [
        _Leaf("apiserver", "kube-apiserver", server_names=_unique(*hosts, service_ip, towards_pods, *kubernetes)),
        _Leaf("kubelet", f"system:node:{settings.node_name}", ("system:nodes",), _unique(*hosts)),
        _Leaf("apiserver-kubelet-client", "kube-apiserver-kubelet-client", ("system:masters",)),
        _Leaf("admin", "kubernetes-admin", ("system:masters",)),
        _Leaf("controllers", "system:kube-controller-manager", server_names=_unique(*hosts)),
        _Leaf("agent", f"system:node:{settings.node_name}", _AGENT_GROUPS),
    ]


def _unique(*names: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def host_addresses() -> list[str]:
    """The address that the host has as a node, and those that its name resolves to, loopback left out."""
    found = [machine.default_address()]
    try:
        found += [str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)]
    except OSError:
        pass
    return [a for a in dict.fromkeys(found) if not ipaddress.ip_address(a).is_loopback]


def _ca(
    directory: Path, file: str = "ca", common_name: str = "hawser-ca"
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    cert_path, key_path = directory / f"{file}.crt", directory / f"{file}.key"
    if cert_path.exists() and key_path.exists():
        try:
            return x509.load_pem_x509_certificate(cert_path.read_bytes()), _load_key(key_path)
        except (ValueError, TypeError) as e:
            raise SettingsError(
                f"the certificate authority in {directory} is damaged: {e}; restore it, or remove {directory} "
                "to have all certificates made anew"
            ) from e
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    cert = (
        _builder(name, name, key.public_key(), _CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=True,
                crl_sign=False,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(key_path, _key_bytes(key))
    _write(cert_path, cert.public_bytes(serialization.Encoding.PEM), 0o644)
    return cert, key


def _leaf(directory: Path, leaf: _Leaf, ca_cert: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey) -> None:
    cert_path, key_path = directory / f"{leaf.name}.crt", directory / f"{leaf.name}.key"
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, g) for g in leaf.groups]
    subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, leaf.user)])
    there = key_path.exists() and cert_path.exists()
    if there and _still_good(cert_path, key_path, subject, leaf.server_names, ca_cert):
        return
    key = ec.generate_private_key(ec.SECP256R1())
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if leaf.server_names:
        usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
    builder = (
        _builder(subject, ca_cert.subject, key.public_key(), _CERT_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    if leaf.server_names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_general_name(n) for n in leaf.server_names]), critical=False
        )
    cert = builder.sign(ca_key, hashes.SHA256())
    _write(key_path, _key_bytes(key))
    _write(cert_path, cert.public_bytes(serialization.Encoding.PEM), 0o644)


def _still_good(
    path: Path, key_path: Path, subject: x509.Name, names: Sequence[str], ca_cert: x509.Certificate
) -> bool:
    """Whether a certificate is whole, of this key, subject and CA, holds for a while and for all names."""
    try:
        cert = x509.load_pem_x509_certificate(path.read_bytes())
        cert.verify_directly_issued_by(ca_cert)
        if cert.public_key() != _load_key(key_path).public_key() or cert.subject != subject:
            return False
    except (ValueError, TypeError, InvalidSignature):
        return False
    if cert.not_valid_after_utc - dt.datetime.now(dt.UTC) < dt.timedelta(days=_RENEW_DAYS):
        return False
    if not names:
        return True
    have = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {_general_name(n) for n in names} <= set(have)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path} is not an elliptic curve key")
    return key


def _key_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, data: bytes, mode: int = 0o600) -> None:
    tmp = path.with_name(path.name + ".tmp")
    fd = os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(fd, "wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
    tmp.replace(path)

"""Who asks by a proxy in front: the X-Remote-* headers of a client whose certificate is of the request header CA.

Source: Kubernetes documentation, "Authenticating Proxy"; kube-apiserver's ``--requestheader-*`` flags. Aggregated API
servers learn from the ConfigMap extension-apiserver-authentication whom they may believe.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import orjson
from aiohttp import web

from hawser.api.types import Obj
from hawser.apiserver.identity import AUTHENTICATED, Peer, User
from hawser.apiserver.options import ProxySettings

if TYPE_CHECKING:
    from cryptography import x509

NAME = "extension-apiserver-authentication"


class FrontProxy:
    """Knows proxies by their certificates."""

    def __init__(self, settings: ProxySettings, clients: Path | None) -> None:
        """clients: the CA of users' own certificates. OSError."""
        self._settings = settings
        self._pem = (settings.certificate.read_bytes(), clients.read_bytes() if clients is not None else b"")

    @cached_property
    def _authorities(self) -> tuple[list[x509.Certificate], list[x509.Certificate]]:
        """Of proxies and of users; TLS has read them already."""
        from cryptography import x509

        proxies, clients = self._pem
        return x509.load_pem_x509_certificates(proxies), x509.load_pem_x509_certificates(clients) if clients else []

    def peer(self, der: bytes | None) -> Peer:
        """What a client's certificate makes it."""
        from cryptography import x509

        if der is None:
            return Peer(proxy=False, own=True)
        certificate = x509.load_der_x509_certificate(der)
        allowed = not self._settings.names or _common_name(certificate) in self._settings.names
        proxies, clients = self._authorities
        return Peer(allowed and _issued(certificate, proxies), _issued(certificate, clients))

    def user(self, request: web.BaseRequest) -> User | None:
        """Whom a proxy asks for; None when it names nobody."""
        settings, headers = self._settings, request.headers
        name = next((value for header in settings.users if (value := headers.get(header, "").strip())), "")
        if not name:
            return None
        uid = next((value for header in settings.uids if (value := headers.get(header, ""))), "")
        groups = [value for header in settings.groups for value in headers.getall(header, ())]
        if AUTHENTICATED not in groups and "system:unauthenticated" not in groups:
            groups.append(AUTHENTICATED)
        return User(name, uid, tuple(groups), _extra(headers.items(), settings.extras))


def _extra(headers: Iterable[tuple[str, str]], prefixes: tuple[str, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    found: dict[str, list[str]] = {}
    for name, value in headers:
        for prefix in prefixes:
            if name.lower().startswith(prefix.lower()):
                found.setdefault(unquote(name[len(prefix) :]).lower(), []).append(value)
                break
    return tuple(sorted((key, tuple(values)) for key, values in found.items()))


def _issued(certificate: x509.Certificate, authorities: list[x509.Certificate]) -> bool:
    from cryptography.exceptions import InvalidSignature

    for authority in authorities:
        try:
            certificate.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return True
    return False


def _common_name(certificate: x509.Certificate) -> str:
    from cryptography.x509.oid import NameOID

    return next((str(one.value) for one in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)), "")


def published(settings: ProxySettings | None, clients: Path | None) -> Obj:
    """The ConfigMap that tells aggregated API servers whom to believe. OSError."""
    data: dict[str, str] = {}
    if clients is not None:
        data["client-ca-file"] = clients.read_text()
    if settings is not None:
        data["requestheader-client-ca-file"] = settings.certificate.read_text()
        for key, value in (
            ("requestheader-allowed-names", settings.names),
            ("requestheader-username-headers", settings.users),
            ("requestheader-uid-headers", settings.uids),
            ("requestheader-group-headers", settings.groups),
            ("requestheader-extra-headers-prefix", settings.extras),
        ):
            data[key] = orjson.dumps(value).decode()
    return {"metadata": {"name": NAME, "namespace": "kube-system"}, "data": data}

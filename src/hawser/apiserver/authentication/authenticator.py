"""Who is asking: every way to say so, in kube-apiserver's order.

Source: Kubernetes documentation, "Authenticating".
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web

from hawser.api.errors import unauthorized
from hawser.api.jws import TokenError
from hawser.apiserver.authentication.bootstrap_tokens import BootstrapTokens
from hawser.apiserver.authentication.front_proxy import FrontProxy
from hawser.apiserver.authentication.service_accounts import ServiceAccountTokens
from hawser.apiserver.connection import Connection
from hawser.apiserver.identity import ANONYMOUS, Tokens, User

log = logging.getLogger("hawser.apiserver")


@dataclass(frozen=True, slots=True)
class Verified:
    """A token's user. audiences: those that were asked for and that it is meant for."""

    user: User
    audiences: tuple[str, ...]


class Authenticator:
    """Asks each way in turn."""

    def __init__(
        self,
        static: Tokens,
        accounts: ServiceAccountTokens,
        front: FrontProxy | None,
        bootstrap: BootstrapTokens | None,
        anonymous: bool = True,
    ) -> None:
        """anonymous: who shows no credentials is system:anonymous, not refused."""
        self._static = static
        self._accounts = accounts
        self._front = front
        self._bootstrap = bootstrap
        self._anonymous = anonymous

    def authenticate(self, request: web.BaseRequest) -> User:
        """The user of a request. APIError 401 for credentials that are not good, or for none where some are needed."""
        protocol = request.protocol
        assert isinstance(protocol, Connection)
        if self._front is not None:
            peer = protocol.peer
            if peer is None:
                peer = protocol.peer = self._front.peer(_certificate(protocol))
            if peer.proxy and (user := self._front.user(request)) is not None:
                return user
            if peer.own and protocol.user is not None:
                return protocol.user
        elif protocol.user is not None:
            return protocol.user
        header = request.headers.get("Authorization")
        if header is None:
            return self._nobody(protocol)
        return self._static.find(header) or self._accounts.find(header) or self._bearer(header, protocol)

    def _bearer(self, header: str, protocol: Connection) -> User:
        scheme, _, token = header.strip().partition(" ")
        token = token.strip()
        # Other schemes say nothing to this server.
        if scheme.lower() != "bearer" or not token:
            return self._nobody(protocol)
        try:
            verified = self.token(token, ())
        except TokenError as error:
            log.debug("a token was not accepted: %s", error)
            verified = None
        if verified is None:
            raise unauthorized()
        self._accounts.note(header, token)
        return verified.user

    def _nobody(self, protocol: Connection) -> User:
        """Who shows no credentials; a certificate that is not a user's is a bad one."""
        if not self._anonymous or (protocol.peer is not None and not protocol.peer.own):
            raise unauthorized()
        return ANONYMOUS

    @property
    def audiences(self) -> tuple[str, ...]:
        """What tokens for this server are for."""
        return self._accounts.audiences

    def token(self, token: str, audiences: Sequence[str]) -> Verified | None:
        """Whose token this is; audiences: whom it should be for, this server when empty.

        None when nobody knows it; TokenError when it is known not to be good.
        """
        found = self._accounts.identify(token, audiences)
        if found is not None:
            return Verified(found[0].user, found[1])
        user = self._static.find(f"Bearer {token}")
        if user is None and self._bootstrap is not None:
            user = self._bootstrap.find(token)
        if user is None:
            return None
        # Such tokens say nothing of audiences: they are for this server.
        own = self._accounts.audiences
        shared = tuple(name for name in own if name in audiences) if audiences else own
        return Verified(user, shared) if shared else None


def _certificate(protocol: Connection) -> bytes | None:
    """The verified client certificate of a connection, DER; None without one."""
    session = protocol.transport.get_extra_info("ssl_object") if protocol.transport is not None else None
    der: bytes | None = session.getpeercert(True) if session is not None else None
    return der

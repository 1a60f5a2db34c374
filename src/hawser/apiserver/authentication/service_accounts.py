"""Service account tokens: made, and believed as long as what they are bound to exists.

A token's signature is verified once; after that a request costs a look at the revisions of the objects it depends on.
Source: Kubernetes documentation, "Managing Service Accounts"; KEP-1205.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

import orjson

from hawser.api import jws, kinds
from hawser.api.jws import KeyFileError, SigningKey, TokenError, VerifyingKey
from hawser.api.kind import Kind
from hawser.api.types import Obj
from hawser.apiserver.authentication import claims
from hawser.apiserver.authentication.claims import Binding, Identity, Reference
from hawser.apiserver.identity import User
from hawser.apiserver.writes import new_uid
from hawser.store.base import Record

_KEPT = 4096
"""Verified tokens that are remembered: more than pods on a machine."""
_PEM = b"-----BEGIN "


Find = Callable[[Kind, str, str], Record | None]
"""Looks a committed object up by kind, namespace and name."""


@dataclass(slots=True)
class _Seen:
    """A verified token. revisions: of its references when they were last looked into, and until when all that holds."""

    identity: Identity
    revisions: list[int] = field(default_factory=list)
    looked_until: float = 0.0


class Keys:
    """The key that signs and all keys that are believed, read when they are first needed."""

    def __init__(self, signing: Path, verifying: Sequence[Path] = ()) -> None:
        """Both are checked to look like keys. KeyFileError, OSError."""
        self._signing = signing
        self._pem = _read(signing)
        self._verifying = [(path, _read(path)) for path in verifying]

    @cached_property
    def signing(self) -> SigningKey:
        """KeyFileError."""
        return SigningKey(self._pem, str(self._signing))

    @cached_property
    def verifying(self) -> dict[str, VerifyingKey]:
        """By key id; the signing key's own is always one of them. KeyFileError."""
        listed = [key for path, pem in self._verifying for key in jws.verifying_keys(pem, str(path))]
        return {key.id: key for key in (*listed, self.signing.public)}


def own_key(path: Path) -> Path:
    """The path of a signing key, which is made when there is none. OSError."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        made = path.with_suffix(".tmp")
        made.touch(mode=0o600)
        made.write_bytes(jws.new_signing_key())
        made.replace(path)
    return path


class ServiceAccountTokens:
    """Issues and verifies. issuers: the first is for new tokens, the others are believed. audiences: this server's."""

    def __init__(self, find: Find, keys: Keys, issuers: Sequence[str], audiences: Sequence[str]) -> None:
        self._find = find
        self.keys = keys
        self.issuers = tuple(issuers)
        self.audiences = tuple(audiences) or self.issuers[:1]
        self._believed = frozenset((*issuers, claims.LEGACY_ISSUER))
        self._seen: dict[str, _Seen] = {}
        self._headers: dict[str, _Seen] = {}

    def find(self, header: str) -> User | None:
        """The user of an Authorization header that was noted, as long as nothing that its token needs has changed."""
        seen = self._headers.get(header)
        if seen is None or time.time() >= seen.looked_until:
            return None
        if len(seen.revisions) > 1:
            for reference, revision in zip(seen.identity.references, seen.revisions, strict=True):
                record = self._find(reference.kind, reference.namespace, reference.name)
                if record is None or record.revision != revision:
                    return None
        return seen.identity.user

    def forget(self) -> None:
        """Service accounts have changed: look at each token's own again."""
        self._headers.clear()

    def note(self, header: str, token: str) -> None:
        """Remember the header of a token that has just been found good for this server."""
        seen = self._seen.get(token)
        if seen is not None:
            if len(self._headers) >= _KEPT:
                self._headers.clear()
            self._headers[header] = seen

    def issue(self, account: Obj, binding: Binding, audiences: Sequence[str], seconds: int, warn_after: int) -> str:
        """A new token. seconds: how long it is good; warn_after: see ``claims.bound``."""
        made = claims.bound(account, binding, audiences, int(time.time()), seconds, warn_after, new_uid())
        return self.keys.signing.sign({"iss": self.issuers[0], **made})

    def identify(self, token: str, audiences: Sequence[str] = ()) -> tuple[Identity, tuple[str, ...]] | None:
        """Whose token this is, and for which of the audiences (this server's when empty) it is meant.

        None when it is no service account token at all; TokenError when it is one that is not good.
        """
        seen = self._seen.get(token)
        if seen is None:
            identity = self._verify(token)
            if identity is None:
                return None
            seen = _Seen(identity)
            if len(self._seen) >= _KEPT:
                del self._seen[next(iter(self._seen))]
            self._seen[token] = seen
        identity = seen.identity
        now = time.time()
        identity.check_time(now)
        meant = identity.audiences or self.audiences
        asked = audiences or self.audiences
        shared = tuple(audience for audience in meant if audience in asked)
        if not shared:
            raise TokenError(
                f"token audiences {orjson.dumps(meant).decode()} is invalid for the target audiences "
                f"{orjson.dumps(asked).decode()}"
            )
        self._check_references(seen, token, now)
        return identity, shared

    def _verify(self, token: str) -> Identity | None:
        parts = jws.parse(token)
        if parts is None or parts.claims.get("iss") not in self._believed:
            return None
        keys = self.keys.verifying
        kid = parts.header.get("kid")
        candidates = list(keys.values()) if not kid else [keys[kid]] if kid in keys else []
        if not candidates:
            raise TokenError("invalid signature, no keys found")
        if not any(key.verify(parts) for key in candidates):
            raise TokenError("invalid signature")
        return claims.identity(parts.claims)

    def _check_references(self, seen: _Seen, token: str, now: float) -> None:
        references = seen.identity.references
        records = [self._find(ref.kind, ref.namespace, ref.name) for ref in references]
        revisions = [record.revision if record is not None else 0 for record in records]
        if revisions == seen.revisions and now < seen.looked_until:
            return
        until = seen.identity.until + claims.LEEWAY if seen.identity.until else float("inf")
        for reference, record in zip(references, records, strict=True):
            until = min(until, _check(reference, record, now))
            if seen.identity.legacy and reference.kind is kinds.SECRET:
                _check_secret(record, token)
        seen.revisions = revisions
        seen.looked_until = until


def _check(reference: Reference, record: Record | None, now: float) -> float:
    """Until when an object vouches for a token. TokenError when it does not."""
    account = reference.kind is kinds.SERVICE_ACCOUNT
    gone = TokenError("service account token has been invalidated")
    if record is None:
        raise TokenError(f'serviceaccount "{reference.name}" not found') if account else gone
    metadata = orjson.loads(record.value)["metadata"]
    until = float("inf")
    deletion = metadata.get("deletionTimestamp")
    if deletion:
        until = datetime.fromisoformat(deletion).timestamp() + claims.LEEWAY
        if now > until:
            where = f"{reference.namespace}/{reference.name}"
            raise TokenError(f"service account {where} has been deleted") if account else gone
    if reference.uid and metadata["uid"] != reference.uid:
        what = reference.kind.singular
        word, claim = ("service account", "claim") if account else (what, f"service account {what} ref claim")
        raise TokenError(f"{word} UID ({metadata['uid']}) does not match {claim} ({reference.uid})")
    return until


def _check_secret(record: Record | None, token: str) -> None:
    """A legacy token is good only while its Secret holds it."""
    data = orjson.loads(record.value).get("data") or {} if record is not None else {}
    if base64.b64decode(data.get("token") or "") != token.encode():
        raise TokenError("service account token has been invalidated")


def _read(path: Path) -> bytes:
    pem = path.read_bytes()
    if _PEM not in pem:
        raise KeyFileError(f"{path}: no PEM block in it")
    return pem

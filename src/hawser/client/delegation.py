"""Authentication and authorization that are left to the API server: who somebody is, and what they may.

Source: Kubernetes documentation, "Kubelet authentication/authorization" and "Webhook Token Authentication"; API
reference, TokenReview and SubjectAccessReview. Answers are remembered for a while, as Kubernetes' servers do.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from hawser.api.errors import APIError
from hawser.api.kinds import SUBJECT_ACCESS_REVIEW, TOKEN_REVIEW, Kind
from hawser.api.types import Obj

Post = Callable[[Kind, Obj], Awaitable[Obj]]
"""Creates a review in the API."""

ADMINISTRATORS = "system:masters"
_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks. extra: what the API server knows besides."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = field(default=())


ANONYMOUS = Asker("system:anonymous", groups=("system:unauthenticated",))


@dataclass(frozen=True, slots=True)
class Memory:
    """For how many seconds answers are believed. The defaults are those of Kubernetes' own servers."""

    tokens: float = 10.0
    allowed: float = 10.0
    denied: float = 10.0


def of_certificate(certificate: Mapping[str, Any]) -> Asker | None:
    """Who a verified client certificate is of: common name and organizations; None without a name.

    certificate: as ``ssl.SSLSocket.getpeercert`` gives it.
    """
    names = [pair for part in certificate.get("subject", ()) for pair in part]
    name = next((value for key, value in names if key == "commonName"), "")
    groups = tuple(value for key, value in names if key == "organizationName")
    return Asker(name, groups=(*groups, "system:authenticated")) if name else None


def bearer(authorization: str) -> str:
    """The token of an Authorization header, or ""."""
    scheme, _, token = authorization.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


class Delegation:
    """Asks the API server, and remembers."""

    def __init__(self, post: Post, memory: Memory = Memory()) -> None:
        self._post = post
        self._memory = memory
        self._tokens: dict[bytes, tuple[float, Asker]] = {}
        self._answers: dict[tuple[Asker, str], tuple[float, bool]] = {}

    async def of_token(self, token: str) -> Asker | None:
        """Whose token it is; None when it is nobody's. Raises APIError 500 when the API server does not say."""
        key = sha256(token.encode()).digest()
        now = time.monotonic()
        known = self._tokens.get(key)
        if known is not None and now < known[0]:
            return known[1]
        review = await self._review(TOKEN_REVIEW, {"token": token})
        if not review.get("authenticated"):
            return None
        user: Obj = review.get("user") or {}
        extra = tuple((key, tuple(values)) for key, values in (user.get("extra") or {}).items())
        asker = Asker(user.get("username") or "", user.get("uid") or "", tuple(user.get("groups") or ()), extra)
        _remember(self._tokens, key, (now + self._memory.tokens, asker))
        return asker

    async def may(self, asker: Asker, attributes: Obj) -> bool:
        """Whether they may. attributes: ``resourceAttributes`` or ``nonResourceAttributes`` of a review, by that name.

        Raises APIError 500 when the API server does not say.
        """
        key = (asker, repr(attributes))
        now = time.monotonic()
        known = self._answers.get(key)
        if known is not None and now < known[0]:
            return known[1]
        spec: Obj = {
            "user": asker.name,
            "uid": asker.uid,
            "groups": list(asker.groups),
            "extra": {name: list(values) for name, values in asker.extra},
            **attributes,
        }
        good = bool((await self._review(SUBJECT_ACCESS_REVIEW, spec)).get("allowed"))
        _remember(self._answers, key, (now + (self._memory.allowed if good else self._memory.denied), good))
        return good

    async def _review(self, kind: Kind, spec: Obj) -> Obj:
        body = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {}, "spec": spec}
        try:
            answer = await self._post(kind, body)
        except APIError as err:
            raise APIError(500, "InternalError", f"the API server was not asked: {err.message}") from err
        status: Obj = answer.get("status") or {}
        return status


def _remember(table: dict[Any, Any], key: Any, value: Any) -> None:
    if len(table) >= _REMEMBERED:
        table.clear()
    table[key] = value

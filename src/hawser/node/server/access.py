"""Who may ask what of a node agent: the kubelet's webhook modes of authentication and authorization.

Source: Kubernetes documentation, "Kubelet authentication/authorization" (which path is which subresource of nodes, also
with KubeletFineGrainedAuthz); the times are the kubelet's defaults.
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
from hawser.node.server.identity import allowed

Post = Callable[[Kind, Obj], Awaitable[Obj]]

_TOKEN_SECONDS = 120.0
_ALLOWED_SECONDS = 300.0
_DENIED_SECONDS = 30.0
_REMEMBERED = 1000
_VERBS = {"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_COARSE = {"stats": "stats", "metrics": "metrics", "logs": "log", "checkpoint": "checkpoint"}
_FINE = {"pods": "pods", "runningpods": "pods", "healthz": "healthz", "configz": "configz"}


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks. extra: what the API server knows besides."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = field(default=())


def subresources(path: str) -> tuple[str, ...]:
    """The subresources of nodes of which one is needed to ask for a path, the narrowest first."""
    first = path.strip("/").partition("/")[0]
    if first in _COARSE:
        return (_COARSE[first],)
    return (_FINE[first], "proxy") if first in _FINE else ("proxy",)


def of_certificate(certificate: Mapping[str, Any]) -> Asker | None:
    """Who a verified client certificate is of: common name and organizations; None without a name."""
    names = [pair for part in certificate.get("subject", ()) for pair in part]
    name = next((value for key, value in names if key == "commonName"), "")
    groups = tuple(value for key, value in names if key == "organizationName")
    return Asker(name, groups=(*groups, "system:authenticated")) if name else None


class Access:
    """Asks the API server who somebody is and what they may, and remembers that for a while.

    post: creates a review in the API; node: this node's name.
    """

    def __init__(self, post: Post, node: str) -> None:
        self._post = post
        self._node = node
        self._tokens: dict[bytes, tuple[float, Asker]] = {}
        self._answers: dict[tuple[Asker, str, str], tuple[float, bool]] = {}

    async def admit(self, method: str, path: str, certificate: Mapping[str, Any] | None, authorization: str) -> None:
        """Returns when the request may be served. APIError 401, 403, or 500 when the API server does not say."""
        if certificate and allowed(certificate):
            return
        asker = of_certificate(certificate) if certificate else None
        if asker is None:
            scheme, _, token = authorization.strip().partition(" ")
            asker = await self._of_token(token.strip()) if scheme.lower() == "bearer" and token.strip() else None
        if asker is None:
            raise APIError(401, "Unauthorized", "Unauthorized")
        verb, parts = _VERBS.get(method, ""), subresources(path)
        for part in parts:
            if await self._may(asker, verb, part):
                return
        where = f"user={asker.name}, verb={verb}, resource=nodes, subresource(s)=[{' '.join(parts)}]"
        raise APIError(403, "Forbidden", f"Forbidden ({where})")

    async def _of_token(self, token: str) -> Asker | None:
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
        _remember(self._tokens, key, (now + _TOKEN_SECONDS, asker))
        return asker

    async def _may(self, asker: Asker, verb: str, part: str) -> bool:
        key = (asker, verb, part)
        now = time.monotonic()
        known = self._answers.get(key)
        if known is not None and now < known[0]:
            return known[1]
        spec: Obj = {
            "user": asker.name,
            "uid": asker.uid,
            "groups": list(asker.groups),
            "extra": {name: list(values) for name, values in asker.extra},
            "resourceAttributes": {
                "verb": verb,
                "version": "v1",
                "resource": "nodes",
                "subresource": part,
                "name": self._node,
            },
        }
        good = bool((await self._review(SUBJECT_ACCESS_REVIEW, spec)).get("allowed"))
        _remember(self._answers, key, (now + (_ALLOWED_SECONDS if good else _DENIED_SECONDS), good))
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

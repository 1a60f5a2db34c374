"""Who may ask what of a node agent: the kubelet's webhook modes of authentication and authorization.

Source: Kubernetes documentation, "Kubelet authentication/authorization" (which path is which subresource of nodes, also
with KubeletFineGrainedAuthz); the times are the kubelet's defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hawser.api.errors import APIError
from hawser.client.delegation import Delegation, Memory, Post, bearer, of_certificate
from hawser.node.server.identity import allowed

_MEMORY = Memory(tokens=120.0, allowed=300.0, denied=30.0)
_VERBS = {"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_COARSE = {"stats": "stats", "metrics": "metrics", "logs": "log", "checkpoint": "checkpoint"}
_FINE = {"pods": "pods", "runningpods": "pods", "healthz": "healthz", "configz": "configz"}


def subresources(path: str) -> tuple[str, ...]:
    """The subresources of nodes of which one is needed to ask for a path, the narrowest first."""
    first = path.strip("/").partition("/")[0]
    if first in _COARSE:
        return (_COARSE[first],)
    return (_FINE[first], "proxy") if first in _FINE else ("proxy",)


class Access:
    """Asks the API server who somebody is and what they may. post: creates a review; node: this node's name."""

    def __init__(self, post: Post, node: str) -> None:
        self._delegation = Delegation(post, _MEMORY)
        self._node = node

    async def admit(self, method: str, path: str, certificate: Mapping[str, Any] | None, authorization: str) -> None:
        """Returns when the request may be served. APIError 401, 403, or 500 when the API server does not say."""
        if certificate and allowed(certificate):
            return
        asker = of_certificate(certificate) if certificate else None
        if asker is None:
            token = bearer(authorization)
            asker = await self._delegation.of_token(token) if token else None
        if asker is None:
            raise APIError(401, "Unauthorized", "Unauthorized")
        verb, parts = _VERBS.get(method, ""), subresources(path)
        for part in parts:
            wanted = {"verb": verb, "version": "v1", "resource": "nodes", "subresource": part, "name": self._node}
            if await self._delegation.may(asker, {"resourceAttributes": wanted}):
                return
        where = f"user={asker.name}, verb={verb}, resource=nodes, subresource(s)=[{' '.join(parts)}]"
        raise APIError(403, "Forbidden", f"Forbidden ({where})")

"""Questions about oneself: SelfSubjectReview (``kubectl auth whoami``), SelfSubjectAccessReview (``auth can-i``)."""

from __future__ import annotations

import orjson
from aiohttp import web

from hawser.api.types import Obj
from hawser.apiserver import negotiation
from hawser.apiserver.authorization import Attributes, Authorizer
from hawser.apiserver.identity import User
from hawser.apiserver.paths import Target
from hawser.apiserver.reply import Reply

WHO_AM_I = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
MAY_I = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


class Reviews:
    """Answers them."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def serves(self, target: Target) -> bool:
        """Whether this is one of the two."""
        return target.path in (WHO_AM_I, MAY_I)

    async def serve(self, request: web.BaseRequest, target: Target, user: User) -> Reply:
        """Answer a posted review."""
        body = negotiation.decode(await request.read() or b"{}", request.headers.get("Content-Type", ""))
        review = negotiation.as_object(body)
        if target.path == WHO_AM_I:
            review["status"] = {"userInfo": user.info}
        else:
            review["status"] = {"allowed": self._authorizer.allows(user, _attributes(review.get("spec") or {}))}
        return Reply(orjson.dumps(review), 201)


def _attributes(spec: Obj) -> Attributes:
    path = spec.get("nonResourceAttributes")
    if path:
        return Attributes(path.get("verb", ""), path=path.get("path", ""))
    asked = spec.get("resourceAttributes") or {}
    return Attributes(
        asked.get("verb", ""),
        asked.get("group", ""),
        asked.get("resource", ""),
        asked.get("subresource", ""),
        asked.get("namespace", ""),
        asked.get("name", ""),
    )

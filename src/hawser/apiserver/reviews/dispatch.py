"""Reviews are questions in the shape of objects: posted, answered in their status, never stored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import orjson
from aiohttp import web

from hawser.api import kinds
from hawser.api.kinds import Kind
from hawser.api.types import Obj
from hawser.apiserver import negotiation, scheme
from hawser.apiserver.identity import User
from hawser.apiserver.paths import Target
from hawser.apiserver.reply import Reply
from hawser.apiserver.reviews.authentication import AuthenticationReviews
from hawser.apiserver.reviews.authorization import AuthorizationReviews

Answerer = Callable[[Obj, Target, User], Awaitable[None]]
"""Fills in a review's status. APIError 400, 422 for what cannot be asked."""


class Reviews:
    """The kinds of reviews that are answered, and by whom."""

    def __init__(self, authentication: AuthenticationReviews, authorization: AuthorizationReviews) -> None:
        self._answerers: dict[Kind, Answerer] = {
            kinds.SELF_SUBJECT_REVIEW: authentication.self_subject,
            kinds.SELF_SUBJECT_ACCESS_REVIEW: authorization.self_subject_access,
        }

    def serves(self, target: Target) -> bool:
        """Whether a creation is a review."""
        return target.kind in self._answerers and not target.name

    async def serve(self, request: web.BaseRequest, target: Target, user: User) -> Reply:
        """Answer a posted review."""
        assert target.kind is not None
        body = negotiation.decode(await request.read() or b"{}", request.headers.get("Content-Type", ""))
        review = negotiation.as_object(body)
        scheme.check_kind(target.kind, review)
        fields = scheme.Fields(target.query.get("fieldValidation") or scheme.WARN)
        scheme.read(target.kind, review, fields)
        await self._answerers[target.kind](review, target, user)
        return Reply(orjson.dumps(review), 201)

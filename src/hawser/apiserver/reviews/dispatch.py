"""Reviews are questions in the shape of objects: posted, answered in their status, never stored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from hawser.api import kinds
from hawser.api.encoding import dumps
from hawser.api.errors import method_not_supported
from hawser.api.kinds import Kind
from hawser.api.types import Obj
from hawser.apiserver import bodies, negotiation, scheme
from hawser.apiserver.authentication import token_requests
from hawser.apiserver.authentication.token_requests import TokenRequests
from hawser.apiserver.identity import User
from hawser.apiserver.paths import Target
from hawser.apiserver.reply import Reply
from hawser.apiserver.reviews.authentication import AuthenticationReviews
from hawser.apiserver.reviews.authorization import AuthorizationReviews

Answerer = Callable[[Obj, Target, User], Awaitable[None]]
"""Fills in a review's status. APIError 400, 422 for what cannot be asked."""


class Reviews:
    """The kinds of reviews that are answered, and by whom; a TokenRequest is posted below the account it asks for."""

    def __init__(
        self, authentication: AuthenticationReviews, authorization: AuthorizationReviews, tokens: TokenRequests
    ) -> None:
        self._answerers: dict[tuple[Kind | None, str], tuple[Kind, Answerer]] = {
            (kinds.SERVICE_ACCOUNT, "token"): (token_requests.KIND, tokens.create),
        }
        for kind, answerer in (
            (kinds.SELF_SUBJECT_REVIEW, authentication.self_subject),
            (kinds.TOKEN_REVIEW, authentication.token),
            (kinds.SELF_SUBJECT_ACCESS_REVIEW, authorization.self_subject_access),
            (kinds.SELF_SUBJECT_RULES_REVIEW, authorization.self_subject_rules),
            (kinds.SUBJECT_ACCESS_REVIEW, authorization.subject_access),
            (kinds.LOCAL_SUBJECT_ACCESS_REVIEW, authorization.local_subject_access),
        ):
            self._answerers[kind, ""] = (kind, answerer)

    def serves(self, target: Target) -> bool:
        """Whether a creation is a review."""
        return (target.kind, target.subresource) in self._answerers

    async def serve(self, request: web.BaseRequest, target: Target, user: User) -> Reply:
        """Answer a posted review."""
        kind, answerer = self._answerers[target.kind, target.subresource]
        if target.name and not target.subresource:
            raise method_not_supported(kind.group, kind.plural, target.verb)
        negotiation.accept_whole(request.headers.get("Accept", ""))
        fields = scheme.Fields(target.query.get("fieldValidation") or scheme.WARN)
        review = await bodies.sent(request, kind.kind, fields)
        scheme.check_kind(kind, review)
        scheme.read(kind, review, fields)
        target.warnings += fields.warnings
        await answerer(review, target, user)
        return Reply(dumps(review), 201)

"""Who am I, who is that: the reviews of authentication.k8s.io. SelfSubjectReview is ``kubectl auth whoami``."""

from __future__ import annotations

from hawser.api.errors import bad_request
from hawser.api.jws import TokenError
from hawser.api.types import Obj
from hawser.apiserver.authentication.authenticator import Authenticator
from hawser.apiserver.identity import User
from hawser.apiserver.paths import Target
from hawser.apiserver.writes import timestamp, utc_now


class AuthenticationReviews:
    """Answers them; every method fills in a posted review's status."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    async def self_subject(self, review: Obj, target: Target, user: User) -> None:
        """The asker, as the server sees them."""
        review["metadata"] = {"creationTimestamp": timestamp(utc_now())}
        review["status"] = {"userInfo": user.info}

    async def token(self, review: Obj, target: Target, user: User) -> None:
        """Whose token that is (TokenReview). APIError 400 without one."""
        spec = review.get("spec") or {}
        token = spec.get("token") or ""
        if not token:
            raise bad_request("token is required for TokenReview in authentication")
        try:
            verified = self._authenticator.token(token, spec.get("audiences") or ())
            complaint = "" if verified is not None else "invalid bearer token"
        except TokenError as error:
            verified, complaint = None, f"[invalid bearer token, {error}]"
        if verified is None:
            review["status"] = {"user": {}, "error": complaint}
            return
        review["status"] = {"authenticated": True, "user": verified.user.info, "audiences": list(verified.audiences)}

"""Who am I, who is that: the reviews of authentication.k8s.io. SelfSubjectReview is ``kubectl auth whoami``."""

from __future__ import annotations

from hawser.api.types import Obj
from hawser.apiserver.identity import User
from hawser.apiserver.paths import Target


class AuthenticationReviews:
    """Answers them; every method fills in a posted review's status."""

    async def self_subject(self, review: Obj, target: Target, user: User) -> None:
        """The asker, as the server sees them."""
        review["status"] = {"userInfo": user.info}

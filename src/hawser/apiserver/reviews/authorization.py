"""May I, may they: the reviews of authorization.k8s.io. SelfSubjectAccessReview is ``kubectl auth can-i``."""

from __future__ import annotations

from hawser.api.types import Obj
from hawser.apiserver.authorization import Attributes, Authorizer
from hawser.apiserver.identity import User
from hawser.apiserver.paths import Target


class AuthorizationReviews:
    """Answers them; every method fills in a posted review's status."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    async def self_subject_access(self, review: Obj, target: Target, user: User) -> None:
        """Whether the asker may."""
        review["status"] = {"allowed": self._authorizer.allows(user, _attributes(review.get("spec") or {}))}


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

"""Role-based access control: decisions over the committed roles and bindings.

Source: Kubernetes documentation, "Using RBAC Authorization". A decision is remembered for its user, verb, resource and
namespace until roles or bindings change, so that most are one look into a dict.
"""

from __future__ import annotations

from hawser.apiserver.authorization.base import NO_OPINION, Attributes, Decision
from hawser.apiserver.authorization.policy import MissingRole, Policy
from hawser.apiserver.authorization.roles import keys
from hawser.apiserver.identity import User

_REMEMBERED = 16_384
_Question = tuple[str, tuple[str, ...], str, str, str, str, str]


class _Answer:
    """Of one question, whatever the name: everything, by_name what is limited to names, or why not."""

    __slots__ = ("by_name", "everything", "otherwise")

    def __init__(self) -> None:
        self.everything: Decision | None = None
        self.by_name: dict[str, Decision] = {}
        self.otherwise = NO_OPINION


class Rbac:
    """The authorizer."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._answers: dict[_Question, _Answer] = {}
        self._generation = -1

    def allows(self, user: User, request: Attributes) -> Decision:
        """Whether a role that is bound to the user or one of their groups allows it."""
        if not request.resource:
            return self._path(user, request)
        if self._generation != self.policy.generation or len(self._answers) >= _REMEMBERED:
            self._answers.clear()
            self._generation = self.policy.generation
        question = (
            user.name,
            user.groups,
            request.verb,
            request.group,
            request.resource,
            request.subresource,
            request.namespace,
        )
        answer = self._answers.get(question)
        if answer is None:
            answer = self._answers[question] = self._answer(user, request)
        return answer.everything or answer.by_name.get(request.name) or answer.otherwise

    def _answer(self, user: User, request: Attributes) -> _Answer:
        answer = _Answer()
        wanted = keys(request.verb, request.group, request.resource, request.subresource)
        errors: dict[str, None] = {}
        for grant in self.policy.grants(user, request.namespace):
            try:
                names = self.policy.role(grant).names(wanted)
            except MissingRole as error:
                errors[str(error)] = None
                continue
            if names is None:
                answer.everything = Decision(True, grant.reason, lasting=True)
                return answer
            for name in names:
                answer.by_name.setdefault(name, Decision(True, grant.reason))
        if errors:
            answer.otherwise = _failed(list(errors))
        return answer

    def _path(self, user: User, request: Attributes) -> Decision:
        errors: dict[str, None] = {}
        for grant in self.policy.grants(user, ""):
            try:
                if self.policy.role(grant).path(request.verb, request.path):
                    return Decision(True, grant.reason)
            except MissingRole as error:
                errors[str(error)] = None
        return _failed(list(errors)) if errors else NO_OPINION


def _failed(errors: list[str]) -> Decision:
    return Decision(False, "RBAC: " + aggregated(errors))


def aggregated(errors: list[str]) -> str:
    """Several errors as Kubernetes tells them at once."""
    return errors[0] if len(errors) == 1 else "[" + ", ".join(errors) + "]"

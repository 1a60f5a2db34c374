"""FlowSchemas: which flow and which priority level a request belongs to. Pure.

Source: Kubernetes documentation, "API Priority and Fairness"; API reference, FlowSchema v1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hawser.api.types import Obj
from hawser.apiserver.authorization.base import Attributes
from hawser.apiserver.identity import User

_ANY = "*"


@dataclass(frozen=True, slots=True)
class _Resources:
    verbs: frozenset[str]
    groups: frozenset[str]
    resources: frozenset[str]
    cluster: bool
    namespaces: frozenset[str]

    def matches(self, asked: Attributes) -> bool:
        return (
            _in(self.verbs, asked.verb)
            and _in(self.groups, asked.group)
            and _in(self.resources, asked.combined)
            and (_in(self.namespaces, asked.namespace) if asked.namespace else self.cluster)
        )


@dataclass(frozen=True, slots=True)
class _Paths:
    verbs: frozenset[str]
    paths: tuple[str, ...]

    def matches(self, asked: Attributes) -> bool:
        return _in(self.verbs, asked.verb) and any(
            path in (_ANY, asked.path) or (path.endswith("*") and asked.path.startswith(path[:-1]))
            for path in self.paths
        )


@dataclass(frozen=True, slots=True)
class _Rule:
    users: frozenset[str]
    groups: frozenset[str]
    resources: tuple[_Resources, ...]
    paths: tuple[_Paths, ...]

    def matches(self, user: User, asked: Attributes) -> bool:
        rules: tuple[_Resources | _Paths, ...] = self.resources if asked.resource else self.paths
        return self._speaks_of(user) and any(rule.matches(asked) for rule in rules)

    def _speaks_of(self, user: User) -> bool:
        return _in(self.users, user.name) or _ANY in self.groups or not self.groups.isdisjoint(user.groups)


@dataclass(frozen=True, slots=True)
class FlowSchema:
    """One of them. level: the name of its priority level. by: what tells its flows apart, ByUser or ByNamespace."""

    name: str
    uid: str
    level: str
    precedence: int
    by: str
    rules: tuple[_Rule, ...]

    def matches(self, user: User, asked: Attributes) -> bool:
        """Whether a request is one of its own."""
        return any(rule.matches(user, asked) for rule in self.rules)

    def flow(self, user: User, asked: Attributes) -> str:
        """Which of its flows a request belongs to."""
        if self.by == "ByUser":
            return user.name
        return asked.namespace if self.by == "ByNamespace" else ""


def _in(names: frozenset[str], name: str) -> bool:
    return _ANY in names or name in names


def _rule(rule: Obj) -> _Rule:
    users: set[str] = set()
    groups: set[str] = set()
    for subject in rule.get("subjects") or ():
        if subject["kind"] == "User":
            users.add(subject["user"]["name"])
        elif subject["kind"] == "Group":
            groups.add(subject["group"]["name"])
        else:
            account = subject["serviceAccount"]
            prefix = f"system:serviceaccounts:{account['namespace']}"
            if account["name"] == _ANY:
                groups.add(prefix)
            else:
                users.add(f"system:serviceaccount:{account['namespace']}:{account['name']}")
    resources = tuple(
        _Resources(
            frozenset(r.get("verbs") or ()),
            frozenset(r.get("apiGroups") or ()),
            frozenset(r.get("resources") or ()),
            bool(r.get("clusterScope")),
            frozenset(r.get("namespaces") or ()),
        )
        for r in rule.get("resourceRules") or ()
    )
    paths = tuple(
        _Paths(frozenset(r.get("verbs") or ()), tuple(r.get("nonResourceURLs") or ()))
        for r in rule.get("nonResourceRules") or ()
    )
    return _Rule(frozenset(users), frozenset(groups), resources, paths)


def read(objects: Iterable[Obj]) -> list[FlowSchema]:
    """The FlowSchemas of (defaulted, valid) objects, in the order in which they are tried."""
    found = []
    for obj in objects:
        metadata, spec = obj["metadata"], obj["spec"]
        found.append(
            FlowSchema(
                metadata["name"],
                metadata["uid"],
                spec["priorityLevelConfiguration"]["name"],
                spec["matchingPrecedence"],
                (spec.get("distinguisherMethod") or {}).get("type", ""),
                tuple(map(_rule, spec.get("rules") or ())),
            )
        )
    return sorted(found, key=lambda schema: (schema.precedence, schema.name))

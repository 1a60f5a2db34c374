"""Which requests are recorded, and how much of them.

Source: Kubernetes documentation, "Auditing"; audit.k8s.io/v1 Policy of the API reference. The first rule that matches
decides; a request that no rule matches is not recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import yaml

from hawser.api.types import Obj
from hawser.apiserver.identity import User
from hawser.apiserver.paths import Target

STAGES = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")
_FIELDS = {
    "level": str,
    "users": list,
    "userGroups": list,
    "verbs": list,
    "resources": list,
    "namespaces": list,
    "nonResourceURLs": list,
    "omitStages": list,
    "omitManagedFields": bool,
}
_POLICY_FIELDS = {
    "apiVersion": str,
    "kind": str,
    "metadata": dict,
    "rules": list,
    "omitStages": list,
    "omitManagedFields": bool,
}
_GROUP_FIELDS = {"group": str, "resources": list, "resourceNames": list}


class PolicyError(ValueError):
    """A policy file that cannot be followed; the message says where and why."""


class Level(IntEnum):
    """How much of a request is recorded."""

    NONE = 0
    METADATA = 1
    REQUEST = 2
    REQUEST_RESPONSE = 3

    @property
    def text(self) -> str:
        """As policies and events write it."""
        return _TEXTS[self]


_TEXTS = {Level.NONE: "None", Level.METADATA: "Metadata", Level.REQUEST: "Request"} | {
    Level.REQUEST_RESPONSE: "RequestResponse"
}
_LEVELS = {text: level for level, text in _TEXTS.items()}


@dataclass(frozen=True, slots=True)
class Choice:
    """What is recorded of a request."""

    level: Level
    stages: frozenset[str]
    bare: bool
    """Without metadata.managedFields."""


NOTHING = Choice(Level.NONE, frozenset(), False)


@dataclass(frozen=True, slots=True)
class _Group:
    group: str
    resources: tuple[str, ...]
    names: frozenset[str]

    def matches(self, target: Target) -> bool:
        if self.group != target.group:
            return False
        if not self.resources:
            return True
        if self.names and target.name not in self.names:
            return False
        sub = target.subresource
        combined = f"{target.resource}/{sub}" if sub else target.resource
        wanted = {combined, "*", f"{target.resource}/*"}
        if sub:
            wanted.add(f"*/{sub}")
        return not wanted.isdisjoint(self.resources)


@dataclass(frozen=True, slots=True)
class _Rule:
    choice: Choice
    users: frozenset[str]
    groups: frozenset[str]
    verbs: frozenset[str]
    namespaces: frozenset[str]
    resources: tuple[_Group, ...]
    paths: tuple[str, ...]

    def matches(self, user: User, target: Target) -> bool:
        if self.users and user.name not in self.users:
            return False
        if self.groups and self.groups.isdisjoint(user.groups):
            return False
        if self.verbs and target.verb not in self.verbs:
            return False
        if self.namespaces or self.resources:
            if not target.resource or (self.namespaces and target.namespace not in self.namespaces):
                return False
            return not self.resources or any(group.matches(target) for group in self.resources)
        return not self.paths or (not target.resource and any(_below(target.path, path) for path in self.paths))


def _below(path: str, spec: str) -> bool:
    return spec in ("*", path) or (spec.endswith("*") and path.startswith(spec.rstrip("*")))


class Policy:
    """The rules of one file."""

    def __init__(self, rules: tuple[_Rule, ...]) -> None:
        self._rules = rules

    def choose(self, user: User, target: Target) -> Choice:
        """What is recorded of a request."""
        return next((rule.choice for rule in self._rules if rule.matches(user, target)), NOTHING)

    @classmethod
    def read(cls, path: Path) -> Policy:
        """Read a policy file. Raises OSError, PolicyError."""
        try:
            document = yaml.safe_load(path.read_text())
        except yaml.YAMLError as error:
            raise PolicyError(f"{path}: {error}") from None
        try:
            return cls.parse(document)
        except PolicyError as error:
            raise PolicyError(f"{path}: {error}") from None

    @classmethod
    def parse(cls, document: Any) -> Policy:
        """Understand a policy. Raises PolicyError."""
        _check("", document, _POLICY_FIELDS)
        version, kind = document.get("apiVersion"), document.get("kind")
        if (version, kind) != ("audit.k8s.io/v1", "Policy"):
            raise PolicyError(f'a Policy of audit.k8s.io/v1 is needed, but this is "{kind}" of "{version}"')
        if not document.get("rules"):
            raise PolicyError("rules: Required value: a policy without rules records nothing")
        omitted = _stages("omitStages", document)
        bare = document.get("omitManagedFields", False)
        return cls(tuple(_rule(f"rules[{n}]", rule, omitted, bare) for n, rule in enumerate(document["rules"])))


def _rule(path: str, rule: Any, omitted: frozenset[str], bare: bool) -> _Rule:
    _check(path, rule, _FIELDS)
    level = _LEVELS.get(rule.get("level", ""))
    if level is None:
        raise PolicyError(f'{path}.level: Unsupported value: "{rule.get("level", "")}": use one of {list(_LEVELS)}')
    resources, paths = rule.get("resources", []), rule.get("nonResourceURLs", [])
    if paths and (resources or rule.get("namespaces")):
        raise PolicyError(f"{path}.nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs")
    for number, url in enumerate(paths):
        where = f"{path}.nonResourceURLs[{number}]"
        if url != "*" and not url.startswith("/"):
            raise PolicyError(f"{where}: non-resource URL rules must begin with a '/' character")
        if "*" in url[:-1]:
            raise PolicyError(f"{where}: non-resource URL wildcards '*' must be the final character of the rule")
    stages = frozenset(STAGES) - omitted - _stages(f"{path}.omitStages", rule)
    return _Rule(
        Choice(level, stages, rule.get("omitManagedFields", bare)),
        frozenset(rule.get("users", ())),
        frozenset(rule.get("userGroups", ())),
        frozenset(rule.get("verbs", ())),
        frozenset(rule.get("namespaces", ())),
        tuple(_group(f"{path}.resources[{number}]", group) for number, group in enumerate(resources)),
        tuple(paths),
    )


def _group(path: str, group: Any) -> _Group:
    _check(path, group, _GROUP_FIELDS)
    names = frozenset(group.get("resourceNames", ()))
    if names and not group.get("resources"):
        raise PolicyError(f"{path}.resourceNames: using resourceNames requires at least one resource")
    return _Group(group.get("group", ""), tuple(group.get("resources", ())), names)


def _stages(path: str, rule: Obj) -> frozenset[str]:
    for stage in rule.get("omitStages", ()):
        if stage not in STAGES:
            raise PolicyError(f'{path}: Unsupported value: "{stage}": use one of {list(STAGES)}')
    return frozenset(rule.get("omitStages", ()))


def _check(path: str, value: Any, known: Mapping[str, type]) -> None:
    """PolicyError unless a value is an object with known fields of their types."""
    if not isinstance(value, dict):
        raise PolicyError(f"{path or 'the policy'} must be an object")
    for name, item in value.items():
        where = f"{path}.{name}" if path else str(name)
        if name not in known:
            raise PolicyError(f"{where}: unknown field")
        if not isinstance(item, known[name]):
            raise PolicyError(f"{where}: {known[name].__name__} is needed")

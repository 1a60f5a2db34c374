"""Roles and bindings, compiled for decisions.

A role becomes a table from (verb, group, resource) to the names it is limited to; a binding becomes a grant under each
of its subjects. Both are compiled once for each change of the object, and only when somebody's request needs them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from hawser.api.rbac import url_covers
from hawser.api.types import Obj

_Key = tuple[str, str, str]
Names = frozenset[str] | None
"""The names that something is limited to; None: it is not."""


class Role:
    """A compiled Role or ClusterRole. rules: as written."""

    __slots__ = ("_paths", "_table", "rules")

    def __init__(self, rules: list[Obj]) -> None:
        self.rules = rules
        self._table: dict[_Key, Names] = {}
        self._paths: list[tuple[frozenset[str], tuple[str, ...]]] = []
        for rule in rules:
            verbs = rule.get("verbs") or ()
            names = frozenset(rule["resourceNames"]) if rule.get("resourceNames") else None
            for key in product(verbs, rule.get("apiGroups") or (), rule.get("resources") or ()):
                self._table[key] = names if key not in self._table else _both(self._table[key], names)
            if urls := rule.get("nonResourceURLs"):
                self._paths.append((frozenset(verbs), tuple(urls)))

    def names(self, keys: tuple[_Key, ...]) -> Names:
        """The names that any of these keys (see ``keys``) is allowed for; empty when there is none."""
        table = self._table
        found: frozenset[str] = frozenset()
        for key in keys:
            if key in table:
                names = table[key]
                if names is None:
                    return None
                found |= names
        return found

    def path(self, verb: str, path: str) -> bool:
        """Whether a verb is allowed on a path that is no resource."""
        for verbs, urls in self._paths:
            if (verb in verbs or "*" in verbs) and any(url_covers(url, path) for url in urls):
                return True
        return False


def _both(one: Names, other: Names) -> Names:
    return None if one is None or other is None else one | other


def keys(verb: str, group: str, resource: str, subresource: str) -> tuple[_Key, ...]:
    """Every entry of a role's table that would allow a request."""
    resources = (f"{resource}/{subresource}", f"*/{subresource}", "*") if subresource else (resource, "*")
    return tuple(product((verb, "*"), (group, "*"), resources))


class Grant:
    """A binding's role for one subject. namespace: of the binding, empty for a ClusterRoleBinding."""

    __slots__ = ("_binding", "_subject", "kind", "namespace", "role")

    def __init__(self, binding: str, kind: str, role: str, subject: Obj, namespace: str) -> None:
        self._binding = binding
        self._subject = subject
        self.kind = kind
        self.role = role
        self.namespace = namespace

    @property
    def reason(self) -> str:
        """What a decision by it says."""
        name, subject, namespace = self._binding, self._subject, self.namespace
        what = f'RoleBinding "{name}/{namespace}"' if namespace else f'ClusterRoleBinding "{name}"'
        of = subject["name"]
        if subject["kind"] == "ServiceAccount":
            of += "/" + (subject.get("namespace") or namespace)
        return f'RBAC: allowed by {what} of {self.kind} "{self.role}" to {subject["kind"]} "{of}"'


def grants(binding: Obj) -> Iterator[tuple[str, Grant]]:
    """The grants of a binding, each under the key of its subject."""
    metadata, reference = binding["metadata"], binding["roleRef"]
    namespace = metadata.get("namespace") or ""
    for subject in binding.get("subjects") or ():
        key = _subject(subject, namespace)
        if key:
            yield key, Grant(metadata["name"], reference["kind"], reference["name"], subject, namespace)


def _subject(subject: Obj, namespace: str) -> str:
    match subject.get("kind"):
        case "User":
            return user_key(subject["name"])
        case "Group":
            return group_key(subject["name"])
        case "ServiceAccount":
            where = subject.get("namespace") or namespace
            return user_key(f"system:serviceaccount:{where}:{subject['name']}") if where else ""
    return ""


def user_key(name: str) -> str:
    """The key of a user, which a service account is, too."""
    return "u" + name


def group_key(name: str) -> str:
    """The key of a group."""
    return "g" + name

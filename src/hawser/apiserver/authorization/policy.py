"""The committed RBAC objects, as decisions need them: grants by subject, roles by name.

Follows the store: a change counts from the moment at which it is committed. Bindings of a namespace are read when a
request in it is first decided, so a server with thousands of them starts none the later.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import orjson

from hawser.api.kinds import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING, Kind
from hawser.api.rbac import GROUP
from hawser.api.types import Obj
from hawser.apiserver.authorization.roles import Grant, Role, grants, group_key, user_key
from hawser.apiserver.identity import User
from hawser.store.base import EventType, Store, StoreEvent


def _prefix(kind: Kind) -> str:
    return f"{kind.group}/{kind.plural}/"


_ROLES = _prefix(ROLE)
_CLUSTER_ROLES = _prefix(CLUSTER_ROLE)
_BINDINGS = _prefix(ROLE_BINDING)
_CLUSTER_BINDINGS = _prefix(CLUSTER_ROLE_BINDING)


class MissingRole(Exception):
    """A binding names a role that is not there."""


class Bindings:
    """The grants of one namespace's bindings, or those of the cluster, by subject."""

    __slots__ = ("_by_subject", "_subjects")

    def __init__(self) -> None:
        self._by_subject: dict[str, dict[tuple[str, int], Grant]] = {}
        self._subjects: dict[str, list[tuple[str, int]]] = {}

    def __bool__(self) -> bool:
        return bool(self._subjects)

    def put(self, key: str, binding: Obj) -> None:
        """Take over a binding as it is now."""
        self.remove(key)
        subjects = self._subjects[key] = []
        for number, (subject, grant) in enumerate(grants(binding)):
            self._by_subject.setdefault(subject, {})[key, number] = grant
            subjects.append((subject, number))

    def remove(self, key: str) -> None:
        """A binding is gone."""
        for subject, number in self._subjects.pop(key, ()):
            of_subject = self._by_subject[subject]
            del of_subject[key, number]
            if not of_subject:
                del self._by_subject[subject]

    def of(self, subjects: Sequence[str]) -> Iterator[Grant]:
        """What these subjects are granted."""
        for subject in subjects:
            found = self._by_subject.get(subject)
            if found:
                yield from found.values()


class Policy:
    """See the module. generation: counts the changes; answers that were kept hold for one generation."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.generation = 0
        self._roles: dict[str, Role | None] = {}
        self._bindings: dict[str, Bindings] = {}
        store.follow(GROUP + "/", self._changed)

    def grants(self, user: User, namespace: str) -> Iterator[Grant]:
        """What a user is granted in the cluster and, where one is named, in a namespace."""
        subjects = [user_key(user.name), *map(group_key, user.groups)]
        yield from self._of("").of(subjects)
        if namespace:
            yield from self._of(namespace).of(subjects)

    def role(self, grant: Grant) -> Role:
        """The role of a grant. MissingRole."""
        return self.find(grant.kind, grant.role, grant.namespace)

    def find(self, kind: str, name: str, namespace: str) -> Role:
        """A Role of a namespace or a ClusterRole by name. MissingRole."""
        key = _CLUSTER_ROLES + name if kind == "ClusterRole" else f"{_ROLES}{namespace}/{name}"
        try:
            role = self._roles[key]
        except KeyError:
            record = self._store.get(key)
            role = Role(orjson.loads(record.value).get("rules") or []) if record is not None else None
            self._roles[key] = role
        if role is None:
            raise MissingRole(f'{kind.lower()}.{GROUP} "{name}" not found')
        return role

    def rules(self, user: User, namespace: str) -> tuple[list[Obj], list[str]]:
        """Every rule that a user holds, and what could not be looked up."""
        rules: list[Obj] = []
        errors: dict[str, None] = {}
        for grant in self.grants(user, namespace):
            try:
                rules += self.role(grant).rules
            except MissingRole as error:
                errors[str(error)] = None
        return rules, list(errors)

    def _of(self, namespace: str) -> Bindings:
        bindings = self._bindings.get(namespace)
        if bindings is None:
            prefix = f"{_BINDINGS}{namespace}/" if namespace else _CLUSTER_BINDINGS
            records = self._store.list(prefix)
            if namespace and not records:
                # Whoever asks about namespaces that are not there must not fill the memory.
                return _NONE
            bindings = self._bindings[namespace] = Bindings()
            for record in records:
                bindings.put(record.key, orjson.loads(record.value))
        return bindings

    def _changed(self, events: Sequence[StoreEvent]) -> None:
        self.generation += 1
        for event in events:
            key = event.record.key
            if key.startswith((_ROLES, _CLUSTER_ROLES)):
                self._roles.pop(key, None)
                continue
            namespace = "" if key.startswith(_CLUSTER_BINDINGS) else key.removeprefix(_BINDINGS).partition("/")[0]
            bindings = self._bindings.get(namespace)
            if bindings is None:
                continue
            if event.type is EventType.DELETED:
                bindings.remove(key)
                if namespace and not bindings:
                    del self._bindings[namespace]
            else:
                bindings.put(key, orjson.loads(event.record.value))


_NONE = Bindings()

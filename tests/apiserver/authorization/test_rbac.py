"""Decisions over committed roles and bindings, against the same decisions made the simple way."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.api.rbac import allows_path, allows_resource
from hawser.apiserver.authorization.base import Attributes, Decision
from hawser.apiserver.authorization.policy import Policy
from hawser.apiserver.authorization.rbac import Rbac
from hawser.apiserver.identity import User
from hawser.store.base import Delete, Put
from hawser.store.sqlite import SqliteStore

Obj = dict[str, Any]
GROUP = "rbac.authorization.k8s.io"
PLURALS = {
    "Role": "roles",
    "ClusterRole": "clusterroles",
    "RoleBinding": "rolebindings",
    "ClusterRoleBinding": "clusterrolebindings",
}
numbers = itertools.count()


def key(obj: Obj) -> str:
    metadata = obj["metadata"]
    where = metadata["namespace"] + "/" if "namespace" in metadata else ""
    return f"{GROUP}/{PLURALS[obj['kind']]}/{where}{metadata['name']}"


class World:
    """A store with roles and bindings, and the authorizer over it."""

    def __init__(self, folder: Path) -> None:
        self.store = SqliteStore.open(folder / f"{next(numbers)}.db")
        self.rbac = Rbac(Policy(self.store))
        self.objects: dict[str, Obj] = {}

    async def put(self, *objects: Obj) -> None:
        self.objects |= {key(obj): obj for obj in objects}
        await asyncio.gather(
            *(self.store.write(key(obj), lambda _, __, obj=obj: Put(orjson.dumps(obj))) for obj in objects)
        )

    async def remove(self, obj: Obj) -> None:
        del self.objects[key(obj)]
        await self.store.write(key(obj), lambda _, __: Delete(orjson.dumps(obj)))

    def ask(self, user: User, *what: str, **more: str) -> Decision:
        return self.rbac.allows(user, Attributes(*what, **more))

    def naively(self, user: User, asked: Attributes) -> bool:
        return any(self._rule_allows(rule, asked) for rule in self._rules(user, asked))

    def _rules(self, user: User, asked: Attributes) -> Iterator[Obj]:
        for binding in self.objects.values():
            namespace = binding["metadata"].get("namespace", "")
            if not binding["kind"].endswith("Binding") or (namespace and namespace != asked.namespace):
                continue
            if not any(applies(subject, user, namespace) for subject in binding.get("subjects", ())):
                continue
            reference = binding["roleRef"]
            where = f"{namespace}/" if reference["kind"] == "Role" else ""
            role = self.objects.get(f"{GROUP}/{PLURALS[reference['kind']]}/{where}{reference['name']}", {})
            yield from role.get("rules") or ()

    @staticmethod
    def _rule_allows(rule: Obj, asked: Attributes) -> bool:
        if not asked.resource:
            return allows_path(rule, asked.verb, asked.path)
        return allows_resource(rule, asked.verb, asked.group, asked.resource, asked.subresource, asked.name)


def applies(subject: Obj, user: User, namespace: str) -> bool:
    match subject["kind"]:
        case "User":
            return bool(subject["name"] == user.name)
        case "Group":
            return subject["name"] in user.groups
    return f"system:serviceaccount:{subject.get('namespace') or namespace}:{subject['name']}" == user.name


def role(name: str, *rules: Obj, namespace: str = "") -> Obj:
    metadata: Obj = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"kind": "Role" if namespace else "ClusterRole", "metadata": metadata, "rules": list(rules)}


def binding(name: str, kind: str, to: str, *subjects: Obj, namespace: str = "") -> Obj:
    metadata: Obj = {"name": name, **({"namespace": namespace} if namespace else {})}
    reference = {"apiGroup": GROUP, "kind": kind, "name": to}
    made = "RoleBinding" if namespace else "ClusterRoleBinding"
    return {"kind": made, "metadata": metadata, "roleRef": reference, "subjects": list(subjects)}


def rule(verbs: str, resources: str, *names: str) -> Obj:
    made: Obj = {"verbs": verbs.split(), "apiGroups": [""], "resources": resources.split()}
    return {**made, "resourceNames": list(names)} if names else made


def user(name: str) -> Obj:
    return {"kind": "User", "name": name}


JOE = User("joe", groups=("dev", "system:authenticated"))
BOT = User("system:serviceaccount:a:bot", groups=("system:serviceaccounts", "system:serviceaccounts:a"))


@pytest.fixture
async def world(tmp_path: Path) -> Any:
    made = World(tmp_path)
    yield made
    await made.store.close()


async def test_reasons_name_binding_role_and_subject(world: World) -> None:
    await world.put(
        role("reader", rule("get", "pods")),
        role("local", rule("list", "pods"), namespace="a"),
        binding("everywhere", "ClusterRole", "reader", {"kind": "Group", "name": "dev"}),
        binding("here", "Role", "local", user("joe"), {"kind": "ServiceAccount", "name": "bot"}, namespace="a"),
    )
    assert world.ask(JOE, "get", resource="pods", namespace="b") == Decision(
        True, 'RBAC: allowed by ClusterRoleBinding "everywhere" of ClusterRole "reader" to Group "dev"'
    )
    assert world.ask(JOE, "list", resource="pods", namespace="a") == Decision(
        True, 'RBAC: allowed by RoleBinding "here/a" of Role "local" to User "joe"'
    )
    assert world.ask(BOT, "list", resource="pods", namespace="a") == Decision(
        True, 'RBAC: allowed by RoleBinding "here/a" of Role "local" to ServiceAccount "bot/a"'
    )
    assert world.ask(JOE, "list", resource="pods", namespace="b") == Decision(False)
    assert world.ask(JOE, "list", resource="pods") == Decision(False)


async def test_a_role_that_is_not_there_is_told(world: World) -> None:
    await world.put(
        binding("x", "ClusterRole", "gone", user("joe")), binding("y", "Role", "none", user("joe"), namespace="a")
    )
    missing = f'clusterrole.{GROUP} "gone" not found'
    assert world.ask(JOE, "get", resource="pods").reason == f"RBAC: {missing}"
    both = f'RBAC: [{missing}, role.{GROUP} "none" not found]'
    assert world.ask(JOE, "get", resource="pods", namespace="a").reason == both
    assert world.ask(JOE, "get", path="/x").reason == f"RBAC: {missing}"


async def test_changes_count_from_the_moment_they_are_committed(world: World) -> None:
    asked: Obj = {"resource": "secrets", "namespace": "a"}
    reader, bound = role("r", rule("get", "secrets")), binding("b", "ClusterRole", "r", user("joe"), namespace="a")
    assert not world.ask(JOE, "get", **asked)
    await world.put(bound)
    assert not world.ask(JOE, "get", **asked)
    await world.put(reader)
    assert world.ask(JOE, "get", **asked)
    await world.put(role("r", rule("get", "secrets", "one")))
    assert not world.ask(JOE, "get", **asked)
    assert world.ask(JOE, "get", name="one", **asked)
    await world.put(reader, binding("b", "ClusterRole", "r", user("ann"), namespace="a"))
    assert not world.ask(JOE, "get", **asked)
    assert world.ask(User("ann"), "get", **asked)
    await world.remove(bound)
    assert not world.ask(User("ann"), "get", **asked)


async def test_a_server_that_starts_knows_what_is_stored(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.put(role("r", rule("get", "pods")), binding("b", "ClusterRole", "r", user("joe"), namespace="a"))
    again = Rbac(Policy(world.store))
    assert again.allows(JOE, Attributes("get", resource="pods", namespace="a"))
    assert not again.allows(JOE, Attributes("get", resource="pods", namespace="b"))
    await world.store.close()


some_rules = st.lists(
    st.one_of(
        st.fixed_dictionaries(
            {
                "verbs": st.lists(st.sampled_from(["get", "list", "*"]), min_size=1, max_size=2),
                "apiGroups": st.lists(st.sampled_from(["", "apps", "*"]), min_size=1, max_size=2),
                "resources": st.lists(
                    st.sampled_from(["pods", "pods/log", "*/log", "*", "pods/*"]), min_size=1, max_size=2
                ),
            },
            optional={"resourceNames": st.lists(st.sampled_from(["x", "y"]), min_size=1, max_size=2)},
        ),
        st.fixed_dictionaries(
            {
                "verbs": st.lists(st.sampled_from(["get", "*"]), min_size=1, max_size=1),
                "nonResourceURLs": st.lists(st.sampled_from(["/a", "/a/*", "*", "/b*"]), min_size=1, max_size=2),
            }
        ),
    ),
    max_size=3,
)
some_subjects = st.lists(
    st.sampled_from(
        [
            user("joe"),
            user("ann"),
            {"kind": "Group", "name": "dev"},
            {"kind": "Group", "name": "system:serviceaccounts:a"},
            {"kind": "ServiceAccount", "name": "bot"},
            {"kind": "ServiceAccount", "name": "bot", "namespace": "a"},
            user("system:serviceaccount:a:bot"),
        ]
    ),
    max_size=3,
)
names = st.sampled_from(["one", "two"])
some_objects = st.lists(
    st.one_of(
        st.builds(lambda name, rules: role(name, *rules), names, some_rules),
        st.builds(lambda name, rules, ns: role(name, *rules, namespace=ns), names, some_rules, st.sampled_from("ab")),
        st.builds(lambda name, to, subjects: binding(name, "ClusterRole", to, *subjects), names, names, some_subjects),
        st.builds(
            lambda name, kind, to, subjects, ns: binding(name, kind, to, *subjects, namespace=ns),
            *(names, st.sampled_from(["Role", "ClusterRole"]), names, some_subjects, st.sampled_from("ab")),
        ),
    ),
    max_size=8,
)
QUESTIONS = [
    Attributes(verb, group, "pods", subresource, namespace, name)
    for verb in ("get", "watch")
    for group in ("", "apps", "x")
    for subresource in ("", "log", "status")
    for namespace in ("", "a", "b")
    for name in ("", "x")
] + [Attributes(verb, path=path) for verb in ("get", "post") for path in ("/a", "/a/b", "/bc", "/")]
USERS = (JOE, BOT, User("ann"), User("nobody"))


@given(st.lists(st.tuples(some_objects, st.lists(st.integers(0, 20), max_size=2)), min_size=1, max_size=3))
def test_decisions_are_those_of_going_through_every_rule(tmp_path_factory: Any, steps: list[Any]) -> None:
    async def play() -> None:
        world = World(tmp_path_factory.getbasetemp())
        try:
            for written, removed in steps:
                await world.put(*{key(obj): obj for obj in written}.values())
                for number in removed:
                    if world.objects:
                        await world.remove(list(world.objects.values())[number % len(world.objects)])
                for one in USERS:
                    for asked in QUESTIONS:
                        assert bool(world.rbac.allows(one, asked)) == world.naively(one, asked), (one, asked)
        finally:
            await world.store.close()

    asyncio.run(play())

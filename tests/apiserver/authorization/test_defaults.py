"""The default policy: complete from the first request on, repaired at every start, and nobody's changes lost."""

from __future__ import annotations

import copy
from typing import Any

import aiohttp
import pytest

from hawser.api.rbac import covers
from hawser.apiserver.authorization import defaults
from hawser.apiserver.authorization.reconcile import completed

from ..conftest import Api
from .conftest import RBAC, Obj

MERGE: Obj = {"content": "application/merge-patch+json"}


@pytest.mark.parametrize(
    ("plural", "wanted"),
    [
        ("clusterroles", defaults.cluster_roles()),
        ("clusterrolebindings", defaults.cluster_role_bindings()),
        ("roles", defaults.roles()),
        ("rolebindings", defaults.role_bindings()),
    ],
)
async def test_everything_is_there_as_it_should_be(api: Any, plural: str, wanted: tuple[Obj, ...]) -> None:
    items = (await api.get(f"{RBAC}/{plural}?labelSelector=kubernetes.io/bootstrapping=rbac-defaults")).json["items"]
    found = {(item["metadata"].get("namespace", ""), item["metadata"]["name"]): item for item in items}
    assert len(found) == len(wanted)
    for obj in wanted:
        metadata = obj["metadata"]
        stored = found[metadata.get("namespace", ""), metadata["name"]]
        assert stored["metadata"]["annotations"] == {defaults.AUTOUPDATE: "true"}
        assert stored["metadata"]["labels"] == metadata["labels"]
        for field in ("rules", "aggregationRule", "roleRef", "subjects"):
            assert stored.get(field) == obj.get(field)


def test_the_wide_roles_take_in_the_narrow_ones() -> None:
    rules = {role["metadata"]["name"]: role["rules"] for role in defaults.cluster_roles()}
    for wide, narrow in (("edit", "view"), ("admin", "edit"), ("view", "system:aggregate-to-view")):
        assert all(rule in rules[wide] for rule in rules[narrow])
    assert len(rules["admin"]) > len(rules["edit"]) > len(rules["view"])


def test_every_binding_is_to_a_role_that_is_there() -> None:
    there = {(role["kind"], role["metadata"].get("namespace"), role["metadata"]["name"]) for role in defaults.by_kind()}
    for binding in (*defaults.cluster_role_bindings(), *defaults.role_bindings()):
        reference = binding["roleRef"]
        assert (reference["kind"], binding["metadata"].get("namespace"), reference["name"]) in there


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (
            "get list / core apps / pods a/b",
            {"verbs": ["get", "list"], "apiGroups": ["", "apps"], "resources": ["pods", "a/b"]},
        ),
        (
            "get / core / x / n m",
            {"verbs": ["get"], "apiGroups": [""], "resources": ["x"], "resourceNames": ["n", "m"]},
        ),
        ("get / /a /b/*", {"verbs": ["get"], "nonResourceURLs": ["/a", "/b/*"]}),
        ("* / * / *", {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}),
        ("get / * / */scale", {"verbs": ["get"], "apiGroups": ["*"], "resources": ["*/scale"]}),
    ],
)
def test_the_compact_form(text: str, rule: Obj) -> None:
    assert defaults.parse(text) == rule


def named(name: str) -> Obj:
    return copy.deepcopy(next(one for one in defaults.by_kind() if one["metadata"]["name"] == name))


def test_what_is_missing_is_added_and_what_is_more_stays() -> None:
    wanted = named("system:node-problem-detector")
    mine = copy.deepcopy(wanted)
    extra = defaults.parse("delete / core / nodes")
    mine["rules"] = [extra, mine["rules"][0]]
    mine["metadata"]["labels"] = {"own": "1", "kubernetes.io/bootstrapping": "changed"}
    new = completed(mine, wanted)
    assert new["rules"][:2] == mine["rules"]
    assert defaults.parse("patch / core / nodes/status") in new["rules"]
    assert new["metadata"]["labels"] == mine["metadata"]["labels"]
    assert completed(new, wanted) == new
    assert completed(wanted, wanted) == wanted


def test_subjects_and_selectors_are_added() -> None:
    wanted = next(b for b in defaults.cluster_role_bindings() if b["metadata"]["name"] == "system:public-info-viewer")
    ann = {"kind": "User", "name": "ann"}
    assert completed({**wanted, "subjects": [ann]}, wanted)["subjects"] == [ann, *wanted["subjects"]]
    role = named("view")
    own = {"matchLabels": {"own": "1"}}
    found = completed({**role, "aggregationRule": {"clusterRoleSelectors": [own]}}, role)
    assert found["aggregationRule"]["clusterRoleSelectors"] == [own, *role["aggregationRule"]["clusterRoleSelectors"]]


async def test_a_start_repairs_what_was_taken_away(own_server: Any) -> None:
    own_server.start()
    roles, bindings = f"{RBAC}/clusterroles", f"{RBAC}/clusterrolebindings"
    async with aiohttp.ClientSession() as session:
        api = Api(own_server, session, "default")
        assert (await api.call("PATCH", f"{roles}/system:discovery", {"rules": []}, **MERGE)).status == 200
        assert (await api.call("DELETE", f"{roles}/view")).status == 200
        kept = {"metadata": {"annotations": {defaults.AUTOUPDATE: "false"}}, "rules": []}
        assert (await api.call("PATCH", f"{roles}/system:basic-user", kept, **MERGE)).status == 200
        assert (await api.call("DELETE", f"{bindings}/system:discovery")).status == 200
        other = named("system:basic-user")
        wrong = next(b for b in defaults.cluster_role_bindings() if b["metadata"]["name"] == "system:monitoring")
        wrong = {**copy.deepcopy(wrong), "roleRef": {**wrong["roleRef"], "name": "view"}}
        assert (await api.call("DELETE", f"{bindings}/system:monitoring")).status == 200
        await api.create(bindings, wrong)
    assert own_server.stop() == 0
    own_server.start()
    async with aiohttp.ClientSession() as session:
        api = Api(own_server, session, "default")
        mended = (await api.get(f"{roles}/system:discovery")).json["rules"]
        assert covers(mended, named("system:discovery")["rules"]) == []
        assert (await api.get(f"{roles}/view")).json["rules"] == named("view")["rules"]
        assert (await api.get(f"{roles}/{other['metadata']['name']}")).json["rules"] == []
        assert (await api.get(f"{bindings}/system:discovery")).status == 200
        assert (await api.get(f"{bindings}/system:monitoring")).json["roleRef"]["name"] == "system:monitoring"
        before = (await api.get(roles)).json["metadata"]["resourceVersion"]
    assert own_server.stop() == 0
    own_server.start()
    async with aiohttp.ClientSession() as session:
        api = Api(own_server, session, "default")
        # What is right is not written again.
        items = (await api.get(roles)).json["items"]
        assert max(int(item["metadata"]["resourceVersion"]) for item in items) <= int(before)

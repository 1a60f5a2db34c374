"""Nobody hands out more than they hold, in kube-apiserver's words."""

from __future__ import annotations

import pytest

from .conftest import RBAC, Obj, Rules

WRITE = "create update patch delete get"
ROLES = Rules.rule(WRITE, "rbac.authorization.k8s.io", "roles rolebindings")
JOE: Obj = {"token": "joe-token"}


async def test_a_role_may_grant_what_its_writer_holds_and_no_more(rules: Rules) -> None:
    await rules.grant("joe", ROLES, rules.rule("get list", "", "pods"))
    assert (await rules.role("same", rules.rule("get", "", "pods"), **JOE)).status == 201
    more = [
        rules.rule("get delete", "", "pods"),
        rules.rule("get list", "apps", "deployments"),
        rules.rule("get", "", "secrets", "x"),
    ]
    answer = await rules.role("more", *more, **JOE)
    assert answer.status == 403
    assert answer.message == (
        'roles.rbac.authorization.k8s.io "more" is forbidden: user "joe" (groups=["dev" "system:authenticated"]) is '
        "attempting to grant RBAC permissions not currently held:\n"
        '{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}\n'
        '{APIGroups:[""], Resources:["secrets"], ResourceNames:["x"], Verbs:["get"]}\n'
        '{APIGroups:["apps"], Resources:["deployments"], Verbs:["get" "list"]}'
    )
    path = f"{rules.local}/roles/same"
    patch = {"rules": [rules.rule("get", "", "secrets")]}
    refused = await rules.api.call("PATCH", path, patch, content="application/merge-patch+json", **JOE)
    assert refused.status == 403 and "not currently held" in refused.message
    # What the garbage collector needs may be changed all the same, whatever the role grants.
    patch = {"metadata": {"finalizers": ["example.com/x"]}}
    assert (await rules.role("strong", rules.rule("*", "*", "*"))).status == 201
    path = f"{rules.local}/roles/strong"
    assert (await rules.api.call("PATCH", path, patch, content="application/merge-patch+json", **JOE)).status == 200
    patch = {"metadata": {"finalizers": None}}
    assert (await rules.api.call("PATCH", path, patch, content="application/merge-patch+json", **JOE)).status == 200


async def test_escalate_lifts_the_limit(rules: Rules) -> None:
    await rules.grant("joe", ROLES, rules.rule("escalate", "rbac.authorization.k8s.io", "roles"))
    assert (await rules.role("strong", rules.rule("*", "*", "*"), **JOE)).status == 201


async def test_a_binding_needs_the_roles_permissions_or_the_verb_bind(rules: Rules) -> None:
    await rules.grant("joe", ROLES, rules.rule("bind", "rbac.authorization.k8s.io", "clusterroles", "view"))
    assert (await rules.bind("b", "view", "ann", kind="ClusterRole", **JOE)).status == 201
    answer = await rules.bind("c", "edit", "ann", kind="ClusterRole", **JOE)
    assert answer.status == 403
    assert answer.message.startswith(
        'rolebindings.rbac.authorization.k8s.io "c" is forbidden: user "joe" (groups=["dev" "system:authenticated"]) '
        "is attempting to grant RBAC permissions not currently held:\n{APIGroups:"
    )
    missing = await rules.bind("d", "nothing", "ann", kind="ClusterRole", **JOE)
    assert missing.status == 404
    assert missing.message == 'clusterrole.rbac.authorization.k8s.io "nothing" not found'
    assert (await rules.role("held", ROLES)).status == 201
    assert (await rules.bind("e", "held", "ann", **JOE)).status == 201


async def test_aggregation_is_for_those_who_may_do_everything(rules: Rules) -> None:
    name = f"maker-{rules.namespace}"
    body = {
        "metadata": {"name": name},
        "rules": [rules.rule("create", "rbac.authorization.k8s.io", "clusterroles"), rules.rule("get", "", "pods")],
    }
    await rules.api.create(f"{RBAC}/clusterroles", body)
    await rules.api.create(f"{RBAC}/clusterrolebindings", rules.binding(name, name, "joe", kind="ClusterRole"))
    selectors = {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}
    body = {"metadata": {"name": f"sum-{rules.namespace}"}, "aggregationRule": selectors}
    answer = await rules.api.call("POST", f"{RBAC}/clusterroles", body, **JOE)
    assert answer.status == 403
    assert answer.message.endswith("is forbidden: must have cluster-admin privileges to use the aggregationRule")
    await rules.api.call("DELETE", f"{RBAC}/clusterrolebindings/{name}")
    await rules.api.call("DELETE", f"{RBAC}/clusterroles/{name}")


async def test_a_binding_stays_with_its_role(rules: Rules) -> None:
    await rules.role("a", rules.rule("get", "", "pods"))
    made = (await rules.bind("b", "a", "ann")).json
    made["roleRef"]["name"] = "other"
    answer = await rules.api.call("PUT", f"{rules.local}/rolebindings/b", made)
    assert answer.status == 422
    assert "cannot change roleRef" in answer.message


@pytest.mark.parametrize(
    ("method", "content"), [("PUT", "application/json"), ("PATCH", "application/apply-patch+yaml")]
)
async def test_creating_by_change_needs_the_verb_create(rules: Rules, method: str, content: str) -> None:
    verbs = "update patch get"
    await rules.grant("joe", rules.rule(verbs, "rbac.authorization.k8s.io", "roles"))
    body = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "new"}, "rules": []}
    path = f"{rules.local}/roles/new?fieldManager=test"
    answer = await rules.api.call(method, path, body, content=content, **JOE)
    assert answer.status == 403
    assert answer.message.startswith('roles.rbac.authorization.k8s.io "new" is forbidden')
    assert (await rules.api.call(method, path, body, content=content)).status == 201
    assert (await rules.api.call(method, path, body, content=content, **JOE)).status == 200


async def test_a_session_in_a_pod_is_no_reading(rules: Rules) -> None:
    await rules.grant("joe", rules.rule("get", "", "pods pods/exec"))
    answer = await rules.api.get(rules.api.path("pods", "p/exec?command=ls"), **JOE)
    assert answer.status == 403
    assert 'User "joe" cannot create resource "pods/exec"' in answer.message

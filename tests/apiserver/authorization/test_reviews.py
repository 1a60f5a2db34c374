"""Access reviews: what may I, what may they."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Obj, Rules

PATH = "/apis/authorization.k8s.io/v1"


async def review(api: Any, plural: str, spec: Obj, token: str = "admin-token", namespace: str = "", **body: Any) -> Any:
    where = f"{PATH}/namespaces/{namespace}/{plural}" if namespace else f"{PATH}/{plural}"
    return await api.call("POST", where, {"spec": spec, **body}, token=token)


async def test_a_review_of_oneself_says_why(api: Any, rules: Rules) -> None:
    await rules.grant("joe", rules.rule("get", "", "secrets", "mine"))
    asked = {"verb": "get", "resource": "secrets", "namespace": api.namespace, "name": "mine"}
    answer = await review(api, "selfsubjectaccessreviews", {"resourceAttributes": asked}, "joe-token")
    assert answer.status == 201
    assert answer.json["status"] == {
        "allowed": True,
        "reason": f'RBAC: allowed by RoleBinding "of-joe/{api.namespace}" of Role "of-joe" to User "joe"',
    }
    other = {"resourceAttributes": {**asked, "name": "other"}}
    assert (await review(api, "selfsubjectaccessreviews", other, "joe-token")).json["status"] == {"allowed": False}
    path = {"nonResourceAttributes": {"verb": "get", "path": "/apis/apps"}}
    status = (await review(api, "selfsubjectaccessreviews", path, "joe-token")).json["status"]
    assert status["reason"] == (
        'RBAC: allowed by ClusterRoleBinding "system:discovery" of ClusterRole "system:discovery" to Group '
        '"system:authenticated"'
    )


async def test_a_review_of_others(api: Any, rules: Rules) -> None:
    await rules.grant("ann", rules.rule("list", "apps", "deployments"))
    asked = {"verb": "list", "group": "apps", "resource": "deployments", "namespace": api.namespace}
    for user, allowed in (("ann", True), ("joe", False)):
        spec = {"user": user, "resourceAttributes": asked}
        assert (await review(api, "subjectaccessreviews", spec)).json["status"]["allowed"] is allowed
        local = await review(api, "localsubjectaccessreviews", spec, namespace=api.namespace)
        assert local.json["status"]["allowed"] is allowed
        assert local.json["metadata"] == {"namespace": api.namespace}
    spec = {"groups": ["system:masters"], "extra": {"a": ["b"]}, "resourceAttributes": asked}
    assert (await review(api, "subjectaccessreviews", spec)).json["status"] == {"allowed": True}
    # Asking about others is not for everybody.
    assert (await review(api, "subjectaccessreviews", spec, "joe-token")).status == 403


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        ({"fieldSelector": {"rawSelector": "spec.nodeName=n1"}}, True),
        ({"fieldSelector": {"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n1"]}]}}, True),
        ({"fieldSelector": {"rawSelector": "spec.nodeName=n2"}}, False),
        ({"labelSelector": {"rawSelector": "a in (b)"}}, False),
        ({}, False),
    ],
)
async def test_selectors_are_asked_about(api: Any, asked: Obj, allowed: bool) -> None:
    spec = {
        "user": "system:node:n1",
        "groups": ["system:nodes"],
        "resourceAttributes": {"verb": "list", "resource": "pods", **asked},
    }
    assert (await review(api, "subjectaccessreviews", spec)).json["status"]["allowed"] is allowed


RESOURCE: Obj = {"verb": "get", "resource": "pods"}
ONE_OF = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
FIELDS = "spec.resourceAttributes.fieldSelector"


@pytest.mark.parametrize(
    ("plural", "spec", "message"),
    [
        (
            "subjectaccessreviews",
            {"resourceAttributes": RESOURCE},
            'spec.user: Invalid value: "": at least one of user or group must be specified',
        ),
        ("subjectaccessreviews", {"user": "a"}, f"spec.resourceAttributes: Invalid value: null: {ONE_OF}"),
        ("selfsubjectaccessreviews", {}, f"spec.resourceAttributes: Invalid value: null: {ONE_OF}"),
        (
            "selfsubjectaccessreviews",
            {"resourceAttributes": RESOURCE, "nonResourceAttributes": {"path": "/"}},
            "cannot be specified in combination with resourceAttributes",
        ),
        (
            "selfsubjectaccessreviews",
            {"resourceAttributes": {**RESOURCE, "fieldSelector": {}}},
            f"{FIELDS}.requirements: Required value: when {FIELDS} is specified, requirements or rawSelector is",
        ),
        (
            "selfsubjectaccessreviews",
            {
                "resourceAttributes": {
                    **RESOURCE,
                    "fieldSelector": {"rawSelector": "a=b", "requirements": [{"key": "a", "operator": "Exists"}]},
                }
            },
            f'{FIELDS}.rawSelector: Invalid value: "a=b": may not specified at the same time as requirements',
        ),
        (
            "selfsubjectaccessreviews",
            {"resourceAttributes": {**RESOURCE, "fieldSelector": {"requirements": [{"key": "a", "operator": "In"}]}}},
            f"{FIELDS}.requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
        ),
    ],
)
async def test_what_cannot_be_asked_is_invalid(api: Any, plural: str, spec: Obj, message: str) -> None:
    answer = await review(api, plural, spec)
    assert answer.status == 422
    assert message in answer.message


async def test_a_review_has_no_metadata_and_a_local_one_stays_in_its_namespace(api: Any) -> None:
    spec = {"user": "a", "resourceAttributes": RESOURCE}
    answer = await review(api, "subjectaccessreviews", spec, metadata={"name": "x"})
    assert answer.status == 422 and "must be empty" in answer.message
    answer = await review(api, "localsubjectaccessreviews", spec, namespace=api.namespace)
    assert answer.status == 422
    assert 'spec.resourceAttributes.namespace: Invalid value: "": must match metadata.namespace' in answer.message


async def test_the_rules_that_one_holds(api: Any, rules: Rules) -> None:
    await rules.grant("joe", rules.rule("get", "", "secrets", "mine"))
    answer = await review(api, "selfsubjectrulesreviews", {"namespace": api.namespace}, "joe-token")
    status = answer.json["status"]
    assert status["incomplete"] is False
    assert rules.rule("get", "", "secrets", "mine") in status["resourceRules"]
    assert {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/livez", "/readyz", "/version", "/version/"]} in status[
        "nonResourceRules"
    ]
    elsewhere = (await review(api, "selfsubjectrulesreviews", {"namespace": "default"}, "joe-token")).json["status"]
    assert rules.rule("get", "", "secrets", "mine") not in elsewhere["resourceRules"]
    nowhere = await review(api, "selfsubjectrulesreviews", {}, "joe-token")
    assert (nowhere.status, nowhere.message) == (400, "no namespace on request")
    node = (await review(api, "selfsubjectrulesreviews", {"namespace": "default"}, "node-token")).json["status"]
    assert node["incomplete"] and node["evaluationError"] == "node authorizer does not support user rule resolution"


def test_kubectl_writes_roles_and_asks_about_them(api: Any, kubectl: Any, as_user: Any) -> None:
    namespace = api.namespace
    assert as_user("joe-token", "auth", "can-i", "list", "pods", "-n", namespace) == (1, "no\n")
    kubectl("create", "role", "pods", "--verb=get,list", "--resource=pods,deployments.apps/scale", namespace=namespace)
    kubectl("create", "rolebinding", "pods", "--role=pods", "--user=joe", namespace=namespace)
    assert as_user("joe-token", "auth", "can-i", "list", "pods", "-n", namespace) == (0, "yes\n")
    assert as_user("joe-token", "auth", "can-i", "get", "deployments", "--subresource=scale", "-n", namespace)[0] == 0
    assert as_user("joe-token", "get", "pods", "-n", namespace) == (
        0,
        f"No resources found in {namespace} namespace.\n",
    )
    code, text = as_user("joe-token", "auth", "can-i", "--list", "-n", namespace)
    assert code == 0
    rows = {line.split("  ")[0]: line for line in text.splitlines()}
    assert "[get list]" in rows["pods"] and "deployments.apps/scale" in rows
    code, text = as_user("joe-token", "delete", "pod", "x", "-n", namespace)
    assert code == 1
    assert text == (
        'Error from server (Forbidden): pods "x" is forbidden: User "joe" cannot delete resource "pods" in API group '
        f'"" in the namespace "{namespace}"\n'
    )


RECONCILED = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: r, namespace: %s}
rules:
- {apiGroups: [""], resources: [pods], verbs: [get]}
- {apiGroups: [""], resources: [services], verbs: [list]}
"""


def test_kubectl_reconciles_roles(api: Any, kubectl: Any) -> None:
    kubectl("create", "role", "r", "--verb=get,watch", "--resource=pods", namespace=api.namespace)
    text = kubectl("auth", "reconcile", "-f", "-", stdin=RECONCILED % api.namespace, namespace=api.namespace)
    assert "role.rbac.authorization.k8s.io/r reconciled" in text
    rules = kubectl("get", "role", "r", "-o", "jsonpath={.rules}", namespace=api.namespace)
    assert '"verbs":["get","watch"]' in rules and '"services"' in rules
    kubectl("create", "clusterrole", f"c-{api.namespace}", "--verb=get", "--non-resource-url=/x/*")
    kubectl("create", "clusterrolebinding", f"c-{api.namespace}", f"--clusterrole=c-{api.namespace}", "--group=g")
    kubectl("delete", "clusterrole,clusterrolebinding", f"c-{api.namespace}")

"""Admission policies: validating and mutating ones, their bindings, parameters and type checks."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

Obj = dict[str, Any]
GROUP = "/apis/admissionregistration.k8s.io/v1"
_numbers = itertools.count()
RULE = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}


def policy(api: Any, *validations: Obj, **spec: Any) -> Obj:
    """A ValidatingAdmissionPolicy of the ConfigMaps in the test's namespace."""
    matching = {"resourceRules": [RULE], "namespaceSelector": chosen(api)}
    name = f"policy-{next(_numbers)}"
    return {"metadata": {"name": name}, "spec": {"matchConstraints": matching, "validations": [*validations], **spec}}


def chosen(api: Any) -> Obj:
    return {"matchLabels": {"kubernetes.io/metadata.name": api.namespace}}


def binding(of: Obj, *actions: str, **spec: Any) -> Obj:
    name = of["metadata"]["name"]
    return {"metadata": {"name": f"{name}-b"}, "spec": {"policyName": name, **spec, "validationActions": [*actions]}}


async def bind(api: Any, of: Obj, *actions: str, **spec: Any) -> None:
    """Create a policy with a binding."""
    await api.create(f"{GROUP}/validatingadmissionpolicies", of)
    await api.create(f"{GROUP}/validatingadmissionpolicybindings", binding(of, *(actions or ("Deny",)), **spec))


def config_map(name: str, data: dict[str, str] | None = None, **metadata: Any) -> Obj:
    return {"metadata": {"name": name, **metadata}, "data": data or {}}


async def post(api: Any, obj: Obj) -> Any:
    return await api.call("POST", f"/api/v1/namespaces/{api.namespace}/configmaps", obj)


async def test_a_policy_denies_what_its_expression_is_false_of(api: Any) -> None:
    made = policy(api, {"expression": "has(object.data.a)", "message": "a is missing"})
    await bind(api, made)
    name = made["metadata"]["name"]
    answer = await post(api, config_map("x"))
    told = f"ValidatingAdmissionPolicy '{name}' with binding '{name}-b' denied request: a is missing"
    assert answer.status == 422
    assert answer.json["message"] == f'configmaps "x" is forbidden: {told}'
    assert answer.json["reason"] == "Invalid"
    assert answer.json["details"]["causes"] == [{"message": told}]
    assert (await post(api, config_map("x", {"a": "b"}))).status == 201


@pytest.mark.parametrize(
    ("check", "code", "reason", "message"),
    [
        ({"expression": "false"}, 422, "Invalid", "failed expression: false"),
        ({"expression": "false", "reason": "Forbidden"}, 403, "Forbidden", "failed expression: false"),
        ({"expression": "false", "messageExpression": "'name: ' + object.metadata.name"}, 422, "Invalid", "name: x"),
        ({"expression": "false", "messageExpression": "string(object.data.z)", "message": "m"}, 422, "Invalid", "m"),
        ({"expression": "object.data.z == ''"}, 422, "Invalid",
         "expression 'object.data.z == ''' resulted in error: no such key: z"),
        ({"expression": "request.operation == 'UPDATE' && request.userInfo.username == ''"}, 422, "Invalid",
         "failed expression: request.operation"),
        ({"expression": "namespaceObject.metadata.name == 'nope'"}, 422, "Invalid", "failed expression: namespaceObj"),
        ({"expression": "authorizer.group('').resource('pods').check('fly').allowed() && oldObject != null"}, 422,
         "Invalid", "failed expression: authorizer"),
    ],
)  # fmt: skip
async def test_a_denial_is_worded_as_the_policy_says(
    api: Any, check: Obj, code: int, reason: str, message: str
) -> None:
    await bind(api, policy(api, check))
    answer = await post(api, config_map("x"))
    assert answer.status == code
    assert answer.json["reason"] == reason
    assert f"denied request: {message}" in answer.json["message"]


async def test_variables_are_evaluated_when_they_are_needed(api: Any) -> None:
    variables = [
        {"name": "size", "expression": "size(object.data)"},
        {"name": "twice", "expression": "variables.size * 2"},
        {"name": "broken", "expression": "object.data.z"},
    ]
    await bind(api, policy(api, {"expression": "variables.twice < 4"}, variables=variables))
    assert (await post(api, config_map("x", {"a": ""}))).status == 201
    assert (await post(api, config_map("y", {"a": "", "b": ""}))).status == 422
    broken = policy(api, {"expression": "variables.broken == ''"}, variables=variables)
    await bind(api, broken)
    answer = await post(api, config_map("z"))
    assert 'composited variable "broken" fails to evaluate: no such key: z' in answer.json["message"]


async def test_conditions_and_selectors_limit_what_is_asked(api: Any) -> None:
    made = policy(api, {"expression": "false"}, matchConditions=[{"name": "c", "expression": "has(object.data.a)"}])
    made["spec"]["matchConstraints"]["objectSelector"] = {"matchLabels": {"l": "v"}}
    made["spec"]["matchConstraints"]["excludeResourceRules"] = [{**RULE, "resourceNames": ["free"]}]
    await bind(api, made)
    labels = {"labels": {"l": "v"}}
    assert (await post(api, config_map("x", {"a": ""}))).status == 201
    assert (await post(api, config_map("y", {}, **labels))).status == 201
    assert (await post(api, config_map("free", {"a": ""}, **labels))).status == 201
    assert (await post(api, config_map("z", {"a": ""}, **labels))).status == 422


async def test_actions_warn_and_failures_may_be_ignored(api: Any) -> None:
    made = policy(api, {"expression": "false", "message": "told"})
    await bind(api, made, "Warn", "Audit")
    name = made["metadata"]["name"]
    answer = await post(api, config_map("x"))
    assert answer.status == 201
    assert (
        f"Validation failed for ValidatingAdmissionPolicy '{name}' with binding '{name}-b': told"
        in answer.headers["Warning"]
    )
    await bind(api, policy(api, {"expression": "object.data.z == ''"}, failurePolicy="Ignore"))
    assert (await post(api, config_map("y"))).status == 201


async def test_parameters_come_from_objects(api: Any) -> None:
    await api.create(
        f"/api/v1/namespaces/{api.namespace}/secrets", {"metadata": {"name": "p"}, "stringData": {"m": "1"}}
    )
    kind = {"apiVersion": "v1", "kind": "Secret"}
    made = policy(api, {"expression": "size(object.data) <= size(params.data)"}, paramKind=kind)
    await bind(api, made, "Deny", paramRef={"name": "p"})
    assert (await post(api, config_map("x", {"a": ""}))).status == 201
    assert (await post(api, config_map("y", {"a": "", "b": ""}))).status == 422
    missing = policy(api, {"expression": "true"}, paramKind=kind)
    await bind(api, missing, "Deny", paramRef={"name": "nope"})
    answer = await post(api, config_map("z"))
    assert "no params found for policy binding with `Deny` parameterNotFoundAction" in answer.json["message"]
    unknown = policy(api, {"expression": "true"}, paramKind={"apiVersion": "rules.example.com/v1", "kind": "Limit"})
    await bind(api, unknown)
    await api.call("DELETE", f"{GROUP}/validatingadmissionpolicies/{missing['metadata']['name']}")
    answer = await post(api, config_map("z"))
    assert (
        "failed to configure policy: failed to find resource referenced by paramKind: "
        "'rules.example.com/v1, Kind=Limit'" in answer.json["message"]
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"validations": [{"expression": "object.x"}]},
         'spec.validations[0].expression: Invalid value: "object.x": must evaluate to bool'),
        ({"validations": [{"expression": "nope"}]}, "compilation failed: ERROR: <input>:1:1: undeclared reference"),
        ({"validations": [{"expression": "params.x == 1"}]}, "undeclared reference to 'params'"),
        ({"validations": [{"expression": "true", "messageExpression": "1"}]}, "must evaluate to string"),
        ({"validations": []}, "validations or auditAnnotations must contain at least one item"),
        ({"variables": [{"name": "a b", "expression": "1"}]}, "name is not a valid CEL identifier"),
        ({"validations": [{"expression": "variables.x"}], "variables": [{"name": "y", "expression": "1"}]},
         "undefined field 'x'"),
        ({"matchConditions": [{"name": "a", "expression": "1"}]}, "must evaluate to bool"),
        ({"auditAnnotations": [{"key": "k", "valueExpression": "1"}]}, "must evaluate to one of [string null_type]"),
        ({"failurePolicy": "Nope"}, 'supported values: "Fail", "Ignore"'),
    ],
)  # fmt: skip
async def test_a_policy_that_cannot_be_is_refused(api: Any, spec: Obj, message: str) -> None:
    made = policy(api, {"expression": "true"})
    made["spec"] |= spec
    answer = await api.call("POST", f"{GROUP}/validatingadmissionpolicies", made)
    assert answer.status == 422
    assert message in answer.json["message"]


async def test_defaults_are_written(api: Any) -> None:
    made = await api.create(f"{GROUP}/validatingadmissionpolicies", policy(api, {"expression": "true"}))
    assert made["spec"]["failurePolicy"] == "Fail"
    assert made["spec"]["matchConstraints"]["matchPolicy"] == "Equivalent"
    assert made["spec"]["matchConstraints"]["objectSelector"] == {}
    assert made["spec"]["matchConstraints"]["resourceRules"][0]["scope"] == "*"


async def mutate(api: Any, *mutations: Obj, **spec: Any) -> str:
    """Create a MutatingAdmissionPolicy with a binding; its name."""
    made = policy(api, **spec)
    made["spec"].pop("validations")
    made["spec"]["mutations"] = [*mutations]
    await api.create(f"{GROUP}/mutatingadmissionpolicies", made)
    bound = binding(made)
    bound["spec"].pop("validationActions")
    await api.create(f"{GROUP}/mutatingadmissionpolicybindings", bound)
    name: str = made["metadata"]["name"]
    return name


def apply(expression: str) -> Obj:
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}


def json_patch(expression: str) -> Obj:
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}


async def test_mutations_are_applied_in_order(api: Any) -> None:
    await mutate(
        api,
        apply("Object{metadata: Object.metadata{labels: {'made': 'yes'}}, data: {'name': object.metadata.name}}"),
        json_patch(
            "[JSONPatch{op: 'test', path: '/data/name', value: 'x'}, JSONPatch{op: 'add', "
            "path: '/metadata/labels/' + jsonpatch.escapeKey('a.b/c'), value: string(size(object.data))}]"
        ),
        json_patch("[JSONPatch{op: 'test', path: '/data/name', value: 'no'}, JSONPatch{op: 'remove', path: '/data'}]"),
    )
    answer = await post(api, config_map("x", {"k": "v"}))
    assert answer.status == 201, answer.body
    assert answer.json["metadata"]["labels"] == {"made": "yes", "a.b/c": "2"}
    assert answer.json["data"] == {"k": "v", "name": "x"}


async def test_pods_get_containers_from_a_policy(api: Any) -> None:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    matching = {"resourceRules": [rule], "namespaceSelector": chosen(api)}
    expression = (
        "Object{spec: Object.spec{initContainers: [Object.spec.initContainers{name: 'mesh', image: 'mesh:v1', "
        "restartPolicy: 'Always'}]}}"
    )
    await mutate(api, apply(expression), matchConstraints=matching, reinvocationPolicy="IfNeeded")
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    made = await api.create(f"/api/v1/namespaces/{api.namespace}/pods", pod)
    (container,) = made["spec"]["initContainers"]
    assert (container["name"], container["restartPolicy"]) == ("mesh", "Always")
    assert container["terminationMessagePath"] == "/dev/termination-log"


@pytest.mark.parametrize(
    ("mutation", "message"),
    [
        (json_patch("[JSONPatch{op: 'remove', path: '/nope'}]"), "JSONPath: "),
        (json_patch("[JSONPatch{op: 'add', path: '/data/x', value: object.data.z}]"), "error: no such key: z"),
        (apply("Object{nope: 1}"), "convert patch object to typed object: .nope: field not declared in schema"),
    ],
)  # fmt: skip
async def test_a_mutation_that_cannot_be_done_refuses_the_write(api: Any, mutation: Obj, message: str) -> None:
    name = await mutate(api, mutation)
    answer = await post(api, config_map("x"))
    assert answer.status == 403
    assert answer.json["message"].startswith(f"policy '{name}' with binding '{name}-b' denied request: ")
    assert message in answer.json["message"]


@pytest.mark.parametrize(
    ("mutation", "message"),
    [
        (apply("1"), "must evaluate to Object"),
        (json_patch("[1]"), "must evaluate to list(JSONPatch)"),
        (json_patch("[JSONPatch{nope: 1}]"), "undefined field 'nope'"),
        (apply("Object{spec: Object.wrong{}}"), "expected type of field 'spec' is 'Object.spec'"),
        ({"patchType": "JSONPatch"}, "must be specified when patchType is JSONPatch"),
        ({"patchType": "Nope"}, 'supported values: "ApplyConfiguration", "JSONPatch"'),
    ],
)
async def test_a_mutation_that_cannot_be_is_refused(api: Any, mutation: Obj, message: str) -> None:
    made = policy(api)
    made["spec"].pop("validations")
    made["spec"]["mutations"] = [mutation]
    answer = await api.call("POST", f"{GROUP}/mutatingadmissionpolicies", made)
    assert answer.status == 422
    assert message in answer.json["message"]


async def checked(api: Any, made: Obj) -> Obj:
    """The status of a policy, once its types have been checked."""
    path = f"{GROUP}/validatingadmissionpolicies?watch=1&fieldSelector=metadata.name%3D{made['metadata']['name']}"
    async with asyncio.timeout(120):
        async for event in api.watch(path):
            status: Obj = event["object"].get("status") or {}
            if "observedGeneration" in status:
                return status
    raise AssertionError("the watch has ended")


async def test_expressions_are_checked_against_the_types_they_are_about(api: Any) -> None:
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["deployments"]}
    made = policy(
        api,
        {"expression": "object.spec.replicas > '1'", "messageExpression": "'r: ' + object.spec.replicas"},
        {"expression": "object.spec.template.spec.containers.all(c, has(c.image) && c.resources.limits.size() > 0)"},
        {"expression": "variables.n > 1 && object.metadata.labels['a'] == 'b'"},
        matchConstraints={"resourceRules": [rule]},
        variables=[{"name": "n", "expression": "object.spec.replicas"}],
    )
    await api.create(f"{GROUP}/validatingadmissionpolicies", made)
    status = await checked(api, made)
    assert status["typeChecking"]["expressionWarnings"] == [
        {
            "fieldRef": "spec.validations[0].expression",
            "warning": "apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to "
            "'(int, string)'\n | object.spec.replicas > '1'\n | .....................^\n",
        },
        {
            "fieldRef": "spec.validations[0].messageExpression",
            "warning": "apps/v1, Kind=Deployment: ERROR: <input>:1:7: found no matching overload for '_+_' applied to "
            "'(string, int)'\n | 'r: ' + object.spec.replicas\n | ......^\n",
        },
    ]


async def test_right_types_are_worth_no_warning(api: Any) -> None:
    made = policy(api, {"expression": "has(object.data) && object.data.all(k, k != '')"})
    await api.create(f"{GROUP}/validatingadmissionpolicies", made)
    assert (await checked(api, made))["typeChecking"] == {}


async def test_custom_resources_are_parameters_too(api: Any) -> None:
    group = f"p{next(_numbers)}.example.com"
    schema = {"type": "object", "properties": {"max": {"type": "integer", "default": 1}}}
    await api.create(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        {
            "metadata": {"name": f"limits.{group}"},
            "spec": {
                "group": group,
                "scope": "Cluster",
                "names": {"plural": "limits", "kind": "Limit"},
                "versions": [
                    {"name": name, "served": True, "storage": name == "v1", "schema": {"openAPIV3Schema": schema}}
                    for name in ("v1", "v2")
                ],
            },
        },
    )
    kind = {"apiVersion": f"{group}/v2", "kind": "Limit"}
    check = {"expression": f"size(object.data) <= params.max && params.apiVersion == '{group}/v2'"}
    await bind(api, policy(api, check, paramKind=kind), "Deny", paramRef={"selector": {"matchLabels": {"use": "it"}}})
    assert "no params found" in (await post(api, config_map("x"))).json["message"]
    await api.create(f"/apis/{group}/v1/limits", {"metadata": {"name": "l", "labels": {"use": "it"}}})
    assert (await post(api, config_map("x", {"a": ""}))).status == 201
    assert (await post(api, config_map("y", {"a": "", "b": ""}))).status == 422

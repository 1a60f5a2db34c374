"""Expressions of policies that take long are evaluated where they hold up nobody."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from tests.apiserver.test_policies import GROUP, bind, config_map, policy, post

from hawser.api.cel.costs import PER_CALL
from hawser.api.cel.patience import LaboriousError
from hawser.api.cel.program import CostError, Program, compile_expression, environment
from hawser.api.cel.request_types import VARIABLES
from hawser.api.kinds import CONFIG_MAP
from hawser.apiserver import laborious
from hawser.apiserver.admission.base import Operation, Request
from hawser.apiserver.admission.deliberation import Deliberation
from hawser.apiserver.admission.inputs import Input
from hawser.apiserver.authorization.base import Attributes, Decision
from hawser.apiserver.identity import User
from hawser.apiserver.writes import Options

# With 50 keys some 125,000 steps: much for the event loop, within the limit of one expression.
LONG = "object.data.all(a, object.data.all(b, object.data.all(c, a != b + c)))"
KEYS = {f"k{number}": "v" for number in range(46)}
OBJECT = {"data": KEYS}


def compiled(source: str) -> Program:
    return compile_expression(source, environment(VARIABLES))


def values(program: Program) -> list[Any]:
    return [OBJECT if name == "object" else None for name in program.names]


async def test_what_takes_long_is_given_up_done_elsewhere_and_found() -> None:
    program = compiled(LONG)
    thoughts = Deliberation()
    with pytest.raises(LaboriousError) as caught:
        thoughts.attempt(program, values(program), PER_CALL, OBJECT)
    assert caught.value.work is not None
    await asyncio.to_thread(caught.value.work)
    expected = program.attempt(values(program), PER_CALL)
    assert thoughts.attempt(program, values(program), PER_CALL, OBJECT) == expected
    assert expected[0] is True
    # Of another object nothing is known.
    with pytest.raises(LaboriousError):
        thoughts.attempt(program, values(program), PER_CALL, {"data": {}})


async def test_what_costs_too_much_costs_too_much_elsewhere_too() -> None:
    program = compiled(LONG)
    thoughts = Deliberation()
    with pytest.raises(LaboriousError) as caught:
        thoughts.attempt(program, values(program), 200_000, OBJECT)
    assert caught.value.work is not None
    await asyncio.to_thread(caught.value.work)
    assert isinstance(thoughts.attempt(program, values(program), 200_000, OBJECT)[1], CostError)


async def test_many_short_ones_are_long_together() -> None:
    program = compiled("object.data.all(a, object.data.all(b, a != b + 'x'))")
    thoughts = Deliberation()
    with pytest.raises(LaboriousError):
        for _ in range(1000):
            thoughts.attempt(program, values(program), PER_CALL, OBJECT)


async def test_a_thread_asks_the_event_loop_for_what_the_server_knows() -> None:
    """An expression that is long and asks whether its user may do something."""
    asked: list[threading.Thread] = []

    def allows(user: User, attributes: Attributes) -> Decision:
        asked.append(threading.current_thread())
        return Decision(True)

    program = compiled(f"{LONG} && authorizer.group('').resource('pods').check('get').allowed()")
    request = Request(Operation.CREATE, CONFIG_MAP, "n", "c", OBJECT, None, Options())
    given = Input(request, CONFIG_MAP, OBJECT, None, lambda: None, allows)
    given.deliberation = Deliberation()

    def attempt() -> Any:
        return given.attempt(program, given.values(program.used), 2 * PER_CALL)

    with pytest.raises(LaboriousError) as caught:
        attempt()
    await laborious.think(caught.value)
    assert attempt()[:2] == (True, None)
    assert asked == [threading.current_thread()]


async def test_every_kind_of_write_waits_for_a_long_expression(api: Any) -> None:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps"]}
    made = policy(
        api,
        {"expression": "variables.long || oldObject == null", "message": "too long"},
        {"expression": f"request.operation != 'DELETE' || ({LONG.replace('object', 'oldObject')})"},
        variables=[{"name": "long", "expression": f"object == null || ({LONG}) && size(object.data) < 60"}],
    )
    made["spec"]["matchConstraints"]["resourceRules"] = [rule]
    await bind(api, made)
    body = config_map("x", KEYS)
    assert (await post(api, body)).status == 201
    path = api.path("configmaps", "x")
    changed = {**body, "data": {**KEYS, "k0": "w"}}
    assert (await api.call("PUT", path, changed)).json["data"]["k0"] == "w"
    merge = "application/merge-patch+json"
    assert (await api.call("PATCH", path, {"data": {"k1": "w"}}, content=merge)).json["data"]["k1"] == "w"
    apply = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"k2": "w"}}
    media = "application/apply-patch+yaml"
    applied = await api.call("PATCH", f"{path}?fieldManager=m&force=true", apply, content=media)
    assert applied.json["data"]["k2"] == "w"
    assert (await api.call("DELETE", path)).status == 200


async def test_a_long_expression_that_is_false_denies(api: Any) -> None:
    made = policy(api, {"expression": f"!({LONG})", "message": "long and false"})
    await bind(api, made)
    answer = await post(api, config_map("x", KEYS))
    assert (answer.status, "long and false" in answer.message) == (422, True)


async def test_a_mutation_may_take_long(api: Any) -> None:
    name = f"long-{api.namespace}"
    expression = f"Object{{metadata: Object.metadata{{labels: Object.metadata.labels{{long: string({LONG})}}}}}}"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    spec = {
        "matchConstraints": {
            "resourceRules": [rule],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": api.namespace}},
        },
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}],
    }
    await api.create(f"{GROUP}/mutatingadmissionpolicies", {"metadata": {"name": name}, "spec": spec})
    bound = {"metadata": {"name": name}, "spec": {"policyName": name}}
    await api.create(f"{GROUP}/mutatingadmissionpolicybindings", bound)
    answer = await post(api, config_map("x", KEYS))
    assert (answer.status, answer.json["metadata"]["labels"]) == (201, {"long": "true"})

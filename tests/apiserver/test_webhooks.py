"""Admission webhooks over real HTTPS: what they are told, what they may do, and what happens when they misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from .conftest import Api, Server
from .webhooks import Hook, configured, hook, patch

Obj = dict[str, Any]
MUTATING, VALIDATING = "mutatingwebhookconfigurations", "validatingwebhookconfigurations"
PODS = {"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/*", "pods"]}


@pytest.fixture
async def served(server: Server) -> AsyncIterator[Hook]:
    async with hook(server) as running:
        yield running


def allow(_: Obj) -> Obj:
    return {"allowed": True}


async def test_a_webhook_is_told_everything(api: Api, served: Hook) -> None:
    served.respond["/"] = allow
    async with configured(api, VALIDATING, {"clientConfig": served.client()}):
        await api.config_map("a", {"x": "1"})
        path = api.path("configmaps", "a")
        merge = {"content": "application/merge-patch+json"}
        assert (await api.call("PATCH", f"{path}?fieldManager=me", {"data": {"k": "v"}}, **merge)).status == 200
        assert (await api.call("DELETE", f"{path}?dryRun=All")).status == 200
    create, update, delete = served.asked
    assert create["operation"] == "CREATE"
    assert create["kind"] == create["requestKind"] == {"group": "", "version": "v1", "kind": "ConfigMap"}
    assert create["resource"] == {"group": "", "version": "v1", "resource": "configmaps"}
    assert (create["name"], create["namespace"], create["dryRun"]) == ("a", api.namespace, False)
    assert create["userInfo"]["username"] == "admin"
    assert "system:masters" in create["userInfo"]["groups"]
    assert create["object"]["metadata"]["labels"] == {"x": "1"}
    assert create["oldObject"] is None
    assert create["options"]["kind"] == "CreateOptions"
    assert update["object"]["data"] == {"k": "v"}
    assert "data" not in update["oldObject"]
    assert update["options"]["kind"] == "PatchOptions"
    assert update["options"]["fieldManager"] == "me"
    assert (delete["operation"], delete["dryRun"], delete["object"]) == ("DELETE", True, None)
    assert delete["oldObject"]["data"] == {"k": "v"}
    assert delete["options"]["dryRun"] == ["All"]


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (None, 400, 'admission webhook "hook0.example.com" denied the request without explanation'),
        ({"message": "no"}, 400, 'admission webhook "hook0.example.com" denied the request: no'),
        ({"code": 200, "message": "no"}, 400, 'admission webhook "hook0.example.com" denied the request: no'),
        ({"code": 418, "reason": "Teapot"}, 418, 'admission webhook "hook0.example.com" denied the request: Teapot'),
    ],
)
async def test_a_refusal_is_the_clients_error(
    api: Api, served: Hook, status: Obj | None, code: int, message: str
) -> None:
    served.respond["/"] = lambda _: {"allowed": False, "status": status, "warnings": ["careful"]}
    async with configured(api, VALIDATING, {"clientConfig": served.client()}):
        answer = await api.call("POST", api.path("configmaps"), {"metadata": {"name": "a"}})
    assert (answer.status, answer.message) == (code, message)
    assert answer.headers["Warning"] == '299 - "careful"'
    assert (await api.get(api.path("configmaps", "a"))).status == 404


async def test_mutating_webhooks_run_in_order_and_see_each_others_changes(api: Api, served: Hook) -> None:
    served.respond["/1"] = lambda _: patch({"op": "add", "path": "/data", "value": {"one": "1"}})
    served.respond["/2"] = lambda r: patch({"op": "add", "path": "/data/two", "value": r["object"]["data"]["one"]})
    hooks = [{"clientConfig": served.client(path)} for path in ("/1", "/2")]
    async with configured(api, MUTATING, *hooks):
        made = await api.config_map("a", {"a": "b"})
    assert made["data"] == {"one": "1", "two": "1"}
    assert made["metadata"]["managedFields"][0]["fieldsV1"] == {"f:metadata": {"f:labels": {".": {}, "f:a": {}}}}


async def test_a_webhook_is_asked_again_when_others_changed_the_object(api: Api, served: Hook) -> None:
    def first(request: Obj) -> Obj:
        data = request["object"].get("data") or {}
        return patch({"op": "add", "path": "/data", "value": {**data, "first": str(len(data))}})

    served.respond["/first"] = first
    served.respond["/second"] = lambda _: patch({"op": "add", "path": "/data/second", "value": "x"})
    again = {"clientConfig": served.client("/first"), "reinvocationPolicy": "IfNeeded"}
    async with configured(api, MUTATING, again, {"clientConfig": served.client("/second")}):
        made = await api.config_map("a")
    assert [r["path"] for r in served.asked] == ["/first", "/second", "/first"]
    assert made["data"] == {"first": "2", "second": "x"}


async def test_what_a_webhook_makes_of_an_object_is_defaulted_and_validated(api: Api, served: Hook) -> None:
    container = {"name": "c", "image": "i"}
    served.respond["/"] = lambda _: patch(
        {"op": "add", "path": "/spec/containers/-", "value": {"name": "side", "image": "s"}}
    )
    pod = {"metadata": {"name": "a"}, "spec": {"containers": [container]}}
    async with configured(api, MUTATING, {"clientConfig": served.client(), "rules": [PODS]}):
        made = await api.create(api.path("pods"), pod)
        assert made["spec"]["containers"][1]["terminationMessagePath"] == "/dev/termination-log"
        served.respond["/"] = lambda _: patch(
            {"op": "add", "path": "/spec/containers/-", "value": {"name": "Side!", "image": "s"}}
        )
        answer = await api.call("POST", api.path("pods"), {**pod, "metadata": {"name": "b"}})
    assert answer.status == 422
    assert "spec.containers[1].name" in answer.message


async def test_subresources_and_bindings_are_shown_as_what_they_are(api: Api, served: Hook) -> None:
    served.respond["/"] = allow
    pod = {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    async with configured(api, VALIDATING, {"clientConfig": served.client(), "rules": [PODS]}):
        await api.create(api.path("pods"), pod)
        target = {"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n"}}
        await api.create(api.path("pods", "a") + "/binding", target)
        ready = {"status": {"phase": "Running"}}
        merge = {"content": "application/merge-patch+json"}
        assert (await api.call("PATCH", api.path("pods", "a") + "/status", ready, **merge)).status == 200
        await api.call("GET", api.path("pods", "a") + "/exec?command=ls&container=c", headers={"Connection": "upgrade"})
    kinds = [(r["operation"], r.get("subResource"), r["kind"]["kind"]) for r in served.asked]
    assert kinds[:3] == [
        ("CREATE", None, "Pod"),
        ("CREATE", "binding", "Binding"),
        ("UPDATE", "status", "Pod"),
    ]
    assert served.asked[1]["object"]["target"]["name"] == "n"


async def test_selectors_and_rules_choose(api: Api, served: Hook) -> None:
    served.respond["/"] = lambda _: {"allowed": False}
    only = {"clientConfig": served.client(), "objectSelector": {"matchLabels": {"asked": "yes"}}}
    async with configured(api, VALIDATING, only):
        await api.config_map("free")
        denied = await api.call("POST", api.path("configmaps"), {"metadata": {"name": "x", "labels": {"asked": "yes"}}})
        assert denied.status == 400
        # A label that goes is as good as one that comes.
        merge = {"content": "application/merge-patch+json"}
        labels = {"metadata": {"labels": {"asked": "yes"}}}
        assert (await api.call("PATCH", api.path("configmaps", "free"), labels, **merge)).status == 400
        await api.create(api.path("secrets"), {"metadata": {"name": "s"}})
    assert len(served.asked) == 2


async def test_conditions_choose(api: Api, served: Hook) -> None:
    served.respond["/"] = lambda _: {"allowed": False}
    conditions = [
        {"name": "not-dry", "expression": "!request.dryRun"},
        {"name": "big", "expression": "object != null && size(object.data) > 1"},
        {"name": "may", "expression": "authorizer.group('').resource('pods').check('get').allowed()"},
    ]
    async with configured(api, VALIDATING, {"clientConfig": served.client(), "matchConditions": conditions}):
        await api.config_map("small", data={"a": ""})
        big = {"metadata": {"name": "big"}, "data": {"a": "", "b": ""}}
        assert (await api.call("POST", api.path("configmaps") + "?dryRun=All", big)).status == 201
        assert served.asked == []
        assert (await api.call("POST", api.path("configmaps"), big)).status == 400
        assert (await api.call("POST", api.path("configmaps"), {"metadata": {"name": "none"}})).status == 403
        assert len(served.asked) == 1


async def hang(_: Obj) -> web.Response:
    await asyncio.sleep(30)
    raise AssertionError


GARBAGE = [
    ("not JSON", lambda _: web.Response(body=b"hello"), "failed to decode the answer"),
    ("no response", lambda _: web.json_response({"kind": "AdmissionReview"}), "webhook response was absent"),
    ("another uid", lambda _: {"uid": "x", "allowed": True}, 'expected response.uid="'),
    ("an error", lambda _: web.Response(status=503, text="down"), "status code 503 (down)"),
    ("a redirect", lambda _: web.Response(status=302, headers={"Location": "/x"}), "status code 302"),
    (
        "a bad patch",
        lambda _: {"allowed": True, "patch": "%", "patchType": "JSONPatch"},
        "may not return response.patch",
    ),
    ("nothing in time", hang, "context deadline exceeded"),
]


async def test_a_request_waits_no_longer_for_a_webhook_than_its_client_wants(api: Api, served: Hook) -> None:
    served.respond["/"] = hang
    async with configured(api, VALIDATING, {"clientConfig": served.client()}):
        answer = await api.call("POST", f"{api.path('configmaps')}?timeout=300ms", {"metadata": {"name": "a"}})
    assert (answer.status, answer.json["reason"]) == (504, "Timeout")
    assert "request did not complete within requested timeout" in answer.message
    assert (await api.get(api.path("configmaps", "a"))).status == 404


@pytest.mark.parametrize(("respond", "message"), [g[1:] for g in GARBAGE], ids=[g[0] for g in GARBAGE])
async def test_a_webhook_that_fails_refuses_or_is_ignored(api: Api, served: Hook, respond: Any, message: str) -> None:
    served.respond["/"] = respond
    # Only of the one that never answers it is known that it takes too long, on whatever machine.
    one = {"clientConfig": served.client(), "timeoutSeconds": 1 if respond is hang else 30}
    async with configured(api, VALIDATING, one):
        answer = await api.call("POST", api.path("configmaps"), {"metadata": {"name": "a"}})
    assert (answer.status, answer.json["reason"]) == (500, "InternalError")
    assert answer.message.startswith('Internal error occurred: failed calling webhook "hook0.example.com": ')
    assert message in answer.message
    async with configured(api, VALIDATING, {**one, "failurePolicy": "Ignore"}):
        await api.config_map("a")


async def test_a_webhook_nobody_serves_fails_at_once(api: Api, served: Hook) -> None:
    for client, message in [
        ({"url": "https://127.0.0.1:1/"}, "Connect call failed"),
        ({**served.client(), "caBundle": ""}, "certificate verify failed"),
        ({"service": {"namespace": api.namespace, "name": "none", "port": 443}}, 'service "none" not found'),
    ]:
        async with configured(api, VALIDATING, {"clientConfig": {k: v for k, v in client.items() if v}}):
            answer = await api.call("POST", api.path("configmaps"), {"metadata": {"name": "a"}})
        assert answer.status == 500
        assert message in answer.message


async def test_a_service_is_called_by_its_name(api: Api, server: Server) -> None:
    async with hook(server, f"hook.{api.namespace}.svc") as served:
        served.respond["/check"] = allow
        ports = [{"name": "tls", "port": served.port}]
        await api.create(api.path("services"), {"metadata": {"name": "hook"}, "spec": {"ports": ports}})
        service = {"namespace": api.namespace, "name": "hook", "port": served.port, "path": "/check"}
        client = {"service": service, "caBundle": served.ca}
        async with configured(api, VALIDATING, {"clientConfig": client}):
            answer = await api.call("POST", api.path("configmaps"), {"metadata": {"name": "a"}})
            assert 'no endpoints available for service "hook"' in answer.message
            # Endpoints may not be loopback addresses, so a name stands for a pod here.
            merge = {"content": "application/merge-patch+json"}
            moved: Obj = {"type": "ExternalName", "externalName": "localhost", "clusterIP": None}
            moved |= {"clusterIPs": None, "ports": None, "ipFamilies": None, "ipFamilyPolicy": None}
            assert (await api.call("PATCH", api.path("services", "hook"), {"spec": moved}, **merge)).status == 200
            await api.config_map("a")
    assert served.asked[0]["path"] == "/check"


async def test_dry_runs_need_webhooks_without_side_effects(api: Api, served: Hook) -> None:
    served.respond["/"] = allow
    body = {"metadata": {"name": "a"}}
    async with configured(api, VALIDATING, {"clientConfig": served.client(), "sideEffects": "NoneOnDryRun"}):
        assert (await api.call("POST", api.path("configmaps") + "?dryRun=All", body)).status == 201
    assert served.asked[0]["dryRun"] is True


async def test_an_update_is_made_anew_when_the_object_changed_while_a_webhook_thought(api: Api, served: Hook) -> None:
    await api.config_map("a", data={"n": "0"})
    path, merge = api.path("configmaps", "a"), {"content": "application/merge-patch+json"}
    thinking, go_on = asyncio.Event(), asyncio.Event()

    async def think(request: Obj) -> web.Response:
        if "slow" in request["object"]["data"] and not go_on.is_set():
            thinking.set()
            await go_on.wait()
        response = {"uid": request["uid"], "allowed": True}
        return web.json_response({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response})

    served.respond["/"] = think
    async with configured(api, VALIDATING, {"clientConfig": served.client()}):
        slow = asyncio.create_task(api.call("PATCH", path, {"data": {"slow": "1"}}, **merge))
        await thinking.wait()
        assert (await api.call("PATCH", path, {"data": {"n": "1"}}, **merge)).status == 200
        go_on.set()
        assert (await slow).json["data"] == {"n": "1", "slow": "1"}


async def test_webhooks_cannot_lock_out_their_own_configuration(api: Api, served: Hook) -> None:
    served.respond["/"] = lambda _: {"allowed": False}
    everything = {"operations": ["*"], "apiGroups": ["admissionregistration.k8s.io"], "apiVersions": ["*"]}
    own = {"clientConfig": served.client(), "rules": [{**everything, "resources": ["*/*"]}], "namespaceSelector": {}}
    async with configured(api, VALIDATING, own):
        pass
    assert served.asked == []

"""Custom resources of two versions that a webhook converts, over real HTTPS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import orjson
import pytest
from aiohttp import web

from .conftest import Api, Server
from .webhooks import Hook, hook

Obj = dict[str, Any]
GROUP = "conversion.example.com"
MERGE = {"content": "application/merge-patch+json"}


def version(name: str, stored: bool, **fields: Obj) -> Obj:
    spec = {"type": "object", "properties": fields}
    schema = {
        "type": "object",
        "properties": {"spec": spec, "status": {"type": "object", "properties": {"ok": {"type": "boolean"}}}},
    }
    subresources: Obj = {"status": {}}
    return {
        "name": name,
        "served": True,
        "storage": stored,
        "schema": {"openAPIV3Schema": schema},
        "subresources": subresources,
    }


TEXT = {"type": "string"}
PORT = {"type": "string", "default": "80"}


def definition(plural: str, client: Obj) -> Obj:
    kind = plural.capitalize()
    webhook = {"clientConfig": client, "conversionReviewVersions": ["v1"]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind},
            "versions": [version("v1", True, hostPort=TEXT), version("v2", False, host=TEXT, port=PORT)],
            "conversion": {"strategy": "Webhook", "webhook": webhook},
        },
    }


def convert(obj: Obj, wanted: str) -> Obj:
    made = {**obj, "apiVersion": wanted}
    spec = dict(obj.get("spec") or {})
    if wanted.endswith("v2") and "hostPort" in spec:
        spec["host"], _, spec["port"] = spec.pop("hostPort").partition(":")
    elif wanted.endswith("v1"):
        spec["hostPort"] = f"{spec.pop('host', '')}:{spec.pop('port', '')}"
    return {**made, "spec": spec}


class Converter:
    """What the webhook says; batches: how many objects each review had."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.change: Any = None

    def __call__(self, request: Obj) -> web.Response:
        self.batches.append(len(request["objects"]))
        made = [convert(obj, request["desiredAPIVersion"]) for obj in request["objects"]]
        response: Obj = {"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": made}
        if self.change is not None:
            response = self.change(response)
        review = {"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "response": response}
        return web.json_response(review)


class Versions:
    """A definition with a converter; paths of its versions."""

    def __init__(self, api: Api, plural: str, converter: Converter) -> None:
        self.api, self.plural, self.converter = api, plural, converter

    def path(self, version: str, name: str = "") -> str:
        root = f"/apis/{GROUP}/{version}/namespaces/{self.api.namespace}/{self.plural}"
        return f"{root}/{name}" if name else root

    def obj(self, version: str, name: str, **spec: str) -> Obj:
        kind = self.plural.capitalize()
        return {"apiVersion": f"{GROUP}/{version}", "kind": kind, "metadata": {"name": name}, "spec": spec}


@pytest.fixture
async def served(server: Server) -> AsyncIterator[Hook]:
    async with hook(server) as running:
        yield running


@pytest.fixture
async def versions(api: Api, served: Hook) -> AsyncIterator[Versions]:
    plural = "things" + api.namespace.removeprefix("test-").translate(str.maketrans("0123456789", "abcdefghij"))
    converter = Converter()
    served.respond["/"] = converter
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    await api.create(crds, definition(plural, served.client()))
    made = Versions(api, plural, converter)
    for _ in range(10_000):
        if (await api.get(made.path("v2"))).status == 200:
            break
        await asyncio.sleep(0.01)
    yield made
    converter.change = None
    assert (await api.call("DELETE", f"{crds}/{plural}.{GROUP}")).status == 200


async def test_an_object_is_seen_in_every_version(api: Api, versions: Versions) -> None:
    made = await api.create(versions.path("v2"), versions.obj("v2", "a", host="h", port="1"))
    assert made["spec"] == {"host": "h", "port": "1"}
    assert (await api.get(versions.path("v1", "a"))).json["spec"] == {"hostPort": "h:1"}
    again = (await api.get(versions.path("v2", "a"))).json
    assert again == made
    # What one version writes, the other reads; what is kept is of one version only.
    patched = await api.call("PATCH", versions.path("v2", "a"), {"spec": {"port": "2"}}, **MERGE)
    assert (patched.status, patched.json["spec"]) == (200, {"host": "h", "port": "2"})
    first = (await api.get(versions.path("v1", "a"))).json
    assert first["spec"] == {"hostPort": "h:2"}
    assert first["metadata"]["generation"] == 2
    assert first["metadata"]["resourceVersion"] == patched.json["metadata"]["resourceVersion"]
    status = await api.call("PATCH", versions.path("v2", "a") + "/status", {"status": {"ok": True}}, **MERGE)
    assert status.json["status"] == {"ok": True}
    assert (await api.get(versions.path("v1", "a"))).json["status"] == {"ok": True}
    assert (await api.call("DELETE", versions.path("v2", "a"))).status == 200


async def test_defaults_are_of_the_version_that_is_asked_for(api: Api, versions: Versions) -> None:
    versions.converter.change = lambda r: {
        **r,
        "convertedObjects": [
            {**o, "spec": {k: v for k, v in o["spec"].items() if k != "port"} | {"unknown": "x"}}
            for o in r["convertedObjects"]
        ],
    }
    await api.create(versions.path("v1"), versions.obj("v1", "a", hostPort="h:9"))
    assert (await api.get(versions.path("v2", "a"))).json["spec"] == {"host": "h", "port": "80"}


async def test_a_list_is_one_question(api: Api, versions: Versions) -> None:
    for number in range(5):
        await api.create(versions.path("v1"), versions.obj("v1", f"a{number}", hostPort=f"h:{number}"))
    assert versions.converter.batches == []
    items = (await api.get(versions.path("v2"))).json["items"]
    assert [item["spec"]["port"] for item in items] == ["0", "1", "2", "3", "4"]
    assert versions.converter.batches == [5]
    await api.get(versions.path("v2"))
    assert versions.converter.batches == [5]


async def test_watches_show_their_own_version(api: Api, versions: Versions) -> None:
    start = (await api.get(versions.path("v1"))).json["metadata"]["resourceVersion"]
    await api.create(versions.path("v1"), versions.obj("v1", "a", hostPort="h:1"))
    path = f"{versions.path('v2')}?watch=1&resourceVersion={start}"
    async with asyncio.timeout(120), aclosing(api.watch(path)) as events:
        assert (await anext(events))["object"]["spec"] == {"host": "h", "port": "1"}
        await api.call("DELETE", versions.path("v1", "a"))
        event = await anext(events)
        assert (event["type"], event["object"]["apiVersion"]) == ("DELETED", f"{GROUP}/v2")


async def test_server_side_apply_works_in_a_version_that_is_not_kept(api: Api, versions: Versions) -> None:
    apply = {"content": "application/apply-patch+yaml"}
    path = versions.path("v2", "a") + "?fieldManager=me"
    created = await api.call("PATCH", path, versions.obj("v2", "a", host="h", port="1"), **apply)
    assert (created.status, created.json["spec"]) == (201, {"host": "h", "port": "1"})
    changed = await api.call("PATCH", path, versions.obj("v2", "a", host="h", port="2"), **apply)
    assert changed.json["spec"] == {"host": "h", "port": "2"}
    assert (await api.get(versions.path("v1", "a"))).json["spec"] == {"hostPort": "h:2"}


LIES = [
    (lambda r: {**r, "result": {"status": "Failure", "message": "I will not"}}, "I will not"),
    (lambda r: {**r, "convertedObjects": []}, "webhook returned 0 objects, expected 1"),
    (lambda r: {**r, "uid": "x"}, 'expected response.uid="'),
    (lambda r: {**r, "convertedObjects": [{"kind": "X"}]}, "invalid groupVersion"),
    (
        lambda r: {
            **r,
            "convertedObjects": [{**o, "metadata": {**o["metadata"], "name": "other"}} for o in r["convertedObjects"]],
        },
        'metadata.name: mutated "a" to "other"',
    ),
]


@pytest.mark.parametrize(("lie", "message"), LIES)
async def test_a_converter_that_lies_is_not_believed(api: Api, versions: Versions, lie: Any, message: str) -> None:
    await api.create(versions.path("v1"), versions.obj("v1", "a", hostPort="h:1"))
    versions.converter.change = lie
    for answer in (
        await api.get(versions.path("v2", "a")),
        await api.get(versions.path("v2")),
        await api.call("PATCH", versions.path("v2", "a"), {"spec": {"port": "2"}}, **MERGE),
    ):
        assert answer.status == 500
        assert f"conversion webhook for {GROUP}/v1, Kind=" in answer.message
        assert message in answer.message
    refused = await api.call("POST", versions.path("v2"), versions.obj("v2", "a2", host="h", port="1"))
    assert refused.status == 500
    assert (await api.get(versions.path("v1", "a"))).status == 200


async def test_what_converts_must_be_named(api: Api) -> None:
    crd = definition("nobodies", {"url": "http://x/?a#b"})
    crd["spec"]["conversion"]["webhook"]["conversionReviewVersions"] = ["v7"]
    answer = await api.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)
    assert answer.status == 422
    fields = {cause["field"] for cause in answer.json["details"]["causes"]}
    prefix = "spec.conversion.webhook"
    assert fields == {f"{prefix}.conversionReviewVersions", f"{prefix}.clientConfig.url"}
    assert orjson.dumps(answer.json)

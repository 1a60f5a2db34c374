"""CustomResourceDefinitions and what they serve, against the real server."""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from tests.apiserver.conftest import Api, Server

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_numbers = itertools.count(1)
Obj = dict[str, Any]

SPEC = {
    "type": "object",
    "required": ["cronSpec"],
    "properties": {
        "cronSpec": {"type": "string", "minLength": 1},
        "replicas": {"type": "integer", "minimum": 0, "maximum": 10, "default": 1},
        "color": {"type": "string", "default": "red"},
        "port": {"x-kubernetes-int-or-string": True},
    },
}
STATUS = {"type": "object", "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}}}


def version(name: str = "v1", *, storage: bool = True, **fields: Any) -> Obj:
    """One entry of spec.versions."""
    schema = {"type": "object", "properties": {"spec": SPEC, "status": STATUS}}
    return {"name": name, "served": True, "storage": storage, "schema": {"openAPIV3Schema": schema}, **fields}


def definition(*versions: Obj, scope: str = "Namespaced", **names: Any) -> Obj:
    """A definition of a group of its own."""
    group = f"g{next(_numbers)}.example.com"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"crontabs.{group}"},
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"plural": "crontabs", "kind": "CronTab", **names},
            "versions": list(versions) or [version()],
        },
    }


def path(crd: Obj, api: Any, name: str = "", at: str = "v1") -> str:
    """Where its objects are."""
    space = f"namespaces/{api.namespace}/" if crd["spec"]["scope"] == "Namespaced" else ""
    found = f"/apis/{crd['spec']['group']}/{at}/{space}{crd['spec']['names']['plural']}"
    return f"{found}/{name}" if name else found


def cron(name: str, **spec: Any) -> Obj:
    """An object without apiVersion and kind, which the URL says."""
    return {"metadata": {"name": name}, "spec": {"cronSpec": "* *", **spec}}


async def change(api: Any, crd: Obj, make: Any) -> Obj:
    """Read a definition, change it, write it."""
    live: Obj = (await api.get(f"{CRDS}/{crd['metadata']['name']}")).json
    make(live)
    answer = await api.call("PUT", f"{CRDS}/{crd['metadata']['name']}", live)
    assert answer.status == 200, answer.body
    changed: Obj = answer.json
    return changed


def conditions(crd: Obj) -> dict[str, str]:
    """Status by type."""
    return {c["type"]: c["status"] for c in crd["status"]["conditions"]}


async def test_a_definition_is_served_as_soon_as_it_is_created(api: Any) -> None:
    crd = definition(shortNames=["ct"], categories=["all"])
    made = await api.create(CRDS, crd)
    assert conditions(made) == {"NamesAccepted": "True", "Established": "True"}
    assert made["status"]["storedVersions"] == ["v1"]
    assert made["status"]["acceptedNames"] == {
        "plural": "crontabs",
        "singular": "crontab",
        "kind": "CronTab",
        "listKind": "CronTabList",
        "shortNames": ["ct"],
        "categories": ["all"],
    }
    assert made["spec"]["conversion"] == {"strategy": "None"}
    listed = (await api.get(path(crd, api))).json
    assert (listed["kind"], listed["items"]) == ("CronTabList", [])
    group = crd["spec"]["group"]
    (resource,) = (await api.get(f"/apis/{group}/v1")).json["resources"]
    assert (resource["name"], resource["singularName"], resource["shortNames"]) == ("crontabs", "crontab", ["ct"])
    aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    found = await api.get("/apis", accept=aggregated)
    assert group in [item["metadata"]["name"] for item in found.json["items"]]
    etag = found.headers["ETag"]
    await api.call("DELETE", f"{CRDS}/{crd['metadata']['name']}")
    await gone(api, crd)
    again = await api.get("/apis", accept=aggregated, headers={"If-None-Match": etag})
    assert again.status == 200
    assert group not in [item["metadata"]["name"] for item in again.json["items"]]
    assert (await api.get(path(crd, api))).status == 404


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition of the server."""
    async with asyncio.timeout(10):
        while not await holds():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def gone(api: Any, crd: Obj) -> None:
    """Wait for a definition to be gone."""

    async def holds() -> bool:
        return (await api.get(f"{CRDS}/{crd['metadata']['name']}")).status == 404

    await until(holds)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda c: c["metadata"].update(name="x"), 'metadata.name: Invalid value: "x": must be spec.names.plural'),
        (lambda c: c["spec"].update(scope="World"), 'spec.scope: Unsupported value: "World": supported values: '),
        (
            lambda c: c["spec"]["versions"][0].update(storage=False),
            "must have exactly one version marked as storage version",
        ),
        (
            lambda c: c["spec"]["versions"][0].pop("schema"),
            "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required",
        ),
        (
            lambda c: c["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"].update(x={}),
            (
                "spec.versions[0].schema.openAPIV3Schema.properties[x].type: Required value: "
                "must not be empty for specified object fields"
            ),
        ),
        (
            lambda c: c["spec"]["versions"].append(version("v1", storage=False)),
            "must contain unique version names",
        ),
        (
            lambda c: c["spec"].update(
                versions=[version(), version("v2", storage=False)],
                conversion={"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"]}},
            ),
            "spec.conversion.webhook.clientConfig: Required value: required when strategy is set to Webhook",
        ),
        (
            lambda c: c["spec"]["versions"][0].update(
                additionalPrinterColumns=[{"name": "A", "type": "time", "jsonPath": ".a"}]
            ),
            'Columns[0].type: Invalid value: "time": must be one of boolean,date,integer,number,string',
        ),
    ],
)
async def test_a_definition_that_cannot_be_is_refused(api: Any, broken: Any, message: str) -> None:
    crd = definition()
    broken(crd)
    answer = await api.call("POST", CRDS, crd)
    assert answer.status == 422
    assert message in answer.message


async def test_objects_are_pruned_defaulted_and_validated(api: Any) -> None:
    crd = definition()
    await api.create(CRDS, crd)
    obj = cron("a", port="http")
    obj["spec"]["other"] = 1
    answer = await api.call("POST", path(crd, api), obj)
    assert answer.status == 201
    assert answer.headers["Warning"] == '299 - "unknown field \\"spec.other\\""'
    assert answer.json["spec"] == {"cronSpec": "* *", "replicas": 1, "color": "red", "port": "http"}
    assert answer.json["apiVersion"] == f"{crd['spec']['group']}/v1"
    strict = await api.call("POST", path(crd, api) + "?fieldValidation=Strict", {**obj, "metadata": {"name": "b"}})
    assert strict.status == 400
    assert strict.message == (
        'CronTab in version "v1" cannot be handled as a CronTab: strict decoding error: unknown field "spec.other"'
    )
    bad = {"metadata": {"name": "b"}, "spec": {"replicas": "string", "port": 1.5}}
    answer = await api.call("POST", path(crd, api), bad)
    assert answer.status == 422
    causes = {(c["field"], c["reason"], c["message"]) for c in answer.json["details"]["causes"]}
    wrong = 'Invalid value: "string": spec.replicas in body must be of type integer: "string"'
    assert causes == {
        ("spec.cronSpec", "FieldValueRequired", "Required value"),
        ("spec.replicas", "FieldValueTypeInvalid", wrong),
        (
            "spec.port",
            "FieldValueTypeInvalid",
            'Invalid value: "number": spec.port in body must be of type integer,string: "number"',
        ),
    }
    answer = await api.call("POST", path(crd, api), {"metadata": {"name": "b", "labels": {"a": 1}}})
    assert answer.status == 400
    assert "cannot unmarshal number" in answer.message


async def test_status_and_generation(api: Any) -> None:
    crd = definition(version(subresources={"status": {}}))
    await api.create(CRDS, crd)
    made = await api.create(path(crd, api), {**cron("a"), "status": {"replicas": 3}})
    assert "status" not in made
    assert made["metadata"]["generation"] == 1
    without = {**made, "metadata": {"name": "a"}}
    answer = await api.call("PUT", path(crd, api, "a"), without)
    assert answer.status == 422
    assert "metadata.resourceVersion: Invalid value: 0: must be specified for an update" in answer.message
    wanted = {**made, "spec": {**made["spec"], "color": "blue"}, "status": {"replicas": 5}}
    changed = (await api.call("PUT", path(crd, api, "a"), wanted)).json
    assert "status" not in changed
    assert (changed["metadata"]["generation"], changed["spec"]["color"]) == (2, "blue")
    wanted = {**changed, "spec": {"cronSpec": "x"}, "status": {"replicas": 5}}
    wanted["metadata"] = {**changed["metadata"], "labels": {"a": "b"}}
    status = (await api.call("PUT", path(crd, api, "a") + "/status", wanted)).json
    assert status["status"] == {"replicas": 5}
    assert status["spec"] == changed["spec"]
    assert status["metadata"]["generation"] == 2
    assert "labels" not in status["metadata"]
    answer = await api.call("PUT", path(crd, api, "a") + "/status", {**status, "status": {"replicas": "x"}})
    assert answer.status == 422
    labels = {"metadata": {"labels": {"a": "b"}}}
    content = "application/merge-patch+json"
    assert (await api.call("PATCH", path(crd, api, "a"), labels, content=content)).json["metadata"]["generation"] == 2
    content = "application/strategic-merge-patch+json"
    assert (await api.call("PATCH", path(crd, api, "a"), labels, content=content)).status == 415


async def test_without_a_status_subresource_the_status_counts(api: Any) -> None:
    crd = definition()
    await api.create(CRDS, crd)
    made = await api.create(path(crd, api), {**cron("a"), "status": {"replicas": 3}})
    assert made["status"] == {"replicas": 3}
    changed = (await api.call("PUT", path(crd, api, "a"), {**made, "status": {"replicas": 4}})).json
    assert changed["metadata"]["generation"] == 2
    assert (await api.get(path(crd, api, "a") + "/status")).status == 404


async def test_scale(api: Any) -> None:
    paths = {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    crd = definition(version(subresources={"status": {}, "scale": paths}))
    await api.create(CRDS, crd)
    made = await api.create(path(crd, api), cron("a"))
    status = {**made, "status": {"replicas": 7, "selector": "a=b"}}
    assert (await api.call("PUT", path(crd, api, "a") + "/status", status)).status == 200
    scale = (await api.get(path(crd, api, "a") + "/scale")).json
    assert (scale["kind"], scale["spec"], scale["status"]) == (
        "Scale",
        {"replicas": 1},
        {"replicas": 7, "selector": "a=b"},
    )
    scaled = (await api.call("PUT", path(crd, api, "a") + "/scale", {**scale, "spec": {"replicas": 4}})).json
    assert scaled["spec"] == {"replicas": 4}
    obj = (await api.get(path(crd, api, "a"))).json
    assert (obj["spec"]["replicas"], obj["metadata"]["generation"]) == (4, 2)


async def test_every_version_shows_every_object(api: Any) -> None:
    crd = definition(version(), version("v1beta1", storage=False, deprecated=True))
    await api.create(CRDS, crd)
    await api.create(path(crd, api), cron("a"))
    answer = await api.call("POST", path(crd, api, at="v1beta1"), cron("b"))
    assert answer.status == 201
    group = crd["spec"]["group"]
    assert answer.headers["Warning"] == f'299 - "{group}/v1beta1 CronTab is deprecated"'
    for at in ("v1", "v1beta1"):
        listed = (await api.get(path(crd, api, at=at))).json
        assert listed["apiVersion"] == f"{group}/{at}"
        assert [(o["metadata"]["name"], o["apiVersion"]) for o in listed["items"]] == [
            ("a", f"{group}/{at}"),
            ("b", f"{group}/{at}"),
        ]
    old = (await api.get(path(crd, api, "a", at="v1beta1"))).json
    changed = await api.call("PUT", path(crd, api, "a", at="v1beta1"), {**old, "spec": {"cronSpec": "1"}})
    assert changed.json["apiVersion"] == f"{group}/v1beta1"
    assert (await api.get(path(crd, api, "a"))).json["spec"]["cronSpec"] == "1"
    events = api.watch(path(crd, api, at="v1beta1") + "?watch=true&timeoutSeconds=5")
    seen = [await anext(events) for _ in range(2)]
    assert {event["object"]["apiVersion"] for event in seen} == {f"{group}/v1beta1"}
    await events.aclose()
    groups = (await api.get("/apis")).json["groups"]
    (found,) = (item for item in groups if item["name"] == group)
    assert [v["version"] for v in found["versions"]] == ["v1", "v1beta1"]


async def test_a_changed_definition_takes_effect_at_once(api: Any) -> None:
    crd = definition(version(), version("v1beta1", storage=False))
    await api.create(CRDS, crd)
    await api.create(path(crd, api), cron("a"))
    assert "extra" not in (await api.get(path(crd, api, "a"))).json["spec"]
    watching = asyncio.create_task(collect(api.watch(path(crd, api, at="v1beta1") + "?watch=true")))
    await asyncio.sleep(0.1)

    def add_field(live: Obj) -> None:
        first = live["spec"]["versions"][0]
        first["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["extra"] = {
            "type": "string",
            "default": "new",
        }
        live["spec"]["versions"][1]["served"] = False

    await change(api, crd, add_field)
    assert (await api.get(path(crd, api, "a"))).json["spec"]["extra"] == "new", "defaults show when reading"
    assert (await api.get(path(crd, api))).json["items"][0]["spec"]["extra"] == "new"
    assert (await api.get(path(crd, api, at="v1beta1"))).status == 404
    async with asyncio.timeout(5):
        assert [e["type"] for e in await watching] == ["ADDED"], "the watch of a removed version ends"
    document = (await api.get(f"/openapi/v3/apis/{crd['spec']['group']}/v1")).json
    name = ".".join([*reversed(crd["spec"]["group"].split(".")), "v1", "CronTab"])
    assert "extra" in document["components"]["schemas"][name]["properties"]["spec"]["properties"]
    patch = document["paths"][f"/apis/{crd['spec']['group']}/v1/namespaces/{{namespace}}/crontabs/{{name}}"]["patch"]
    assert "application/strategic-merge-patch+json" not in patch["requestBody"]["content"]


async def collect(events: Any) -> list[Obj]:
    """All events until the stream ends."""
    return [event async for event in events]


async def test_the_storage_version_moves_with_the_next_write(api: Any) -> None:
    crd = definition(version(), version("v2", storage=False))
    await api.create(CRDS, crd)
    made = await api.create(path(crd, api), cron("a"))

    def move(live: Obj) -> None:
        for each in live["spec"]["versions"]:
            each["storage"] = each["name"] == "v2"

    changed = await change(api, crd, move)
    assert changed["status"]["storedVersions"] == ["v1", "v2"]
    same = (await api.call("PUT", path(crd, api, "a"), made)).json
    assert same["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]
    again = (await api.call("PUT", path(crd, api, "a"), same)).json
    assert again["metadata"]["resourceVersion"] == same["metadata"]["resourceVersion"]
    live = (await api.get(f"{CRDS}/{crd['metadata']['name']}")).json
    live["spec"]["versions"] = [v for v in live["spec"]["versions"] if v["name"] == "v2"]
    refused = await api.call("PUT", f"{CRDS}/{crd['metadata']['name']}", live)
    assert refused.status == 422
    assert "v1 was previously a storage version" in refused.message


async def test_deleting_a_definition_deletes_its_objects(api: Any) -> None:
    crd = definition()
    await api.create(CRDS, crd)
    for number in range(5):
        await api.create(path(crd, api), cron(f"a{number}"))
    held = cron("held")
    held["metadata"]["finalizers"] = ["hold"]
    await api.create(path(crd, api), held)
    await api.call("DELETE", f"{CRDS}/{crd['metadata']['name']}")

    async def one_left() -> bool:
        return len((await api.get(path(crd, api))).json["items"]) == 1

    await until(one_left)
    live = (await api.get(f"{CRDS}/{crd['metadata']['name']}")).json
    assert conditions(live)["Terminating"] == "True"
    assert live["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    answer = await api.call("POST", path(crd, api), cron("late"))
    assert answer.status == 405
    assert answer.message == "create not allowed while custom resource definition is terminating"
    content = "application/merge-patch+json"
    free = {"metadata": {"finalizers": None}}
    assert (await api.call("PATCH", path(crd, api, "held"), free, content=content)).status == 200
    await gone(api, crd)
    await api.create(CRDS, crd)
    assert (await api.get(path(crd, api))).json["items"] == []


async def test_names_that_are_taken(api: Any) -> None:
    first = definition(shortNames=["ct"])
    await api.create(CRDS, first)
    other = definition()
    other["spec"]["group"] = first["spec"]["group"]
    other["spec"]["names"] = {"plural": "cronjobs", "kind": "CronTab", "listKind": "JobList", "shortNames": ["ct"]}
    other["metadata"]["name"] = f"cronjobs.{first['spec']['group']}"
    made = await api.create(CRDS, other)
    assert conditions(made) == {"NamesAccepted": "False", "Established": "False"}
    assert (await api.get(path(other, api))).status == 404
    await api.call("DELETE", f"{CRDS}/{first['metadata']['name']}")

    async def served() -> bool:
        return (await api.get(path(other, api))).status == 200

    await until(served)
    live = (await api.get(f"{CRDS}/{other['metadata']['name']}")).json
    assert conditions(live) == {"NamesAccepted": "True", "Established": "True"}


async def test_selectable_fields_and_labels(api: Any) -> None:
    crd = definition(version(selectableFields=[{"jsonPath": ".spec.color"}]))
    await api.create(CRDS, crd)
    for name, color in (("a", "red"), ("b", "blue")):
        await api.create(path(crd, api), cron(name, color=color))

    async def names(selector: str) -> list[str]:
        return [o["metadata"]["name"] for o in (await api.get(path(crd, api) + f"?{selector}")).json["items"]]

    assert await names("fieldSelector=spec.color%3Dblue") == ["b"]
    assert await names("fieldSelector=metadata.name%3Da") == ["a"]
    assert (await api.get(path(crd, api) + "?fieldSelector=spec.cronSpec%3Da")).status == 400


async def test_cluster_scope(api: Any) -> None:
    crd = definition(scope="Cluster")
    await api.create(CRDS, crd)
    made = await api.create(path(crd, api), cron("a"))
    assert "namespace" not in made["metadata"]
    assert (await api.get(f"/apis/{crd['spec']['group']}/v1/namespaces/default/crontabs")).status == 404


def ruled(*rules: dict[str, Any]) -> dict[str, Any]:
    """A definition whose spec has rules."""
    crd: Obj = copy.deepcopy(definition())
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"] = [*rules]
    return crd


async def test_rules_in_cel_are_held(api: Any) -> None:
    crd = ruled(
        {"rule": "self.replicas < 5", "messageExpression": "'too many: ' + string(self.replicas)"},
        {"rule": "self.cronSpec == oldSelf.cronSpec", "message": "cronSpec is immutable"},
    )
    answer = await api.call("POST", CRDS, crd)
    assert answer.status == 201
    assert "Warning" not in answer.headers
    made = cron("a")
    made["spec"]["replicas"] = 7
    answer = await api.call("POST", path(crd, api), made)
    assert answer.status == 422
    status = answer.json
    assert status["details"]["causes"] == [
        {"reason": "FieldValueInvalid", "message": 'Invalid value: "object": too many: 7', "field": "spec"}
    ]
    made["spec"]["replicas"] = 2
    stored = await api.create(path(crd, api), made)
    stored["spec"]["cronSpec"] += " "
    answer = await api.call("PUT", f"{path(crd, api)}/a", stored)
    assert answer.status == 422
    assert 'spec: Invalid value: "object": cronSpec is immutable' in answer.json["message"]


async def test_a_rule_that_was_broken_before_is_a_warning(api: Any) -> None:
    crd = definition()
    await api.create(CRDS, crd)
    stored = await api.create(path(crd, api), cron("a", replicas=7))

    def rule(live: Obj) -> None:
        spec = live["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        spec["x-kubernetes-validations"] = [{"rule": "self.replicas < 5", "message": "too many"}]

    await change(api, crd, rule)
    stored["metadata"]["labels"] = {"a": "b"}
    answer = await api.call("PUT", path(crd, api, "a"), stored)
    assert answer.status == 200
    assert 'spec: Invalid value: \\"object\\": too many' in answer.headers["Warning"]


async def test_a_rule_of_a_field_that_is_not_there_is_refused(api: Any) -> None:
    answer = await api.call("POST", CRDS, ruled({"rule": "self.nope == 1"}))
    assert answer.status == 422
    assert "compilation failed: ERROR: <input>:1:5: undefined field 'nope'" in answer.json["message"]


async def test_everything_is_there_after_a_restart(own_server: Server) -> None:
    own_server.start()
    crd = definition(version(), version("v2", storage=False))
    async with aiohttp.ClientSession() as session:
        api = Api(own_server, session, "default")
        await api.create(CRDS, crd)
        await api.create(path(crd, api), cron("a"))
        ending = definition()
        await api.create(CRDS, ending)
        held = cron("held")
        held["metadata"]["finalizers"] = ["example.com/hold"]
        await api.create(path(ending, api), held)
        await api.call("DELETE", f"{CRDS}/{ending['metadata']['name']}")
    own_server.stop(9)
    own_server.start()
    async with aiohttp.ClientSession() as session:
        api = Api(own_server, session, "default")
        assert (await api.get(path(crd, api, "a", at="v2"))).json["spec"]["color"] == "red"
        content = "application/merge-patch+json"
        free = {"metadata": {"finalizers": None}}
        assert (await api.call("PATCH", path(ending, api, "held"), free, content=content)).status == 200
        await gone(api, ending)


async def test_appliers_share_a_list_by_its_keys(api: Any) -> None:
    ports = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string"}, "port": {"type": "integer"}},
        },
    }
    one = version(subresources={"status": {}})
    one["schema"] = {
        "openAPIV3Schema": {
            "type": "object",
            "properties": {"spec": {"type": "object", "properties": {"ports": ports}}, "status": STATUS},
        }
    }
    crd = definition(one)
    await api.create(CRDS, crd)

    async def apply(manager: str, *names: str) -> Any:
        obj = {
            "apiVersion": f"{crd['spec']['group']}/v1",
            "kind": "CronTab",
            "metadata": {"name": "a"},
            "spec": {"ports": [{"name": name, "port": 1} for name in names]},
        }
        at = path(crd, api, "a") + f"?fieldManager={manager}"
        return await api.call("PATCH", at, obj, content="application/apply-patch+yaml")

    assert (await apply("one", "a")).status == 201
    assert [p["name"] for p in (await apply("two", "b")).json["spec"]["ports"]] == ["a", "b"]
    assert [p["name"] for p in (await apply("one")).json["spec"]["ports"]] == ["b"]


CERTIFICATES = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "certificates.pki.example.com"},
    "spec": {
        "group": "pki.example.com",
        "scope": "Namespaced",
        "names": {
            "kind": "Certificate",
            "listKind": "CertificateList",
            "plural": "certificates",
            "singular": "certificate",
            "shortNames": ["cert", "certs"],
            "categories": ["pki"],
        },
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    {
                        "name": "Ready",
                        "type": "string",
                        "jsonPath": '.status.conditions[?(@.type == "Ready")].status',
                    },
                    {"name": "Secret", "type": "string", "jsonPath": ".spec.secretName"},
                    {"name": "Issuer", "type": "string", "jsonPath": ".spec.issuerRef.name", "priority": 1},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
                "schema": {
                    "openAPIV3Schema": {
                        "description": "A Certificate asks for a signed certificate.",
                        "type": "object",
                        "properties": {
                            "apiVersion": {"type": "string"},
                            "kind": {"type": "string"},
                            "metadata": {"type": "object"},
                            "spec": {
                                "description": "What is wanted.",
                                "type": "object",
                                "required": ["issuerRef", "secretName"],
                                "properties": {
                                    "dnsNames": {
                                        "type": "array",
                                        "items": {"type": "string", "format": "hostname"},
                                        "x-kubernetes-list-type": "set",
                                    },
                                    "duration": {"type": "string", "format": "duration"},
                                    "issuerRef": {
                                        "type": "object",
                                        "required": ["name"],
                                        "properties": {
                                            "kind": {"type": "string", "enum": ["Issuer", "ClusterIssuer"]},
                                            "name": {"type": "string"},
                                        },
                                    },
                                    "secretName": {"description": "Where it is kept.", "type": "string"},
                                },
                            },
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}
CERTIFICATE = """
apiVersion: pki.example.com/v1
kind: Certificate
metadata: {name: web}
spec:
  secretName: web-tls
  duration: 2160h
  dnsNames: [web.example.com]
  issuerRef: {name: ca, kind: Issuer}
"""
STATUS_PATCH = '{"status":{"conditions":[{"type":"Ready","status":"True"}]}}'


async def test_kubectl_and_a_certificate_operator(api: Any, kubectl: Any) -> None:
    space = api.namespace
    kubectl("apply", "-f", "-", stdin=json.dumps(CERTIFICATES))
    kubectl("wait", "--for=condition=Established", "crd/certificates.pki.example.com", "--timeout=10s")
    resources = kubectl("api-resources", "--api-group=pki.example.com", "--no-headers").split()
    assert resources == ["certificates", "cert,certs", "pki.example.com/v1", "true", "Certificate"]
    assert "created" in kubectl("apply", "-f", "-", stdin=CERTIFICATE, namespace=space)
    assert "unchanged" in kubectl("apply", "-f", "-", stdin=CERTIFICATE, namespace=space)
    changed = CERTIFICATE.replace("2160h", "24h")
    assert "configured" in kubectl("apply", "-f", "-", stdin=changed, namespace=space)
    kubectl("patch", "cert", "web", "--subresource=status", "--type=merge", "-p", STATUS_PATCH, namespace=space)
    for name in ("certificates", "certificate", "cert", "pki", "certificates.v1.pki.example.com"):
        header, row = kubectl("get", name, namespace=space).splitlines()
        assert header.split() == ["NAME", "READY", "SECRET", "AGE"]
        assert row.split()[1:3] == ["True", "web-tls"]
    assert "ISSUER" in kubectl("get", "cert", "-o", "wide", namespace=space)
    explained = kubectl("explain", "certificate.spec")
    assert "What is wanted." in explained
    assert "secretName\t<string> -required-" in explained
    assert "Certificate" in kubectl("describe", "cert", "web", namespace=space)
    kubectl("wait", "cert/web", "--for=condition=Ready", "--timeout=10s", namespace=space)
    kubectl("label", "cert", "web", "a=b", namespace=space)
    with pytest.raises(AssertionError, match=r'spec\.issuerRef\.kind: Unsupported value: "Other"'):
        kubectl("apply", "-f", "-", stdin=CERTIFICATE.replace("kind: Issuer", "kind: Other"), namespace=space)
    with pytest.raises(AssertionError, match=r'unknown field "spec\.wrong"'):
        kubectl("apply", "-f", "-", stdin=CERTIFICATE.replace("duration", "wrong"), namespace=space)
    assert "deleted" in kubectl("delete", "crd", "certificates.pki.example.com", "--timeout=10s")
    assert "certificates" not in kubectl("api-resources", "--api-group=pki.example.com")


MONITORS = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: monitors.metrics.example.com}
spec:
  group: metrics.example.com
  scope: Namespaced
  names: {plural: monitors, kind: Monitor, shortNames: [mon]}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          required: [spec]
          properties:
            spec:
              type: object
              required: [endpoints, selector]
              properties:
                endpoints:
                  type: array
                  items:
                    type: object
                    properties:
                      interval: {type: string, pattern: '^(0|(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?)$'}
                      port: {type: string}
                      targetPort:
                        anyOf: [{type: integer}, {type: string}]
                        x-kubernetes-int-or-string: true
                selector:
                  type: object
                  properties:
                    matchLabels: {type: object, additionalProperties: {type: string}}
                  x-kubernetes-map-type: atomic
"""
MONITOR = """
apiVersion: metrics.example.com/v1
kind: Monitor
metadata: {name: web}
spec:
  endpoints: [{interval: 30s, targetPort: 80}, {interval: 1m, targetPort: http}]
  selector: {matchLabels: {app: web}}
"""


async def test_kubectl_and_a_monitoring_operator(api: Any, kubectl: Any) -> None:
    space = api.namespace
    # In one go, as charts are installed: the second document needs the first.
    kubectl("create", "-f", "-", stdin=MONITORS)
    kubectl("create", "-f", "-", stdin=MONITOR, namespace=space)
    assert "web" in kubectl("get", "mon", "-o", "name", namespace=space)
    with pytest.raises(AssertionError, match=r"spec\.endpoints\[0\]\.interval in body should match"):
        kubectl("create", "-f", "-", stdin=MONITOR.replace("30s", "soon").replace("web", "x"), namespace=space)
    kubectl("delete", "-f", "-", stdin=MONITORS)

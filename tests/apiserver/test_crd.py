"""CustomResourceDefinitions: names, versions, changes and the end of them, against the real server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from tests.apiserver.conftest import Api, Server
from tests.apiserver.crds import CRDS, Obj, change, conditions, cron, definition, path, version


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
    async with asyncio.timeout(120):
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
        (lambda c: c["spec"].pop("group"), "spec.group: Required value"),
        (lambda c: c["spec"].pop("versions"), "must have exactly one version marked as storage version"),
        (lambda c: c["spec"]["versions"][0].pop("name"), "spec.versions[0].name: Invalid value"),
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


async def test_a_changed_definition_takes_effect_at_once(api: Any) -> None:
    crd = definition(version(), version("v1beta1", storage=False))
    await api.create(CRDS, crd)
    await api.create(path(crd, api), cron("a"))
    assert "extra" not in (await api.get(path(crd, api, "a"))).json["spec"]
    watching = api.watch(path(crd, api, at="v1beta1") + "?watch=true")
    assert (await anext(watching))["type"] == "ADDED"

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
    async with asyncio.timeout(120):
        assert await collect(watching) == [], "the watch of a removed version ends"
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


async def test_conditions_that_a_client_writes_take_nothing_out_of_service(api: Any) -> None:
    crd = definition()
    await api.create(CRDS, crd)
    where = f"{CRDS}/{crd['metadata']['name']}/status"
    patch = [{"op": "add", "path": "/status/conditions", "value": [{"message": "patched"}]}]
    patched = await api.call("PATCH", where, patch, content="application/json-patch+json")
    assert patched.status == 200
    (condition,) = patched.json["status"]["conditions"]
    assert condition == {"type": "", "status": "", "message": "patched"}

    async def established() -> bool:
        return "Established" in conditions((await api.get(where)).json)

    await until(established)
    other = definition()
    await api.create(CRDS, other)
    for one in (crd, other):
        await api.create(path(one, api), cron("a"))

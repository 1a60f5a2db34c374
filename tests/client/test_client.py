"""The client against an HTTP server: paths, bodies, and what becomes of failures."""

from __future__ import annotations

from contextlib import aclosing

import pytest
from aiohttp import web

from hawser.api.errors import APIError
from hawser.api.kinds import CONFIG_MAP, NODE, POD
from hawser.client.client import APPLY, JSON, MERGE, STRATEGIC, Client


def config_map(name, **data):
    return {"metadata": {"name": name, "namespace": "default"}, "data": data}


async def test_an_object_is_created_read_replaced_patched_and_deleted(api, client):
    made = await client.create(CONFIG_MAP, config_map("a", x="1"))
    assert (await client.get(CONFIG_MAP, "a", "default")) == made
    made["data"]["x"] = "2"
    assert (await client.update(CONFIG_MAP, made))["data"] == {"x": "2"}
    assert (await client.patch(CONFIG_MAP, "a", "default", {"data": {"x": "3"}}))["data"] == {"x": "3"}
    await client.delete(CONFIG_MAP, "a", "default")
    with pytest.raises(APIError) as caught:
        await client.get(CONFIG_MAP, "a", "default")
    assert (caught.value.code, caught.value.reason) == (404, "NotFound")
    assert caught.value.message == 'configmaps "a" not found'
    assert caught.value.details == {"name": "a", "kind": "configmaps"}


async def test_every_request_carries_the_token_and_the_program(api, client):
    await client.raw("GET", "/livez")
    assert api.headers[0]["Authorization"] == "Bearer secret"
    assert api.headers[0]["User-Agent"] == "hawser"


@pytest.mark.parametrize("type_", [MERGE, JSON, STRATEGIC, APPLY])
async def test_a_patch_names_its_type(api, client, type_):
    api.write(CONFIG_MAP, config_map("a"))
    await client.patch(CONFIG_MAP, "a", "default", {}, type=type_)
    assert api.headers[-1]["Content-Type"] == type_


async def test_delete_options_are_sent(api, client):
    api.write(POD, {"metadata": {"name": "p", "namespace": "ns"}})
    await client.delete(POD, "p", "ns", grace_period=0, propagation="Orphan", uid="u", resource_version="7")
    assert api.bodies[-1] == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "gracePeriodSeconds": 0,
        "propagationPolicy": "Orphan",
        "preconditions": {"uid": "u", "resourceVersion": "7"},
    }


async def test_listed_items_get_the_kind_that_lists_omit_and_pages_are_joined(api, client):
    for name in "abcde":
        api.write(CONFIG_MAP, config_map(name))
    listing = await client.list(CONFIG_MAP, "default", page_size=2)
    assert [i["metadata"]["name"] for i in listing.items] == list("abcde")
    assert {(i["kind"], i["apiVersion"]) for i in listing.items} == {("ConfigMap", "v1")}
    assert listing.resource_version == str(api.revision)
    assert api.lists == 3


async def test_selectors_are_encoded(api, client):
    await client.list(POD, label_selector="app in (a,b)", field_selector="spec.nodeName=n1")
    assert api.requests[-1] == "GET /api/v1/pods?labelSelector=app+in+(a,b)&fieldSelector=spec.nodeName%3Dn1"


async def test_cluster_scoped_objects_have_no_namespace_in_their_path(api, client):
    await client.create(NODE, {"metadata": {"name": "n1"}})
    assert api.requests[-1] == "POST /api/v1/nodes"


async def test_a_server_that_is_not_there_is_service_unavailable():
    async with Client("http://127.0.0.1:1") as client:
        with pytest.raises(APIError, match=r"http://127\.0\.0\.1:1 does not answer") as caught:
            await client.get(POD, "a", "b")
    assert (caught.value.code, caught.value.reason) == (503, "ServiceUnavailable")


async def test_an_answer_that_is_no_status_is_still_an_api_error(api, client):
    api.failures.append(web.Response(status=502, text="bad gateway"))
    with pytest.raises(APIError, match="the server answered 502: bad gateway") as caught:
        await client.get(POD, "a", "b")
    assert caught.value.code == 502


async def test_success_without_json_is_an_internal_error(api, client):
    api.failures.append(web.Response(text="<html>"))
    with pytest.raises(APIError, match="not JSON") as caught:
        await client.get(POD, "a", "b")
    assert caught.value.code == 500


async def test_too_many_requests_is_tried_again_when_the_server_says_when(api, client, clock):
    api.write(CONFIG_MAP, config_map("a"))
    api.failures += [web.Response(status=429, headers={"Retry-After": "2"}) for _ in range(2)]
    assert await client.get(CONFIG_MAP, "a", "default")
    assert clock.slept == [2, 2]


async def test_too_many_requests_is_given_up_in_the_end(api, client, clock):
    api.failures += [web.Response(status=429, headers={"Retry-After": "1"}) for _ in range(9)]
    with pytest.raises(APIError) as caught:
        await client.get(CONFIG_MAP, "a", "default")
    assert caught.value.reason == "TooManyRequests"
    assert len(clock.slept) == 3


async def test_a_watch_yields_events_of_any_size_after_the_version(api, client):
    api.write(CONFIG_MAP, config_map("old"))
    start = str(api.revision)
    api.write(CONFIG_MAP, config_map("new", text="x" * 900_000))
    api.delete(CONFIG_MAP, "default", "old")
    seen = []
    async with aclosing(client.watch(CONFIG_MAP, "default", start, seconds=60)) as events:
        async for event in events:
            seen.append((event.type, event.object["metadata"]["name"]))
            if len(seen) == 2:
                break
    assert seen == [("ADDED", "new"), ("DELETED", "old")]
    assert "timeoutSeconds=60" in api.requests[-1]
    assert "allowWatchBookmarks=true" in api.requests[-1]


async def test_a_watch_of_a_compacted_version_raises_410(api, client):
    api.compact()
    with pytest.raises(APIError) as caught:
        async for _ in client.watch(CONFIG_MAP, resource_version="1"):
            pass
    assert caught.value.code == 410


async def test_a_stream_is_read_piece_by_piece(api, client):
    async with client.stream("GET", "/livez") as response:
        assert b"".join([piece async for piece in response]) == b"ok"


async def test_a_stream_that_fails_raises_the_status(api, client):
    with pytest.raises(APIError, match='pods "x" not found'):
        async with client.stream("GET", POD.path("default", "x", "log")):
            pass


async def test_raw_takes_any_path(api, client):
    assert await client.raw("GET", "/livez") == b"ok"

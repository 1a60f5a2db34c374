"""Lists, pages, forms and watches."""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import orjson
import pytest
from aiohttp import WSMsgType, WSServerHandshakeError
from tests.apiserver.conftest import abandon
from tests.apiserver.test_encodings import event

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
METADATA = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
MERGE = "application/merge-patch+json"


def names(listing: Any) -> list[str]:
    return [item["metadata"]["name"] for item in listing["items"]]


async def fill(api: Any, count: int) -> None:
    for number in range(count):
        await api.config_map(f"c{number}", {"even": str(number % 2 == 0).lower()})


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["c0", "c1", "c2", "c3"]),
        ("labelSelector=even%3Dtrue", ["c0", "c2"]),
        ("labelSelector=even%20in%20(false)", ["c1", "c3"]),
        ("fieldSelector=metadata.name%3Dc1", ["c1"]),
        ("fieldSelector=metadata.name!%3Dc1", ["c0", "c2", "c3"]),
        ("resourceVersion=0", ["c0", "c1", "c2", "c3"]),
    ],
)
async def test_selectors_choose_what_is_listed(api: Any, query: str, expected: list[str]) -> None:
    await fill(api, 4)
    listing = (await api.get(f"{api.path('configmaps')}?{query}")).json
    assert (listing["kind"], listing["apiVersion"]) == ("ConfigMapList", "v1")
    assert names(listing) == expected


async def test_pages_show_one_snapshot(api: Any) -> None:
    await fill(api, 5)
    path = api.path("configmaps")
    first = (await api.get(f"{path}?limit=2")).json
    assert names(first) == ["c0", "c1"]
    assert first["metadata"]["remainingItemCount"] == 3
    await api.config_map("c11")
    await api.call("DELETE", f"{path}/c4")
    second = (await api.get(f"{path}?limit=2&continue={first['metadata']['continue']}")).json
    third = (await api.get(f"{path}?limit=2&continue={second['metadata']['continue']}")).json
    assert second["metadata"]["remainingItemCount"] == 1
    assert names(second) + names(third) == ["c2", "c3", "c4"]
    assert "continue" not in third["metadata"]
    assert {page["metadata"]["resourceVersion"] for page in (first, second, third)} == {
        first["metadata"]["resourceVersion"]
    }


async def test_a_list_can_be_of_an_exact_version(api: Any) -> None:
    made = await api.config_map("a")
    await api.config_map("b")
    version = made["metadata"]["resourceVersion"]
    path = f"{api.path('configmaps')}?resourceVersion={version}&resourceVersionMatch="
    assert names((await api.get(path + "Exact")).json) == ["a"]
    assert names((await api.get(path + "NotOlderThan")).json) == ["a", "b"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("labelSelector=a%3D%3D%3Db", "labelSelector" if False else ""),
        ("fieldSelector=spec.foo%3Dx", '"spec.foo" is not a known field selector'),
        ("limit=x", "invalid syntax"),
        ("continue=%21%21", "invalid continue token: continue key is not valid"),
        ("resourceVersion=abc", "resourceVersion"),
    ],
)
async def test_what_cannot_be_listed_is_a_bad_request(api: Any, query: str, message: str) -> None:
    answer = await api.get(f"{api.path('configmaps')}?{query}")
    assert answer.status == 400
    assert message in answer.message


_MATCH = "resourceVersionMatch: Forbidden: "


@pytest.mark.parametrize(
    ("query", "complaints"),
    [
        (
            "resourceVersionMatch=Exact",
            f"{_MATCH}resourceVersionMatch is forbidden unless resourceVersion is provided",
        ),
        (
            "resourceVersionMatch=Exact&resourceVersion=0",
            f'{_MATCH}resourceVersionMatch "exact" is forbidden for resourceVersion "0"',
        ),
        (
            "resourceVersionMatch=a&resourceVersion=1",
            'resourceVersionMatch: Unsupported value: "a": supported values: "Exact", "NotOlderThan", ""',
        ),
        (
            "resourceVersionMatch=Exact&resourceVersion=1&continue=a",
            f"{_MATCH}resourceVersionMatch is forbidden when continue is provided",
        ),
        ("sendInitialEvents=false", "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"),
        (
            "watch=1&resourceVersionMatch=NotOlderThan",
            f"{_MATCH}resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ),
        (
            "watch=1&sendInitialEvents=true",
            f"{_MATCH}sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
    ],
)
async def test_options_of_lists_and_watches_that_do_not_go_together_are_invalid(
    api: Any, query: str, complaints: str
) -> None:
    answer = await api.get(f"{api.path('configmaps')}?{query}")
    assert answer.status == 422
    assert answer.message == f'ListOptions.meta.k8s.io "" is invalid: {complaints}'


async def test_lists_and_objects_come_as_tables_and_as_metadata(api: Any) -> None:
    await fill(api, 1)
    table = (await api.get(api.path("configmaps"), accept=TABLE)).json
    assert table["kind"] == "Table"
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert table["rows"][0]["cells"][:2] == ["c0", 0]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    single = (await api.get(api.path("configmaps", "c0"), accept=TABLE)).json
    assert len(single["rows"]) == 1
    partial = (await api.get(api.path("configmaps"), accept=METADATA)).json
    assert partial["kind"] == "PartialObjectMetadataList"
    assert set(partial["items"][0]) == {"kind", "apiVersion", "metadata"}


async def take(events: Any, count: int) -> list[Any]:
    found = []
    async with asyncio.timeout(120):
        async for event in events:
            found.append(event)
            if len(found) == count:
                break
    await events.aclose()
    return found


async def test_a_watch_shows_every_change_after_its_version(api: Any) -> None:
    before = await api.config_map("before")
    path = api.path("configmaps")
    await api.config_map("a")
    await api.call("PATCH", f"{path}/a", {"data": {"k": "v"}}, content=MERGE)
    await api.call("DELETE", f"{path}/a")
    events = await take(api.watch(f"{path}?watch=true&resourceVersion={before['metadata']['resourceVersion']}"), 3)
    assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "DELETED"]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(set(versions))


@pytest.mark.parametrize("query", ["watch=1", "watch=1&resourceVersion=0"])
async def test_a_watch_without_a_version_begins_with_what_is_there(api: Any, query: str) -> None:
    await fill(api, 2)
    events = await take(api.watch(f"{api.path('configmaps')}?{query}"), 2)
    assert [(e["type"], e["object"]["metadata"]["name"]) for e in events] == [("ADDED", "c0"), ("ADDED", "c1")]


async def test_an_object_that_enters_or_leaves_the_selection_is_added_or_deleted(api: Any) -> None:
    made = await api.config_map("a", {"on": "no"})
    path = api.path("configmaps")
    for value in ("yes", "yes", "no"):
        patch = {"metadata": {"labels": {"on": value}}, "data": {"n": str(id(value))}}
        await api.call(
            "PATCH", f"{path}/a", {**patch, "data": {"v": f"{value}-{made['metadata']['uid']}"}}, content=MERGE
        )
        await api.call("PATCH", f"{path}/a", {"data": {"again": value}}, content=MERGE)
    version = made["metadata"]["resourceVersion"]
    events = await take(api.watch(f"{path}?watch=1&labelSelector=on%3Dyes&resourceVersion={version}"), 3)
    assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "DELETED"]


async def test_an_initial_list_is_streamed_and_marked(api: Any) -> None:
    await fill(api, 1)
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    events = await take(api.watch(f"{api.path('configmaps')}?{query}"), 2)
    assert [event["type"] for event in events] == ["ADDED", "BOOKMARK"]
    assert events[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_a_watch_ends_when_its_time_is_over(api: Any) -> None:
    events = [event async for event in api.watch(f"{api.path('configmaps')}?watch=1&timeoutSeconds=1")]
    assert events == []


async def test_a_single_object_is_watched_by_name(api: Any) -> None:
    await fill(api, 2)
    events = await take(api.watch(f"{api.path('configmaps')}?watch=1&fieldSelector=metadata.name%3Dc1"), 1)
    assert events[0]["object"]["metadata"]["name"] == "c1"


@pytest.mark.parametrize(("name", "first"), [("", "c0"), ("/c1", "c1")])
async def test_what_is_below_watch_is_watched(api: Any, name: str, first: str) -> None:
    await fill(api, 2)
    events = await take(api.watch(f"/api/v1/watch/namespaces/{api.namespace}/configmaps{name}"), 1)
    assert (events[0]["type"], events[0]["object"]["metadata"]["name"]) == ("ADDED", first)


async def test_watchers_of_bare_metadata_see_the_metadata_of_every_write(api: Any) -> None:
    path, before = api.path("configmaps"), await api.config_map("before")
    forms = [f"application/json;as=PartialObjectMetadata;v={version};g=meta.k8s.io" for version in ("v1", "v1beta1")]
    with ExitStack() as stack:
        answers: list[Any] = []
        for accept in (*forms, forms[0], "application/json"):
            headers = {"Accept": accept, "Authorization": "Bearer admin-token"}
            url = f"{api.server.url}{path}?watch=1&resourceVersion={before['metadata']['resourceVersion']}"
            answers.append(await api.session.get(url, headers=headers, ssl=api.tls))
            stack.callback(abandon, answers[-1])
        await api.config_map("a", {"x": "y"})
        await api.call("PATCH", f"{path}/a", {"metadata": {"annotations": {"note": "<&>"}}}, content=MERGE)
        await api.call("DELETE", f"{path}/a")
        bare, older, again, whole = [
            [orjson.loads(await answer.content.readline()) for _ in range(3)] for answer in answers
        ]
    assert bare == again
    assert [event["type"] for event in bare] == ["ADDED", "MODIFIED", "DELETED"]
    for one, other, full in zip(bare, older, whole, strict=True):
        shown = {"kind": "PartialObjectMetadata", "metadata": full["object"]["metadata"]}
        assert one == {"type": full["type"], "object": {**shown, "apiVersion": "meta.k8s.io/v1"}}
        assert other == {"type": full["type"], "object": {**shown, "apiVersion": "meta.k8s.io/v1beta1"}}


async def test_watched_tables_have_their_columns_once(api: Any) -> None:
    await fill(api, 2)
    headers = {"Accept": TABLE, "Authorization": "Bearer admin-token"}
    url = f"{api.server.url}{api.path('configmaps')}?watch=1&timeoutSeconds=1"
    async with api.session.get(url, headers=headers, ssl=api.tls) as answer:
        lines = [line async for line in answer.content]
    assert len(lines) == 2
    assert b'"columnDefinitions":[{' in lines[0]
    assert b'"columnDefinitions":[]' in lines[1]


async def test_a_list_whose_snapshot_is_given_up_may_go_on_as_things_are_now(api: Any) -> None:
    for name in "abcde":
        await api.config_map(name)
    path = api.path("configmaps")
    first = (await api.get(f"{path}?limit=2")).json["metadata"]
    token = first["continue"]
    aged = orjson.loads(urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    aged["at"] -= 400
    old = urlsafe_b64encode(orjson.dumps(aged)).decode()
    # While nothing has been written since then it is as good as new; afterwards it is not.
    await api.config_map("f")
    gone = await api.get(f"{path}?limit=2&continue={old}")
    assert (gone.status, gone.json["reason"]) == (410, "Expired")
    assert "or use the continue token in this response" in gone.message
    page = (await api.get(f"{path}?limit=2&continue={gone.json['metadata']['continue']}")).json
    assert [item["metadata"]["name"] for item in page["items"]] == ["c", "d"]
    assert page["metadata"]["remainingItemCount"] == 2
    assert page["metadata"]["resourceVersion"] != first["resourceVersion"]
    rest = (await api.get(f"{path}?limit=2&continue={page['metadata']['continue']}")).json
    assert [item["metadata"]["name"] for item in rest["items"]] == ["e", "f"]
    assert rest["metadata"]["resourceVersion"] == page["metadata"]["resourceVersion"]
    assert (await api.get(f"{path}?limit=2&continue={token}")).json["metadata"]["remainingItemCount"] == 1


@pytest.mark.parametrize(
    ("query", "names", "ended"),
    [
        ("resourceVersion=0&allowWatchBookmarks=true", ["a"], True),
        ("allowWatchBookmarks=yes", ["a"], True),
        ("resourceVersion=0", ["a"], False),
        (
            "sendInitialEvents=false&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
            [],
            False,
        ),
    ],
)
async def test_a_watch_without_a_version_says_where_its_beginning_ends(
    api: Any, query: str, names: list[str], ended: bool
) -> None:
    await api.config_map("a")
    path = f"{api.path('configmaps')}?watch=true&timeoutSeconds=1&{query}"
    events = [event async for event in api.watch(path)]
    assert [e["object"]["metadata"]["name"] for e in events if e["type"] == "ADDED"] == names
    bookmarks = [e["object"]["metadata"]["annotations"] for e in events if e["type"] == "BOOKMARK"]
    assert bookmarks == [{"k8s.io/initial-events-end": "true"}] * ended


@asynccontextmanager
async def socket(api: Any, query: str, accept: str = "application/json") -> AsyncIterator[Any]:
    """A watch on a WebSocket."""
    url = f"{api.server.url}{api.path('configmaps')}?watch=true{query}"
    headers = {"Authorization": "Bearer admin-token", "Accept": accept}
    protocols = ("base64.binary.k8s.io",)
    async with api.session.ws_connect(url, headers=headers, ssl=api.tls, protocols=protocols) as opened:
        yield opened
        # TLS' goodbye would outlive the test's event loop.
        if opened._writer.transport._ssl_protocol is not None:
            opened._writer.transport.abort()


@pytest.mark.parametrize("accept", ["application/json", "application/vnd.kubernetes.protobuf"])
async def test_a_watch_on_a_websocket_has_a_message_for_each_event(api: Any, accept: str) -> None:
    await api.config_map("a")
    await api.config_map("b")
    async with socket(api, "", accept) as opened:
        found = [_message(await opened.receive(), accept) for _ in range(2)]
        await api.config_map("c")
        found.append(_message(await opened.receive(), accept))
    assert found == ["a", "b", "c"]


def _message(message: Any, accept: str) -> str:
    """The name of the object in an event."""
    if accept == "application/json":
        assert message.type is WSMsgType.TEXT
        return str(orjson.loads(message.data)["object"]["metadata"]["name"])
    assert message.type is WSMsgType.BINARY
    kind, obj = event(message.data)
    assert kind == "ADDED"
    return str(obj["metadata"]["name"])


async def test_a_watch_on_a_websocket_ends_when_its_time_is_over(api: Any) -> None:
    async with socket(api, "&timeoutSeconds=1") as opened:
        assert (await opened.receive()).type is WSMsgType.CLOSE


async def test_a_watch_on_a_websocket_that_cannot_begin_is_told_why(api: Any) -> None:
    with pytest.raises(WSServerHandshakeError) as caught:
        async with socket(api, "&resourceVersion=x"):
            pass
    assert caught.value.status == 400

"""Answers in protobuf, compressed and for people, of a real server."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.apiserver.conftest import abandon

from hawser.apiserver.protobuf import wire
from hawser.apiserver.protobuf.table import META, RUNTIME, fields

PROTOBUF = "application/vnd.kubernetes.protobuf"
LIST_META = "as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
ONE_META = "as=PartialObjectMetadata;v=v1;g=meta.k8s.io"


def decoded(answer: Any) -> Any:
    assert answer.headers["Content-Type"] == PROTOBUF
    return wire.decode(answer.body)


async def test_an_object_is_the_same_in_protobuf(api: Any) -> None:
    pod = {
        "metadata": {"name": "p", "labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "0.5"}}}]},
    }
    made = await api.create(api.path("pods"), pod)
    answer = await api.get(api.path("pods", "p"), accept=PROTOBUF)
    assert without_zeroes(decoded(answer)) == without_zeroes(made)
    listing = decoded(await api.get(api.path("pods"), accept=f"{PROTOBUF}, application/json"))
    assert (listing["kind"], listing["apiVersion"]) == ("PodList", "v1")
    assert listing["metadata"]["resourceVersion"]
    found = {"kind": "Pod", "apiVersion": "v1", **listing["items"][0]}
    assert without_zeroes(found) == without_zeroes(made)


def without_zeroes(value: Any) -> Any:
    """Empty structs are not told from absent ones in this encoding."""
    if isinstance(value, dict):
        kept = {key: without_zeroes(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item not in ({}, [], "", 0, False, None)}
    return [without_zeroes(item) for item in value] if isinstance(value, list) else value


async def test_objects_sent_and_answered_in_protobuf(api: Any) -> None:
    from hawser.apiserver.protobuf import frames

    body = frames.document({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "c"}, "data": {"a": ""}})
    answer = await api.call("POST", api.path("configmaps"), body, content=PROTOBUF, accept=PROTOBUF)
    assert answer.status == 201
    assert decoded(answer)["data"] == {"a": ""}
    again = await api.call("POST", api.path("configmaps"), body, content=PROTOBUF, accept=PROTOBUF)
    status = decoded(again)
    assert (again.status, status["kind"], status["reason"]) == (409, "Status", "AlreadyExists")
    assert status["message"] == 'configmaps "c" already exists'
    gone = decoded(await api.call("DELETE", api.path("configmaps", "c"), accept=PROTOBUF))
    assert (gone["status"], gone["details"]["name"]) == ("Success", "c")


async def test_metadata_of_a_list_in_protobuf(api: Any) -> None:
    await api.config_map("a", {"x": "y"}, data={"k": "v"})
    path = api.path("configmaps")
    listing = decoded(await api.get(path, accept=f"{PROTOBUF};{LIST_META}"))
    assert (listing["kind"], listing["apiVersion"]) == ("PartialObjectMetadataList", "meta.k8s.io/v1")
    assert [(item["metadata"]["name"], set(item)) for item in listing["items"]] == [("a", {"metadata"})]
    one = decoded(await api.get(f"{path}/a", accept=f"{PROTOBUF};{ONE_META}"))
    assert (one["kind"], one["metadata"]["labels"]) == ("PartialObjectMetadata", {"x": "y"})


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("", ONE_META, "you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)"),
        (
            "a",
            LIST_META,
            "you requested PartialObjectMetadataList, but the requested object is not a list (*core.ConfigMap)",
        ),
    ],
)
async def test_a_list_is_not_an_object(api: Any, name: str, shape: str, message: str) -> None:
    await api.config_map("a")
    answer = await api.get(api.path("configmaps", name), accept=f"application/json;{shape}")
    assert (answer.status, answer.message) == (406, message)


async def frames_of(api: Any, path: str, accept: str) -> AsyncIterator[tuple[str, Any]]:
    """(type, object) of a watch's protobuf frames."""
    headers = {"Authorization": "Bearer admin-token", "Accept": accept}
    async with api.session.get(api.server.url + path, headers=headers, ssl=api.tls) as answer:
        assert answer.headers["Content-Type"] == f"{PROTOBUF};stream=watch"
        try:
            while True:
                size = int.from_bytes(await answer.content.readexactly(4), "big")
                yield event(await answer.content.readexactly(size))
        finally:
            abandon(answer)


def event(frame: bytes) -> tuple[str, Any]:
    """(type, object) of a WatchEvent."""
    names = {number: row.name for number, row in fields(META + "WatchEvent").items()}
    parts = {names[number]: value for number, value in wire._parts(memoryview(frame))}
    raw = dict(wire._parts(parts["object"]))[next(iter(fields(RUNTIME + "RawExtension")))]
    return str(parts["type"], "ascii"), wire.decode(bytes(raw))


@pytest.mark.parametrize("shape", ["", f";{ONE_META}"])
async def test_a_watch_in_protobuf(api: Any, shape: str) -> None:
    made = await api.config_map("a", data={"k": "v"})
    query = (
        "watch=1&resourceVersion=0&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    )
    watch = frames_of(api, f"{api.path('configmaps')}?{query}", f"{PROTOBUF}{shape},application/json")
    async with asyncio.timeout(120):
        kind, obj = await anext(watch)
        assert (kind, obj["metadata"]["uid"]) == ("ADDED", made["metadata"]["uid"])
        assert obj["kind"] == ("PartialObjectMetadata" if shape else "ConfigMap")
        kind, obj = await anext(watch)
        assert (kind, obj["metadata"]["annotations"]) == ("BOOKMARK", {"k8s.io/initial-events-end": "true"})
        await api.call("DELETE", api.path("configmaps", "a"))
        kind, obj = await anext(watch)
        assert (kind, obj["metadata"]["name"], "data" in obj) == ("DELETED", "a", not shape)
    await watch.aclose()


async def test_a_watch_in_protobuf_ends_between_frames(api: Any) -> None:
    watch = frames_of(api, f"{api.path('configmaps')}?watch=1&resourceVersion=0&timeoutSeconds=1", PROTOBUF)
    assert [event async for event in _until_end(watch)] == []


async def _until_end(watch: AsyncIterator[tuple[str, Any]]) -> AsyncIterator[tuple[str, Any]]:
    try:
        async for event in watch:
            yield event
    except asyncio.IncompleteReadError as error:
        assert error.partial == b""


async def test_large_answers_are_compressed_for_whoever_takes_that(api: Any) -> None:
    for number in range(4):
        await api.config_map(f"c{number}", data={"k": "x" * 60_000})
    path = api.path("configmaps")
    async with api.session.get(
        api.server.url + path,
        headers={"Authorization": "Bearer admin-token", "Accept-Encoding": "gzip"},
        ssl=api.tls,
        auto_decompress=False,
    ) as answer:
        body = await answer.read()
        assert (answer.headers["Content-Encoding"], answer.headers["Vary"]) == ("gzip", "Accept-Encoding")
    plain = await api.get(path, headers={"Accept-Encoding": "identity"})
    assert gzip.decompress(body) == plain.body
    assert "Content-Encoding" not in plain.headers
    small = await api.get(f"{path}/c0", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in small.headers


async def test_people_get_json_that_they_can_read(api: Any) -> None:
    await api.config_map("a")
    for path, status in ((api.path("configmaps", "a"), 200), (api.path("configmaps", "b"), 404), ("/version", 200)):
        answer = await api.get(path, headers={"User-Agent": "curl/8.0"})
        assert answer.status == status
        assert answer.body.startswith(b'{\n  "')

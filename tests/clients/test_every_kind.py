"""Every kind of the kind table, in every encoding, through the verbs that clients use."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
import yaml

from hawser.api.kind import Kind
from hawser.apiserver.protobuf import frames, wire

from ..apiserver.conftest import Answer, Api
from .samples import REVIEWS, STORED, name_of, sample

JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
ENCODINGS = (JSON, YAML, PROTOBUF)
PATCHES = {
    "application/json-patch+json": [{"op": "add", "path": "/metadata/labels", "value": {"patched": "json"}}],
    "application/merge-patch+json": {"metadata": {"labels": {"patched": "merge"}}},
    "application/strategic-merge-patch+json": {"metadata": {"labels": {"patched": "strategic"}}},
}
Obj = dict[str, Any]


def str_of(kind: Kind) -> str:
    """A test's name for a kind."""
    return f"{kind.kind}.{kind.version}.{kind.group}".rstrip(".")


def encoded(obj: Obj, media: str) -> bytes:
    """An object as a client sends it."""
    if media == JSON:
        return orjson.dumps(obj)
    if media == YAML:
        return yaml.safe_dump(obj).encode()
    found = frames.document(obj)
    assert found is not None, obj["kind"]
    return found


def decoded(answer: Answer, media: str) -> Obj:
    """An answer's object, which must be in the encoding that was asked for."""
    assert answer.headers["Content-Type"] == media
    if media == JSON:
        return answer.json
    found = yaml.safe_load(answer.body) if media == YAML else wire.decode(answer.body)
    assert isinstance(found, dict)
    return found


def labelled(obj: Obj) -> Obj:
    """The object with one more label."""
    metadata = obj["metadata"]
    return {**obj, "metadata": {**metadata, "labels": {**metadata.get("labels", {}), "updated": "yes"}}}


@pytest.mark.parametrize("media", ENCODINGS, ids=["json", "yaml", "protobuf"])
@pytest.mark.parametrize("kind", STORED, ids=str_of)
async def test_a_kind_is_made_read_changed_and_deleted(api: Api, kind: Kind, media: str) -> None:
    async def call(method: str, path: str, body: Obj | None = None, content: str = media) -> Answer:
        data = encoded(body, media) if body is not None else None
        return await api.call(method, path, data, accept=media, content=content)

    space = api.namespace if kind.namespaced else ""
    name = name_of(kind, f"sample-{api.namespace}")
    many = kind.path(space)
    one = kind.path(space, name)
    answer = await call("POST", many, sample(kind, name, space))
    assert answer.status == 201, answer.body
    made = decoded(answer, media)
    assert (made["apiVersion"], made["kind"]) == (kind.api_version, kind.kind)
    assert made["metadata"]["uid"]
    again = await call("POST", many, sample(kind, name, space))
    assert (again.status, decoded(again, media)["reason"]) == (409, "AlreadyExists")

    got = decoded(await call("GET", one), media)
    listed = decoded(await call("GET", f"{many}?fieldSelector=metadata.name%3D{name}"), media)
    assert listed["kind"] == kind.list_kind
    assert [item["metadata"]["uid"] for item in listed["items"]] == [made["metadata"]["uid"]]

    answer = await call("PUT", one, labelled(got))
    while answer.status == 409:  # a controller was quicker: clients read again
        got = decoded(await call("GET", one), media)
        answer = await call("PUT", one, labelled(got))
    assert answer.status == 200, answer.body
    late = await call("PUT", one, {**got, "metadata": {**got["metadata"], "annotations": {"late": "yes"}}})
    assert (late.status, decoded(late, media)["reason"]) == (409, "Conflict")
    for content, patch in PATCHES.items():
        patched = await api.call("PATCH", one, patch, accept=media, content=content)
        assert patched.status == 200, patched.body
        assert decoded(patched, media)["metadata"]["labels"]["patched"] in content

    assert (await call("DELETE", one)).status == 200
    if kind.kind == "Namespace":
        last = decoded(await call("GET", one), media)
        last["spec"]["finalizers"] = []
        await call("PUT", f"{one}/finalize", last)
    left = (await api.get(one)).json
    finalizers = left["metadata"].get("finalizers")
    if finalizers:
        await api.call("PATCH", one, {"metadata": {"finalizers": None}}, content="application/merge-patch+json")
    assert (await api.get(one)).status == 404


@pytest.mark.parametrize("media", ENCODINGS, ids=["json", "yaml", "protobuf"])
@pytest.mark.parametrize("kind", REVIEWS, ids=str_of)
async def test_a_review_is_answered(api: Api, kind: Kind, media: str) -> None:
    space = api.namespace if kind.namespaced else ""
    body = encoded(sample(kind, "", space), media)
    answer = await api.call("POST", kind.path(space), body, accept=media, content=media)
    assert answer.status == 201, answer.body
    found = decoded(answer, media)
    assert found["kind"] == kind.kind
    assert found["status"]

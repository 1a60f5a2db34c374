"""JSON on the wire is what Go's encoder writes, byte for byte where that is not a matter of order."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.apiserver.conftest import abandon

from hawser.api.encoding import dumps

TEXT = "<a href='x'>&\u2028\u2029é"
ESCAPED = "\\u003ca href='x'\\u003e\\u0026\\u2028\\u2029é".encode()
RAW = (b"<", b">", b"&", "\u2028".encode(), "\u2029".encode())
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
METADATA = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"


def plain(body: bytes) -> bool:
    """Whether what Go escapes is escaped."""
    return not any(raw in body for raw in RAW)


@given(st.recursive(st.text() | st.integers(-9, 9), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_what_is_escaped_is_read_back(value: Any) -> None:
    assert orjson.loads(dumps(value)) == value
    assert plain(dumps(value))


async def test_answers_of_objects_are_escaped_and_end_with_a_line(api: Any) -> None:
    metadata = {"name": "c", "annotations": {"a": TEXT}}
    path = api.path("configmaps")
    answers = [await api.call("POST", path, {"metadata": metadata, "data": {TEXT[-1:].encode().hex(): TEXT}})]
    answers += [
        await api.get(f"{path}/c"),
        await api.get(path),
        await api.get(f"{path}/c", accept=TABLE + ";includeObject=Object"),
        await api.get(f"{path}/c", accept=METADATA),
        await api.call("PATCH", f"{path}/c", {"data": {"k": TEXT}}, content="application/merge-patch+json"),
        await api.get("/api/v1/configmaps?labelSelector=<&"),
        await api.get("/api/v1"),
    ]
    for answer in answers:
        assert plain(answer.body), answer.body
        assert answer.body.endswith(b"}\n")
        assert int(answer.headers["Content-Length"]) == len(answer.body)
    for answer in answers[:3]:
        assert ESCAPED in answer.body
    for pretty in (await api.get(f"{path}/c?pretty=true"), await api.get(f"{path}/none?pretty=true")):
        assert plain(pretty.body)
        assert pretty.body.endswith(b"\n}")
    assert (await api.get(f"{path}/c")).json["data"]["k"] == TEXT


async def test_large_answers_end_with_a_line_too(api: Any) -> None:
    await api.config_map("c", data={"k": "x" * 300_000})
    for encoding in ("gzip", "identity"):
        answer = await api.get(api.path("configmaps"), headers={"Accept-Encoding": encoding})
        assert answer.body.endswith(b"]}\n")
        assert answer.json["items"][0]["metadata"]["name"] == "c"


async def test_watch_frames_are_escaped(api: Any) -> None:
    await api.config_map("c", data={"k": TEXT})
    url = f"{api.server.url}{api.path('configmaps')}?watch=1"
    headers = {"Authorization": "Bearer admin-token"}
    async with api.session.get(url, headers=headers, ssl=api.tls) as answer:
        line = await answer.content.readline()
        abandon(answer)
    assert plain(line)
    assert ESCAPED in line


@pytest.mark.parametrize("accept", ["application/json", "application/vnd.kubernetes.protobuf"])
async def test_the_data_of_revisions_is_escaped_in_every_encoding(api: Any, accept: str) -> None:
    path = api.path("controllerrevisions", group="apps")
    await api.create(path, {"metadata": {"name": "r"}, "data": {"spec": {"a": TEXT}}, "revision": 1})
    answer = await api.get(f"{path}/r", accept=accept)
    assert b'{"spec":{"a":"' + ESCAPED + b'"}}' in answer.body


async def test_names_of_owned_fields_are_escaped(api: Any) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "annotations": {"a": "<"}}}
    path = api.path("configmaps", "c")
    await api.call("PATCH", f"{path}?fieldManager=a%3Cb", body, content="application/apply-patch+yaml")
    answer = await api.get(path)
    assert b'"manager":"a\\u003cb"' in answer.body

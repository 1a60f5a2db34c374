"""Which form an Accept header asks for."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from hawser.api.errors import APIError, Unreadable
from hawser.apiserver import negotiation
from hawser.apiserver.negotiation import As, Form, Media, accepted, document_media, pretty

META = "as={};v=v1;g=meta.k8s.io"
TABLE = META.format("Table")
PARTIAL = META.format("PartialObjectMetadata")
PARTIALS = META.format("PartialObjectMetadataList")
PROTOBUF = "application/vnd.kubernetes.protobuf"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Form()),
        ("*/*", Form()),
        ("application/*", Form()),
        ("text/html, application/json", Form()),
        ("application/yaml", Form(media=Media.YAML)),
        (PROTOBUF, Form(media=Media.PROTOBUF)),
        (f"{PROTOBUF},application/json", Form(media=Media.PROTOBUF)),
        (f"application/json, {PROTOBUF}", Form()),
        (f"application/json;q=0.5, {PROTOBUF};q=0.9", Form(media=Media.PROTOBUF)),
        (f"*/*, {PROTOBUF};q=1", Form(media=Media.PROTOBUF)),
        (f"application/json;{TABLE},application/json", Form(As.TABLE)),
        # Tables have no protobuf form: the next that can be served is taken.
        (f"{PROTOBUF};{TABLE},application/json;{TABLE},application/json", Form(As.TABLE)),
        (f"{PROTOBUF};{PARTIALS},application/json;{PARTIALS}", Form(As.METADATA_LIST, Media.PROTOBUF)),
        ("application/json;as=Table;v=v1beta1;g=meta.k8s.io", Form(As.TABLE, meta="meta.k8s.io/v1beta1")),
        (f"application/json;as=Table;v=v9;g=meta.k8s.io,{PROTOBUF}", Form(media=Media.PROTOBUF)),
        ("application/json;pretty=1", Form(pretty=True)),
    ],
)
def test_the_best_that_can_be_served_is_taken(accept: str, form: Form) -> None:
    assert accepted(accept) == form


def test_custom_resources_have_no_protobuf_form_but_of_their_metadata() -> None:
    assert accepted(f"{PROTOBUF},application/json", custom=True) == Form()
    assert accepted(f"{PROTOBUF};{PARTIAL}", custom=True) == Form(As.METADATA, Media.PROTOBUF)
    with pytest.raises(APIError) as caught:
        accepted(PROTOBUF, custom=True)
    assert (caught.value.code, caught.value.reason) == (406, "NotAcceptable")
    assert caught.value.message == (
        "only the following media types are accepted: application/json, application/yaml, "
        "application/vnd.kubernetes.protobuf"
    )


def test_there_are_no_watches_in_yaml() -> None:
    assert accepted("application/yaml,application/json", stream=True) == Form()
    assert accepted(f"{PROTOBUF};stream=watch", stream=True) == Form(media=Media.PROTOBUF)
    with pytest.raises(APIError) as caught:
        accepted("application/yaml", stream=True)
    assert caught.value.message == (
        "only the following media types are accepted: application/json;stream=watch, "
        "application/vnd.kubernetes.protobuf;stream=watch"
    )


def test_a_status_is_sent_in_the_first_encoding_that_asks_for_no_other_shape() -> None:
    assert document_media(f"{PROTOBUF};{PARTIALS},application/json") is Media.JSON
    assert document_media(f"{PROTOBUF},application/json") is Media.PROTOBUF
    assert document_media("text/html") is Media.JSON


@pytest.mark.parametrize(
    ("query", "agent", "wanted"),
    [
        ({}, "curl/8", True),
        ({}, "kubectl", False),
        ({"pretty": "false"}, "curl/8", False),
        ({"pretty": "true"}, "kubectl", True),
    ],
)
def test_json_is_pretty_for_people(query: dict[str, str], agent: str, wanted: bool) -> None:
    assert pretty(query, agent) is wanted


BOMB = "a0: &a0 [x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)  # fmt: skip
MERGES = "m0: &m0 {x: y}\n" + "".join(
    f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 9)}]}}\n" for n in range(1, 10)
)  # fmt: skip


@pytest.mark.parametrize("text", [BOMB, MERGES])
def test_aliases_that_multiply_are_refused_before_they_are_written_out(text: str) -> None:
    with pytest.raises(Unreadable, match="excessive aliasing"):
        negotiation.decode_yaml(text.encode())


def test_an_anchor_in_itself_is_refused() -> None:
    with pytest.raises(Unreadable, match="contains itself"):
        negotiation.decode_yaml(b"a: &a [*a]")


def test_aliases_and_merges_work() -> None:
    text = b"a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}\nd: 2026-01-01\n"
    assert negotiation.decode_yaml(text) == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}, "d": "2026-01-01"}
    assert negotiation.decode_yaml(b"") is None


@pytest.mark.parametrize(
    ("decode", "size"),
    [(negotiation.decode_yaml, 60_000), (negotiation.decode_json, 60_000), (negotiation.decode_json, 3_000_000)],
)
def test_nonsense_without_end_is_refused_at_once(decode: Any, size: int) -> None:
    for nonsense in (b"[" * size, b'{"a":' * (size // 5)):
        with pytest.raises(Unreadable):
            decode(nonsense)


def test_brackets_are_counted_however_much_space_is_between() -> None:
    wide = b"[" + b" " * 1000
    assert negotiation.decode_yaml(wide * 100 + b"]" * 100) == orjson.loads(b"[" * 100 + b"]" * 100)
    with pytest.raises(Unreadable, match="exceeded max depth"):
        negotiation.decode_yaml(wide * 300 + b"]" * 300)


async def test_others_do_not_wait_for_a_long_document_in_yaml(api: Any) -> None:
    body = b"kind: Nope\ndata:\n" + b"".join(b" k%d: v\n" % number for number in range(3_000))
    for method, content in (("POST", "application/yaml"), ("PATCH", "application/apply-patch+yaml")):
        path = api.path("configmaps", "c" if method == "PATCH" else "") + "?fieldManager=m"
        posting = asyncio.create_task(api.call(method, path, body, content=content))
        served = 0
        while not posting.done():
            served += (await api.get("/livez")).status == 200
        assert (await posting).status == 400
        assert served > 5

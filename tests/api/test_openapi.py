"""The OpenAPI documents are whole and in the form that clients expect."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from hawser.api import kinds, openapi
from hawser.api.kinds import Kind
from hawser.api.openapi import Document
from hawser.api.spec import version2, version3
from hawser.api.types import Obj


def parsed(document: Document | None) -> Obj:
    assert document is not None
    loaded: Obj = orjson.loads(document.body)
    return loaded


def group_version(kind: Kind) -> str:
    return f"apis/{kind.group}/{kind.version}" if kind.group else f"api/{kind.version}"


GROUP_VERSIONS = sorted({group_version(kind) for kind in kinds.KINDS})


def values(node: Any, key: str) -> Iterator[Any]:
    """Everything under key, anywhere in a document."""
    if isinstance(node, dict):
        if key in node:
            yield node[key]
        for value in node.values():
            yield from values(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from values(value, key)


def test_the_index_lists_every_group_version_with_the_hash_of_its_document() -> None:
    listed = parsed(openapi.index())["paths"]
    assert sorted(listed) == GROUP_VERSIONS
    for path, entry in listed.items():
        document = openapi.v3(path)
        assert document is not None
        assert entry["serverRelativeURL"] == f"/openapi/v3/{path}?hash={document.hash}"
        assert document.etag == f'"{document.hash}"'


@pytest.mark.parametrize("path", GROUP_VERSIONS)
def test_a_document_refers_only_to_what_it_has(path: str) -> None:
    document = parsed(openapi.v3(path))
    schemas = document["components"]["schemas"]
    refs = {ref for ref in values(document, "$ref") if isinstance(ref, str)}
    assert refs
    assert {ref.removeprefix("#/components/schemas/") for ref in refs} <= schemas.keys()


@pytest.mark.parametrize("path", GROUP_VERSIONS)
def test_operation_ids_are_unique_and_parameters_of_the_path_are_declared(path: str) -> None:
    paths = parsed(openapi.v3(path))["paths"]
    ids = [i for i in values(paths, "operationId") if isinstance(i, str)]
    assert len(ids) == len(set(ids))
    for url, item in paths.items():
        declared = {p["name"] for p in item["parameters"] if p["in"] == "path"}
        assert declared == {part[1:-1] for part in url.split("/") if part.startswith("{")}


@pytest.mark.parametrize("kind", kinds.watched(), ids=lambda kind: kind.kind)
def test_a_kind_has_what_kubectl_looks_for(kind: Kind) -> None:
    document = parsed(openapi.v3(group_version(kind)))
    gvk = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    (schema,) = (
        schema
        for schema in document["components"]["schemas"].values()
        if schema.get("x-kubernetes-group-version-kind") == [gvk]
    )
    assert schema["type"] == "object"
    assert schema["description"]
    item = document["paths"][kind.path("{namespace}" if kind.namespaced else None, "{name}")]
    patch = item["patch"]
    assert patch["x-kubernetes-group-version-kind"] == gvk
    assert patch["x-kubernetes-action"] == "patch"
    assert {"fieldValidation", "dryRun", "fieldManager"} <= {p["name"] for p in patch["parameters"]}
    assert "application/strategic-merge-patch+json" in patch["requestBody"]["content"]
    listing = document["paths"][kind.path("{namespace}" if kind.namespaced else None)]
    assert listing["get"]["x-kubernetes-action"] == "list"
    assert (kind.path() in document["paths"]) or not kind.namespaced


def test_schemas_are_in_the_published_form() -> None:
    schemas = parsed(openapi.v3("api/v1"))["components"]["schemas"]
    pod = schemas["io.k8s.api.core.v1.Pod"]
    assert "enum" not in pod["properties"]["kind"]
    spec = schemas["io.k8s.api.core.v1.PodSpec"]["properties"]
    assert spec["containers"]["x-kubernetes-patch-merge-key"] == "name"
    assert spec["containers"]["items"] == {"$ref": "#/components/schemas/io.k8s.api.core.v1.Container"}
    assert spec["affinity"]["allOf"] == [{"$ref": "#/components/schemas/io.k8s.api.core.v1.Affinity"}]
    assert spec["nodeName"]["type"] == "string"
    assert schemas["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]["format"] == "int-or-string"
    assert {"type": "number"} in schemas["io.k8s.apimachinery.pkg.api.resource.Quantity"]["oneOf"]
    assert not any(isinstance(kind, list) for kind in values(schemas, "type"))


def test_subresources_speak_their_own_kinds() -> None:
    apps, core = parsed(openapi.v3("apis/apps/v1"))["paths"], parsed(openapi.v3("api/v1"))["paths"]
    scale = apps["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["get"]
    assert scale["x-kubernetes-group-version-kind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    execute = core["/api/v1/namespaces/{namespace}/pods/{name}/exec"]["post"]
    assert execute["x-kubernetes-action"] == "connect"
    assert execute["x-kubernetes-group-version-kind"]["kind"] == "PodExecOptions"
    log = core["/api/v1/namespaces/{namespace}/pods/{name}/log"]
    assert {"follow", "previous", "tailLines"} <= {p["name"] for p in log["get"]["parameters"]}


def test_the_second_version_has_everything_in_one_document() -> None:
    document = parsed(openapi.v2())
    assert document["swagger"] == "2.0"
    refs = {ref for ref in values(document, "$ref") if isinstance(ref, str)}
    assert {ref.removeprefix("#/definitions/") for ref in refs} <= document["definitions"].keys()
    patch = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert patch["parameters"][0]["in"] == "body"
    assert "application/merge-patch+json" in patch["consumes"]
    assert "application/json" in patch["produces"]
    quantity = document["definitions"]["io.k8s.apimachinery.pkg.api.resource.Quantity"]
    assert quantity["type"] == "string"


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The length-delimited fields of a protobuf message."""
    at = 0

    def varint() -> int:
        nonlocal at
        number = shift = 0
        while True:
            byte = message[at]
            at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    while at < len(message):
        tag = varint()
        if tag & 7 == 0:
            varint()
            continue
        assert tag & 7 == 2
        length = varint()
        yield tag >> 3, message[at : at + length]
        at += length


def test_the_protobuf_form_has_the_same_paths_and_definitions() -> None:
    document = parsed(openapi.v2())
    top = dict(_fields(openapi.v2(protobuf=True).body))
    paths = [dict(_fields(entry))[1].decode() for number, entry in _fields(top[8]) if number == 2]
    definitions = [dict(_fields(entry))[1].decode() for _, entry in _fields(top[9])]
    assert top[1] == b"2.0"
    assert paths == list(document["paths"])
    assert definitions == list(document["definitions"])


def test_documents_are_found_by_path_and_accept_header() -> None:
    for accept in version2.ACCEPTED_PROTOBUF:
        found = openapi.find("/openapi/v2", accept)
        assert found is not None
        assert found.content_type == version2.PROTOBUF_TYPE
    for media in version3.ACCEPTED_PROTOBUF:
        found, text = openapi.find("/openapi/v3/apis/apps/v1", media), openapi.v3("apis/apps/v1")
        assert found is not None and text is not None
        assert (found.content_type, found.etag) == (version3.PROTOBUF_TYPE, text.etag)
    assert openapi.find("/openapi/v2", "*/*") is openapi.v2()
    assert openapi.find("/openapi/v3") is openapi.index()
    assert openapi.find("/openapi/v3/apis/apps/v1") is openapi.v3("apis/apps/v1")
    assert openapi.find("/openapi/v3/apis/nope/v1") is None
    assert openapi.find("/openapi/v4") is None
    assert gzip.decompress(openapi.index().compressed) == openapi.index().body


def test_a_number_below_zero_has_its_place_too() -> None:
    made = version3.encode(
        {
            "openapi": "3.0.0",
            "info": {"title": "t", "version": "v"},
            "paths": {},
            "components": {"schemas": {"a": {"minLength": -1}}},
        }
    )
    assert made.endswith(b"\x80\x01" + b"\xff" * 9 + b"\x01")


def test_every_keyword_of_a_schema_has_its_place_in_the_message() -> None:
    """The bytes are those that gnostic's own ParseDocument and proto.Marshal make of it."""
    properties = {
        "a": {"type": "integer", "minimum": 1, "maximum": 5.5, "multipleOf": 2, "default": 3, "format": "int32"},
        "b": {"type": "string", "minLength": 1, "maxLength": 5, "pattern": "^a$", "default": "x"},
        "c": {"type": "array", "minItems": 1, "maxItems": 300, "uniqueItems": True, "items": {"$ref": "#/x/a"}},
        "d": {"exclusiveMinimum": True, "exclusiveMaximum": True, "externalDocs": {"url": "u", "description": "d"}},
        "e": {"not": {"type": "string"}, "anyOf": [{"type": "string"}], "oneOf": [{"$ref": "x"}]},
        "f": {"allOf": [{"minProperties": 1, "maxProperties": 2}], "additionalProperties": {"type": "string"}},
        "g": {"additionalProperties": False, "default": False, "minimum": 0},
        "h": {"additionalProperties": True, "readOnly": True, "writeOnly": True, "deprecated": True, "default": 0},
    }
    schema = {"type": "object", "nullable": True, "title": "T", "description": "D", "properties": properties}
    document = {
        "openapi": "3.0.0",
        "info": {"title": "t", "version": "v"},
        "paths": {},
        "components": {"schemas": {"a": {**schema, "required": ["a", "b"]}}},
    }
    made = version3.encode(document)
    assert (len(made), hashlib.sha256(made).hexdigest()) == (
        358,
        "70eb38645e94a369bed30666abc542a7bf483ebbb3b11d4c05eab0a1ff801c07",
    )

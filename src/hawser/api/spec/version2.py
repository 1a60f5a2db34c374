"""OpenAPI 2: its paths, made from those of OpenAPI 3, and its protobuf form, which is the one that kubectl reads.

Source: OpenAPI 2.0 specification; field numbers: message ``openapi.v2.Document`` of google/gnostic, OpenAPIv2.proto.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from hawser.api.spec.schemas import V2_PREFIX, V3_PREFIX
from hawser.api.types import Obj

PROTOBUF_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
ACCEPTED_PROTOBUF = (PROTOBUF_TYPE, "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
"""What clients ask for. The older name is no valid media type, so answers have the newer one."""

_METHODS = {"get": 2, "put": 3, "post": 4, "delete": 5, "patch": 8}


def v2_paths(paths: dict[str, Obj]) -> dict[str, Obj]:
    """OpenAPI 3 paths in the form of OpenAPI 2: bodies are parameters, media types stand apart from schemas."""
    return {path: _item(item) for path, item in paths.items()}


def _item(item: Obj) -> Obj:
    made: Obj = {method: _operation_v2(item[method]) for method in _METHODS if method in item}
    made["parameters"] = [_parameter_v2(parameter) for parameter in item["parameters"]]
    return made


def _operation_v2(operation: Obj) -> Obj:
    made = {key: value for key, value in operation.items() if key != "requestBody"}
    made["parameters"] = [_parameter_v2(parameter) for parameter in operation["parameters"]]
    if body := operation.get("requestBody"):
        made["consumes"] = list(body["content"])
        (schema, *_) = (media["schema"] for media in body["content"].values())
        made["parameters"].insert(
            0, {"name": "body", "in": "body", "required": body.get("required", False), "schema": _ref_v2(schema)}
        )
    produces: dict[str, None] = {}
    made["responses"] = {}
    for code, response in operation["responses"].items():
        content = response.get("content") or {}
        produces |= dict.fromkeys(content)
        made["responses"][code] = {"description": response["description"]}
        for media in content.values():
            made["responses"][code]["schema"] = _ref_v2(media["schema"])
    made["produces"] = list(produces)
    return made


def _parameter_v2(parameter: Obj) -> Obj:
    schema: Obj = parameter["schema"]
    return {key: value for key, value in parameter.items() if key != "schema"} | schema


def _ref_v2(schema: Obj) -> Obj:
    ref = schema.get("$ref")
    return {"$ref": V2_PREFIX + ref.removeprefix(V3_PREFIX)} if ref else schema


def encode(document: Obj) -> bytes:
    """An OpenAPI 2 document (swagger, info, paths, definitions) as protobuf."""
    info = document["info"]
    return b"".join(
        (
            _text(1, document["swagger"]),
            _field(2, _text(1, info["title"]) + _text(2, info["version"])),
            _field(8, _named(2, ((path, _path_item(item)) for path, item in document["paths"].items()))),
            _field(9, _named(1, ((name, _schema(schema)) for name, schema in document["definitions"].items()))),
        )
    )


def _varint(number: int) -> bytes:
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)


def _field(number: int, payload: bytes) -> bytes:
    """A length-delimited field: a message or a string."""
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _text(number: int, text: str | None) -> bytes:
    return _field(number, text.encode()) if text else b""


def _texts(number: int, texts: Iterable[str]) -> bytes:
    return b"".join(_field(number, text.encode()) for text in texts)


def _flag(number: int, value: object) -> bytes:
    return _varint(number << 3) + b"\x01" if value else b""


def _named(number: int, pairs: Iterable[tuple[str, bytes]]) -> bytes:
    """Repeated Named... messages: a map as (name, value) pairs."""
    return b"".join(_field(number, _text(1, name) + _field(2, value)) for name, value in pairs)


def _any(value: Any) -> bytes:
    """openapi.v2.Any: the value as YAML, of which JSON is a part."""
    return _field(2, orjson.dumps(value))


def _extensions(number: int, source: Obj) -> bytes:
    return _named(number, ((key, _any(value)) for key, value in source.items() if key.startswith("x-")))


def _schema(schema: Obj) -> bytes:
    made = [
        _text(1, schema.get("$ref")),
        _text(2, schema.get("format")),
        _text(4, schema.get("description")),
        _texts(19, schema.get("required", ())),
        b"".join(_field(20, _any(value)) for value in schema.get("enum", ())),
    ]
    extra = schema.get("additionalProperties")
    if extra is not None:
        made.append(_field(21, _field(1, _schema(extra)) if isinstance(extra, dict) else _flag(2, extra)))
    if "type" in schema:
        made.append(_field(22, _text(1, schema["type"])))
    if "items" in schema:
        made.append(_field(23, _field(1, _schema(schema["items"]))))
    if "properties" in schema:
        properties = ((name, _schema(below)) for name, below in schema["properties"].items())
        made.append(_field(25, _named(1, properties)))
    made.append(_extensions(31, schema))
    return b"".join(made)


def _parameter(parameter: Obj) -> bytes:
    """A ParametersItem holding a Parameter."""
    common = (parameter.get("description"), parameter["in"], parameter["name"])
    if parameter["in"] == "body":
        description, place, name = common
        body = _text(1, description) + _text(2, name) + _text(3, place) + _flag(4, parameter.get("required"))
        return _field(1, _field(1, body + _field(5, _schema(parameter["schema"]))))
    description, place, name = common
    shared = _flag(1, parameter.get("required")) + _text(2, place) + _text(3, description) + _text(4, name)
    if place == "path":
        own = _field(4, shared + _text(5, parameter.get("type")) + _flag(19, parameter.get("uniqueItems")))
    else:
        own = _field(3, shared + _text(6, parameter.get("type")) + _flag(20, parameter.get("uniqueItems")))
    return _field(1, _field(2, own))


def _response(response: Obj) -> bytes:
    """A ResponseValue holding a Response."""
    made = _text(1, response.get("description"))
    if "schema" in response:
        made += _field(2, _field(1, _schema(response["schema"])))
    return _field(1, made)


def _operation(operation: Obj) -> bytes:
    return b"".join(
        (
            _texts(1, operation.get("tags", ())),
            _text(3, operation.get("description")),
            _text(5, operation.get("operationId")),
            _texts(6, operation.get("produces", ())),
            _texts(7, operation.get("consumes", ())),
            b"".join(_field(8, _parameter(parameter)) for parameter in operation.get("parameters", ())),
            _field(9, _named(1, ((code, _response(r)) for code, r in operation["responses"].items()))),
            _extensions(13, operation),
        )
    )


def _path_item(item: Obj) -> bytes:
    made = b"".join(_field(_METHODS[method], _operation(item[method])) for method in _METHODS if method in item)
    return made + b"".join(_field(9, _parameter(parameter)) for parameter in item.get("parameters", ()))

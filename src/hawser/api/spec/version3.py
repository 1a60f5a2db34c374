"""The protobuf form of OpenAPI 3 documents.

Source: field numbers: message ``openapi.v3.Document`` of google/gnostic, OpenAPIv3.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any

from hawser.api.spec.messages import anything, extensions, field, flag, named, text, texts
from hawser.api.types import Obj
from hawser.wire import varint

PROTOBUF_TYPE = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
ACCEPTED_PROTOBUF = (PROTOBUF_TYPE, "application/com.github.proto-openapi.spec.v3@v1.0+protobuf")
"""What clients ask for. The older name is no valid media type, so answers have the newer one."""

_METHODS = {"get": 4, "put": 5, "post": 6, "delete": 7, "options": 8, "head": 9, "patch": 10}


def encode(document: Obj) -> bytes:
    """An OpenAPI 3 document (openapi, info, paths, components.schemas) as protobuf."""
    info, schemas = document["info"], document["components"]["schemas"]
    return b"".join(
        (
            text(1, document["openapi"]),
            field(2, text(1, info["title"]) + text(6, info["version"])),
            field(4, named(1, ((path, _path_item(item)) for path, item in document["paths"].items()))),
            field(5, field(1, _schemas(schemas))),
        )
    )


def _path_item(item: Obj) -> bytes:
    made = b"".join(field(number, _operation(item[method])) for method, number in _METHODS.items() if method in item)
    return made + b"".join(_parameter(13, parameter) for parameter in item.get("parameters", ()))


def _operation(operation: Obj) -> bytes:
    body = operation.get("requestBody")
    responses = ((code, field(1, _response(response))) for code, response in operation["responses"].items())
    return b"".join(
        (
            texts(1, operation.get("tags", ())),
            text(3, operation.get("description")),
            text(5, operation.get("operationId")),
            b"".join(_parameter(6, parameter) for parameter in operation.get("parameters", ())),
            field(7, field(1, _content(2, body) + flag(3, body.get("required")))) if body else b"",
            field(8, named(2, responses)),
            flag(10, operation.get("deprecated")),
            extensions(13, operation),
        )
    )


def _parameter(number: int, parameter: Obj) -> bytes:
    made = (
        text(1, parameter["name"]),
        text(2, parameter["in"]),
        text(3, parameter.get("description")),
        flag(4, parameter.get("required")),
        field(10, _any_schema(parameter["schema"])),
    )
    return field(number, field(1, b"".join(made)))


def _response(response: Obj) -> bytes:
    return text(1, response.get("description")) + _content(3, response)


def _content(number: int, holder: Obj) -> bytes:
    """The media types of a body or an answer."""
    content = holder.get("content")
    if not content:
        return b""
    medias = ((name, field(1, _any_schema(media["schema"]))) for name, media in content.items())
    return field(number, named(1, medias))


def _any_schema(schema: Obj) -> bytes:
    """A SchemaOrReference."""
    ref = schema.get("$ref")
    return field(2, text(1, ref)) if ref else field(1, _schema(schema))


def _schemas(schemas: Obj) -> bytes:
    return named(1, ((name, _any_schema(schema)) for name, schema in schemas.items()))


def _schema(schema: Obj) -> bytes:
    made = [write(number, schema[name]) for name, number, write in _SCHEMA if name in schema]
    return b"".join((*made, extensions(36, schema)))


def _integer(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value) if value else b""


def _double(number: int, value: float) -> bytes:
    return varint(number << 3 | 1) + struct.pack("<d", value) if value else b""


def _each(number: int, values: Iterable[Any]) -> bytes:
    return b"".join(field(number, anything(value)) for value in values)


def _several(number: int, schemas: Iterable[Obj]) -> bytes:
    return b"".join(field(number, _any_schema(schema)) for schema in schemas)


def _extra(number: int, allowed: Any) -> bytes:
    return field(number, field(1, _any_schema(allowed)) if isinstance(allowed, dict) else _alternative(2, allowed))


def _default(number: int, value: Any) -> bytes:
    """The message has room for scalars only."""
    if isinstance(value, bool):
        return field(number, _alternative(2, value))
    if isinstance(value, int | float):
        return field(number, varint(1 << 3 | 1) + struct.pack("<d", value))
    return field(number, field(3, value.encode())) if isinstance(value, str) else b""


def _docs(number: int, docs: Obj) -> bytes:
    return field(number, text(1, docs.get("description")) + text(2, docs.get("url")))


def _alternative(number: int, value: object) -> bytes:
    """A bool of a oneof, which is there also when it is false."""
    return varint(number << 3) + (b"\x01" if value else b"\x00")


_SCHEMA: tuple[tuple[str, int, Callable[[int, Any], bytes]], ...] = (
    ("nullable", 1, flag),
    ("readOnly", 3, flag),
    ("writeOnly", 4, flag),
    ("externalDocs", 6, _docs),
    ("example", 7, lambda number, value: field(number, anything(value))),
    ("deprecated", 8, flag),
    ("title", 9, text),
    ("multipleOf", 10, _double),
    ("maximum", 11, _double),
    ("exclusiveMaximum", 12, flag),
    ("minimum", 13, _double),
    ("exclusiveMinimum", 14, flag),
    ("maxLength", 15, _integer),
    ("minLength", 16, _integer),
    ("pattern", 17, text),
    ("maxItems", 18, _integer),
    ("minItems", 19, _integer),
    ("uniqueItems", 20, flag),
    ("maxProperties", 21, _integer),
    ("minProperties", 22, _integer),
    ("required", 23, texts),
    ("enum", 24, _each),
    ("type", 25, text),
    ("allOf", 26, _several),
    ("oneOf", 27, _several),
    ("anyOf", 28, _several),
    ("not", 29, lambda number, schema: field(number, _schema(schema))),
    ("items", 30, lambda number, schema: field(number, field(1, _any_schema(schema)))),
    ("properties", 31, lambda number, schemas: field(number, _schemas(schemas))),
    ("additionalProperties", 32, _extra),
    ("default", 33, _default),
    ("description", 34, text),
    ("format", 35, text),
)
"""Name and number of each field, in the order of the numbers, and how its value is written."""

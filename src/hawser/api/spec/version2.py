"""OpenAPI 2: its paths, made from those of OpenAPI 3, and its protobuf form, which is the one that kubectl reads.

Source: OpenAPI 2.0 specification; field numbers: message ``openapi.v2.Document`` of google/gnostic, OpenAPIv2.proto.
"""

from __future__ import annotations

from hawser.api.spec.messages import anything, extensions, field, flag, named, text, texts
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
            text(1, document["swagger"]),
            field(2, text(1, info["title"]) + text(2, info["version"])),
            field(8, named(2, ((path, _path_item(item)) for path, item in document["paths"].items()))),
            field(9, named(1, ((name, _schema(schema)) for name, schema in document["definitions"].items()))),
        )
    )


def _schema(schema: Obj) -> bytes:
    made = [
        text(1, schema.get("$ref")),
        text(2, schema.get("format")),
        text(4, schema.get("description")),
        texts(19, schema.get("required", ())),
        b"".join(field(20, anything(value)) for value in schema.get("enum", ())),
    ]
    extra = schema.get("additionalProperties")
    if extra is not None:
        made.append(field(21, field(1, _schema(extra)) if isinstance(extra, dict) else flag(2, extra)))
    if "type" in schema:
        made.append(field(22, text(1, schema["type"])))
    if "items" in schema:
        made.append(field(23, field(1, _schema(schema["items"]))))
    if "properties" in schema:
        properties = ((name, _schema(below)) for name, below in schema["properties"].items())
        made.append(field(25, named(1, properties)))
    made.append(extensions(31, schema))
    return b"".join(made)


def _parameter(parameter: Obj) -> bytes:
    """A ParametersItem holding a Parameter."""
    common = (parameter.get("description"), parameter["in"], parameter["name"])
    if parameter["in"] == "body":
        description, place, name = common
        body = text(1, description) + text(2, name) + text(3, place) + flag(4, parameter.get("required"))
        return field(1, field(1, body + field(5, _schema(parameter["schema"]))))
    description, place, name = common
    shared = flag(1, parameter.get("required")) + text(2, place) + text(3, description) + text(4, name)
    if place == "path":
        own = field(4, shared + text(5, parameter.get("type")) + flag(19, parameter.get("uniqueItems")))
    else:
        own = field(3, shared + text(6, parameter.get("type")) + flag(20, parameter.get("uniqueItems")))
    return field(1, field(2, own))


def _response(response: Obj) -> bytes:
    """A ResponseValue holding a Response."""
    made = text(1, response.get("description"))
    if "schema" in response:
        made += field(2, field(1, _schema(response["schema"])))
    return field(1, made)


def _operation(operation: Obj) -> bytes:
    return b"".join(
        (
            texts(1, operation.get("tags", ())),
            text(3, operation.get("description")),
            text(5, operation.get("operationId")),
            texts(6, operation.get("produces", ())),
            texts(7, operation.get("consumes", ())),
            b"".join(field(8, _parameter(parameter)) for parameter in operation.get("parameters", ())),
            field(9, named(1, ((code, _response(r)) for code, r in operation["responses"].items()))),
            extensions(13, operation),
        )
    )


def _path_item(item: Obj) -> bytes:
    made = b"".join(field(_METHODS[method], _operation(item[method])) for method in _METHODS if method in item)
    return made + b"".join(field(9, _parameter(parameter)) for parameter in item.get("parameters", ()))

"""The bodies of requests: read, decoded, and refused in kube-apiserver's words.

Source: kube-apiserver's request handlers (transformDecodeError of rest.go, patch.go, delete.go) and its serializers.
"""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from hawser.api.crd.kinds import CustomKind
from hawser.api.errors import APIError, Unreadable, bad_request, request_too_large, unsupported_media_type
from hawser.api.scalars import json_type
from hawser.api.types import Obj
from hawser.apiserver import negotiation, scheme
from hawser.apiserver.connection import BODY_LIMIT
from hawser.apiserver.framing import Whole, by_lines
from hawser.apiserver.paths import Target
from hawser.apiserver.scheme import Fields

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
_PATCHES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)
_CUSTOM_PATCHES = (JSON_PATCH, MERGE_PATCH, APPLY_PATCH)
_POSTED = {"scale": "Scale", "binding": "Binding", "eviction": "Eviction"}
_SHOWN = 30
_MAP = "map[string]interface {}"
_TYPE_META = r'struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }'


async def raw(request: web.BaseRequest) -> bytes:
    """The body. APIError 413 above the limit."""
    if type(request) is Whole:
        return request.take()
    if (request.content_length or 0) > BODY_LIMIT:
        raise _too_large()
    if "Expect" in request.headers and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    content = request.content
    if content.is_eof():
        # All there already, as small bodies mostly are: no waiting.
        found = content.read_nowait()
        if len(found) > BODY_LIMIT:
            raise _too_large()
        return found
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise _too_large() from None


def _too_large() -> APIError:
    return request_too_large(f"Request entity too large: limit is {BODY_LIMIT}")


def expected(target: Target) -> str:
    """The kind of what is sent to a resource, or below it."""
    return _POSTED.get(target.subresource) or (target.kind.kind if target.kind is not None else "")


async def sent(request: web.BaseRequest, expected: str, fields: Fields) -> Obj:
    """The object that is sent, its repeated fields noted. expected: its kind. APIError 400, 413, 415."""
    body = request.take() if type(request) is Whole else await raw(request)
    try:
        return _object(body, by_lines(request, _media), fields)
    except Unreadable as error:
        raise unrecognized(expected, body, str(error)) from None


def unrecognized(expected: str, body: bytes, why: str) -> APIError:
    """The 400 of a body that is nothing at all. expected: the kind that it should be."""
    shown = body[:_SHOWN].decode("utf-8", "replace") if body[:1] == b"{" else body[:_SHOWN].hex()
    summary = shown + (" ..." if len(body) > _SHOWN else "") if body else "<empty>"
    return bad_request(f"the object provided is unrecognized (must be of type {expected}): {why} ({summary})")


async def deletion(request: web.BaseRequest, fields: Fields) -> Obj:
    """The DeleteOptions that are sent, empty when there are none. APIError 400, 413, 415."""
    body = await raw(request)
    if not body:
        return {}
    try:
        found = _object(body, by_lines(request, _media), fields)
    except Unreadable as error:
        raise bad_request(str(error)) from None
    _check_options(found)
    return found


_OPTION_TYPES = {
    "gracePeriodSeconds": (int, "int64"),
    "orphanDependents": (bool, "bool"),
    "propagationPolicy": (str, "string"),
    "preconditions": (dict, "v1.Preconditions"),
    "dryRun": (list, "[]string"),
}


def _check_options(found: Obj) -> None:
    """APIError 400 unless these are DeleteOptions."""
    version, name = found.get("apiVersion") or "meta.k8s.io/v1", found.get("kind") or "DeleteOptions"
    # Of any version: clients may send those of the group that they talk to.
    if name != "DeleteOptions":
        raise bad_request(f'no kind "{name}" is registered for version "{version}" {_OPTIONS_SCHEME}')
    for option, (wanted, go) in _OPTION_TYPES.items():
        value = found.get(option)
        if value is not None and (not isinstance(value, wanted) or (wanted is int and isinstance(value, bool))):
            raise bad_request(_cannot(value, f"struct field DeleteOptions.{option} of type {go}"))


_OPTIONS_SCHEME = 'in scheme "pkg/runtime/scheme.go:110"'


def _media(request: web.BaseRequest) -> str:
    """The type of the body, without its parameters."""
    return negotiation.media(request.headers.get("Content-Type", ""))


def _object(body: bytes, media: str, fields: Fields) -> Obj:
    """A decoded object. media: its type. Raises Unreadable; APIError 415."""
    lines: list[str] = []
    try:
        value = negotiation.decoded(body, media, lines)
    except Unreadable as error:
        if media in ("", "application/json"):
            raise Unreadable(_PARSING + str(error)) from None
        raise
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Unreadable(not_an_object(value))
    _check_meta(value)
    if lines or (body[:1] == b"{" and fields.mode != scheme.IGNORE):
        repeated = [] if lines else scheme.duplicates(body, value)
        if lines or repeated:
            fields.repeated = scheme.Repeated(repeated, lines)
    return value


def _check_meta(value: Obj) -> None:
    """Raises Unreadable unless kind and apiVersion could be those of an object."""
    version, kind = value.get("apiVersion"), value.get("kind")
    if isinstance(version, str) and isinstance(kind, str) and version.count("/") < 2:
        return
    for name, given in (("apiVersion", version), ("kind", kind)):
        if given is not None and not isinstance(given, str):
            raise Unreadable(f"{_PARSING}{_cannot(given, f'struct field .{name} of type string')}")
    if version and version.count("/") > 1:
        raise Unreadable(f"unexpected GroupVersion string: {version}")


_PARSING = "couldn't get version/kind; json parse error: "


def not_an_object(value: Any) -> str:
    """What is said of a value that should be an object."""
    return f"{_PARSING}{_cannot(value, f'value of type {_TYPE_META}')}"


def patch_type(request: web.BaseRequest, target: Target) -> str:
    """What kind of patch a PATCH says it is. APIError 415."""
    media = request.headers.get("Content-Type", "").partition(";")[0]
    known = _CUSTOM_PATCHES if isinstance(target.kind, CustomKind) else _PATCHES
    if media not in known:
        text = "the body of the request was in an unknown format - accepted media types include: "
        raise unsupported_media_type(text + ", ".join(known))
    return media


async def patch(request: web.BaseRequest, media: str, fields: Fields) -> Any:
    """A patch, a list of operations or an object. APIError 400, 413."""
    body = await raw(request)
    lead = "" if media == STRATEGIC_PATCH else "error decoding patch: "
    try:
        found = negotiation.decode_json(body)
    except Unreadable as error:
        raise bad_request(f"{lead}{error}") from None
    if isinstance(found, dict) and fields.mode != scheme.IGNORE and (twice := scheme.duplicates(body, found)):
        fields.repeated = scheme.Repeated(twice, [])
    if found is None:
        return [] if media == JSON_PATCH else {}
    if media == JSON_PATCH:
        _check_operations(found)
    elif not isinstance(found, dict):
        raise bad_request(f"{lead}{_cannot(found, f'value of type {_MAP}')}")
    return found


_STRINGS = ("op", "path", "from")


def _check_operations(found: Any) -> None:
    """APIError 400 unless operations of a JSON patch have the types of theirs."""
    wrong = ""
    if not isinstance(found, list):
        wrong = _cannot(found, "value of type []handlers.jsonPatchOp")
    else:
        for operation in found:
            if operation is not None and not isinstance(operation, dict):
                wrong = wrong or _cannot(operation, "value of type handlers.jsonPatchOp")
            for name in _STRINGS if isinstance(operation, dict) else ():
                value = operation.get(name)
                if value is not None and not isinstance(value, str):
                    wrong = wrong or _cannot(value, f"struct field jsonPatchOp.{name} of type string")
    if wrong:
        raise bad_request(f"error decoding patch: {wrong}")


def _cannot(value: Any, into: str) -> str:
    return f"json: cannot unmarshal {json_type(value, '')} into Go {into}"


async def applied(request: web.BaseRequest, fields: Fields) -> Obj:
    """What is to be applied: YAML, of which JSON is a part that is read faster. APIError 400 for repeated keys."""
    body = await raw(request)
    lines: list[str] = []
    try:
        value = orjson.loads(body)
        if fields.mode != scheme.IGNORE and isinstance(value, dict) and scheme.duplicates(body, value):
            negotiation.decode_yaml(body, lines)
    except orjson.JSONDecodeError:
        try:
            value = negotiation.decode_yaml(body, lines)
        except Unreadable as error:
            raise bad_request(f"error decoding YAML: error converting YAML to JSON: {error}") from None
    if value is None:
        value = {}
    if not isinstance(value, dict):
        why = f"while decoding JSON: {_cannot(value, f'value of type {_MAP}')}"
        raise bad_request(f"error decoding YAML: error unmarshaling JSON: {why}")
    if lines and fields.mode == scheme.STRICT:
        raise bad_request(f"error strict decoding YAML: error converting YAML to JSON: {scheme.yaml_error(lines)}")
    if fields.mode != scheme.IGNORE:
        fields.warnings += lines
    return value

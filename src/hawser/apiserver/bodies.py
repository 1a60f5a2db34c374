"""The bodies of requests: read, decoded, and refused in kube-apiserver's words.

Source: kube-apiserver's request handlers (transformDecodeError of rest.go, patch.go, delete.go) and its serializers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import orjson
from aiohttp import web

from hawser.api import schema
from hawser.api.crd.kinds import CustomKind
from hawser.api.errors import APIError, Unfit, Unreadable, bad_request, request_too_large, unsupported_media_type
from hawser.api.kind import Kind
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
_SHOWN = 30
_MAP = "map[string]interface {}"
_T = TypeVar("_T")
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


async def sent(request: web.BaseRequest, expected: str, fields: Fields) -> Obj:
    """The object that is sent, its repeated fields noted. expected: its kind. APIError 400, 413, 415."""
    body = request.take() if type(request) is Whole else await raw(request)
    media = by_lines(request, _media)
    try:
        return await _yaml(_object, body, media, fields) if media == _YAML else _object(body, media, fields)
    except Unreadable as error:
        raise unrecognized(expected, body, str(error)) from None


_YAML = "application/yaml"
_LONG = 1 << 12
"""Bytes of YAML that others wait for: one may take ten microseconds."""


async def _yaml(read: Callable[..., _T], body: bytes, *given: object) -> _T:
    """What is read of YAML: in a thread where that takes long. Raises what reading raises."""
    return await asyncio.to_thread(read, body, *given) if len(body) > _LONG else read(body, *given)


def unrecognized(expected: str, body: bytes, why: str) -> APIError:
    """The 400 of a body that is nothing at all. expected: the kind that it should be."""
    shown = body[:_SHOWN].decode("utf-8", "replace") if body[:1] == b"{" else body[:_SHOWN].hex()
    summary = shown + (" ..." if len(body) > _SHOWN else "") if body else "<empty>"
    return bad_request(f"the object provided is unrecognized (must be of type {expected}): {why} ({summary})")


async def deletion(request: web.BaseRequest, fields: Fields) -> Obj | None:
    """The DeleteOptions that are sent; None when there are none. APIError 400, 413, 415."""
    body = await raw(request)
    if not body:
        return None
    media = by_lines(request, _media)
    try:
        found = await _yaml(_object, body, media, fields) if media == _YAML else _object(body, media, fields)
    except Unreadable as error:
        raise bad_request(str(error)) from None
    version, name = found.get("apiVersion") or "meta.k8s.io/v1", found.get("kind") or _OPTIONS.kind
    # Of any version: clients may send those of the group that they talk to.
    if name != _OPTIONS.kind:
        raise bad_request(f'no kind "{name}" is registered for version "{version}" {_OPTIONS_SCHEME}')
    try:
        schema.decode(_OPTIONS, found)
    except Unfit as error:
        raise bad_request(error.detail) from None
    return found


_OPTIONS = Kind("", "v1", "DeleteOptions", "deleteoptions", False, verbs=())
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
    obj = as_object(value)
    if lines or (body[:1] == b"{" and fields.mode != scheme.IGNORE):
        repeated = [] if lines else scheme.duplicates(body, obj)
        if lines or repeated:
            fields.repeated = scheme.Repeated(repeated, lines)
    return obj


def as_object(value: Any) -> Obj:
    """The value, if it is an object whose kind and apiVersion could be those of one. Raises Unreadable."""
    if not isinstance(value, dict):
        raise Unreadable(f"{_PARSING}{_cannot(value, f'value of type {_TYPE_META}')}")
    version, kind = value.get("apiVersion"), value.get("kind")
    if isinstance(version, str) and isinstance(kind, str) and version.count("/") < 2:
        return value
    for name, given in (("apiVersion", version), ("kind", kind)):
        if given is not None and not isinstance(given, str):
            raise Unreadable(f"{_PARSING}{_cannot(given, f'struct field .{name} of type string')}")
    if version and version.count("/") > 1:
        raise Unreadable(f"unexpected GroupVersion string: {version}")
    return value


_PARSING = "couldn't get version/kind; json parse error: "


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
            await _yaml(negotiation.decode_yaml, body, lines)
    except orjson.JSONDecodeError:
        try:
            value = await _yaml(negotiation.decode_yaml, body, lines)
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

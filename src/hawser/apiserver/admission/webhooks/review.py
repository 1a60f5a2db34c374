"""AdmissionReview: what a webhook is sent, and what its answer means.

Source: API reference, admission.k8s.io/v1 AdmissionReview; Kubernetes documentation, "Dynamic Admission Control",
request and response. The texts are kube-apiserver's.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

import orjson

from hawser.api.errors import APIError
from hawser.api.kind import Kind
from hawser.api.types import Obj
from hawser.apiserver.admission.base import Operation, Request

VERSIONS = ("v1", "v1beta1")
"""Versions of AdmissionReview that are spoken, the preferred one first."""
_GROUP = "admission.k8s.io"
_OPTIONS = {Operation.CREATE: "CreateOptions", Operation.UPDATE: "UpdateOptions", Operation.DELETE: "DeleteOptions"}
# What a subresource's object is, where it is not the resource's own kind.
_POSTED = {
    "attach": ("", "v1", "PodAttachOptions"),
    "binding": ("", "v1", "Binding"),
    "eviction": ("policy", "v1", "Eviction"),
    "exec": ("", "v1", "PodExecOptions"),
    "portforward": ("", "v1", "PodPortForwardOptions"),
    "scale": ("autoscaling", "v1", "Scale"),
    "token": ("authentication.k8s.io", "v1", "TokenRequest"),
}


class Garbage(Exception):
    """The answer is none that can be understood."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a webhook said. patch: decoded JSON patch, or None. status: the refusal's Status."""

    allowed: bool
    patch: Any = None
    status: Obj | None = None
    warnings: list[str] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)


def _gvk(kind: Kind, subresource: str) -> Obj:
    if subresource == "proxy":
        group, version, name = "", "v1", f"{kind.kind}ProxyOptions"
    else:
        group, version, name = _POSTED.get(subresource, kind.gvk)
    return {"group": group, "version": version, "kind": name}


def _gvr(kind: Kind) -> Obj:
    return {"group": kind.group, "version": kind.version, "resource": kind.plural}


def options(request: Request) -> Obj | None:
    """The options of the write itself: CreateOptions and the like; None for connections."""
    if request.operation is Operation.DELETE:
        return request.delete
    if request.operation is Operation.CONNECT:
        return None
    given = request.options
    shown: Obj = {"kind": given.kind or _OPTIONS[request.operation], "apiVersion": "meta.k8s.io/v1"}
    if given.dry_run:
        shown["dryRun"] = ["All"]
    if given.manager:
        shown["fieldManager"] = given.manager
    shown["fieldValidation"] = given.fields.mode
    return shown


def build(version: str, uid: str, request: Request, kind: Kind, obj: Obj | None, old: Obj | None) -> Obj:
    """The review to send. kind: the version that the webhook sees; obj and old are in it."""
    asked: Obj = {
        "uid": uid,
        "kind": _gvk(kind, request.subresource),
        "resource": _gvr(kind),
        "requestKind": _gvk(request.kind, request.subresource),
        "requestResource": _gvr(request.kind),
    }
    if request.subresource:
        asked["subResource"] = asked["requestSubResource"] = request.subresource
    if request.name:
        asked["name"] = request.name
    if request.namespace:
        asked["namespace"] = request.namespace
    asked |= {
        "operation": request.operation.value,
        "userInfo": request.user.info,
        "object": obj,
        "oldObject": old,
        "dryRun": request.dry_run,
        "options": options(request),
    }
    return {"kind": "AdmissionReview", "apiVersion": f"{_GROUP}/{version}", "request": asked}


def read(body: bytes, version: str, uid: str, mutating: bool) -> Verdict:
    """The verdict of an answer. Garbage, with kube-apiserver's words for what is wrong with it."""
    try:
        review = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Garbage(f"failed to decode the answer: {error}") from None
    if not isinstance(review, dict):
        raise Garbage("the answer is not an object")
    response = review.get("response")
    if not isinstance(response, dict):
        raise Garbage("webhook response was absent")
    found = (review.get("apiVersion"), review.get("kind"))
    if version == "v1" or any(found):
        wanted = (f"{_GROUP}/{version}", "AdmissionReview")
        if found != wanted:
            raise Garbage(f"expected webhook response of {_named(*wanted)}, got {_named(*found)}")
    if response.get("uid") != uid and (version == "v1" or response.get("uid")):
        raise Garbage(f'expected response.uid="{uid}", got "{response.get("uid") or ""}"')
    patch = _patch(response, version, mutating)
    warnings = [str(text) for text in response.get("warnings") or ()]
    annotations = {str(k): str(v) for k, v in (response.get("auditAnnotations") or {}).items()}
    status = response.get("status")
    return Verdict(
        response.get("allowed") is True, patch, status if isinstance(status, dict) else None, warnings, annotations
    )


def _named(version: Any, kind: Any) -> str:
    return f"{version or ''}, Kind={kind or ''}"


def _patch(response: Obj, version: str, mutating: bool) -> Any:
    """The JSON patch of an answer, or None."""
    encoded, form = response.get("patch"), response.get("patchType")
    if not mutating:
        if encoded and version == "v1":
            raise Garbage("validating webhook may not return response.patch")
        if form is not None and version == "v1":
            raise Garbage("validating webhook may not return response.patchType")
        return None
    if encoded and form is None and version == "v1":
        raise Garbage("webhook returned response.patch but not response.patchType")
    if not encoded:
        if form is not None:
            raise Garbage("webhook returned response.patchType but not response.patch")
        return None
    if form not in (None, "JSONPatch"):
        raise Garbage(f'webhook returned invalid response.patchType of "{form}"')
    try:
        patch = orjson.loads(base64.b64decode(encoded, validate=True))
    except (binascii.Error, TypeError, ValueError) as error:
        raise Garbage(f"the patch cannot be decoded: {error}") from None
    if not isinstance(patch, list):
        raise Garbage("the patch is not a JSON patch")
    return patch


def denial(webhook: str, status: Obj | None) -> APIError:
    """The error that a refusal is."""
    status = status or {}
    by = f'admission webhook "{webhook}" denied the request'
    message, reason = status.get("message"), status.get("reason")
    code = status.get("code")
    if not isinstance(code, int) or code < 400:
        code = 400
    if message:
        text = f"{by}: {message}"
    elif reason:
        text = f"{by}: {reason}"
    else:
        text = f"{by} without explanation"
    details = status.get("details")
    return APIError(code, reason or "", text, details=details if isinstance(details, dict) else None)

"""Validation of small core kinds: ConfigMap, Secret, Namespace, ServiceAccount.

Source: API reference of each kind; "ConfigMaps" and "Secrets" (immutability, sizes, types with required keys).
"""

from __future__ import annotations

from binascii import a2b_base64

import orjson

from hawser.api.types import Obj
from hawser.api.validation.rules import (
    Errors,
    config_key_errors,
    each,
    forbidden,
    immutable,
    invalid,
    qualified_name_errors,
    required,
    too_long,
)

MAX_DATA = 1024 * 1024
_LOCKED = "field is immutable when `immutable` is set"
_REDACTED = "<secret contents redacted>"


def config_map(obj: Obj) -> Errors:
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    size = 0
    for key, text in data.items():
        if bad := config_key_errors(key):
            yield from each(f"data[{key}]", key, bad)
        if key in binary:
            yield invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
        size += len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    for key, text in binary.items():
        yield from each(f"binaryData[{key}]", key, config_key_errors(key))
        size += _decoded_size(text)
    if size > MAX_DATA:
        yield too_long("[]", MAX_DATA)


def config_map_update(obj: Obj, old: Obj) -> Errors:
    yield from _locked(obj, old, "data", "binaryData")


def secret(obj: Obj) -> Errors:
    data = obj.get("data") or {}
    size = 0
    for key, text in data.items():
        if bad := config_key_errors(key):
            yield from each(f"data[{key}]", key, bad)
        size += _decoded_size(text)
    if size > MAX_DATA:
        yield too_long("data", MAX_DATA)
    match obj.get("type"):
        case "kubernetes.io/service-account-token":
            annotation = "kubernetes.io/service-account.name"
            if not ((obj.get("metadata") or {}).get("annotations") or {}).get(annotation):
                yield required(f"metadata.annotations[{annotation}]")
        case "kubernetes.io/dockercfg":
            yield from _json_key(data, ".dockercfg")
        case "kubernetes.io/dockerconfigjson":
            yield from _json_key(data, ".dockerconfigjson")
        case "kubernetes.io/basic-auth":
            if "username" not in data and "password" not in data:
                yield required("data[username]")
                yield required("data[password]")
        case "kubernetes.io/ssh-auth":
            if not data.get("ssh-privatekey"):
                yield required("data[ssh-privatekey]")
        case "kubernetes.io/tls":
            for key in ("tls.crt", "tls.key"):
                if key not in data:
                    yield required(f"data[{key}]")


def secret_update(obj: Obj, old: Obj) -> Errors:
    yield from immutable("type", obj.get("type"), old.get("type"))
    yield from _locked(obj, old, "data")


def _decoded_size(text: str) -> int:
    return len(text) // 4 * 3 - text.count("=", -2)


def _json_key(data: dict[str, str], key: str) -> Errors:
    """The key holds a JSON object."""
    if key not in data:
        yield required(f"data[{key}]")
        return
    try:
        if not isinstance(orjson.loads(a2b_base64(data[key])), dict):
            yield invalid(f"data[{key}]", _REDACTED, "json: cannot unmarshal into a map of credentials")
    except ValueError as error:
        yield invalid(f"data[{key}]", _REDACTED, str(error))


def _locked(obj: Obj, old: Obj, *fields: str) -> Errors:
    """Once immutable is set, neither it nor the fields change."""
    if not old.get("immutable"):
        return
    if not obj.get("immutable"):
        yield forbidden("immutable", _LOCKED)
    for field in fields:
        if (obj.get(field) or {}) != (old.get(field) or {}):
            yield forbidden(field, _LOCKED)


def namespace(obj: Obj) -> Errors:
    for finalizer in (obj.get("spec") or {}).get("finalizers") or ():
        yield from each("spec.finalizers", finalizer, qualified_name_errors(finalizer))
        if "/" not in finalizer and finalizer != "kubernetes":
            yield invalid(
                "spec.finalizers", finalizer, "name is neither a standard finalizer name nor is it fully qualified"
            )


def namespace_status_update(obj: Obj, old: Obj) -> Errors:
    phase = (obj.get("status") or {}).get("phase", "")
    deleting = bool((obj.get("metadata") or {}).get("deletionTimestamp"))
    if deleting and phase != "Terminating":
        yield invalid("status.Phase", phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")
    if not deleting and phase not in ("", "Active"):
        yield invalid("status.Phase", phase, "may only be 'Active' if `deletionTimestamp` is empty")


def service_account(obj: Obj) -> Errors:
    """Nothing beyond metadata: what it refers to may come later."""
    return
    yield

"""What mutations make of an object: applied configurations and JSON patches that expressions evaluate to.

Source: API reference, Mutation of MutatingAdmissionPolicy; KEP-3962. The sentences are kube-apiserver's.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from hawser.api.apply import types
from hawser.api.apply.extract import applied
from hawser.api.apply.merge import merge
from hawser.api.apply.types import Granular, Items, Node
from hawser.api.cel.library.times import write_duration, write_timestamp
from hawser.api.cel.values import Duration, Opt, Timestamp, UInt, has_value
from hawser.api.errors import APIError
from hawser.api.kind import Kind
from hawser.api.patch import json_patch
from hawser.api.types import Obj


class PatchError(Exception):
    """A mutation that cannot be carried out."""


def configured(kind: Kind, obj: Obj, config: Any) -> Obj:
    """The object with a configuration applied to it. PatchError."""
    wanted = {**plain(config), "apiVersion": obj.get("apiVersion"), "kind": obj.get("kind")}
    node = types.root(kind.gvk)
    try:
        applied(node, wanted)
    except types.UnfitError as error:
        raise PatchError(f"error applying patch: failed to convert patch object to typed object: {error}") from None
    if doomed := list(_atomics(node, wanted, "")):
        raise PatchError(
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: "
            f"{', '.join(doomed)}"
        )
    made: Obj = merge(node, obj, wanted)
    return made


def _atomics(node: Node, value: Any, path: str) -> Iterator[str]:
    """Arrays, maps and structs that could only be replaced as a whole."""
    if isinstance(value, dict):
        if not isinstance(node, Granular):
            yield path
            return
        for name, item in value.items():
            if name not in node.fields and node.rest is None:
                raise PatchError(
                    "error applying patch: failed to convert patch object to typed object: "
                    f"{path}.{name}: field not declared in schema"
                )
            yield from _atomics(node.child(name), item, f"{path}.{name}")
    elif isinstance(value, list):
        if not isinstance(node, Items):
            yield path
            return
        for index, item in enumerate(value):
            yield from _atomics(node.item, item, f"{path}[{index}]")


def patched(obj: Obj, operations: Any) -> Obj:
    """The object under a JSON patch; as it is when a test of the patch fails. PatchError."""
    ops = []
    for one in plain(operations):
        op = {name: one[name] for name in ("op", "path") if name in one}
        if one.get("from"):
            op["from"] = one["from"]
        if "value" in one:
            op["value"] = one["value"]
        elif op.get("op") in ("add", "replace", "test"):
            op["value"] = None
        ops.append(op)
    try:
        made = json_patch(obj, ops)
    except APIError as error:
        causes = (error.details or {}).get("causes") or ({"message": error.message},)
        reason = str(causes[0].get("message") or error.message)
        if reason.startswith("testing "):
            return obj
        raise PatchError(f"JSONPath: {reason}") from None
    if not isinstance(made, dict):
        raise PatchError("JSONPath: the patch does not leave an object")
    return made


def plain(value: Any) -> Any:
    """A CEL value as JSON."""
    match value:
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case list():
            return [plain(item) for item in value]
        case UInt():
            return int(value)
        case Timestamp():
            return write_timestamp(value)
        case Duration():
            return write_duration(value)
        case bytes():
            return base64.b64encode(value).decode()
        case Opt():
            return plain(value.value) if has_value(value) else None
    if value is None or isinstance(value, str | int | float):
        return value
    text = getattr(value, "text", None)
    if isinstance(text, str):
        return text
    raise PatchError(f"JSONPath valueExpression evaluated to a type that could not marshal to JSON: {value!r}")

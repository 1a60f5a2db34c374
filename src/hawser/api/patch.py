"""The patches of the Kubernetes API: JSON patch, JSON merge patch and strategic merge patch.

Source: RFC 6902, RFC 6901 (pointers), RFC 7386; API concepts, "Patch mechanisms". No function changes its inputs, and
no result shares parts with them.
"""

from __future__ import annotations

from typing import Any

import orjson

from hawser.api.errors import APIError, Cause, FieldError, bad_request, invalid, request_too_large
from hawser.api.scalars import json_type
from hawser.api.strategic import clone, go_text, strategic_merge, strategic_merge_patch, unprocessable
from hawser.api.types import Obj

__all__ = [
    "clone",
    "invalid_patch",
    "json_patch",
    "merge_diff",
    "merge_patch",
    "same",
    "strategic_merge",
    "strategic_merge_patch",
]

MAX_OPERATIONS = 10000
"""Operations that one JSON patch may have, as in kube-apiserver."""
MAX_COPIED = 3 * 1024 * 1024
"""Characters and values that all ``copy`` operations of a patch may copy: repeated doubling would fill the memory."""
_OPERATIONS = frozenset(("add", "remove", "replace", "move", "copy", "test"))


def invalid_patch(shown: Any, strategic: bool, detail: str) -> APIError:
    """422: a patch whose outcome does not decode. shown: the outcome, or a strategic merge patch itself."""
    text = go_text(shown) if strategic else orjson.dumps(shown).decode()
    return invalid("", "", "", [FieldError(Cause.INVALID, "patch", detail, text)])


def merge_patch(doc: Any, patch: Any) -> Any:
    """doc with a JSON merge patch (RFC 7386) applied: null removes a member, lists are replaced."""
    if not isinstance(patch, dict):
        return clone(patch)
    target = clone(doc) if isinstance(doc, dict) else {}
    _merge(target, patch)
    return target


def _merge(target: Obj, patch: Obj) -> None:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            below = target.get(key)
            if not isinstance(below, dict):
                below = target[key] = {}
            _merge(below, value)
        else:
            target[key] = clone(value)


def merge_diff(doc: Obj, new: Obj) -> Obj:
    """The smallest merge patch that makes doc into new; new has no nulls, which no merge patch can express."""
    patch: Obj = dict.fromkeys(key for key in doc if key not in new)
    for key, value in new.items():
        have = doc.get(key)
        if isinstance(value, dict) and isinstance(have, dict):
            if below := merge_diff(have, value):
                patch[key] = below
        elif key not in doc or not same(have, value):
            patch[key] = clone(value)
    return patch


def same(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal; Python alone would take ``true`` and ``1`` for the same."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def json_patch(doc: Any, ops: Any) -> Any:
    """doc with the operations of a JSON patch (RFC 6902) applied in order.

    Raises APIError: 400 when ops are no JSON patch, 413 when they are too many, 422 when one does not apply or a
    test fails.
    """
    if not isinstance(ops, list):
        raise bad_request(f"json: cannot unmarshal {json_type(ops, '')} into Go value of type jsonpatch.Patch")
    if len(ops) > MAX_OPERATIONS:
        message = f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(ops)}"
        raise request_too_large(f"Request entity too large: {message}")
    patched = _JSONPatch(clone(doc))
    for op in ops:
        patched.apply(op)
    return patched.doc


class _JSONPatch:
    """A document under operations."""

    def __init__(self, doc: Any) -> None:
        self.doc = doc
        self._copied = 0

    def apply(self, op: Any) -> None:
        if not isinstance(op, dict):
            raise bad_request(f"json: cannot unmarshal {json_type(op, '')} into Go value of type jsonpatch.Operation")
        name, path = op.get("op"), op.get("path")
        if name not in _OPERATIONS:
            raise unprocessable(f"Unexpected kind: {name}")
        if not isinstance(path, str):
            raise unprocessable(f"{name} operation: missing path")
        match name:
            case "add":
                self._add(path, clone(_value(op, path)))
            case "remove":
                self._remove(path, "remove")
            case "replace":
                value = clone(_value(op, path))
                self._get(path, "replace")
                self._put(path, value)
            case "test":
                self._test(path, op.get("value"))
            case "move":
                source = _source(op, path)
                if path.startswith(f"{source}/"):
                    raise unprocessable(f"move operation: {source} cannot be moved into itself", path)
                self._add(path, self._remove(source, "move"))
            case "copy":
                value = clone(self._get(_source(op, path), "copy"))
                self._copied += _size(value)
                if self._copied > MAX_COPIED:
                    raise unprocessable("Unable to copy, the accumulated size increase is too large", path)
                self._add(path, value)

    def _parent(self, path: str, operation: str) -> tuple[Any, str]:
        """The container that path points into and the last token; the whole document's path has no parent."""
        tokens = _tokens(path)
        node = self.doc
        for token in tokens[:-1]:
            node = _child(node, token, path, operation)
        if not isinstance(node, dict | list):
            raise _missing(path, operation)
        return node, tokens[-1]

    def _get(self, path: str, operation: str) -> Any:
        node = self.doc
        for token in _tokens(path) if path else []:
            node = _child(node, token, path, operation)
        return node

    def _add(self, path: str, value: Any) -> None:
        if not path:
            self.doc = value
            return
        parent, token = self._parent(path, "add")
        if isinstance(parent, dict):
            parent[token] = value
        else:
            parent.insert(len(parent) if token == "-" else _index(token, len(parent) + 1, path, "add"), value)

    def _put(self, path: str, value: Any) -> None:
        if not path:
            self.doc = value
            return
        parent, token = self._parent(path, "replace")
        parent[token if isinstance(parent, dict) else int(token)] = value

    def _remove(self, path: str, operation: str) -> Any:
        if not path:
            raise unprocessable("remove operation does not apply: the whole document cannot be removed")
        parent, token = self._parent(path, operation)
        if isinstance(parent, list):
            return parent.pop(_index(token, len(parent), path, operation))
        if token not in parent:
            raise _missing(path, operation)
        return parent.pop(token)

    def _test(self, path: str, value: Any) -> None:
        try:
            have = self._get(path, "test")
        except APIError:
            # As kube-apiserver: null tests for absence too.
            if value is not None:
                raise
            have = None
        if not same(have, value):
            raise unprocessable(f"testing value {path} failed: test failed", path)


def _value(op: Obj, path: str) -> Any:
    if "value" not in op:
        raise unprocessable(f"{op['op']} operation: missing value", path)
    return op["value"]


def _source(op: Obj, path: str) -> str:
    source = op.get("from")
    if not isinstance(source, str):
        raise unprocessable(f"{op['op']} operation: missing from", path)
    return source


def _tokens(path: str) -> list[str]:
    """The reference tokens of a JSON pointer."""
    if not path.startswith("/"):
        raise unprocessable(f"path {path!r} is no JSON pointer: it must begin with a slash", path)
    return [token.replace("~1", "/").replace("~0", "~") for token in path[1:].split("/")]


def _child(node: Any, token: str, path: str, operation: str) -> Any:
    if isinstance(node, list):
        return node[_index(token, len(node), path, operation)]
    if not isinstance(node, dict) or token not in node:
        raise _missing(path, operation)
    return node[token]


def _index(token: str, length: int, path: str, operation: str) -> int:
    """A list index below length; RFC 6901 has neither signs nor leading zeros."""
    if token.isascii() and token.isdigit() and (token == "0" or token[0] != "0") and int(token) < length:
        return int(token)
    raise unprocessable(f"{operation} operation does not apply: invalid array index: {token}", path)


def _missing(path: str, operation: str) -> APIError:
    return unprocessable(f"{operation} operation does not apply: doc is missing path: {path}: missing value", path)


def _size(value: Any) -> int:
    """About how many bytes of JSON a value is."""
    if isinstance(value, dict):
        return 2 + sum(len(key) + _size(item) + 4 for key, item in value.items())
    if isinstance(value, list):
        return 2 + sum(_size(item) + 1 for item in value)
    return len(value) + 2 if isinstance(value, str) else 8

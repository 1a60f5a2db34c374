"""Strategic merge patches: merge patches that know how Kubernetes' lists are keyed.

Source: Kubernetes documentation, "Update API Objects in Place Using kubectl patch", and the community's
"strategic-merge-patch" design (directives ``$patch``, ``$retainKeys``, ``$deleteFromPrimitiveList/FIELD``,
``$setElementOrder/FIELD``). A field's strategy and merge key are ``x-kubernetes-patch-strategy`` and
``x-kubernetes-patch-merge-key`` of its definition.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from hawser.api.definitions import GVK, definition, resolve
from hawser.api.errors import APIError, bad_request
from hawser.api.types import Obj

_DIRECTIVE: Final = "$patch"
_RETAIN_KEYS: Final = "$retainKeys"
_DELETE_FROM: Final = "$deleteFromPrimitiveList/"
_ORDER: Final = "$setElementOrder/"


def strategic_merge_patch(doc: Obj, patch: Obj, gvk: GVK) -> Obj:
    """doc with a strategic merge patch applied; neither input is changed, nor shared with the result.

    Raises APIError 400 or 422 when the patch is malformed, KeyError when Kubernetes has no kind gvk.
    """
    return strategic_merge(doc, patch, definition(gvk))


def strategic_merge(doc: Obj, patch: Obj, schema: Obj) -> Obj:
    """As ``strategic_merge_patch``, of any part of an object; schema is that part's definition."""
    return _merge_map(clone(doc), clone(patch), schema)


def clone(value: Any) -> Any:
    """An independent copy of a JSON value."""
    if isinstance(value, dict):
        return {key: clone(item) for key, item in value.items()}
    if isinstance(value, list):
        return [clone(item) for item in value]
    return value


def unprocessable(detail: str, field: str = "") -> APIError:
    """422 of a patch that cannot be applied: kube-apiserver's fixed sentence, with the detail as its cause."""
    return APIError(
        422,
        "Invalid",
        "the server rejected our request due to an error in our request",
        details={"causes": [{"reason": "UnexpectedServerResponse", "message": detail, "field": field}]},
    )


class _Field:
    """What a definition says of one field: the schema of its value (or list items), strategy and merge key."""

    __slots__ = ("key", "schema", "strategies")

    def __init__(self, parent: Obj, name: str) -> None:
        found = (parent.get("properties") or {}).get(name)
        if not isinstance(found, dict):
            extra = parent.get("additionalProperties")
            found = extra if isinstance(extra, dict) else {}
        self.strategies = frozenset(found.get("x-kubernetes-patch-strategy", "").split(","))
        self.key: str = found.get("x-kubernetes-patch-merge-key", "")
        self.schema = _follow(found)
        items = self.schema.get("items")
        if isinstance(items, dict):
            self.schema = _follow(items)


def _follow(schema: Obj) -> Obj:
    ref = schema.get("$ref")
    return resolve(ref) if isinstance(ref, str) else schema


def _merge_map(original: Obj, patch: Obj, schema: Obj) -> Obj:
    """original with patch merged in; both are consumed."""
    if _DIRECTIVE in patch:
        match patch.pop(_DIRECTIVE):
            case "replace":
                return patch
            case "delete":
                return {}
            case "merge":
                pass
            case unknown:
                raise bad_request(f"unknown patch type: {unknown} in map: {go_text(patch)}")
    _retain_keys(original, patch)
    _set_orders(original, patch, schema)
    for written, value in patch.items():
        name = written.removeprefix(_DELETE_FROM)
        if name != written:
            _delete_scalars(original, name, value)
        elif value is None:
            original.pop(name, None)
        elif isinstance(value, dict) and isinstance(original.get(name), dict):
            field = _Field(schema, name)
            replaced = "replace" in field.strategies
            original[name] = _plain(value) if replaced else _merge_map(original[name], value, field.schema)
        elif isinstance(value, list) and isinstance(original.get(name), list):
            original[name] = _merge_list(original[name], value, _Field(schema, name))
        elif not (isinstance(value, dict) and value.get(_DIRECTIVE) == "delete"):
            original[name] = _plain(value)
    return original


def _plain(value: Any) -> Any:
    """A patch value that meets nothing to merge with: directives and nulls dropped, elements to delete left out."""
    if isinstance(value, dict):
        return {
            key: _plain(item)
            for key, item in value.items()
            if item is not None
            and key not in (_DIRECTIVE, _RETAIN_KEYS)
            and not key.startswith((_DELETE_FROM, _ORDER))
            and not (isinstance(item, dict) and item.get(_DIRECTIVE) == "delete")
        }
    if isinstance(value, list):
        return [_plain(v) for v in value if not (isinstance(v, dict) and v.get(_DIRECTIVE) in ("delete", "replace"))]
    return value


def _retain_keys(original: Obj, patch: Obj) -> None:
    """``$retainKeys: [a, b]``: every other key of original goes."""
    if _RETAIN_KEYS not in patch:
        return
    keep = _list(patch.pop(_RETAIN_KEYS), "invalid patch format of retainKeys directive")
    if any(v is not None and k not in keep for k, v in patch.items() if not k.startswith((_DELETE_FROM, _ORDER))):
        raise bad_request("invalid patch format of retainKeys directive")
    for name in [name for name in original if name not in keep]:
        del original[name]


def _delete_scalars(original: Obj, name: str, values: Any) -> None:
    """``$deleteFromPrimitiveList/name: [...]``."""
    doomed = _list(values, "invalid patch format of primitive list")
    if isinstance(original.get(name), list):
        original[name] = [item for item in original[name] if item not in doomed]


def _set_orders(original: Obj, patch: Obj, schema: Obj) -> None:
    """``$setElementOrder/name: [...]``: merge the list of that name, then bring it into the asked order."""
    for directive in [key for key in patch if key.startswith(_ORDER)]:
        order = _list(patch.pop(directive), "invalid patch format of setElementOrder list")
        name = directive.removeprefix(_ORDER)
        field = _Field(schema, name)
        had, removed, change = original.get(name), name in patch and patch[name] is None, patch.pop(name, None)
        if removed:
            original.pop(name, None)
        if removed or (change is None and name not in original):
            continue
        _check_order(_list(change or [], "invalid patch format of setElementOrder list"), order, field)
        if not isinstance(had, list):
            merged = _plain(change)
        elif change is None:
            merged = had
        else:
            merged = _merge_list(clone(had), change, field)
        original[name] = _in_order(merged, order, had if isinstance(had, list) else [], _identity(field))


def _check_order(change: list[Any], order: list[Any], field: _Field) -> None:
    """The patch's own elements must be in the order list, in that order."""
    identity = _identity(field)
    listed = [identity(item) for item in order]
    places = []
    for item in change:
        if isinstance(item, dict) and item.get(_DIRECTIVE) in ("delete", "replace"):
            continue
        if identity(item) not in listed:
            raise bad_request(
                f"The items in patch list must be in $setElementOrder list, but {identity(item)!r} is not: {listed}"
            )
        places.append(listed.index(identity(item)))
    if places != sorted(places):
        raise bad_request(f"The order in patch list does not match $setElementOrder list: {listed}")


def _merge_list(original: list[Any], patch: list[Any], field: _Field) -> list[Any]:
    """original with the patch's elements merged in by merge key; a list without strategy ``merge`` is replaced."""
    directives = [item[_DIRECTIVE] for item in patch if isinstance(item, dict) and _DIRECTIVE in item]
    if "replace" in directives or "merge" not in field.strategies:
        plain: list[Any] = _plain(patch)
        return plain
    if any(isinstance(item, list) for item in (*original, *patch)):
        raise unprocessable("lists of lists are not supported")
    if not any(isinstance(item, dict) for item in (*original, *patch)):
        merged = list(original)
        merged += [item for i, item in enumerate(patch) if item not in original and item not in patch[:i]]
        return _in_order(merged, patch, original, _identity(field))
    if not field.key:
        raise bad_request("cannot merge lists without merge key")
    identity = _identity(field)
    additions = []
    for item in patch:
        key = identity(item)
        match item.get(_DIRECTIVE):
            case None:
                additions.append(item)
            case "delete":
                original = [kept for kept in original if identity(kept) != key]
            case "merge":
                raise bad_request("merging lists cannot yet be specified in the patch")
            case unknown:
                raise bad_request(f"unknown patch type: {unknown} in map: {go_text(item)}")
    merged = list(original)
    for item in additions:
        place = next((i for i, have in enumerate(merged) if identity(have) == identity(item)), None)
        if place is None:
            merged.append(_plain(item))
        else:
            merged[place] = _merge_map(merged[place], item, field.schema)
    return _in_order(merged, additions, original, identity)


def _identity(field: _Field) -> Callable[[Any], Any]:
    """How an element is told apart: by merge key; a scalar is itself."""

    def identity(item: Any) -> Any:
        if not isinstance(item, dict):
            return item
        if not field.key:
            raise bad_request("cannot merge lists without merge key")
        if field.key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {field.key}")
        return item[field.key]

    return identity


def _in_order(items: list[Any], wanted: list[Any], before: list[Any], identity: Callable[[Any], Any]) -> list[Any]:
    """items, those in wanted in its order; the others keep their place of before relative to them.

    An element that was not there before goes in front of the untouched rest, as kube-apiserver has it.
    """
    order = [identity(item) for item in wanted]
    had = [identity(item) for item in before]
    patched = sorted((i for i in items if identity(i) in order), key=lambda i: order.index(identity(i)))
    others = [i for i in items if identity(i) not in order]
    others.sort(key=lambda i: had.index(identity(i)) if identity(i) in had else len(had))
    merged: list[Any] = []
    for item in others:
        place = had.index(identity(item)) if identity(item) in had else -1
        while patched and not (identity(patched[0]) in had and 0 <= place < had.index(identity(patched[0]))):
            merged.append(patched.pop(0))
        merged.append(item)
    return merged + patched


def _list(value: Any, complaint: str) -> list[Any]:
    if not isinstance(value, list):
        raise bad_request(complaint)
    return value


def go_text(value: Any) -> str:
    """A value as Go's ``%+v`` prints it: ``map[spec:map[replicas:1]]``."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{go_text(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(go_text, value)) + "]"
    if value is None:
        return "<nil>"
    return str(value).lower() if isinstance(value, bool) else str(value)

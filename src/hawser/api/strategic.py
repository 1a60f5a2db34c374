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
_DELETE_FROM: Final = "$deleteFromPrimitiveList"
_ORDER: Final = "$setElementOrder"


def strategic_merge_patch(doc: Obj, patch: Obj, gvk: GVK) -> Obj:
    """doc with a strategic merge patch applied; neither input is changed, nor shared with the result.

    Raises APIError 400, 422 or 500 when the patch is malformed, KeyError when Kubernetes has no kind gvk.
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


def unmergeable(message: str) -> APIError:
    """500 of a strategic merge patch that does not fit: most of its errors are nothing else to kube-apiserver."""
    return APIError(500, "", message)


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
        match patch[_DIRECTIVE]:
            case "replace":
                del patch[_DIRECTIVE]
                return patch
            case "delete":
                return {}
            case unknown:
                raise _unknown(unknown, patch)
    _retain_keys(original, patch)
    _set_orders(original, patch, schema)
    for written, value in patch.items():
        deletes = written.startswith(_DELETE_FROM)
        name = _list_of(written, "invalid patch format of primitive list") if deletes else written
        if value is None:
            original.pop(name, None)
        elif isinstance(value, dict) and isinstance(original.get(name), dict):
            field = _Field(schema, name)
            original[name] = value if "replace" in field.strategies else _merge_map(original[name], value, field.schema)
        elif isinstance(value, list) and isinstance(original.get(name), list):
            original[name] = _merge_list(original[name], value, _Field(schema, name), deletes)
        elif _directs(value):
            original.pop(name, None)
        elif not deletes:
            original[name] = _new(value)
    return original


def _directs(value: Any) -> bool:
    return isinstance(value, dict) and _DIRECTIVE in value


def _new(value: Any) -> Any:
    """A patch value that meets nothing to merge with: without nulls, and without what says how to merge it."""
    if isinstance(value, dict):
        return {key: _new(item) for key, item in value.items() if item is not None and not _directs(item)}
    if isinstance(value, list):
        return [_new(item) for item in value if not _directs(item)]
    return value


def _list_of(directive: str, complaint: str) -> str:
    """The name of the list that a directive, as ``$setElementOrder/NAME``, is about."""
    prefix, slash, name = directive.partition("/")
    if not slash or prefix not in (_DELETE_FROM, _ORDER):
        raise bad_request(complaint)
    return name


def _retain_keys(original: Obj, patch: Obj) -> None:
    """``$retainKeys: [a, b]``: every other key of original goes."""
    if _RETAIN_KEYS not in patch:
        return
    keep = patch.pop(_RETAIN_KEYS)
    changed = [key for key, v in patch.items() if v is not None and not key.startswith((_DELETE_FROM, _ORDER))]
    if not isinstance(keep, list) or any(key not in keep for key in changed):
        raise bad_request("invalid patch format of retainKeys")
    for name in [name for name in original if name not in keep]:
        del original[name]


def _set_orders(original: Obj, patch: Obj, schema: Obj) -> None:
    """``$setElementOrder/name: [...]``: merge the list of that name, then bring it into the asked order."""
    for directive in [key for key in patch if key.startswith(_ORDER)]:
        order = _list(patch.pop(directive))
        name = _list_of(directive, "invalid patch format of setElementOrder list")
        field = _Field(schema, name)
        had = _list(original[name]) if name in original else None
        change = _list(patch.pop(name)) if name in patch else None
        _check_order(change or [], order, field)
        if had is None and change is None:
            continue
        if not had and not change:
            raise unmergeable("no elements in any of the given slices")
        merged = had or []
        if change is not None:
            merged = _new(change) if had is None else _merge_list(clone(had), change, field)
        original[name] = _in_order(merged, order, had or [], _identity(field))


def _check_order(change: list[Any], order: list[Any], field: _Field) -> None:
    """The patch's own elements must be in the order list, in that order."""
    if not change or not order:
        return
    identity = _identity(field)
    listed = iter([identity(item) for item in order])
    # Each is looked for behind the one before.
    if not all(identity(item) in listed for item in change if not _directs(item)):
        given = f"{go_text(change)}\n doesn't match {_ORDER} list:\n{go_text(order)}"
        raise unmergeable(f"The order in patch list:\n{given}\n")


def _merge_list(original: list[Any], patch: list[Any], field: _Field, deletes: bool = False) -> list[Any]:
    """original with the patch's elements merged in by merge key; a list without strategy ``merge`` is replaced.

    deletes: scalars of the patch are taken out instead.
    """
    if "merge" not in field.strategies and not deletes:
        return patch
    if not original and not patch:
        return original
    kinds = list(dict.fromkeys(type(item) for item in (*original, *patch)))
    if kinds[0] is list:
        raise unprocessable("lists of lists are not supported")
    if len(kinds) > 1:
        raise unmergeable(f"list element types are not identical: {go_text([original, patch])}")
    if kinds[0] is dict:
        return _merge_maps(original, patch, field)
    if deletes:
        return [item for item in original if item not in patch]
    added = [item for i, item in enumerate(patch) if item not in original and item not in patch[:i]]
    return _in_order(original + added, patch, original, _identity(field))


def _merge_maps(original: list[Any], patch: list[Any], field: _Field) -> list[Any]:
    """The same of lists of maps."""
    if not field.key:
        raise unmergeable("cannot merge lists without merge key for struct")
    identity = _identity(field)
    changes, replaced = [], False
    for item in patch:
        match item.get(_DIRECTIVE, ""):
            case "":
                changes.append(item)
            case "delete":
                key = identity(item)
                original = [kept for kept in original if identity(kept) != key]
            case "replace":
                replaced = True
            case "merge":
                raise unmergeable("merging lists cannot yet be specified in the patch")
            case unknown:
                raise _unknown(unknown, item)
    if replaced:
        original, changes = changes, []
    merged = list(original)
    for item in changes:
        key = identity(item)
        place = next((i for i, have in enumerate(merged) if identity(have) == key), None)
        if place is None:
            merged.append(item)
        else:
            merged[place] = _merge_map(merged[place], item, field.schema)
    return _in_order(merged, changes, original, identity)


def _identity(field: _Field) -> Callable[[Any], Any]:
    """How an element is told apart: by merge key; a scalar is itself."""

    def identity(item: Any) -> Any:
        if not field.key:
            return item
        if not isinstance(item, dict):
            raise _unexpected({}, item)
        if field.key not in item:
            raise unmergeable(f"map: {go_text(item)} does not contain declared merge key: {field.key}")
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


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _unexpected([], value)
    return value


def _unknown(directive: Any, patch: Obj) -> APIError:
    return unmergeable(f"unknown patch type: {directive} in map: {go_text(patch)}")


def _unexpected(wanted: Any, value: Any) -> APIError:
    return unmergeable(f"expected a {_GO_TYPES[type(wanted)]}, but received a {_GO_TYPES[type(value)]}")


_GO_TYPES = {
    dict: "map[string]interface {}",
    list: "[]interface {}",
    str: "string",
    bool: "bool",
    int: "int64",
    float: "float64",
    type(None): "%!s(<nil>)",
}


def go_text(value: Any) -> str:
    """A value as Go's ``%+v`` prints it: ``map[spec:map[replicas:1]]``."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{go_text(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(go_text, value)) + "]"
    if value is None:
        return "<nil>"
    return str(value).lower() if isinstance(value, bool) else str(value)

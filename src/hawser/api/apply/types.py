"""What server-side apply needs to know of a type: what is owned as a whole, and what item by item.

Source: Kubernetes documentation, "Server-Side Apply", merge strategy: ``x-kubernetes-list-type`` (atomic, set, map with
``x-kubernetes-list-map-keys``) and ``x-kubernetes-map-type`` (granular, atomic). A list without a type whose patch
strategy is ``merge`` is taken for a map with that merge key, or for a set when there is none.
"""

from __future__ import annotations

from typing import Any

from hawser.api import definitions
from hawser.api.apply import fields
from hawser.api.definitions import GVK
from hawser.api.types import Obj

# Defaults of list keys, which the published definitions leave out (API reference: ContainerPort, ServicePort).
_KEY_DEFAULTS = {"protocol": "TCP"}
_OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


class UnfitError(Exception):
    """A value that server-side apply cannot merge. path: where, as people read it."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path


class Node:
    """One type; the base class is a scalar, or anything that is owned as a whole."""

    __slots__ = ()


class Granular(Node):
    """An object whose fields are owned one by one. fields: the known ones; rest: any other's type, if any may be."""

    __slots__ = ("fields", "rest")

    def __init__(self) -> None:
        self.fields: dict[str, Node] = {}
        self.rest: Node | None = None

    def child(self, name: str) -> Node:
        """The type of a field; what is not known is owned as a whole."""
        return self.fields.get(name) or self.rest or LEAF


class Items(Node):
    """A list whose items are owned one by one: keyed by keys (list type map) or by value (no keys, list type set)."""

    __slots__ = ("defaults", "item", "keys")

    def __init__(self, item: Node, keys: tuple[str, ...], defaults: Obj) -> None:
        self.item = item
        self.keys = keys
        self.defaults = defaults

    def element(self, item: Any) -> str:
        """The path element of an item. ValueError when it cannot have one."""
        if not self.keys:
            if isinstance(item, dict | list):
                raise ValueError("only scalars can be items of a set")
            return fields.value_element(item)
        if item is None:
            raise ValueError("associative list with keys may not have a null element")
        if not isinstance(item, dict):
            raise ValueError("associative list with keys may not have non-map elements")
        made = {}
        for name in self.keys:
            value = item.get(name, self.defaults.get(name))
            if value is None and name not in item:
                raise ValueError(
                    f'associative list with keys has an element that omits key field "{name}" '
                    "(and doesn't have default value)"
                )
            made[name] = value
        return fields.key_element(made)

    def elements(self, items: list[Any]) -> dict[str, list[Any]]:
        """Items by path element, in order; items that cannot have one go by their place."""
        made: dict[str, list[Any]] = {}
        for index, item in enumerate(items):
            try:
                element = self.element(item)
            except ValueError:
                element = f"i:{index}"
            made.setdefault(element, []).append(item)
        return made


LEAF = Node()
DEDUCED = Granular()
"""Any JSON: objects are granular, lists and scalars are owned as a whole."""
DEDUCED.rest = DEDUCED

_named: dict[str, Node] = {}
_roots: dict[GVK, Node] = {}


def root(gvk: GVK) -> Node:
    """The type of a kind; kinds that nothing is known of are any JSON."""
    found = _roots.get(gvk)
    if found is None:
        try:
            found = _definition(definitions.definition_name(gvk))
        except KeyError:
            found = DEDUCED
        _roots[gvk] = found
    return found


def provide(gvk: GVK, schema: Obj | None) -> None:
    """Tell the type of a kind that Kubernetes does not define (its OpenAPI schema); None forgets it."""
    if schema is None:
        _roots.pop(gvk, None)
        return
    made = compile_schema(schema)
    if isinstance(made, Granular):
        made.fields |= {"apiVersion": LEAF, "kind": LEAF, "metadata": _definition(_OBJECT_META)}
    _roots[gvk] = made


def _definition(name: str) -> Node:
    found = _named.get(name)
    if found is not None:
        return found
    schema = definitions.resolve(name)
    if "properties" in schema and schema.get("x-kubernetes-map-type") != "atomic":
        # Known by name before it is filled: definitions refer to each other in circles.
        made = Granular()
        _named[name] = made
        _fill(made, schema)
        return made
    return _named.setdefault(name, compile_schema(schema))


def compile_schema(schema: Obj) -> Node:
    """The type that an OpenAPI schema describes."""
    map_type = schema.get("x-kubernetes-map-type")
    if map_type == "atomic":
        return LEAF
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        if map_type == "granular":
            return _granular(definitions.resolve(name))
        return _definition(name)
    types = schema.get("type")
    kind = types[0] if isinstance(types, list) else types
    if kind == "array":
        return _list(schema)
    if kind == "object" or "properties" in schema or schema.get("x-kubernetes-preserve-unknown-fields"):
        return _granular(schema)
    unknown = kind is None and "oneOf" not in schema and not schema.get("x-kubernetes-int-or-string")
    return DEDUCED if unknown else LEAF


def _granular(schema: Obj) -> Node:
    if "properties" not in schema and not isinstance(schema.get("additionalProperties"), dict):
        return DEDUCED
    made = Granular()
    _fill(made, schema)
    return made


def _fill(made: Granular, schema: Obj) -> None:
    made.fields = {name: compile_schema(part) for name, part in (schema.get("properties") or {}).items()}
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict):
        made.rest = compile_schema(extra)
    elif schema.get("x-kubernetes-preserve-unknown-fields"):
        made.rest = DEDUCED


def _list(schema: Obj) -> Node:
    list_type = schema.get("x-kubernetes-list-type")
    keys = tuple(schema.get("x-kubernetes-list-map-keys", ()))
    if list_type is None and "merge" in schema.get("x-kubernetes-patch-strategy", "").split(","):
        key = schema.get("x-kubernetes-patch-merge-key")
        list_type, keys = ("map", (key,)) if key else ("set", ())
    items = schema.get("items") or {}
    if list_type == "set":
        return Items(LEAF, (), {})
    if list_type != "map" or not keys:
        return LEAF
    properties = (definitions.resolve(items["$ref"]) if "$ref" in items else items).get("properties") or {}
    defaults = {}
    for name in keys:
        default = properties.get(name, {}).get("default", _KEY_DEFAULTS.get(name) if "$ref" in items else None)
        if default is not None:
            defaults[name] = default
    return Items(compile_schema(items), keys, defaults)

"""Type checks of decoded JSON against Kubernetes' definitions, compiled for speed.

A definition becomes a tree of nodes. Each node has ``ok``, which only says whether a value is exactly what
Kubernetes would write (and drops nulls on the way), and ``clean``, which knows paths: it normalizes what Go's decoder
would (times to UTC, quantities to canonical form), drops unknown fields and says what is wrong. Well-formed objects
never reach ``clean``.

Sources: the wording is that of encoding/json's UnmarshalTypeError and of sigs.k8s.io/json's strict errors; null
handling is Go's (a null field is an absent field, a null element is a zero value).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from hawser.api import definitions, scalars
from hawser.api.scalars import DecodeError
from hawser.api.types import Obj

Check = Callable[[Any], bool]

# Definitions that are any JSON object, not an object without fields.
_OPAQUE = frozenset({"RawExtension", "FieldsV1", "Patch"})
# Go's named types, which its type errors show. The definitions call all of them string.
_NAMED = {
    "dnsPolicy": "v1.DNSPolicy",
    "imagePullPolicy": "v1.PullPolicy",
    "mountPropagation": "v1.MountPropagationMode",
    "preemptionPolicy": "v1.PreemptionPolicy",
    "protocol": "v1.Protocol",
    "restartPolicy": "v1.RestartPolicy",
    "sessionAffinity": "v1.ServiceAffinity",
    "terminationMessagePolicy": "v1.TerminationMessagePolicy",
}


class Node(ABC):
    """One type. go: how Go calls it. check: ``ok`` as a plain function, for callers in a hurry."""

    __slots__ = ("check", "go")

    check: Check
    go: str

    @abstractmethod
    def clean(self, value: Any, at: At, complaints: list[str]) -> Any:
        """The value as Kubernetes would write it. Raises DecodeError when it is of another type."""

    @abstractmethod
    def zero(self) -> Any:
        """What a null element of a list or map becomes."""


class At:
    """Where a value is. path: as strict errors show it, with indexes; field: as type errors do, without."""

    __slots__ = ("field", "path", "struct")

    def __init__(self, path: str = "", field: str = "", struct: str = "") -> None:
        self.path = path
        self.field = field
        self.struct = struct

    def child(self, struct: str, name: str) -> At:
        return At(
            f"{self.path}.{name}" if self.path else name,
            f"{self.field}.{name}" if self.field else name,
            struct,
        )

    def element(self, index: int) -> At:
        return At(f"{self.path}[{index}]", self.field, self.struct)

    def key(self, name: str) -> At:
        return At(f"{self.path}.{name}", self.field, self.struct)

    def wrong(self, value: Any, go: str) -> DecodeError:
        """The error of a value that is not of Go's type go."""
        into = f"Go struct field {self.struct}.{self.field}" if self.struct else "Go value"
        return DecodeError(f"json: cannot unmarshal {scalars.json_type(value, go)} into {into} of type {go}")


class Scalar(Node):
    """A value that is no container. convert returns the normal form; it is never asked about other JSON types."""

    __slots__ = ("_zero", "convert", "types")

    def __init__(
        self,
        go: str,
        types: tuple[type, ...],
        check: Check,
        zero: Any,
        convert: Callable[[Any], Any] | None = None,
    ) -> None:
        self.go = go
        self.types = types
        self.check = check
        self.convert = convert
        self._zero = zero

    def clean(self, value: Any, at: At, complaints: list[str]) -> Any:
        if self.check(value):
            return value
        if type(value) not in self.types or self.convert is None:
            raise at.wrong(value, self.go)
        return self.convert(value)

    def zero(self) -> Any:
        return self._zero


class Opaque(Node):
    """Any JSON (go is empty), or any JSON object."""

    __slots__ = ("anything",)

    def __init__(self, go: str, anything: bool) -> None:
        self.go = go
        self.anything = anything
        self.check = _anything if anything else _any_object

    def clean(self, value: Any, at: At, complaints: list[str]) -> Any:
        if not self.check(value):
            raise at.wrong(value, self.go)
        return value

    def zero(self) -> Any:
        return None if self.anything else {}


class Array(Node):
    __slots__ = ("item",)

    def __init__(self, item: Node, go: str) -> None:
        self.item = item
        self.go = go
        self.check = _strings if item is STRING else _array_check(item.check)

    def clean(self, value: Any, at: At, complaints: list[str]) -> Any:
        if type(value) is not list:
            raise at.wrong(value, self.go)
        for index, item in enumerate(value):
            value[index] = self.item.zero() if item is None else self.item.clean(item, at.element(index), complaints)
        return value

    def zero(self) -> Any:
        return []


class Map(Node):
    __slots__ = ("item",)

    def __init__(self, item: Node, go: str) -> None:
        self.item = item
        self.go = go
        self.check = _string_map if item is STRING else _map_check(item.check)

    def clean(self, value: Any, at: At, complaints: list[str]) -> Any:
        if type(value) is not dict:
            raise at.wrong(value, self.go)
        for key, item in value.items():
            value[key] = self.item.zero() if item is None else self.item.clean(item, at.key(key), complaints)
        return value

    def zero(self) -> Any:
        return {}


class Either(Node):
    """A JSON object of a known type, or anything that is no object (``items: {}`` or ``[]`` of JSONSchemaProps)."""

    __slots__ = ("item",)

    def __init__(self, item: Node, go: str) -> None:
        self.item = item
        self.go = go
        self.check = lambda value: type(value) is not dict or item.check(value)

    def clean(self, value: Any, at: At, complaints: list[str]) -> Any:
        return self.item.clean(value, at, complaints) if type(value) is dict else value

    def zero(self) -> Any:
        return None


class Struct(Node):
    """An object with known fields. required: names that the definition requires."""

    __slots__ = ("_plain", "fields", "name", "required")

    def __init__(self, name: str, go: str) -> None:
        self.name = name
        self.go = go
        self.fields: dict[str, Node] = {}
        self.required: tuple[str, ...] = ()
        # Strings and booleans, most fields of most objects, are told by their type alone, without a call.
        self._plain: dict[str, type] = {}
        self.check = _struct_check(self.fields, self._plain)

    def fill(self, fields: dict[str, Node], required: tuple[str, ...]) -> None:
        """Sets the fields: apart from construction, because definitions refer to each other in circles."""
        self.fields.update(fields)
        self._plain.update((name, str) for name, node in fields.items() if node is STRING)
        self._plain.update((name, bool) for name, node in fields.items() if node is BOOLEAN)
        self.required = required

    def clean(self, value: Any, at: At, complaints: list[str]) -> Any:
        if type(value) is not dict:
            raise at.wrong(value, self.go)
        for key in list(value):
            node = self.fields.get(key)
            if node is None:
                complaints.append(f"unknown field {scalars.quote(at.key(key).path.lstrip('.'))}")
                del value[key]
            elif value[key] is None:
                del value[key]
            else:
                value[key] = node.clean(value[key], at.child(self.name, key), complaints)
        return value

    def zero(self) -> Any:
        return {}


def _struct_check(fields: dict[str, Node], plain: dict[str, type]) -> Check:
    fields_get = fields.get
    plain_get = plain.get

    def check(value: Any) -> bool:
        if type(value) is not dict:
            return False
        nulls = False
        for key, item in value.items():
            if plain_get(key) is type(item):
                continue
            node = fields_get(key)
            if node is None:
                return False
            if item is None:
                nulls = True
            elif not node.check(item):
                return False
        if nulls:
            for key in [key for key, item in value.items() if item is None]:
                del value[key]
        return True

    return check


def _array_check(item: Check) -> Check:
    def check(value: Any) -> bool:
        return type(value) is list and all(map(item, value))

    return check


def _map_check(item: Check) -> Check:
    def check(value: Any) -> bool:
        return type(value) is dict and all(map(item, value.values()))

    return check


def _strings(value: Any) -> bool:
    return type(value) is list and set(map(type, value)) <= _STRING_TYPE


def _string_map(value: Any) -> bool:
    return type(value) is dict and set(map(type, value.values())) <= _STRING_TYPE


def _anything(value: Any) -> bool:
    return True


def _any_object(value: Any) -> bool:
    return type(value) is dict


_STRING_TYPE = {str}

STRING = Scalar("string", (str,), scalars.is_string, "")
BOOLEAN = Scalar("bool", (bool,), scalars.is_boolean, False)
INT32 = Scalar("int32", (int,), scalars.is_int32, 0)
INT64 = Scalar("int64", (int,), scalars.is_int64, 0)
DOUBLE = Scalar("float64", (int, float), scalars.is_number, 0)
BYTES = Scalar("[]uint8", (str,), scalars.is_base64, "", scalars.to_base64)
TIME = Scalar("string", (str,), scalars.is_time, None, scalars.to_time)
MICRO_TIME = Scalar("string", (str,), scalars.is_micro_time, None, scalars.to_micro_time)
QUANTITY = Scalar(
    "resource.Quantity", (str, int, float, bool, list, dict), scalars.is_quantity, "0", scalars.to_quantity
)
INT_OR_STRING = Scalar("int32", (str, int), scalars.is_int_or_string, 0)

_SPECIAL: dict[str, Node] = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": QUANTITY,
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": MICRO_TIME,
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": TIME,
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": INT_OR_STRING,
}
_SCHEMA = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
_SCHEMA_OR = _SCHEMA + "Or"
_nodes: dict[str, Node] = {}


def node(name: str) -> Node:
    """The compiled definition of that name; kept. Raises KeyError when there is none."""
    known = _nodes.get(name) or _SPECIAL.get(name)
    if known is not None:
        return known
    if name.startswith(_SCHEMA_OR):
        # Published without a type: it stands for a schema, or for a boolean or a list.
        either = _nodes[name] = Either(node(_SCHEMA), f"v1.{name.rpartition('.')[2]}")
        return either
    schema = definitions.resolve(name)
    package, _, short = name.rpartition(".")
    go = f"{package.rpartition('.')[2]}.{short}"
    if short in _OPAQUE or "type" not in schema:
        made: Node = Opaque(go, "type" not in schema)
        _nodes[name] = made
        return made
    struct = Struct(short, go)
    _nodes[name] = struct
    struct.fill(
        {field: _compile(field, part) for field, part in schema.get("properties", {}).items()},
        tuple(schema.get("required", ())),
    )
    return struct


def _compile(name: str, schema: Obj) -> Node:
    """The node of a property or item; name is the property's."""
    if "$ref" in schema:
        return node(schema["$ref"].removeprefix("#/$defs/"))
    types = schema.get("type")
    kind = types[0] if isinstance(types, list) else types
    match kind, schema.get("format"):
        case "string", "byte":
            return BYTES
        case "string", _:
            # One object for the common case, which checks recognize by identity.
            return Scalar(_NAMED[name], (str,), scalars.is_string, "") if name in _NAMED else STRING
        case "boolean", _:
            return BOOLEAN
        case "integer", "int32":
            return INT32
        case "integer", _:
            return INT64
        case "number", _:
            return DOUBLE
        case "array", _:
            item = _compile("", schema["items"])
            return Array(item, f"[]{item.go}")
        case "object", _ if "additionalProperties" in schema:
            item = _compile("", schema["additionalProperties"])
            return Map(item, "v1.ResourceList" if item is QUANTITY else f"map[string]{item.go}")
        case "object", _:
            return Opaque("map[string]interface {}", False)
    return Opaque("", True)

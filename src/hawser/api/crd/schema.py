"""Structural schemas: what a version of a CustomResourceDefinition says of its objects, compiled.

A schema drops what it does not know, drops nulls and fills in defaults; ``hawser.api.crd.checks`` says what is
wrong with a value. Source: Kubernetes documentation, "Extend the Kubernetes API with CustomResourceDefinitions"
("Specifying a structural schema", "Field pruning", "Defaulting", "Defaulting and Nullable").
"""

from __future__ import annotations

from typing import Any

from hawser.api.crd.patterns import Pattern, PatternError, compile_pattern
from hawser.api.types import Obj

META = frozenset(("apiVersion", "kind", "metadata"))
"""Fields of every whole object, which no schema needs to name."""

ABSENT: Any = object()

RULES = "x-kubernetes-validations"
_UNKNOWN: Any = object()


class Schema:
    """One compiled schema.

    types: JSON Schema's names, none for any. additional: the schema of values of unnamed keys, None when there are no
    such keys. has_defaults: somewhere in it is a default. source: what it was made from, for the rules in ``checks``.
    """

    __slots__ = (
        "additional",
        "any_key",
        "default",
        "embedded",
        "has_defaults",
        "items",
        "junctors",
        "nullable",
        "pattern",
        "preserve",
        "properties",
        "required",
        "rules",
        "source",
        "types",
    )

    def __init__(self, source: Obj) -> None:
        self.source = source
        self.rules: Any = _UNKNOWN
        kind = source.get("type")
        self.types: tuple[str, ...] = (kind,) if kind else ()
        if source.get("x-kubernetes-int-or-string"):
            self.types = ("integer", "string")
        self.nullable = bool(source.get("nullable"))
        self.preserve = bool(source.get("x-kubernetes-preserve-unknown-fields"))
        self.embedded = bool(source.get("x-kubernetes-embedded-resource"))
        self.default = source.get("default", ABSENT)
        self.required: tuple[str, ...] = tuple(source.get("required") or ())
        self.properties = {name: Schema(part) for name, part in (source.get("properties") or {}).items()}
        items = source.get("items")
        self.items = Schema(items) if isinstance(items, dict) else None
        extra = source.get("additionalProperties")
        self.any_key = extra is True or isinstance(extra, dict)
        self.additional = Schema(extra) if isinstance(extra, dict) else None
        self.junctors = {
            name: [Schema(part) for part in source[name]] for name in ("allOf", "anyOf", "oneOf") if source.get(name)
        }
        if source.get("not"):
            self.junctors["not"] = [Schema(source["not"])]
        self.pattern = _pattern(source)
        below = [*self.properties.values(), *(s for s in (self.items, self.additional) if s is not None)]
        self.has_defaults: bool = self.default is not ABSENT or any(part.has_defaults for part in below)

    def of_key(self, key: str) -> Schema | None:
        """The schema of an object's field; None when the field is not known, or anything may be in it."""
        return self.properties.get(key) or self.additional

    def tree(self) -> Any:
        """The compiled rules of a whole object's schema (``crd.rules.Node``), made when they are first asked for; None
        without any. Whoever has no rules does not load the expression language either."""
        if self.rules is _UNKNOWN:
            self.rules = None
            if has_rules(self.source):
                from hawser.api.crd.rules import compile_tree

                self.rules = compile_tree(self.source)
        return self.rules


def has_rules(schema: Any) -> bool:
    """Whether a schema or one in it has rules."""
    if not isinstance(schema, dict):
        return False
    if schema.get(RULES):
        return True
    parts = [*(schema.get("properties") or {}).values(), *(schema.get("allOf") or ())]
    parts += [schema.get("items"), schema.get("additionalProperties")]
    return any(map(has_rules, parts))


def _pattern(source: Obj) -> Pattern | None:
    """The compiled pattern; one that is none is refused where the schema is checked."""
    text = source.get("pattern")
    try:
        return compile_pattern(text) if text else None
    except PatternError:
        return None


def prune(schema: Schema, obj: Obj) -> list[str]:
    """Drops, in place, the fields of a whole object that its schema does not know; returns their paths."""
    found: list[str] = []
    _prune(schema, obj, True, "", found)
    return found


def _prune(schema: Schema | None, value: Any, root: bool, path: str, found: list[str]) -> None:
    if type(value) is dict:
        keeps = schema is not None and schema.preserve
        prefix = f"{path}." if path else ""
        for key in list(value):
            if root and key in META:
                continue
            if schema is not None and (below := schema.properties.get(key)) is not None:
                _prune(below, value[key], below.embedded, prefix + key, found)
            elif schema is not None and schema.any_key:
                extra = schema.additional
                if extra is not None:
                    _prune(extra, value[key], extra.embedded, prefix + key, found)
                elif not keeps:
                    _prune(None, value[key], False, prefix + key, found)
            elif not keeps:
                del value[key]
                found.append(prefix + key)
    elif type(value) is list:
        below = schema.items if schema is not None else None
        if below is None and schema is not None and schema.preserve:
            return
        for index, item in enumerate(value):
            _prune(below, item, below is not None and below.embedded, f"{path}[{index}]", found)


def drop_nulls(schema: Schema, value: Any) -> None:
    """Drops, in place, nulls of fields that are not nullable; their defaults can then take the place."""
    if type(value) is dict:
        for key in list(value):
            below = schema.of_key(key)
            if below is None:
                continue
            if value[key] is None:
                if not below.nullable:
                    del value[key]
            else:
                drop_nulls(below, value[key])
    elif type(value) is list and schema.items is not None:
        for item in value:
            drop_nulls(schema.items, item)


def fill(schema: Schema, value: Any) -> None:
    """Fills in defaults, in place, where a field is absent, or null but not nullable."""
    if not schema.has_defaults:
        return
    if type(value) is dict:
        for key, below in schema.properties.items():
            if below.default is not ABSENT and (key not in value or (value[key] is None and not below.nullable)):
                value[key] = copy(below.default)
        for key, item in value.items():
            part = schema.of_key(key)
            if part is not None and part.has_defaults:
                if item is None and not part.nullable and part.default is not ABSENT:
                    value[key] = item = copy(part.default)
                fill(part, item)
    elif type(value) is list and schema.items is not None:
        for index, item in enumerate(value):
            if item is None and not schema.items.nullable and schema.items.default is not ABSENT:
                value[index] = copy(schema.items.default)
            fill(schema.items, value[index])


def copy(value: Any) -> Any:
    """An independent copy of a JSON value."""
    if type(value) is dict:
        return {key: copy(item) for key, item in value.items()}
    if type(value) is list:
        return [copy(item) for item in value]
    return value

"""Whether one type fits another, with type variables bound on the way.

Source: CEL language definition, "Gradual Type Checking"; which types null fits is cel-go's rule.
"""

from __future__ import annotations

from hawser.api.cel.types import DYN, Type

Bindings = dict[str, Type]
_NULLABLE = ("object", "opaque", "duration", "timestamp", "null")


def assignable(bound: Bindings, wanted: Type, given: Type) -> bool:
    """Whether given fits wanted; binds variables in place, also when it does not (give it a copy)."""
    if wanted.kind == "var":
        return _bind(bound, wanted, given, True)
    if given.kind == "var":
        return _bind(bound, given, wanted, False)
    if wanted.loose or given.loose:
        return True
    if given.kind == "null":
        return wanted.kind in _NULLABLE
    if wanted.kind == "null":
        return given.kind in _NULLABLE
    if wanted.kind != given.kind or (wanted.kind in ("object", "opaque") and wanted.name != given.name):
        return False
    if wanted.kind == "type":
        return True
    if len(wanted.params) != len(given.params):
        return False
    return all(assignable(bound, one, other) for one, other in zip(wanted.params, given.params, strict=True))


def _bind(bound: Bindings, variable: Type, other: Type, wanted: bool) -> bool:
    if other.kind == "var" and other.name == variable.name:
        return True
    known = bound.get(variable.name)
    if known is not None:
        if not (assignable(bound, known, other) if wanted else assignable(bound, other, known)):
            return False
        if _general(known, other):
            bound[variable.name] = other
        return True
    if _mentions(bound, other, variable.name):
        return False
    bound[variable.name] = other
    return True


def _general(known: Type, other: Type) -> bool:
    """Whether other takes the place of what a variable was bound to: it is looser."""
    return (other.kind == "dyn" and known.kind != "dyn") or (known.kind == "null" and other.kind != "null")


def _mentions(bound: Bindings, given: Type, name: str) -> bool:
    if given.kind == "var":
        known = bound.get(given.name)
        return given.name == name or (known is not None and _mentions(bound, known, name))
    return any(_mentions(bound, param, name) for param in given.params)


def substitute(bound: Bindings, given: Type, free_to_dyn: bool = False) -> Type:
    """A type with its variables replaced by what they are bound to; what is free stays or becomes dyn."""
    if given.kind == "var":
        known = bound.get(given.name)
        if known is not None:
            return substitute(bound, known, free_to_dyn)
        return DYN if free_to_dyn else given
    if not given.params:
        return given
    params = tuple(substitute(bound, param, free_to_dyn) for param in given.params)
    return given if params == given.params else Type(given.kind, given.name, params, given.shape)


def open_ended(given: Type) -> bool:
    """Whether there are variables in a type."""
    return given.kind == "var" or any(map(open_ended, given.params))


def rename(given: Type, names: dict[str, Type]) -> Type:
    """A declared type with fresh variables in place of its own."""
    if given.kind == "var":
        return names.setdefault(given.name, given)
    if not given.params:
        return given
    return Type(given.kind, given.name, tuple(rename(param, names) for param in given.params), given.shape)

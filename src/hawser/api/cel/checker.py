"""The type checker. Source: CEL language definition, "Gradual Type Checking"; messages are cel-go's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hawser.api.cel.declarations import Environment, Overload
from hawser.api.cel.syntax import (
    Call,
    CompileError,
    Fold,
    Ident,
    ListNode,
    Literal,
    MapNode,
    Node,
    Select,
    Source,
    Struct,
)
from hawser.api.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DYN,
    ERROR,
    INT,
    NULL,
    SCALARS,
    SORTABLE,
    STRING,
    UINT,
    Type,
    is_optional,
    list_of,
    map_of,
    optional_of,
    type_of,
)
from hawser.api.cel.unify import Bindings, assignable, open_ended, rename, substitute
from hawser.api.cel.values import UInt

_LITERALS: dict[type, Type] = {
    bool: BOOL, int: INT, UInt: UINT, float: DOUBLE, str: STRING, bytes: BYTES, type(None): NULL,
}  # fmt: skip
TYPE_NAMES: dict[str, Type] = {
    **{name: SCALARS[name] for name in ("bool", "int", "uint", "double", "string", "bytes", "type")},
    "null_type": NULL, "list": list_of(DYN), "map": map_of(DYN, DYN),
    "google.protobuf.Timestamp": SCALARS["timestamp"], "google.protobuf.Duration": SCALARS["duration"],
    "optional_type": optional_of(DYN), "kubernetes.Quantity": Type("opaque", "kubernetes.Quantity"),
    "kubernetes.URL": Type("opaque", "kubernetes.URL"), "net.IP": Type("opaque", "net.IP"),
    "net.CIDR": Type("opaque", "net.CIDR"), "kubernetes.Semver": Type("opaque", "kubernetes.Semver"),
}  # fmt: skip
"""Identifiers that are types."""


@dataclass(slots=True)
class Checked:
    """A tree and what is known of its nodes, by id().

    overloads: the forms that a call may have. names: variables and types that identifiers and selections stand for.
    """

    root: Node
    types: dict[int, Type]
    overloads: dict[int, list[Overload]]
    names: dict[int, str]

    def type(self, node: Node) -> Type:
        return self.types.get(id(node), DYN)

    @property
    def used(self) -> set[str]:
        """The variables that the expression refers to."""
        return set(self.names.values())


def check(root: Node, source: str, environment: Environment) -> Checked:
    """The types of a tree. Raises CompileError with everything that does not fit."""
    checker = _Checker(environment)
    checker.check(root)
    if checker.problems:
        raise CompileError(Source(source), checker.problems)
    types = {key: substitute(checker.bound, one, True) for key, one in checker.types.items()}
    return Checked(root, types, checker.overloads, checker.names)


class _Checker:
    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._scopes: list[dict[str, Type]] = []
        self._fresh = 0
        self.bound: Bindings = {}
        self.types: dict[int, Type] = {}
        self.overloads: dict[int, list[Overload]] = {}
        self.names: dict[int, str] = {}
        self.problems: list[tuple[int, str]] = []

    def check(self, node: Node) -> Type:
        known = self.types.get(id(node))
        if known is None:
            known = self.types[id(node)] = self._of(node)
        return known

    def _of(self, node: Node) -> Type:
        match node:
            case Literal():
                return _LITERALS[type(node.value)]
            case Ident():
                return self._ident(node)
            case Select():
                return self._select(node)
            case Call():
                return self._call(node)
            case ListNode():
                return self._list(node)
            case MapNode():
                return self._map(node)
            case Struct():
                return self._struct(node)
            case Fold():
                return self._fold(node)
        raise AssertionError(node)

    def _problem(self, at: int, text: str) -> Type:
        self.problems.append((at, text))
        return ERROR

    def _name(self, given: Type) -> str:
        return str(substitute(self.bound, given, True))

    def _variable(self) -> Type:
        self._fresh += 1
        return Type("var", f"_var{self._fresh}")

    def _lookup(self, name: str) -> Type | None:
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        name = name.removeprefix(".")
        found = self._environment.variables.get(name)
        if found is None and name in TYPE_NAMES:
            return type_of(TYPE_NAMES[name])
        if found is None and name in self._environment.messages:
            return type_of(self._environment.messages[name])
        return found

    def _ident(self, node: Ident) -> Type:
        found = self._lookup(node.name)
        if found is None:
            return self._problem(node.at, f"undeclared reference to '{node.name}' (in container '')")
        if not any(node.name in scope for scope in self._scopes):
            self.names[id(node)] = node.name.removeprefix(".")
        return found

    def _select(self, node: Select) -> Type:
        name = qualified(node)
        if name is not None and "." in name:
            found = self._environment.variables.get(name)
            if found is None and self._lookup(name.partition(".")[0]) is None:
                found = self._lookup(name)
            if found is not None:
                self.names[id(node)] = name
                return found
        found = self._field(node.at, node.operand, node.field, False)
        return BOOL if node.test else found

    def _field(self, at: int, operand: Node, name: str, optional: bool) -> Type:
        given = substitute(self.bound, self.check(operand))
        wrapped = is_optional(given)
        if wrapped:
            given = given.params[0]
        if given.kind == "map":
            found = given.params[1]
        elif given.kind == "object":
            known = given.shape.fields.get(name)
            if known is not None:
                found = known.type
            elif given.shape.fields or not given.name.startswith("Object"):
                found = self._problem(at, f"undefined field '{name}'")
            else:
                found = DYN
        elif given.kind == "var":
            assignable(self.bound, DYN, given)
            found = DYN
        else:
            if not given.loose and given.kind != "type":
                self._problem(at, f"type '{self._name(given)}' does not support field selection")
            found = DYN
        return optional_of(found) if wrapped or optional else found

    def _call(self, node: Call) -> Type:
        if node.function == "_?._":
            chosen = node.args[1]
            assert isinstance(chosen, Literal)
            return self._field(node.at, node.args[0], chosen.value, True)
        args = [self.check(arg) for arg in node.args]
        functions = self._environment.functions
        if node.target is None:
            name = node.function.removeprefix(".")
            if name not in functions:
                return self._problem(node.at, f"undeclared reference to '{name}' (in container '')")
            return self._resolve(node, name, args, False)
        prefix = qualified(node.target)
        if prefix is not None and f"{prefix}.{node.function}" in functions and self._lookup(prefix) is None:
            return self._resolve(node, f"{prefix}.{node.function}", args, False)
        target = self.check(node.target)
        if node.function not in functions:
            return self._problem(node.at, f"undeclared reference to '{node.function}' (in container '')")
        return self._resolve(node, node.function, [target, *args], True)

    def _resolve(self, node: Call, name: str, args: list[Type], method: bool) -> Type:
        result: Type | None = None
        fitting: list[Overload] = []
        # Without open variables in the arguments, what a form binds is its own affair.
        own = not any(map(open_ended, args))
        for one in self._environment.functions[name]:
            if one.method != method or len(one.params) != len(args):
                continue
            fresh = _Fresh(self._variable)
            params = [rename(param, fresh) for param in one.params]
            trial: Bindings = {} if own else dict(self.bound)
            if not all(assignable(trial, param, arg) for param, arg in zip(params, args, strict=True)):
                continue
            fitting.append(one)
            found = substitute(trial, rename(one.result, fresh))
            if not own:
                self.bound = trial
            if result is None:
                result = found
            elif result.kind != "dyn" and result != found:
                result = DYN
        if result is None:
            shown = [self._name(arg) for arg in args]
            form = f"{shown[0]}.({', '.join(shown[1:])})" if method else f"({', '.join(shown)})"
            return self._problem(node.at, f"found no matching overload for '{name}' applied to '{form}'")
        self.overloads[id(node)] = fitting
        return result

    def _join(self, at: int, before: Type | None, given: Type) -> Type:
        if before is None:
            return given
        trial = dict(self.bound)
        if assignable(trial, before, given):
            self.bound = trial
            return given if given.loose or before.kind == "null" else before
        return self._problem(at, f"expected type '{self._name(before)}' but found '{self._name(given)}'")

    def _unwrapped(self, at: int, given: Type) -> Type:
        """The value's type of an optional element; anything else is wrong."""
        given = substitute(self.bound, given)
        if is_optional(given):
            return given.params[0]
        if given.loose:
            return DYN
        return self._problem(at, f"expected type '{optional_of(given)}' but found '{self._name(given)}'")

    def _list(self, node: ListNode) -> Type:
        item: Type | None = None
        for index, one in enumerate(node.items):
            given = self.check(one)
            if index in node.optional:
                given = self._unwrapped(one.at, given)
            item = self._join(one.at, item, given)
        return list_of(item or self._variable())

    def _map(self, node: MapNode) -> Type:
        key: Type | None = None
        value: Type | None = None
        for name, one, optional in node.entries:
            key = self._join(name.at, key, self.check(name))
            given = self.check(one)
            value = self._join(one.at, value, self._unwrapped(one.at, given) if optional else given)
        return map_of(key or self._variable(), value or self._variable())

    def _struct(self, node: Struct) -> Type:
        found = self._environment.messages.get(node.name)
        if found is None and "Object" in self._environment.messages and node.name.startswith("Object."):
            found = Type("object", node.name)
        for _, value, _, _ in node.fields:
            self.check(value)
        if found is None:
            return self._problem(node.at, f"undeclared reference to '{node.name}' (in container '')")
        for name, value, optional, at in node.fields:
            given = self.check(value)
            if optional:
                given = self._unwrapped(value.at, given)
            if not found.shape.fields:
                self._dynamic_field(found, name, given, at)
                continue
            known = found.shape.fields.get(name)
            if known is None:
                self._problem(at, f"undefined field '{name}'")
            elif not assignable(self.bound, known.type, given):
                self._problem(
                    at, f"expected type of field '{name}' is '{known.type}' but provided type is '{self._name(given)}'"
                )
        return found

    def _dynamic_field(self, message: Type, name: str, given: Type, at: int) -> None:
        """A field of Object and what is below: a message there is named after the way to it."""
        inner = given.params[0] if given.kind == "list" and given.params else given
        if inner.kind == "object" and inner.name.startswith("Object") and inner.name != f"{message.name}.{name}":
            self._problem(
                at, f"expected type of field '{name}' is '{message.name}.{name}' but provided type is '{inner.name}'"
            )

    def _fold(self, node: Fold) -> Type:
        given = substitute(self.bound, self.check(node.range))
        if node.macro in ("optMap", "optFlatMap"):
            return self._optional(node, given)
        if node.macro == "bind":
            return self._bound(node, given)
        key, item = DYN, DYN
        if given.kind == "list":
            key, item = INT, given.params[0]
        elif given.kind == "map":
            key, item = given.params
        elif not given.loose and given.kind != "var":
            self._problem(
                node.range.at,
                f"expression of type '{self._name(given)}' cannot be range of a comprehension "
                "(must be list, map, or dynamic)",
            )
            key = item = ERROR
        start = self.check(node.start)
        if len(node.variables) == 2:
            scope = {node.variables[0]: key, node.variables[1]: item}
        else:
            scope = {node.variables[0]: key if given.kind == "map" else item}
        self._scopes.append({node.accumulator: start})
        self._scopes.append(scope)
        self._expect(node.condition, BOOL)
        self._expect(node.step, start)
        self._scopes.pop()
        result = substitute(self.bound, self.check(node.result))
        self._scopes.pop()
        return self._sorted(node, given, result) if node.macro == "sortBy" else result

    def _sorted(self, node: Fold, given: Type, keys: Type) -> Type:
        """sortBy: the list that it began with, when the keys have an order."""
        if keys.params[0].kind in (*SORTABLE, "dyn", "error", "var") and given.kind != "map":
            return given
        shown = f"{self._name(given)}.({self._name(keys)})"
        return self._problem(node.at, f"found no matching overload for '@sortByAssociatedKeys' applied to '{shown}'")

    def _optional(self, node: Fold, given: Type) -> Type:
        if not is_optional(given) and not given.loose:
            return self._problem(
                node.at, f"found no matching overload for 'hasValue' applied to '{self._name(given)}.()'"
            )
        self._scopes.append({node.variables[0]: given.params[0] if is_optional(given) else DYN})
        result = self.check(node.result)
        self._scopes.pop()
        if node.macro == "optMap":
            return optional_of(result)
        return result if is_optional(result) or result.loose else self._unwrapped(node.result.at, result)

    def _bound(self, node: Fold, given: Type) -> Type:
        if not self._environment.bindings:
            return self._problem(node.at, "undeclared reference to 'cel' (in container '')")
        self._scopes.append({node.variables[0]: given})
        result = self.check(node.result)
        self._scopes.pop()
        return result

    def _expect(self, node: Node, wanted: Type) -> None:
        given = self.check(node)
        if not assignable(self.bound, wanted, given):
            self._problem(node.at, f"expected type '{self._name(wanted)}' but found '{self._name(given)}'")


class _Fresh(dict[str, Type]):
    """Fresh variables for the variables of a declaration, made when they are first met."""

    def __init__(self, make: Callable[[], Type]) -> None:
        super().__init__()
        self._make = make

    def setdefault(self, name: str, _: Type | None = None) -> Type:
        found = self.get(name)
        if found is None:
            found = self[name] = self._make()
        return found


def qualified(node: Node) -> str | None:
    """The dotted name that a node may be, of functions, types and variables."""
    if isinstance(node, Ident):
        return node.name.removeprefix(".")
    if isinstance(node, Select) and not node.test:
        before = qualified(node.operand)
        return f"{before}.{node.field}" if before is not None else None
    return None

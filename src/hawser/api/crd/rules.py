"""x-kubernetes-validations: the rules of a schema, compiled once, and what they say of an object.

Source: Kubernetes documentation, "Validation rules", "Transition rules" and "Validation ratcheting" of
CustomResourceDefinitions; the sentences are those of apiextensions-apiserver.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hawser.api.cel.costs import BUDGET, MESSAGE_SIZE, PER_CALL
from hawser.api.cel.patience import ENDLESS, LaboriousError
from hawser.api.cel.program import CompileError, Program, WrongTypeError, compile_expression, environment
from hawser.api.cel.schemas import converted, declared, with_metadata
from hawser.api.cel.types import BOOL, STRING, Type, optional_of
from hawser.api.cel.values import NONE, CostError, EvalError, Opt
from hawser.api.crd.checks import key_of, same
from hawser.api.crd.fieldpaths import PathError, normalized
from hawser.api.crd.schema import ABSENT, RULES, has_rules
from hawser.api.errors import Cause, FieldError
from hawser.api.types import Obj

_WHOLE = "<nil>"
_BLOCKING = (Cause.NOT_SUPPORTED, Cause.REQUIRED, Cause.TOO_LONG, Cause.TOO_MANY, Cause.TYPE_INVALID)
_SPENT = "validation failed due to running out of cost budget, no further validation rules will be run"
SKIPPED = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete "
    "validation"
)


class RuleError(Exception):
    """A rule or message that cannot be compiled; str() is the detail of the error."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. error: why it cannot be evaluated; program and message are None then.

    transition: it refers to oldSelf. path: where its errors are, below the value's own path.
    """

    source: Obj
    program: Program | None = None
    message: Program | None = None
    error: str = ""
    path: str = ""

    @property
    def transition(self) -> bool:
        return any(one is not None and "oldSelf" in one.used for one in (self.program, self.message))

    @property
    def optional(self) -> bool:
        return bool(self.source.get("optionalOldSelf"))

    @property
    def shown(self) -> str:
        """What stands for it in sentences."""
        return str(self.source.get("message") or self.source.get("rule") or "").strip()


@dataclass(slots=True)
class Node:
    """The rules of a schema and of what is below it. kind: the schema's type, which errors show."""

    schema: Obj
    kind: str
    type: Type | None
    rules: list[Rule] = field(default_factory=list)
    properties: dict[str, Node] = field(default_factory=dict)
    items: Node | None = None
    additional: Node | None = None
    everything: list[Node] = field(default_factory=list)


def compile_tree(schema: Obj, structure: Obj | None = None, root: bool = True) -> Node | None:
    """The rules of a whole schema; None when it has none. structure: the schema itself, where schema is in allOf."""
    if not has_rules(schema):
        return None
    base = structure if structure is not None else schema
    given = declared(base, root)
    node = Node(with_metadata(base) if root else base, base.get("type") or "", given)
    if schema.get(RULES):
        node.rules = compile_rules(schema[RULES], base, given)
    for name, part in (schema.get("properties") or {}).items():
        own = (base.get("properties") or {}).get(name)
        if isinstance(own, dict) and (below := _below(part, own, structure)) is not None:
            node.properties[name] = below
    for name in ("items", "additionalProperties"):
        part, own = schema.get(name), base.get(name)
        if isinstance(part, dict) and isinstance(own, dict) and (below := _below(part, own, structure)) is not None:
            if name == "items":
                node.items = below
            else:
                node.additional = below
    for part in schema.get("allOf") or ():
        if (below := compile_tree(part, base, root)) is not None:
            node.everything.append(below)
    return node


def _below(part: Obj, own: Obj, structure: Obj | None) -> Node | None:
    return compile_tree(part, own if structure is not None else None, bool(own.get("x-kubernetes-embedded-resource")))


def compile_rules(sources: list[Obj], schema: Obj, given: Type | None) -> list[Rule]:
    """The rules of one schema."""
    return [compile_rule(source, schema, given) for source in sources]


def compile_rule(source: Obj, schema: Obj, given: Type | None) -> Rule:
    """One rule, or why it is none."""
    if given is None:
        return Rule(source, error=unsupported(schema))
    try:
        path = normalized(source["fieldPath"], schema) if source.get("fieldPath") else ""
    except PathError as error:
        return Rule(source, error=f"invalid fieldPath: {error}")
    try:
        program, message = compile_programs(source, given)
    except RuleError as error:
        return Rule(source, error=str(error))
    return Rule(source, program, message, path=path)


def compile_programs(source: Obj, given: Type) -> tuple[Program, Program | None]:
    """A rule's expression and its messageExpression's. RuleError, in apiextensions-apiserver's words."""
    before = optional_of(given) if source.get("optionalOldSelf") else given
    known = environment({"self": given, "oldSelf": before})
    try:
        program = compile_expression(source.get("rule", ""), known, (BOOL,))
    except CompileError as error:
        raise RuleError(f"compilation failed: {error}") from None
    except WrongTypeError:
        raise RuleError("cel expression must evaluate to a bool") from None
    if not (source.get("messageExpression") or "").strip():
        return program, None
    return program, compile_message(source["messageExpression"], given, before)


class MessageError(RuleError):
    """It is the messageExpression that cannot be compiled."""


def compile_message(text: str, given: Type, before: Type) -> Program:
    """A messageExpression. MessageError."""
    try:
        return compile_expression(text, environment({"self": given, "oldSelf": before}), (STRING,))
    except CompileError as error:
        raise MessageError(f"messageExpression compilation failed: {error}") from None
    except WrongTypeError:
        raise MessageError("messageExpression must evaluate to a string") from None


def unsupported(schema: Obj) -> str:
    kind = schema.get("type") or ""
    keeps = "true" if schema.get("x-kubernetes-preserve-unknown-fields") else "false"
    return (
        f"rule declared on schema that does not support validation rules type: '{kind}' "
        f"x-kubernetes-preserve-unknown-fields: '{keeps}'"
    )


def blocked(errors: list[FieldError]) -> FieldError | None:
    """What is said instead of evaluating rules when the object is not even of its schema; None when it is."""
    if any(error.cause in _BLOCKING for error in errors):
        return FieldError(Cause.INVALID, _WHOLE, SKIPPED, None)
    return None


class Evaluation:
    """One run of rules over an object, with one budget. errors: what is wrong; warnings: what was wrong before."""

    def __init__(self, budget: int = BUDGET, patience: int = ENDLESS) -> None:
        """patience: the cost at which ``run`` gives up with LaboriousError."""
        self.left = budget
        self._patience = patience
        self.errors: list[FieldError] = []
        self.warnings: list[str] = []

    def run(self, node: Node, value: Any, old: Any, path: str = "", kept: tuple[Any, Any] | None = None) -> None:
        """All rules of a value and below. old: its former self, ABSENT without one.

        kept: the nearest pair of a value and its former self, which tells whether an error is an old one.
        """
        if value is None or self.left < 0:
            return
        if old is not ABSENT:
            kept = (value, old)
        if node.rules:
            self._rules(node, value, old, path, kept)
        for part in node.everything:
            self.run(part, value, old, path, kept)
        if type(value) is dict:
            self._map(node, value, old if type(old) is dict else ABSENT, path, kept)
        elif type(value) is list and node.items is not None:
            self._list(node, value, old if type(old) is list else ABSENT, path, kept)

    def _map(self, node: Node, value: Obj, old: Any, path: str, kept: Any) -> None:
        if old is ABSENT or node.schema.get("x-kubernetes-map-type") == "atomic":
            old = {}
        for key, item in value.items():
            below, place = node.properties.get(key), f"{path}.{key}" if path else key
            if below is None and node.additional is not None:
                below, place = node.additional, f"{path}[{key}]"
            if below is not None:
                was = old.get(key, ABSENT)
                self.run(below, item, ABSENT if was is None else was, place, kept)

    def _list(self, node: Node, value: list[Any], old: Any, path: str, kept: Any) -> None:
        assert node.items is not None
        keys = node.schema.get("x-kubernetes-list-map-keys") or ()
        known: dict[Any, Any] = {}
        if node.schema.get("x-kubernetes-list-type") == "map" and old is not ABSENT:
            known = {key_of(item, keys): item for item in old}
            for index, item in enumerate(value):
                self.run(node.items, item, known.get(key_of(item, keys), ABSENT), f"{path}[{index}]", kept)
            return
        for index, item in enumerate(value):
            self.run(node.items, item, ABSENT, f"{path}[{index}]", kept)

    def _rules(self, node: Node, value: Any, old: Any, path: str, kept: Any) -> None:
        place = path or _WHOLE
        if self.left <= 0:
            self._spent(node, place)
            return
        assert node.type is not None or all(rule.error for rule in node.rules)
        try:
            now = converted(node.type, value) if node.type is not None else value
            before = converted(node.type, old) if old is not ABSENT and node.type is not None else ABSENT
        except EvalError as error:
            self.errors.append(FieldError(Cause.INVALID, place, f"rule evaluation error: {error}", node.kind))
            return
        for rule in node.rules:
            if self.left < 0:
                return
            if rule.error:
                self.errors.append(FieldError(Cause.INVALID, place, f"rule compile error: {rule.error}", node.kind))
            elif not (rule.transition and before is ABSENT and not rule.optional):
                self._rule(node, rule, now, before, place, kept)

    def _rule(self, node: Node, rule: Rule, now: Any, before: Any, place: str, kept: Any) -> None:
        assert rule.program is not None
        former: Any = before
        if rule.optional:
            former = NONE if before is ABSENT else Opt(before)
        value, failure, cost = self._attempt(rule.program, [now, former])
        if cost > self.left:
            self._spent(node, place)
            return
        self.left -= cost
        if failure is not None:
            self._failed(node, rule, failure, place)
            return
        if value is True:
            return
        at = place if not rule.path else f"{place}.{rule.path}" if place != _WHOLE else rule.path
        detail = self._message(node, rule, [now, former], at)
        if detail is None:
            return
        error = _error(rule, at, node.kind, detail)
        if not rule.transition and kept is not None and same(*kept):
            self.warnings.append(str(error))
        else:
            self.errors.append(error)

    def _attempt(self, program: Program, values: list[Any]) -> tuple[Any, EvalError | CostError | None, int]:
        limit = min(PER_CALL, self._patience)
        value, failure, cost = program.attempt(values, limit)
        self._patience -= cost
        if self._patience <= 0 or (limit < PER_CALL and isinstance(failure, CostError)):
            raise LaboriousError
        return value, failure, cost

    def _spent(self, node: Node, place: str) -> None:
        self.errors.append(FieldError(Cause.INVALID, place, _SPENT, node.kind))
        self.left = -1

    def _failed(self, node: Node, rule: Rule, failure: EvalError | CostError, place: str) -> None:
        if isinstance(failure, CostError):
            detail = (
                f"'{failure}': no further validation rules will be run due to call cost exceeds limit for rule: "
                f"{rule.shown}"
            )
            self.left = -1
        elif str(failure).startswith("no such overload"):
            detail = (
                f"'{failure}': call arguments did not match a supported operator, function or macro signature for "
                f"rule: {rule.shown}"
            )
        else:
            detail = f"{failure} evaluating rule: {rule.shown}"
        self.errors.append(FieldError(Cause.INVALID, place, detail, node.kind))

    def _message(self, node: Node, rule: Rule, values: list[Any], place: str) -> str | None:
        """The sentence of a broken rule; None when telling it took more than there was, which is an error then."""
        if rule.message is not None:
            value, failure, cost = self._attempt(rule.message, values)
            if cost > self.left or isinstance(failure, CostError):
                reason = (
                    f'no further validation rules will be run due to call cost exceeds limit for messageExpression: "'
                    f'{rule.source["messageExpression"]}"'
                    if cost <= self.left
                    else "messageExpression evaluation failed due to running out of cost budget, no further validation "
                    "rules will be run"
                )
                self.errors.append(FieldError(Cause.INVALID, place, reason, node.kind))
                self.left = -1
                return None
            self.left -= cost
            text = value.strip() if failure is None and type(value) is str else ""
            if text and "\n" not in text and len(text.encode()) <= MESSAGE_SIZE:
                return text
        given = rule.source.get("message")
        return given.strip() if given else f"failed rule: {rule.shown}"


def _error(rule: Rule, place: str, kind: str, detail: str) -> FieldError:
    match rule.source.get("reason"):
        case "FieldValueForbidden":
            return FieldError(Cause.FORBIDDEN, place, detail)
        case "FieldValueRequired":
            return FieldError(Cause.REQUIRED, place, detail)
        case "FieldValueDuplicate":
            return FieldError(Cause.DUPLICATE, place, "", kind)
    return FieldError(Cause.INVALID, place, detail, kind)

"""Whether the rules of a CustomResourceDefinition's schema can be evaluated: they compile and are cheap enough.

Source: Kubernetes documentation, "Validation rules" ("Resource use by validation functions"); the sentences are
apiextensions-apiserver's.
"""

from __future__ import annotations

import heapq
import re
from dataclasses import dataclass, field, replace

from hawser.api.cel.estimator import worst_cost
from hawser.api.cel.program import Program
from hawser.api.cel.schemas import REQUEST_SIZE, declared
from hawser.api.cel.sizes import MOST
from hawser.api.cel.types import Type
from hawser.api.crd.fieldpaths import PathError, normalized
from hawser.api.crd.rules import Evaluation, MessageError, RuleError, compile_programs, compile_tree, unsupported
from hawser.api.crd.schema import ABSENT, RULES, has_rules
from hawser.api.types import Obj
from hawser.api.validation.rules import Errors, forbidden, invalid, required
from hawser.api.validation.rules import unsupported as not_supported

RULE_LIMIT = 10_000_000
TOTAL_LIMIT = 100_000_000
_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_NEWLINE = re.compile(r"[\n\r]")


@dataclass(slots=True)
class _Total:
    """The costs of all rules. costly: the most expensive, with their paths. broken: paths of rules that are wrong."""

    cost: int = 0
    costly: list[tuple[int, str]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def add(self, path: str, cost: int) -> None:
        self.cost = min(self.cost + cost, MOST)
        if cost >= 1:
            heapq.heappush(self.costly, (cost, path))
            if len(self.costly) > 5:
                heapq.heappop(self.costly)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a schema is. count: how often its values may occur, None without a limit. lost: the path from which on
    oldSelf has no meaning. root: whether it is a whole object's."""

    path: str
    count: int | None = 1
    lost: str = ""
    root: bool = False

    def below(self, name: str, count: int | None, lost: str, root: bool) -> _Place:
        return replace(self, path=self.path + name, count=count, lost=self.lost or lost, root=root)


def check_rules(schema: Obj, path: str) -> Errors:
    """Every error of the rules in the (structural) schema of whole objects."""
    total = _Total()
    yield from _schema(schema, _Place(path, root=True), total)
    if total.cost > TOTAL_LIMIT:
        for _, place in sorted(total.costly, reverse=True):
            yield forbidden(
                place, "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
            )
        yield forbidden(
            path,
            _too_much("x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema", total.cost,
                      TOTAL_LIMIT),
        )  # fmt: skip


def _schema(schema: Obj, at: _Place, total: _Total) -> Errors:
    atomic = schema.get("x-kubernetes-map-type") == "atomic"
    for name, part in (schema.get("properties") or {}).items():
        place = at.below(f".properties[{name}]", at.count, at.path if atomic else "", _embedded(part))
        yield from _schema(part, place, total)
    extra, items = schema.get("additionalProperties"), schema.get("items")
    if isinstance(extra, dict):
        count = _times(at.count, schema.get("maxProperties"))
        place = at.below(".additionalProperties", count, "", _embedded(extra))
        yield from _schema(extra, place, total)
    if isinstance(items, dict):
        lost = "" if schema.get("x-kubernetes-list-type") == "map" else at.path
        place = at.below(".items", _times(at.count, schema.get("maxItems")), lost, _embedded(items))
        yield from _schema(items, place, total)
    before = len(total.broken)
    if schema.get(RULES):
        for error in _rules(schema, at, total):
            total.broken.append(error.field)
            yield error
    if "default" in schema and len(total.broken) == before and has_rules(schema):
        yield from _default(schema, at)


def _default(schema: Obj, at: _Place) -> Errors:
    """What the rules say of a default."""
    tree = compile_tree(schema, None, at.root)
    if tree is not None:
        evaluation = Evaluation()
        evaluation.run(tree, schema["default"], ABSENT, f"{at.path}.default")
        yield from evaluation.errors


def _embedded(schema: Obj) -> bool:
    return bool(schema.get("x-kubernetes-embedded-resource"))


def _times(count: int | None, most: int | None) -> int | None:
    return None if count is None or most is None else min(count * max(most, 0), MOST)


def _rules(schema: Obj, at: _Place, total: _Total) -> Errors:
    sources: list[Obj] = schema[RULES]
    broken = False
    for index, source in enumerate(sources):
        for error in _form(source, schema, f"{at.path}.{RULES}[{index}]"):
            broken = True
            yield error
    if broken:
        return
    given = declared(schema, at.root)
    if given is None:
        yield invalid(f"{at.path}.{RULES}", schema.get("type") or "", unsupported(schema))
        return
    for index, source in enumerate(sources):
        yield from _rule(source, given, at, f"{at.path}.{RULES}[{index}]", total)


def _form(source: Obj, schema: Obj, path: str) -> Errors:
    """What is wrong with a rule before its expressions are looked at."""
    rule, message = source.get("rule") or "", source.get("message") or ""
    trimmed = message.strip()
    if not rule.strip():
        yield required(f"{path}.rule", "rule is not specified")
    elif message and not trimmed:
        yield invalid(f"{path}.message", message, "message must be non-empty if specified")
    elif _NEWLINE.search(trimmed):
        yield invalid(f"{path}.message", message, "message must not contain line breaks")
    elif _NEWLINE.search(rule.strip()) and not trimmed:
        yield required(f"{path}.message", "message must be specified if rule contains line breaks")
    expression = source.get("messageExpression") or ""
    if expression and not expression.strip():
        yield required(f"{path}.messageExpression", "messageExpression must be non-empty if specified")
    reason = source.get("reason")
    if reason is not None and reason not in _REASONS:
        yield not_supported(f"{path}.reason", reason, _REASONS)
    chosen = source.get("fieldPath") or ""
    if chosen and not chosen.strip():
        yield invalid(f"{path}.fieldPath", chosen, "fieldPath must be non-empty if specified")
    if "\n" in chosen or "\r" in chosen:
        yield invalid(f"{path}.fieldPath", chosen, "fieldPath must not contain line breaks")
    if chosen:
        try:
            normalized(chosen, schema)
        except PathError:
            yield invalid(f"{path}.fieldPath", chosen, "fieldPath must be a valid path")


def _shown(source: Obj) -> Obj:
    """A rule as kube-apiserver shows it: the fields of its internal type."""
    return {
        "Rule": source.get("rule", ""),
        "Message": source.get("message", ""),
        "MessageExpression": source.get("messageExpression", ""),
        "Reason": source.get("reason"),
        "FieldPath": source.get("fieldPath", ""),
        "OptionalOldSelf": source.get("optionalOldSelf"),
    }


def _rule(source: Obj, given: Type, at: _Place, path: str, total: _Total) -> Errors:
    try:
        program, message = compile_programs(source, given)
    except MessageError as error:
        yield invalid(f"{path}.messageExpression", _shown(source), str(error))
        return
    except RuleError as error:
        yield invalid(f"{path}.rule", _shown(source), str(error))
        return
    cost = _cost(program, given, at)
    if cost > RULE_LIMIT:
        yield forbidden(f"{path}.rule", _too_much("estimated rule cost", cost, RULE_LIMIT))
    total.add(f"{path}.rule", cost)
    if message is not None:
        own = _estimate(message, given)
        if own > RULE_LIMIT:
            yield forbidden(f"{path}.messageExpression", _too_much("estimated messageExpression cost", own, RULE_LIMIT))
        total.add(f"{path}.messageExpression", own)
    if any("oldSelf" in one.used for one in (program, message) if one is not None):
        if at.lost:
            yield invalid(
                f"{path}.rule",
                source["rule"],
                f"oldSelf cannot be used on the uncorrelatable portion of the schema within {at.lost}",
            )
    elif source.get("optionalOldSelf") is not None:
        yield invalid(
            f"{path}.optionalOldSelf", source["optionalOldSelf"], "may not be set if oldSelf is not used in rule"
        )


def _estimate(program: Program, given: Type) -> int:
    return worst_cost(program.checked, {"self": given, "oldSelf": given})


def _cost(program: Program, given: Type, at: _Place) -> int:
    """The most that a rule costs in all places that it is evaluated in."""
    count = at.count if at.count is not None else REQUEST_SIZE // (given.shape.least_bytes + 1)
    return min(_estimate(program, given) * count, MOST)


def _too_much(what: str, cost: int, limit: int) -> str:
    factor = cost / limit
    if factor > 100:
        shown = "more than 100x"
    elif factor < 1.5:
        shown = f"{factor:f}x"
    else:
        shown = f"{factor:.1f}x"
    return (
        f"{what} exceeds budget by factor of {shown} (try simplifying the rule, or adding maxItems, maxProperties, and "
        "maxLength where arrays, maps, and strings are declared)"
    )

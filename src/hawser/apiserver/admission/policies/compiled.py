"""Admission policies and bindings, compiled once for each change of them.

Source: API reference, ValidatingAdmissionPolicy, MutatingAdmissionPolicy and their bindings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hawser.api.cel.program import Program
from hawser.api.cel.types import DYN
from hawser.api.policies.expressions import (
    APPLY,
    AUDIT,
    MESSAGE,
    PATCH,
    VALIDATION,
    ExpressionError,
    Scope,
)
from hawser.api.selectors import LabelSelector
from hawser.api.types import Obj
from hawser.apiserver.admission.conditions import Conditions, compile_conditions
from hawser.apiserver.admission.webhooks.matching import Rule

Compiled = Program | str
"""A program, or why there is none (which fails every evaluation)."""


@dataclass(frozen=True, slots=True)
class Matching:
    """MatchResources. rules, excluded: each with the names that it is about, none for all."""

    rules: tuple[tuple[Rule, frozenset[str]], ...]
    excluded: tuple[tuple[Rule, frozenset[str]], ...]
    exact: bool
    namespaces: LabelSelector
    objects: LabelSelector

    @classmethod
    def read(cls, given: Obj) -> Matching:
        """Of a (defaulted) object."""
        return cls(
            _rules(given.get("resourceRules")),
            _rules(given.get("excludeResourceRules")),
            given.get("matchPolicy") == "Exact",
            LabelSelector.from_object(given.get("namespaceSelector") or {}),
            LabelSelector.from_object(given.get("objectSelector") or {}),
        )


def _rules(rules: Iterable[Obj] | None) -> tuple[tuple[Rule, frozenset[str]], ...]:
    return tuple((Rule.read(rule), frozenset(rule.get("resourceNames") or ())) for rule in rules or ())


@dataclass(frozen=True, slots=True)
class Check:
    """One of spec.validations."""

    source: Obj
    program: Compiled
    message: Compiled | None


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy of either kind. annotations: (key, source, program). mutations: (patch type, source, program)."""

    name: str
    matching: Matching
    ignore: bool
    param_kind: Obj | None
    conditions: Conditions
    variables: dict[str, Compiled]
    checks: tuple[Check, ...] = ()
    annotations: tuple[tuple[str, str, Compiled], ...] = ()
    mutations: tuple[tuple[str, str, Compiled], ...] = ()
    again: bool = False


@dataclass(frozen=True, slots=True)
class Binding:
    """One binding of either kind."""

    name: str
    matching: Matching | None
    param_ref: Obj | None
    actions: tuple[str, ...]
    policy: str


def policy(obj: Obj) -> Policy:
    """A ValidatingAdmissionPolicy or MutatingAdmissionPolicy, compiled."""
    spec = obj["spec"]
    scope = Scope(params=spec.get("paramKind") is not None, mutating="mutations" in spec)
    variables: dict[str, Compiled] = {}
    for entry in spec.get("variables") or ():
        variables[entry["name"]] = _variable(scope, entry)
    more = {"params": DYN} if scope.params else None
    return Policy(
        name=obj["metadata"]["name"],
        matching=Matching.read(spec.get("matchConstraints") or {}),
        ignore=spec.get("failurePolicy") == "Ignore",
        param_kind=spec.get("paramKind"),
        conditions=compile_conditions(spec.get("matchConditions"), more),
        variables=variables,
        checks=tuple(_check(scope, one) for one in spec.get("validations") or ()),
        annotations=tuple(
            (one["key"], one["valueExpression"], _compiled(scope, one["valueExpression"].strip(), AUDIT))
            for one in spec.get("auditAnnotations") or ()
        ),
        mutations=tuple(_mutation(scope, one) for one in spec.get("mutations") or ()),
        again=spec.get("reinvocationPolicy") == "IfNeeded",
    )


def _variable(scope: Scope, entry: Obj) -> Compiled:
    try:
        return scope.variable(entry)
    except ExpressionError as error:
        return str(error)


def _compiled(scope: Scope, source: str, wanted: Sequence[Any], authorizer: bool = True) -> Compiled:
    try:
        return scope.compile(source, wanted, authorizer)
    except ExpressionError as error:
        return str(error)


def _check(scope: Scope, given: Obj) -> Check:
    told = given.get("messageExpression")
    message = _compiled(scope, told, MESSAGE, authorizer=False) if told and told.strip() else None
    return Check(given, _compiled(scope, given["expression"], VALIDATION), message)


def _mutation(scope: Scope, given: Obj) -> tuple[str, str, Compiled]:
    if given["patchType"] == "JSONPatch":
        source = given["jsonPatch"]["expression"]
        return "JSONPatch", source, _compiled(scope, source, PATCH)
    source = given["applyConfiguration"]["expression"]
    return "ApplyConfiguration", source, _compiled(scope, source, APPLY)


def binding(obj: Obj) -> Binding:
    """A binding of either kind."""
    spec = obj["spec"]
    matching = spec.get("matchResources")
    return Binding(
        obj["metadata"]["name"],
        Matching.read(matching) if matching is not None else None,
        spec.get("paramRef"),
        tuple(spec.get("validationActions") or ()),
        spec.get("policyName", ""),
    )

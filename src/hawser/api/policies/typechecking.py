"""What the expressions of a ValidatingAdmissionPolicy get wrong about the objects that they are about.

Source: Kubernetes documentation, "Validating Admission Policy", type checking: warnings in the policy's status, which
change nothing of what the policy does. At most ten kinds are looked at; none for rules with wildcards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

from hawser.api import definitions
from hawser.api.cel.checker import check
from hawser.api.cel.parser import parse
from hawser.api.cel.schemas import declared
from hawser.api.cel.syntax import CompileError
from hawser.api.cel.types import DYN, Type
from hawser.api.crd.kinds import CustomKind
from hawser.api.kind import Kind
from hawser.api.policies.expressions import ExpressionError, Scope
from hawser.api.types import Obj

_MOST = 10


def warnings(policy: Obj, kinds: Iterable[Kind]) -> list[Obj]:
    """The ExpressionWarnings of a policy. kinds: what is served."""
    spec: Obj = policy.get("spec") or {}
    served = list(kinds)
    found: list[Obj] = []
    chosen = sorted(set(_chosen(spec, served)))[:_MOST]
    rows = {kind.gvk: kind for kind in served}
    types = [(gvk, made) for gvk in chosen if (made := _type(rows[gvk])) is not None]
    params = _params(spec, served)
    for index, validation in enumerate(spec.get("validations") or ()):
        for name in ("expression", "messageExpression"):
            source = validation.get(name)
            if not source:
                continue
            told = [text for gvk, one in types if (text := _check(source, spec, gvk, one, params))]
            if told:
                path = f"spec.validations[{index}].{name}"
                found.append({"fieldRef": path, "warning": "\n".join(told)})
    return found


def _chosen(spec: Obj, served: list[Kind]) -> Iterator[tuple[str, str, str]]:
    """The kinds that the rules name."""
    for rule in (spec.get("matchConstraints") or {}).get("resourceRules") or ():
        groups, versions = rule.get("apiGroups") or (), rule.get("apiVersions") or ()
        if any("*" in one for one in (*groups, *versions)):
            continue
        resources = [one for one in rule.get("resources") or () if "*" not in one and "/" not in one]
        for kind in served:
            if kind.group in groups and kind.version in versions and kind.plural in resources:
                yield kind.gvk


def _params(spec: Obj, served: list[Kind]) -> Type | None:
    given = spec.get("paramKind")
    if not given:
        return None
    for kind in served:
        if kind.api_version == given.get("apiVersion") and kind.kind == given.get("kind"):
            return _type(kind) or DYN
    return DYN


def _check(source: str, spec: Obj, gvk: tuple[str, str, str], given: Type, params: Type | None) -> str:
    """What is wrong with an expression about objects of a type; empty when nothing is."""
    scope = Scope(params=params is not None, given={"object": given, "oldObject": given, "params": params or DYN})
    for variable in spec.get("variables") or ():
        try:
            scope.variable(variable)
        except ExpressionError:
            continue
    try:
        check(parse(source), source, scope.environment())
    except CompileError as error:
        group, version, kind = gvk
        return f"{group}/{version}, Kind={kind}: {error}\n"
    return ""


def _type(kind: Kind) -> Type | None:
    """The type of a kind's objects, as its schema has it."""
    if isinstance(kind, CustomKind):
        return declared(kind.model.schema.source, True, kind.kind)
    return _built_in(kind.gvk)


@lru_cache(maxsize=64)
def _built_in(gvk: tuple[str, str, str]) -> Type | None:
    try:
        name = definitions.definition_name(gvk)
    except KeyError:
        return None
    return declared(_plain(definitions.resolve(name), (name,), definitions.resolve), False, gvk[2])


def _plain(schema: Any, seen: tuple[str, ...], resolve: Callable[[str], Obj]) -> Obj:
    """A published definition as the schemas of custom resources are written: without references and types of null."""
    if "$ref" in schema:
        name = schema["$ref"]
        if name in seen:
            return {}
        return _plain(resolve(name), (*seen, name), resolve)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), None)
    if kind is None and schema.get("oneOf"):
        return {"x-kubernetes-int-or-string": True}
    made: Obj = {key: one for key, one in schema.items() if key.startswith("x-kubernetes-list") or key == "required"}
    made |= {"type": kind}
    if schema.get("format") and kind == "string":
        made["format"] = schema["format"]
    if schema.get("properties"):
        made["type"] = "object"
        made["properties"] = {key: _plain(one, seen, resolve) for key, one in schema["properties"].items()}
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            made[name] = _plain(schema[name], seen, resolve)
    return made

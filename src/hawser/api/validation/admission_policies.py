"""Validation of admission policies and their bindings. Expressions must compile.

Source: API reference, admissionregistration.k8s.io/v1; the sentences are kube-apiserver's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hawser.api.types import Obj
from hawser.api.validation import rules
from hawser.api.validation.rules import Errors, duplicate, each, forbidden, invalid, required, unsupported
from hawser.api.validation.webhooks import operations_rule

if TYPE_CHECKING:
    from hawser.api.policies.expressions import Scope

_FAILURE = ("Fail", "Ignore")
_MATCH = ("Equivalent", "Exact")
_ACTIONS = ("Audit", "Deny", "Warn")
_REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized")
_REINVOCATION = ("IfNeeded", "Never")
_PATCHES = ("ApplyConfiguration", "JSONPatch")
_NOT_FOUND = ("Deny", "Allow")
_MAX_ANNOTATIONS = 20
_MAX_ANNOTATION = 5 * 1024
_MAX_CONDITIONS = 64
_NEWLINE = re.compile(r"[\n\r]")


def policy(obj: Obj) -> Errors:
    """A ValidatingAdmissionPolicy."""
    spec: Obj = obj.get("spec") or {}
    scope = _scope(spec)
    yield from _common(spec, scope)
    checks, annotations = spec.get("validations") or [], spec.get("auditAnnotations") or []
    if not checks and not annotations:
        for name in ("validations", "auditAnnotations"):
            yield required(f"spec.{name}", "validations or auditAnnotations must contain at least one item")
    for i, check in enumerate(checks):
        yield from _validation(check, scope, f"spec.validations[{i}]")
    if len(annotations) > _MAX_ANNOTATIONS:
        yield invalid(
            "spec.auditAnnotations", annotations, f"must not have more than {_MAX_ANNOTATIONS} auditAnnotations"
        )
    keys = set()
    for i, one in enumerate(annotations):
        path = f"spec.auditAnnotations[{i}]"
        yield from _annotation(one, (obj.get("metadata") or {}).get("name", ""), scope, path)
        if one.get("key") in keys:
            yield duplicate(f"{path}.key", one.get("key"))
        keys.add(one.get("key"))


def mutating_policy(obj: Obj) -> Errors:
    """A MutatingAdmissionPolicy."""
    spec: Obj = obj.get("spec") or {}
    scope = _scope(spec)
    scope.mutating = True
    yield from _common(spec, scope)
    mutations = spec.get("mutations") or []
    if not mutations:
        yield required("spec.mutations", "mutations must contain at least one item")
    for i, mutation in enumerate(mutations):
        yield from _mutation(mutation, scope, f"spec.mutations[{i}]")
    reinvocation = spec.get("reinvocationPolicy")
    if not reinvocation:
        yield required("spec.reinvocationPolicy")
    elif reinvocation not in _REINVOCATION:
        yield unsupported("spec.reinvocationPolicy", reinvocation, _REINVOCATION)


def _scope(spec: Obj) -> Scope:
    # Whoever has no policies does not load the expression language.
    from hawser.api.policies.expressions import Scope

    return Scope(params=spec.get("paramKind") is not None)


def _common(spec: Obj, scope: Scope) -> Errors:
    failure = spec.get("failurePolicy")
    if failure is None:
        yield required("spec.failurePolicy")
    elif failure not in _FAILURE:
        yield unsupported("spec.failurePolicy", failure, _FAILURE)
    if spec.get("paramKind") is not None:
        yield from _param_kind(spec["paramKind"], "spec.paramKind")
    constraints = spec.get("matchConstraints")
    if constraints is None:
        yield required("spec.matchConstraints")
    else:
        yield from _matching(constraints, "spec.matchConstraints")
        if not constraints.get("resourceRules"):
            yield required("spec.matchConstraints.resourceRules")
    yield from conditions(spec.get("matchConditions") or [], "spec.matchConditions", scope)
    for i, variable in enumerate(spec.get("variables") or ()):
        yield from _variable(variable, scope, f"spec.variables[{i}]")


def _param_kind(given: Obj, path: str) -> Errors:
    version, kind = given.get("apiVersion", ""), given.get("kind", "")
    if not version:
        yield required(f"{path}.apiVersion")
    elif version.count("/") > 1:
        yield invalid(f"{path}.apiVersion", version, f"unexpected GroupVersion string: {version}")
    else:
        group, _, name = version.rpartition("/")
        if group and (bad := rules.subdomain_errors(group)):
            yield invalid(f"{path}.apiVersion", group, ",".join(bad))
        if not name:
            yield invalid(f"{path}.apiVersion", version, "version must be specified")
        elif bad := rules.label_1035_errors(name):
            yield invalid(f"{path}.apiVersion", name, ",".join(bad))
    if not kind:
        yield required(f"{path}.kind")
    elif bad := rules.label_1035_errors(kind.lower()):
        yield invalid(f"{path}.kind", kind, "may have mixed case, but should otherwise match: " + ",".join(bad))


def _matching(given: Obj | None, path: str) -> Errors:
    """MatchResources."""
    if given is None:
        return
    chosen = given.get("matchPolicy")
    if chosen is None:
        yield required(f"{path}.matchPolicy")
    elif chosen not in _MATCH:
        yield unsupported(f"{path}.matchPolicy", chosen, _MATCH)
    for name in ("namespaceSelector", "objectSelector"):
        if given.get(name) is None:
            yield required(f"{path}.{name}")
        else:
            yield from rules.label_selector(given[name], f"{path}.{name}")
    for name in ("resourceRules", "excludeResourceRules"):
        for i, rule in enumerate(given.get(name) or ()):
            yield from _named_rule(rule, f"{path}.{name}[{i}]")


def _named_rule(rule: Obj, path: str) -> Errors:
    seen = set()
    for i, name in enumerate(rule.get("resourceNames") or ()):
        yield from each(f"{path}.resourceNames[{i}]", name, _segment_errors(name))
        if name in seen:
            yield duplicate(f"{path}.resourceNames[{i}]", name)
        seen.add(name)
    yield from operations_rule(rule, path)


def _segment_errors(name: str) -> list[str]:
    """A name that is one part of a URL's path."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{part}'" for part in ("/", "%") if part in name]


def conditions(entries: list[Obj], path: str, scope: Scope | None = None) -> Errors:
    """matchConditions, which see no variables. scope: of a policy; None of webhooks."""
    from hawser.api.policies.expressions import VALIDATION, Scope

    if len(entries) > _MAX_CONDITIONS:
        yield rules.too_many(path, len(entries), _MAX_CONDITIONS)
    names = set()
    for i, entry in enumerate(entries):
        at, name, source = f"{path}[{i}]", entry.get("name", ""), (entry.get("expression") or "").strip()
        if not source:
            yield required(f"{at}.expression")
        else:
            given = Scope(params=scope.params if scope is not None else False)
            yield from _expression(source, given, VALIDATION, f"{at}.expression")
        if not name:
            yield required(f"{at}.name")
            continue
        yield from each(f"{at}.name", name, rules.qualified_name_errors(name))
        if name in names:
            yield duplicate(f"{at}.name", name)
        names.add(name)


def _expression(source: str, scope: Scope, wanted: Sequence[Any], path: str, authorizer: bool = True) -> Errors:
    from hawser.api.policies.expressions import ExpressionError

    try:
        scope.compile(source, wanted, authorizer)
    except ExpressionError as error:
        yield invalid(path, source, str(error))


def _variable(given: Obj, scope: Scope, path: str) -> Errors:
    from hawser.api.cel.parser import RESERVED
    from hawser.api.policies.expressions import ExpressionError

    name, source = given.get("name") or "", given.get("expression") or ""
    if not name.strip():
        yield required(f"{path}.name", "name is not specified")
    elif not re.fullmatch(r"[_a-zA-Z][_a-zA-Z0-9]*", name) or name in (*RESERVED, "true", "false", "null", "in"):
        yield invalid(f"{path}.name", name, "name is not a valid CEL identifier")
    if not source.strip():
        yield required(f"{path}.expression", "expression is not specified")
        return
    try:
        scope.variable(given)
    except ExpressionError as error:
        yield invalid(f"{path}.expression", source, str(error))


def _validation(check: Obj, scope: Scope, path: str) -> Errors:
    from hawser.api.policies.expressions import MESSAGE, VALIDATION

    source, message = check.get("expression") or "", check.get("message") or ""
    if not source.strip():
        yield required(f"{path}.expression", "expression is not specified")
    else:
        yield from _expression(source, scope, VALIDATION, f"{path}.expression")
    told = check.get("messageExpression") or ""
    if told and not told.strip():
        yield invalid(f"{path}.messageExpression", told, "must be non-empty if specified")
    elif told:
        yield from _expression(told, scope, MESSAGE, f"{path}.messageExpression", authorizer=False)
    if message and not message.strip():
        yield invalid(f"{path}.message", message, "message must be non-empty if specified")
    elif _NEWLINE.search(message.strip()):
        yield invalid(f"{path}.message", message, "message must not contain line breaks")
    reason = check.get("reason")
    if reason is not None and reason not in _REASONS:
        yield unsupported(f"{path}.reason", reason, _REASONS)


def _annotation(given: Obj, name: str, scope: Scope, path: str) -> Errors:
    from hawser.api.policies.expressions import AUDIT

    key, source = given.get("key") or "", (given.get("valueExpression") or "").strip()
    if name:
        full = f"{name}/{key}"
        yield from each(f"{path}.key", full, rules.qualified_name_errors(full))
    else:
        yield invalid(f"{path}.key", key, "requires metadata.name be non-empty")
    if not source:
        yield required(f"{path}.valueExpression", "valueExpression is not specified")
    elif len(source.encode()) > _MAX_ANNOTATION:
        yield required(f"{path}.valueExpression", f"must not exceed {_MAX_ANNOTATION} bytes in length")
    else:
        yield from _expression(source, scope, AUDIT, f"{path}.valueExpression")


def _mutation(given: Obj, scope: Scope, path: str) -> Errors:
    from hawser.api.policies.expressions import APPLY, PATCH

    form = given.get("patchType")
    if not form:
        yield required(f"{path}.patchType")
        return
    if form not in _PATCHES:
        yield unsupported(f"{path}.patchType", form, _PATCHES)
        return
    field, other = ("applyConfiguration", "jsonPatch") if form == "ApplyConfiguration" else (
        "jsonPatch", "applyConfiguration")  # fmt: skip
    if given.get(field) is None:
        yield required(f"{path}.{field}", f"must be specified when patchType is {form}")
    else:
        source = (given[field].get("expression") or "").strip()
        if not source:
            yield required(f"{path}.{field}.expression")
        else:
            wanted = APPLY if form == "ApplyConfiguration" else PATCH
            yield from _expression(source, scope, wanted, f"{path}.{field}.expression")
    if given.get(other) is not None:
        yield invalid(f"{path}.{other}", f"{{{other}}}", f"must not be specified when patchType is {form}")


def binding(obj: Obj) -> Errors:
    """A ValidatingAdmissionPolicyBinding."""
    spec: Obj = obj.get("spec") or {}
    yield from mutating_binding(obj)
    yield from _actions(spec.get("validationActions") or [], "spec.validationActions")


def mutating_binding(obj: Obj) -> Errors:
    """A MutatingAdmissionPolicyBinding; what both kinds of bindings have."""
    spec: Obj = obj.get("spec") or {}
    name = spec.get("policyName") or ""
    if not name:
        yield required("spec.policyName")
    else:
        yield from each("spec.policyName", name, rules.subdomain_errors(name))
    if spec.get("paramRef") is not None:
        yield from _param_ref(spec["paramRef"], "spec.paramRef")
    yield from _matching(spec.get("matchResources"), "spec.matchResources")


def _param_ref(given: Obj, path: str) -> Errors:
    name, selector = given.get("name") or "", given.get("selector")
    both = "name and selector are mutually exclusive"
    if name:
        yield from each(f"{path}.name", name, _segment_errors(name))
        if selector is not None:
            yield forbidden(f"{path}.name", both)
    if selector is not None:
        yield from rules.label_selector(selector, f"{path}.selector")
        if name:
            yield forbidden(f"{path}.selector", both)
    if not name and selector is None:
        yield required(path, "one of name or selector must be specified")
    action = given.get("parameterNotFoundAction")
    if not action:
        yield required(f"{path}.parameterNotFoundAction")
    elif action not in _NOT_FOUND:
        yield unsupported(f"{path}.parameterNotFoundAction", action, _NOT_FOUND)


def _actions(actions: list[str], path: str) -> Errors:
    seen = set()
    for i, action in enumerate(actions):
        if action not in _ACTIONS:
            yield unsupported(f"{path}[{i}]", action, _ACTIONS)
        if action in seen:
            yield duplicate(f"{path}[{i}]", action)
        seen.add(action)
    if {"Deny", "Warn"} <= seen:
        yield invalid(
            path, actions, "must not contain both Deny and Warn (repeating the same validation failure information in "
            "the API response and headers serves no purpose)",
        )  # fmt: skip
    if not seen:
        yield required(path, "at least one validation action is required")


def status(obj: Obj, _old: Obj) -> Errors:
    """The status of a ValidatingAdmissionPolicy."""
    checked = (obj.get("status") or {}).get("typeChecking") or {}
    for i, warning in enumerate(checked.get("expressionWarnings") or ()):
        for name in ("warning", "fieldRef"):
            if not (warning.get(name) or "").strip():
                yield required(f"status.typeChecking.expressionWarnings[{i}].{name}")

"""Validation of what guides scheduling: tolerations, affinity, spread, gates.

Source: API reference, Toleration, Affinity and TopologySpreadConstraint; "Pod Scheduling Readiness".
"""

from __future__ import annotations

from hawser.api.types import Obj
from hawser.api.validation import rules
from hawser.api.validation.rules import (
    Errors,
    duplicate,
    each,
    forbidden,
    invalid,
    label_selector,
    not_found,
    one_of,
    required,
    unsupported,
)

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_NODE_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")


def tolerations(listed: list[Obj], path: str) -> Errors:
    for i, toleration in enumerate(listed):
        at = f"{path}[{i}]"
        key, operator = toleration.get("key", ""), toleration.get("operator", "")
        value, effect = toleration.get("value", ""), toleration.get("effect", "")
        if key:
            yield from each(f"{at}.key", key, rules.qualified_name_errors(key))
        elif operator != "Exists":
            yield invalid(
                f"{at}.operator",
                operator,
                'operator must be Exists when `key` is empty, which means "match all values and all keys"',
            )
        if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
            yield invalid(f"{at}.effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")
        if operator in ("", "Equal"):
            if bad := rules.label_value_errors(value):
                yield invalid(f"{at}.operator", value, ";".join(bad))
        elif operator == "Exists":
            if value:
                yield invalid(f"{at}.operator", toleration, "value must be empty when `operator` is 'Exists'")
        else:
            yield unsupported(f"{at}.operator", operator, ("Equal", "Exists"))
        if effect and effect not in EFFECTS:
            yield unsupported(f"{at}.effect", effect, EFFECTS)


def affinity(value: Obj, path: str) -> Errors:
    node = value.get("nodeAffinity") or {}
    if (selector := node.get("requiredDuringSchedulingIgnoredDuringExecution")) is not None:
        at = f"{path}.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
        yield from node_selector(selector, at)
    for i, term in enumerate(node.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
        at = f"{path}.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[{i}]"
        yield from _weight(term, at)
        yield from _node_term(term.get("preference") or {}, f"{at}.preference")
    for name in ("podAffinity", "podAntiAffinity"):
        pods = value.get(name) or {}
        for i, term in enumerate(pods.get("requiredDuringSchedulingIgnoredDuringExecution") or ()):
            yield from _pod_term(term, f"{path}.{name}.requiredDuringSchedulingIgnoredDuringExecution[{i}]")
        for i, term in enumerate(pods.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
            at = f"{path}.{name}.preferredDuringSchedulingIgnoredDuringExecution[{i}]"
            yield from _weight(term, at)
            yield from _pod_term(term.get("podAffinityTerm") or {}, f"{at}.podAffinityTerm")


def _weight(term: Obj, path: str) -> Errors:
    if not 1 <= term.get("weight", 0) <= 100:
        yield invalid(f"{path}.weight", term.get("weight", 0), "must be in the range 1-100")


def node_selector(selector: Obj, path: str) -> Errors:
    terms = selector.get("nodeSelectorTerms") or []
    if not terms:
        yield required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")
    for i, term in enumerate(terms):
        yield from _node_term(term, f"{path}.nodeSelectorTerms[{i}]")


def _node_term(term: Obj, path: str) -> Errors:
    for i, expression in enumerate(term.get("matchExpressions") or ()):
        at = f"{path}.matchExpressions[{i}]"
        yield from _node_operator(expression, at)
        key = expression.get("key", "")
        yield from each(f"{at}.key", key, rules.qualified_name_errors(key))
        for j, value in enumerate(expression.get("values") or ()):
            yield from each(f"{at}.values[{j}]", value, rules.label_value_errors(value))
    for i, expression in enumerate(term.get("matchFields") or ()):
        at = f"{path}.matchFields[{i}]"
        key, values = expression.get("key", ""), expression.get("values") or []
        if expression.get("operator") not in ("In", "NotIn"):
            yield invalid(f"{at}.operator", expression.get("operator", ""), "not a valid selector operator")
        elif len(values) != 1:
            yield required(
                f"{at}.values", "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
            )
        if key != "metadata.name":
            yield invalid(f"{at}.key", key, "not a valid field selector key")
        else:
            for j, value in enumerate(values):
                yield from each(f"{at}.values[{j}]", value, rules.subdomain_errors(value))


def _node_operator(expression: Obj, path: str) -> Errors:
    operator, values = expression.get("operator", ""), expression.get("values") or []
    match operator:
        case "In" | "NotIn":
            if not values:
                yield required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        case "Exists" | "DoesNotExist":
            if values:
                yield forbidden(f"{path}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
        case "Gt" | "Lt":
            if len(values) != 1:
                yield required(f"{path}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'")
        case _:
            yield invalid(f"{path}.operator", operator, "not a valid selector operator")


def _pod_term(term: Obj, path: str) -> Errors:
    yield from label_selector(term.get("labelSelector"), f"{path}.labelSelector")
    yield from label_selector(term.get("namespaceSelector"), f"{path}.namespaceSelector")
    for name in term.get("namespaces") or ():
        yield from each(f"{path}.namespace", name, rules.label_errors(name))
    key = term.get("topologyKey", "")
    if not key:
        yield required(f"{path}.topologyKey", "can not be empty")
    else:
        yield from each(f"{path}.topologyKey", key, rules.qualified_name_errors(key))
    yield from _label_keys(term, path, "matchLabelKeys", "mismatchLabelKeys")


def _label_keys(term: Obj, path: str, *fields: str) -> Errors:
    for field in fields:
        for i, key in enumerate(term.get(field) or ()):
            yield from each(f"{path}.{field}[{i}]", key, rules.qualified_name_errors(key))
        if term.get(field) and term.get("labelSelector") is None:
            yield forbidden(f"{path}.{field}", "must not be specified when labelSelector is not set")
    same = term.get("matchLabelKeys") or ()
    selector = term.get("labelSelector") or {}
    seen = set(selector.get("matchLabels") or ())
    for expression in selector.get("matchExpressions") or ():
        key = expression.get("key", "")
        # What the key means is in the selector by now: any more of it is the user's.
        if key in same and key in seen:
            yield invalid(f"{path}[{same.index(key)}]", key, "exists in both matchLabelKeys and labelSelector")
        seen.add(key)
    for i, key in enumerate(same):
        if key in (term.get("mismatchLabelKeys") or ()):
            yield invalid(f"{path}.matchLabelKeys[{i}]", key, "exists in both matchLabelKeys and mismatchLabelKeys")


def spread(constraints: list[Obj], path: str) -> Errors:
    seen = set()
    for i, constraint in enumerate(constraints):
        at = f"{path}[{i}]"
        skew, key = constraint.get("maxSkew", 0), constraint.get("topologyKey", "")
        when = constraint.get("whenUnsatisfiable", "")
        if skew <= 0:
            yield invalid(f"{at}.maxSkew", skew, "must be greater than zero")
        if not key:
            yield required(f"{at}.topologyKey", "can not be empty")
        else:
            yield from each(f"{at}.topologyKey", key, rules.qualified_name_errors(key))
        if when not in ("DoNotSchedule", "ScheduleAnyway"):
            yield unsupported(f"{at}.whenUnsatisfiable", when, ("DoNotSchedule", "ScheduleAnyway"))
        if (key, when) in seen:
            yield duplicate(f"{at}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {when}}}")
        seen.add((key, when))
        domains = constraint.get("minDomains")
        if domains is not None:
            if domains <= 0:
                yield invalid(f"{at}.minDomains", domains, "must be greater than zero")
            if when != "DoNotSchedule":
                yield invalid(
                    f"{at}.minDomains",
                    domains,
                    f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}",
                )
        for field in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            if constraint.get(field) is not None:
                yield from one_of(f"{at}.{field}", constraint[field], ("Honor", "Ignore"))
        yield from label_selector(constraint.get("labelSelector"), f"{at}.labelSelector")
        yield from _label_keys(constraint, at, "matchLabelKeys")


def gates(listed: list[Obj], path: str) -> Errors:
    seen = set()
    for i, gate in enumerate(listed):
        name = gate.get("name", "")
        if name in seen:
            yield duplicate(f"{path}[{i}]", name)
        seen.add(name)
        yield from each(f"{path}[{i}]", name, rules.qualified_name_errors(name))


def claims(listed: list[Obj], names: set[str], path: str) -> Errors:
    """A container's resource claims name those of its pod."""
    seen = set()
    for i, claim in enumerate(listed):
        name = claim.get("name", "")
        if not name:
            yield required(f"{path}[{i}]")
        elif (name, claim.get("request", "")) in seen:
            yield duplicate(f"{path}[{i}]", name)
        elif name not in names:
            yield not_found(f"{path}[{i}]", name)
        seen.add((name, claim.get("request", "")))

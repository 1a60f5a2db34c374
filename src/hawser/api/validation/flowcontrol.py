"""Validation of flow schemas and priority levels. Source: API reference of both; "API Priority and Fairness"."""

from __future__ import annotations

import math

from hawser.api.flowcontrol import MANDATORY_LEVELS, MANDATORY_SCHEMAS
from hawser.api.types import Obj
from hawser.api.validation import rules
from hawser.api.validation.rules import Errors, duplicate, each, forbidden, in_range, invalid, required, unsupported

_METHODS = ("ByNamespace", "ByUser")
_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")
_SUBJECTS = ("Group", "ServiceAccount", "User")
_TYPES = ("Exempt", "Limited")
_RESPONSES = ("Queue", "Reject")
_MAX_PRECEDENCE = 10000
_MAX_QUEUES = 10_000_000
_MAX_BITS = 60
_FIELDS = {"ServiceAccount": "serviceAccount", "User": "user", "Group": "group"}


def schema(obj: Obj) -> Errors:
    name, spec = (obj.get("metadata") or {}).get("name", ""), obj.get("spec") or {}
    precedence = spec.get("matchingPrecedence", 0)
    path = "spec.matchingPrecedence"
    if precedence <= 0:
        yield invalid(path, precedence, "must be a positive value")
    if precedence > _MAX_PRECEDENCE:
        yield invalid(path, precedence, f"must not be greater than {_MAX_PRECEDENCE}")
    if precedence == 1 and name != "exempt":
        yield invalid(path, precedence, "only the schema named 'exempt' may have matchingPrecedence 1")
    method = spec.get("distinguisherMethod")
    if method is not None and method.get("type", "") not in _METHODS:
        yield unsupported("spec.distinguisherMethod.type", method, _METHODS)
    level = (spec.get("priorityLevelConfiguration") or {}).get("name", "")
    if level:
        yield from each("spec.priorityLevelConfiguration.name", level, rules.subdomain_errors(level))
    else:
        yield required("spec.priorityLevelConfiguration.name", "must reference a priority level")
    for i, rule in enumerate(spec.get("rules") or ()):
        yield from _rule(rule, f"spec.rules[{i}]")
    if name in MANDATORY_SCHEMAS and spec != MANDATORY_SCHEMAS[name]:
        yield invalid("spec", spec, f"spec of '{name}' must equal the fixed value")
    yield from _conditions(obj)


def _rule(rule: Obj, path: str) -> Errors:
    subjects = rule.get("subjects") or []
    if not subjects:
        yield required(f"{path}.subjects", "subjects must contain at least one value")
    for i, subject in enumerate(subjects):
        yield from _subject(subject, f"{path}.subjects[{i}]")
    resources, urls = rule.get("resourceRules") or [], rule.get("nonResourceRules") or []
    if not resources and not urls:
        yield required(path, "at least one of resourceRules and nonResourceRules has to be non-empty")
    for i, part in enumerate(resources):
        yield from _resource_rule(part, f"{path}.resourceRules[{i}]")
    for i, part in enumerate(urls):
        yield from _url_rule(part, f"{path}.nonResourceRules[{i}]")


def _subject(subject: Obj, path: str) -> Errors:
    kind = subject.get("kind", "")
    field = _FIELDS.get(kind)
    if field is None:
        yield unsupported(f"{path}.kind", kind, _SUBJECTS)
        return
    value = subject.get(field)
    if value is None:
        yield required(f"{path}.{field}", f"{field} is required when subject kind is '{kind}'")
    else:
        name = value.get("name", "")
        if not name:
            yield required(f"{path}.{field}.name")
        elif kind == "ServiceAccount" and name != "*":
            yield from each(f"{path}.{field}.name", name, rules.subdomain_errors(name))
        if kind == "ServiceAccount":
            if namespace := value.get("namespace", ""):
                yield from each(f"{path}.{field}.namespace", namespace, rules.label_errors(namespace))
            else:
                yield required(f"{path}.{field}.namespace", "must specify namespace for service account")
    for other_kind, other in _FIELDS.items():
        if other != field and other in subject:
            yield forbidden(f"{path}.{other}", f"{other} is forbidden when subject kind is not '{other_kind}'")


def _verbs(rule: Obj, path: str) -> Errors:
    verbs = rule.get("verbs") or []
    if not verbs:
        yield required(f"{path}.verbs", "verbs must contain at least one value")
    elif "*" in verbs:
        if len(verbs) > 1:
            yield invalid(f"{path}.verbs", verbs, "if '*' is present, must not specify other verbs")
    elif not set(verbs) <= set(_VERBS):
        yield unsupported(f"{path}.verbs", verbs, _VERBS)


def _resource_rule(rule: Obj, path: str) -> Errors:
    yield from _verbs(rule, path)
    for field, words, one in (("apiGroups", "api groups", "api group"), ("resources", "resources", "resource")):
        listed = rule.get(field) or []
        if not listed:
            yield required(f"{path}.{field}", f"resource rules must supply at least one {one}")
        elif len(listed) > 1 and "*" in listed:
            yield invalid(f"{path}.{field}", listed, f"if '*' is present, must not specify other {words}")
    namespaces = rule.get("namespaces") or []
    at = f"{path}.namespaces"
    if not namespaces and not rule.get("clusterScope"):
        yield required(at, "resource rules that are not cluster scoped must supply at least one namespace")
    elif "*" in namespaces:
        if len(namespaces) > 1:
            yield invalid(at, namespaces, "if '*' is present, must not specify other namespaces")
    else:
        for i, namespace in enumerate(namespaces):
            for message in rules.label_errors(namespace):
                detail = f"each member of this list must be '*' or a DNS-1123 label; {message}"
                yield invalid(f"{at}[{i}]", namespace, detail)


def _url_rule(rule: Obj, path: str) -> Errors:
    yield from _verbs(rule, path)
    urls = rule.get("nonResourceURLs") or []
    at = f"{path}.nonResourceURLs"
    if not urls:
        yield required(at, "nonResourceURLs must contain at least one value")
    elif "*" in urls:
        if len(urls) > 1:
            yield invalid(at, urls, "if '*' is present, must not specify other non-resource URLs")
    else:
        for i, url in enumerate(urls):
            if message := _url_error(url):
                yield invalid(f"{at}[{i}]", url, message)


def _url_error(url: str) -> str:
    if not url:
        return "must not be empty"
    if url == "/":
        return ""
    if not url.startswith("/"):
        return "must start with slash"
    if " " in url:
        return "must not contain white-space"
    if "//" in url:
        return "must not contain double slash"
    if url.count("*") > 1 or ("*" in url and not url.endswith("/*")):
        return "wildcard can only do suffix matching"
    return ""


def _conditions(obj: Obj) -> Errors:
    seen = set()
    for i, condition in enumerate((obj.get("status") or {}).get("conditions") or ()):
        kind, path = condition.get("type", ""), f"status.conditions[{i}].type"
        if kind in seen:
            yield duplicate(path, kind)
        seen.add(kind)
        if not kind:
            yield required(path, "must not be empty")


def status(obj: Obj, old: Obj) -> Errors:
    yield from _conditions(obj)


def level(obj: Obj) -> Errors:
    name, spec = (obj.get("metadata") or {}).get("name", ""), obj.get("spec") or {}
    kind, limited, exempt = spec.get("type", ""), spec.get("limited"), spec.get("exempt")
    if (name == "exempt") != (kind == "Exempt"):
        yield invalid("spec.type", kind, "type must be 'Exempt' if and only if name is 'exempt'")
    if kind == "Exempt":
        if limited is not None:
            yield forbidden("spec.limited", "must be nil if the type is not Limited")
        yield from _shares(exempt or {}, "spec.exempt")
    elif kind == "Limited":
        if exempt is not None:
            yield forbidden("spec.exempt", "must be nil if the type is Limited")
        if limited is None:
            yield required("spec.limited", "must not be empty when type is Limited")
        else:
            yield from _limited(limited, "spec.limited")
    else:
        yield unsupported("spec.type", kind, _TYPES)
    if name in MANDATORY_LEVELS:
        yield from _mandatory(name, spec)
    yield from _conditions(obj)


def _mandatory(name: str, spec: Obj) -> Errors:
    """A mandatory level is fixed, but for the shares of the exempt one."""
    fixed = MANDATORY_LEVELS[name]
    if name == "exempt":
        if set(spec) - {"exempt"} != {"type"} or spec["type"] != fixed["type"]:
            fields = "'nominalConcurrencyShares' and 'lendablePercent'"
            yield invalid("spec", spec, f"spec of '{name}' except the fields {fields} must equal the fixed value")
    elif spec != fixed:
        yield invalid("spec", spec, f"spec of '{name}' must equal the fixed value")


def _shares(part: Obj, path: str) -> Errors:
    shares = part.get("nominalConcurrencyShares")
    if shares is not None and shares < 0:
        yield invalid(f"{path}.nominalConcurrencyShares", shares, "must be a non-negative integer")
    yield from in_range(f"{path}.lendablePercent", part.get("lendablePercent"), 0, 100)


def _limited(limited: Obj, path: str) -> Errors:
    yield from _shares(limited, path)
    borrowing = limited.get("borrowingLimitPercent")
    if borrowing is not None and borrowing < 0:
        detail = "if specified, must be a non-negative integer"
        yield invalid(f"{path}.borrowingLimitPercent", borrowing, detail)
    response = limited.get("limitResponse") or {}
    at, kind, queuing = f"{path}.limitResponse", response.get("type", ""), response.get("queuing")
    if kind == "Reject":
        if queuing is not None:
            yield forbidden(f"{at}.queuing", "must be nil if limited.limitResponse.type is not Limited")
    elif kind == "Queue":
        if queuing is None:
            yield required(f"{at}.queuing", "must not be empty if limited.limitResponse.type is Limited")
        else:
            yield from _queuing(queuing, f"{at}.queuing")
    else:
        yield unsupported(f"{at}.type", kind, _RESPONSES)


def _queuing(queuing: Obj, path: str) -> Errors:
    length, queues, hand = (queuing.get(field, 0) for field in ("queueLengthLimit", "queues", "handSize"))
    if length <= 0:
        yield invalid(f"{path}.queueLengthLimit", length, "must be positive")
    if queues <= 0:
        yield invalid(f"{path}.queues", queues, "must be positive")
    elif queues > _MAX_QUEUES:
        yield invalid(f"{path}.queues", queues, f"must not be greater than {_MAX_QUEUES}")
    if hand <= 0:
        yield invalid(f"{path}.handSize", hand, "must be positive")
    elif hand > queues:
        yield invalid(f"{path}.handSize", hand, f"should not be greater than queues ({queues})")
    elif hand * math.ceil(math.log2(queues)) > _MAX_BITS and _entropy(queues, hand) > _MAX_BITS:
        detail = (
            f"required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {_MAX_BITS}"
        )
        yield invalid(f"{path}.handSize", hand, detail)


def _entropy(queues: int, hand: int) -> int:
    """The bits that it takes to deal a hand (shuffle sharding)."""
    return math.ceil(sum(math.log2(queues - i) for i in range(hand)))

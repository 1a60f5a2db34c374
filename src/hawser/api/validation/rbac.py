"""Validation of roles and bindings. Source: API reference, rbac.authorization.k8s.io; "Using RBAC Authorization"."""

from __future__ import annotations

from hawser.api.types import Obj
from hawser.api.validation import rules, values
from hawser.api.validation.rules import Errors, each, invalid, label_selector, required, unsupported

_GROUP = "rbac.authorization.k8s.io"
_SUBJECTS = ("ServiceAccount", "User", "Group")
name_errors = values.path_segment_errors


def role(obj: Obj) -> Errors:
    yield from _rules(obj, True)


def cluster_role(obj: Obj) -> Errors:
    yield from _rules(obj, False)
    for i, selector in enumerate((obj.get("aggregationRule") or {}).get("clusterRoleSelectors") or ()):
        yield from label_selector(selector, f"aggregationRule.clusterRoleSelectors[{i}]")
    if "aggregationRule" in obj and not obj["aggregationRule"].get("clusterRoleSelectors"):
        detail = "at least one clusterRoleSelector required if aggregationRule is non-nil"
        yield required("aggregationRule.clusterRoleSelectors", detail)


def _rules(obj: Obj, namespaced: bool) -> Errors:
    for i, rule in enumerate(obj.get("rules") or ()):
        path = f"rules[{i}]"
        if not rule.get("verbs"):
            yield required(f"{path}.verbs", "verbs must contain at least one value")
        if urls := rule.get("nonResourceURLs"):
            at = f"{path}.nonResourceURLs"
            if namespaced:
                yield invalid(at, urls, "namespaced rules cannot apply to non-resource URLs")
            if any(rule.get(field) for field in ("apiGroups", "resources", "resourceNames")):
                yield invalid(at, urls, "rules cannot apply to both regular resources and non-resource URLs")
            continue
        if not rule.get("apiGroups"):
            yield required(f"{path}.apiGroups", "resource rules must supply at least one api group")
        if not rule.get("resources"):
            yield required(f"{path}.resources", "resource rules must supply at least one resource")


def role_binding(obj: Obj) -> Errors:
    yield from _binding(obj, ("Role", "ClusterRole"), True)


def cluster_role_binding(obj: Obj) -> Errors:
    yield from _binding(obj, ("ClusterRole",), False)


def _binding(obj: Obj, kinds: tuple[str, ...], namespaced: bool) -> Errors:
    reference = obj.get("roleRef") or {}
    group, kind, name = (reference.get(field, "") for field in ("apiGroup", "kind", "name"))
    if group != _GROUP:
        yield unsupported("roleRef.apiGroup", group, (_GROUP,))
    if kind not in kinds:
        yield unsupported("roleRef.kind", kind, kinds)
    if not name:
        yield required("roleRef.name")
    else:
        yield from each("roleRef.name", name, name_errors(name))
    for i, subject in enumerate(obj.get("subjects") or ()):
        yield from _subject(subject, namespaced, f"subjects[{i}]")


def _subject(subject: Obj, namespaced: bool, path: str) -> Errors:
    kind, name, group = (subject.get(field, "") for field in ("kind", "name", "apiGroup"))
    if not name:
        yield required(f"{path}.name")
    if kind == "ServiceAccount":
        if name:
            yield from each(f"{path}.name", name, rules.subdomain_errors(name))
        if group:
            yield unsupported(f"{path}.apiGroup", group, ("",))
        if not namespaced and not subject.get("namespace"):
            yield required(f"{path}.namespace")
    elif kind in _SUBJECTS:
        if not name:
            yield invalid(f"{path}.name", name, f"{kind.lower()} name cannot be empty")
        if group != _GROUP:
            yield unsupported(f"{path}.apiGroup", group, (_GROUP,))
    else:
        yield unsupported(f"{path}.kind", kind, _SUBJECTS)


def binding_update(obj: Obj, old: Obj) -> Errors:
    if obj.get("roleRef") != old.get("roleRef"):
        yield invalid("roleRef", obj.get("roleRef"), "cannot change roleRef")

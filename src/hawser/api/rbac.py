"""The algebra of RBAC rules: what a rule allows, whether rules cover others, how they are told in few words.

Source: Kubernetes documentation, "Using RBAC Authorization" (referring to resources, aggregation, privilege escalation
prevention).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

from hawser.api.selectors import LabelSelector
from hawser.api.types import Obj

GROUP = "rbac.authorization.k8s.io"
EVERYTHING: tuple[Obj, ...] = (
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
)
"""What cluster-admin holds."""


def allows_resource(rule: Obj, verb: str, group: str, resource: str, subresource: str, name: str) -> bool:
    """Whether a rule allows a verb on a resource; name is empty where there is none."""
    names = rule.get("resourceNames")
    return (
        _has(rule.get("verbs"), verb)
        and _has(rule.get("apiGroups"), group)
        and _matches(rule.get("resources") or (), resource, subresource)
        and (not names or name in names)
    )


def allows_path(rule: Obj, verb: str, path: str) -> bool:
    """Whether a rule allows a verb on a path that is no resource."""
    return _has(rule.get("verbs"), verb) and any(url_covers(url, path) for url in rule.get("nonResourceURLs") or ())


def _has(values: Iterable[str] | None, wanted: str) -> bool:
    return values is not None and ("*" in values or wanted in values)


def _matches(resources: Sequence[str], resource: str, subresource: str) -> bool:
    if "*" in resources:
        return True
    if not subresource:
        return resource in resources
    return f"{resource}/{subresource}" in resources or f"*/{subresource}" in resources


def url_covers(owner: str, path: str) -> bool:
    """Whether a nonResourceURL, which may end in ``*``, covers a path (or a narrower one of its kind)."""
    return owner == path or (owner.endswith("*") and path.startswith(owner.rstrip("*")))


def covers(owner: Sequence[Obj], wanted: Iterable[Obj]) -> list[Obj]:
    """What of the wanted rules the owner's rules do not cover, one verb of one resource a rule; empty: all is."""
    return [part for rule in wanted for part in _break_down(rule) if not any(_covers(one, part) for one in owner)]


def _break_down(rule: Obj) -> list[Obj]:
    verbs = rule.get("verbs") or ()
    parts: list[Obj] = []
    for group, resource, verb in product(rule.get("apiGroups") or (), rule.get("resources") or (), verbs):
        part: Obj = {"verbs": [verb], "apiGroups": [group], "resources": [resource]}
        names = rule.get("resourceNames") or ()
        parts += [{**part, "resourceNames": [name]} for name in names] if names else [part]
    parts += [{"verbs": [verb], "nonResourceURLs": [url]} for url, verb in product(_urls(rule), verbs)]
    return parts


def _urls(rule: Obj) -> Sequence[str]:
    return rule.get("nonResourceURLs") or ()


def _covers(owner: Obj, part: Obj) -> bool:
    if not all(_has(owner.get("verbs"), verb) for verb in part["verbs"]):
        return False
    if "nonResourceURLs" in part:
        return any(url_covers(url, part["nonResourceURLs"][0]) for url in _urls(owner))
    resource, _, subresource = part["resources"][0].partition("/")
    names = owner.get("resourceNames")
    return (
        all(_has(owner.get("apiGroups"), group) for group in part["apiGroups"])
        and _matches(owner.get("resources") or (), resource, subresource)
        and (not names or ("resourceNames" in part and part["resourceNames"][0] in names))
    )


def compact(rules: Iterable[Obj]) -> list[Obj]:
    """The same rules, the verbs of one resource (or one name of it) together."""
    result: list[Obj] = []
    simple: dict[tuple[str, ...], Obj] = {}
    for rule in rules:
        groups, resources = rule.get("apiGroups") or (), rule.get("resources") or ()
        names = rule.get("resourceNames") or ()
        if _urls(rule) or len(groups) != 1 or len(resources) != 1 or len(names) > 1:
            result.append(rule)
            continue
        key = (*groups, *resources, *names)
        if key in simple:
            simple[key]["verbs"] += rule["verbs"]
        else:
            simple[key] = {**rule, "verbs": list(rule["verbs"])}
    return result + list(simple.values())


_FIELDS = (
    ("APIGroups", "apiGroups"),
    ("Resources", "resources"),
    ("NonResourceURLs", "nonResourceURLs"),
    ("ResourceNames", "resourceNames"),
    ("Verbs", "verbs"),
)


def describe(rule: Obj) -> str:
    """A rule as Kubernetes' messages show it: ``{APIGroups:[""], Resources:["pods"], Verbs:["get"]}``."""
    return "{" + ", ".join(f"{word}:{quoted(rule[key])}" for word, key in _FIELDS if rule.get(key)) + "}"


def quoted(values: Iterable[str]) -> str:
    """A list as Go prints it with %q."""
    return "[" + " ".join('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values) + "]"


def aggregate(role: Obj, roles: Iterable[Obj]) -> list[Obj]:
    """The rules that a ClusterRole with an aggregationRule should have, taken from all ClusterRoles."""
    by_name = sorted(roles, key=lambda one: str(one["metadata"]["name"]))
    rules: list[Obj] = []
    for selector in role["aggregationRule"].get("clusterRoleSelectors") or ():
        matches = LabelSelector.from_object(selector).matches
        for other in by_name:
            metadata = other["metadata"]
            if metadata["name"] == role["metadata"]["name"] or not matches(metadata.get("labels")):
                continue
            for rule in other.get("rules") or ():
                if rule not in rules:
                    rules.append(rule)
    return rules

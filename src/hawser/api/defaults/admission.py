"""Defaults of admission policies and their bindings. Source: API reference, admissionregistration.k8s.io/v1."""

from __future__ import annotations

from hawser.api.types import Obj


def _matching(given: Obj | None) -> None:
    if given is None:
        return
    given.setdefault("matchPolicy", "Equivalent")
    given.setdefault("namespaceSelector", {})
    given.setdefault("objectSelector", {})
    for name in ("resourceRules", "excludeResourceRules"):
        for rule in given.get(name) or ():
            rule.setdefault("scope", "*")


def policy(obj: Obj) -> None:
    """ValidatingAdmissionPolicy: it fails closed and matches all versions."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("failurePolicy", "Fail")
    _matching(spec.get("matchConstraints"))


def mutating_policy(obj: Obj) -> None:
    """MutatingAdmissionPolicy."""
    policy(obj)
    obj["spec"].setdefault("reinvocationPolicy", "Never")


def binding(obj: Obj) -> None:
    """Bindings of both kinds."""
    spec = obj.setdefault("spec", {})
    _matching(spec.get("matchResources"))
    if spec.get("paramRef") is not None:
        spec["paramRef"].setdefault("parameterNotFoundAction", "Deny")

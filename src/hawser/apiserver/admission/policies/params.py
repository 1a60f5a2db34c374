"""Parameters of a policy: the objects that a binding refers to.

Source: API reference, ParamRef; Kubernetes documentation, "Validating Admission Policy", parameter resources.
"""

from __future__ import annotations

from hawser.api import kinds
from hawser.api.crd import objects
from hawser.api.crd.kinds import CustomKind
from hawser.api.kind import Kind
from hawser.api.selectors import LabelSelector
from hawser.api.strategic import clone
from hawser.api.types import Obj
from hawser.apiserver.committed import Committed


class ConfigurationError(Exception):
    """A policy or binding that cannot be evaluated as it is; str() is kube-apiserver's sentence."""


def row(param_kind: Obj) -> Kind:
    """The row of a paramKind. ConfigurationError when there is no such kind."""
    version, name = param_kind.get("apiVersion", ""), param_kind.get("kind", "")
    for one in kinds.served():
        if one.api_version == version and one.kind == name and one.form_of is None:
            return one
    group, _, only = version.rpartition("/")
    shown = f"{group}/{only}, Kind={name}"
    raise ConfigurationError(f"failed to find resource referenced by paramKind: '{shown}'")


def _shown(kind: Kind, obj: Obj) -> Obj:
    """A committed object in the version that the policy speaks of: custom resources are kept in another one."""
    if not isinstance(kind, CustomKind):
        return obj
    return objects.settle(kind, {**clone(obj), "apiVersion": kind.api_version})


def find(param_kind: Obj | None, param_ref: Obj | None, namespace: str, committed: Committed) -> list[Obj | None]:
    """Every object that a policy is to be evaluated with; [None] when it has no parameters. ConfigurationError."""
    if param_kind is None:
        return [None]
    kind = row(param_kind)
    if param_ref is None:
        return [None]
    chosen = param_ref.get("namespace") or ""
    if kind.namespaced:
        chosen = chosen or namespace
        if not chosen:
            raise ConfigurationError(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
            )
    elif chosen:
        raise ConfigurationError("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
    found: list[Obj | None]
    if param_ref.get("name"):
        one = committed.get(kind, chosen, param_ref["name"])
        found = [_shown(kind, one)] if one is not None else []
    else:
        selector = LabelSelector.from_object(param_ref.get("selector") or {})
        found = [
            _shown(kind, one)
            for one in committed.every(kind, chosen)
            if selector.matches((one.get("metadata") or {}).get("labels") or {})
        ]
    if not found and param_ref.get("parameterNotFoundAction") == "Deny":
        raise ConfigurationError("no params found for policy binding with `Deny` parameterNotFoundAction")
    return found

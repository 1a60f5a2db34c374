"""Which writes a webhook wants to be asked about.

Source: Kubernetes documentation, "Dynamic Admission Control" (rules, matchPolicy, objectSelector, namespaceSelector)
and API reference, RuleWithOperations.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hawser.api.kind import Kind
from hawser.api.selectors import LabelSelector
from hawser.api.types import Obj
from hawser.apiserver.admission.base import Operation

_GROUP = "admissionregistration.k8s.io"
_ANY = "*"


@dataclass(frozen=True, slots=True)
class Rule:
    """One RuleWithOperations. scope: Cluster, Namespaced or ``*``."""

    operations: frozenset[str]
    groups: frozenset[str]
    versions: frozenset[str]
    resources: tuple[str, ...]
    scope: str

    @classmethod
    def read(cls, rule: Obj) -> Rule:
        """Of a defaulted rule."""
        return cls(
            frozenset(rule.get("operations") or ()),
            frozenset(rule.get("apiGroups") or ()),
            frozenset(rule.get("apiVersions") or ()),
            tuple(rule.get("resources") or ()),
            rule.get("scope") or _ANY,
        )

    def matches(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """Whether it speaks of such writes of this very version."""
        return (
            _in(self.operations, operation.value)
            and _in(self.groups, kind.group)
            and _in(self.versions, kind.version)
            # A namespace counts as cluster-scoped, as the kind table has it.
            and (self.scope == _ANY or (self.scope == "Namespaced") == kind.namespaced)
            and any(_resource(pattern, kind.plural, subresource) for pattern in self.resources)
        )


def _in(names: frozenset[str], name: str) -> bool:
    return _ANY in names or name in names


def _resource(pattern: str, plural: str, subresource: str) -> bool:
    """``pods``, ``pods/status``, ``pods/*``, ``*/scale``, ``*`` (no subresources), ``*/*``."""
    left, slash, right = pattern.partition("/")
    return left in (_ANY, plural) and (right in (_ANY, subresource) if slash else not subresource)


def exempt(kind: Kind) -> bool:
    """Admission configuration itself is never shown to webhooks: it must be possible to mend it."""
    return kind.group == _GROUP


def matched(
    rules: Iterable[Rule], policy: str, kind: Kind, subresource: str, operation: Operation, twins: Iterable[Kind]
) -> Kind | None:
    """The version in which a webhook wants to see such writes, or None.

    policy: Exact or Equivalent. twins: the other rows of the same objects; they count with Equivalent only.
    """
    rules = tuple(rules)
    if any(rule.matches(kind, subresource, operation) for rule in rules):
        return kind
    if policy == "Exact":
        return None
    return next((twin for twin in twins if any(r.matches(twin, subresource, operation) for r in rules)), None)


def selects_object(selector: LabelSelector, obj: Obj | None, old: Obj | None) -> bool:
    """Whether either state of the object is selected; without labels only by what selects everything."""
    if not selector.requirements and not selector.nothing:
        return True
    return any(selector.matches(_labels(one)) for one in (obj, old) if one is not None and "metadata" in one)


def _labels(obj: Obj) -> dict[str, str]:
    labels: Any = (obj.get("metadata") or {}).get("labels")
    return labels or {}

"""What may only be used where a quota says how much: the administrator's configuration, not an object.

Source: Kubernetes documentation, "Resource Quotas", limit Priority Class consumption by default; API reference,
ResourceQuotaConfiguration. Messages are kube-apiserver's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hawser.api.kind import Kind
from hawser.api.quota.names import concerning
from hawser.api.quota.scopes import matches, selectors
from hawser.api.types import Obj


@dataclass(frozen=True, slots=True)
class Limited:
    """One limitedResource: objects of a kind, by what their usage's names contain and by the scopes they have."""

    group: str
    plural: str
    contains: tuple[str, ...] = ()
    scopes: tuple[tuple[str, str, tuple[str, ...]], ...] = ()

    def concerns(self, kind: Kind) -> bool:
        """Whether it is about objects of a kind."""
        return (self.group, self.plural) == (kind.group, kind.plural)


def uncovered(limited: Sequence[Limited], kind: Kind, used: Iterable[str], obj: Obj, quotas: Iterable[Obj]) -> str:
    """Why an object may not be there; empty when quotas cover whatever is limited.

    limited: those that concern the kind. used: the names of what the object counts for.
    """
    names = {name for name in used if any(part in name for one in limited for part in one.contains)}
    scopes = [scope for one in limited for scope in one.scopes if matches(kind, [_selector(scope)], obj)]
    covered: set[str] = set()
    for quota in quotas:
        wanted = selectors(quota)
        covered |= {one["scopeName"] for one in wanted if matches(kind, [one], obj)}
        if matches(kind, wanted, obj):
            names -= set(concerning(kind, quota["spec"].get("hard") or {}))
    if names:
        return f"insufficient quota to consume: {','.join(sorted(names))}"
    left = [scope for scope in scopes if scope[0] not in covered]
    if left:
        shown = " ".join(f"{{{name} {operator} [{' '.join(values)}]}}" for name, operator, values in left)
        return f"insufficient quota to match these scopes: [{shown}]"
    return ""


def _selector(scope: tuple[str, str, tuple[str, ...]]) -> Obj:
    name, operator, values = scope
    return {"scopeName": name, "operator": operator, "values": list(values)}

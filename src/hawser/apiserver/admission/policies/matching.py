"""Whether a policy or a binding speaks of a request.

Source: API reference, MatchResources: excluded rules win, Equivalent matches other versions of the same objects.
"""

from __future__ import annotations

from collections.abc import Mapping

from hawser.api.kind import Kind
from hawser.api.kinds import NAMESPACE
from hawser.apiserver.admission.base import Request
from hawser.apiserver.admission.policies.compiled import Matching
from hawser.apiserver.admission.webhooks.configurations import twins
from hawser.apiserver.admission.webhooks.matching import Rule, selects_object
from hawser.apiserver.committed import Committed


def matched(given: Matching, request: Request, committed: Committed) -> Kind | None:
    """The version in which the request is matched; None when it is not."""
    if not _selects_namespace(given, request, committed):
        return None
    if not selects_object(given.objects, request.object, request.old):
        return None
    if given.excluded and _by_rules(given.excluded, given.exact, request) is not None:
        return None
    return _by_rules(given.rules, given.exact, request) if given.rules else request.kind


def _by_rules(rules: tuple[tuple[Rule, frozenset[str]], ...], exact: bool, request: Request) -> Kind | None:
    if _by_row(rules, request.kind, request):
        return request.kind
    if exact:
        return None
    return next((row for row in twins(request.kind) if _by_row(rules, row, request)), None)


def _by_row(rules: tuple[tuple[Rule, frozenset[str]], ...], row: Kind, request: Request) -> bool:
    return any(
        rule.matches(row, request.subresource, request.operation) and (not names or request.name in names)
        for rule, names in rules
    )


def _selects_namespace(given: Matching, request: Request, committed: Committed) -> bool:
    selector = given.namespaces
    if not selector.requirements and not selector.nothing:
        return True
    labels: Mapping[str, str]
    if request.kind is NAMESPACE:
        obj = request.object if request.object is not None and not request.subresource else request.old
        labels = ((obj or {}).get("metadata") or {}).get("labels") or {}
    elif not request.kind.namespaced:
        return True
    else:
        labels = committed.labels(NAMESPACE, request.namespace)
    return selector.matches(dict(labels))

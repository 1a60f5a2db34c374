"""The webhooks that are configured, made ready to be matched once for each change of a configuration.

Source: API reference, MutatingWebhookConfiguration and ValidatingWebhookConfiguration; webhooks run in the order
of their configurations' names.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hawser.api import kinds
from hawser.api.kind import Kind
from hawser.api.selectors import LabelSelector
from hawser.api.types import Obj
from hawser.apiserver.admission.base import Operation
from hawser.apiserver.admission.webhooks.matching import Rule, exempt, matched

if TYPE_CHECKING:
    from hawser.apiserver.admission.conditions import Conditions


@dataclass(frozen=True, slots=True)
class Webhook:
    """One webhook of one configuration.

    index: its place in the configuration. version: of the AdmissionReviews that it understands, empty when there is
    none that we speak. ignore: a failure to ask it does not count. safe: it has no side effects in dry runs.
    """

    configuration: str
    index: int
    name: str
    rules: tuple[Rule, ...]
    exact: bool
    namespaces: LabelSelector
    objects: LabelSelector
    client: Obj
    version: str
    seconds: int
    ignore: bool
    safe: bool
    again: bool
    conditions: Conditions | None

    def wants(self, kind: Kind, subresource: str, operation: Operation) -> Kind | None:
        """The version in which it wants to see such writes, or None when it does not want to."""
        policy = "Exact" if self.exact else "Equivalent"
        return matched(self.rules, policy, kind, subresource, operation, twins(kind))


def twins(kind: Kind) -> list[Kind]:
    """The other versions of a row's objects."""
    return [k for k in kinds.served() if k.group == kind.group and k.plural == kind.plural and k is not kind]


def read(configurations: Iterable[Obj], versions: tuple[str, ...]) -> list[Webhook]:
    """Every webhook of (defaulted) configurations, in the order in which they are called.

    versions: of AdmissionReview, that are spoken here.
    """
    ordered = sorted(configurations, key=lambda c: c["metadata"]["name"])
    return [_webhook(c, n, hook, versions) for c in ordered for n, hook in enumerate(c.get("webhooks") or ())]


def _webhook(configuration: Obj, index: int, hook: Obj, versions: tuple[str, ...]) -> Webhook:
    spoken: list[Any] = hook.get("admissionReviewVersions") or []
    conditions = hook.get("matchConditions")
    return Webhook(
        configuration=configuration["metadata"]["name"],
        index=index,
        name=hook["name"],
        rules=tuple(Rule.read(rule) for rule in hook.get("rules") or ()),
        exact=hook.get("matchPolicy") == "Exact",
        namespaces=LabelSelector.from_object(hook.get("namespaceSelector") or {}),
        objects=LabelSelector.from_object(hook.get("objectSelector") or {}),
        client=hook["clientConfig"],
        version=next((v for v in spoken if v in versions), ""),
        seconds=hook.get("timeoutSeconds") or 10,
        ignore=hook.get("failurePolicy") == "Ignore",
        safe=hook.get("sideEffects") in ("None", "NoneOnDryRun"),
        again=hook.get("reinvocationPolicy") == "IfNeeded",
        conditions=_conditions(conditions) if conditions else None,
    )


def _conditions(entries: list[Obj]) -> Conditions:
    # CEL is only loaded where somebody uses it.
    from hawser.apiserver.admission.conditions import compile_conditions

    return compile_conditions(entries)


class Table:
    """All webhooks of one sort, and which of them speak of which writes.

    Which those are is found out once for each (row, subresource, operation), until a configuration or what is served
    changes.
    """

    def __init__(self) -> None:
        self._webhooks: list[Webhook] = []
        self._found: dict[tuple[int, str, Operation], list[tuple[Webhook, Kind]]] = {}
        self._served: object = None

    def load(self, webhooks: list[Webhook]) -> None:
        """These, and no others."""
        self._webhooks = webhooks
        self._found.clear()

    def of(self, kind: Kind, subresource: str, operation: Operation) -> list[tuple[Webhook, Kind]]:
        """The webhooks whose rules speak of such writes, each with the version that it sees."""
        if not self._webhooks:
            return []
        served = kinds.served()
        if self._served is not served:
            # Rows of custom resources come and go; ids of those that went may be used again.
            self._served = served
            self._found.clear()
        key = (id(kind), subresource, operation)
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = self._find(kind, subresource, operation)
        return found

    def _find(self, kind: Kind, subresource: str, operation: Operation) -> list[tuple[Webhook, Kind]]:
        if exempt(kind):
            return []
        wanting = ((webhook, webhook.wants(kind, subresource, operation)) for webhook in self._webhooks)
        return [(webhook, seen) for webhook, seen in wanting if seen is not None]

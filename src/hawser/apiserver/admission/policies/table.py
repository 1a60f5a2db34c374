"""The policies that are in force: those that are bound, and which of them speak of which writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson

from hawser.api import kinds
from hawser.api.kind import Kind
from hawser.apiserver.admission.base import Operation
from hawser.apiserver.admission.webhooks.configurations import twins
from hawser.apiserver.committed import Presence
from hawser.store.base import Record, Store

if TYPE_CHECKING:
    from hawser.apiserver.admission.policies.compiled import Binding, Policy

Bound = tuple["Policy", tuple["Binding", ...]]


class Table:
    """Policies of one kind with their bindings, by name. Without bindings, asking costs a look into a dict."""

    def __init__(self, store: Store, policies: Kind, bindings: Kind) -> None:
        self._store = store
        self._prefixes = tuple(f"{kind.group}/{kind.plural}/" for kind in (bindings, policies))
        self._bindings = Presence(store, bindings)
        self._version: tuple[int, ...] = ()
        self._served: object = None
        self._bound: list[Bound] = []
        self._found: dict[tuple[int, str, Operation], list[Bound]] = {}
        self._made: dict[str, tuple[int, Any]] = {}

    def of(self, kind: Kind, subresource: str, operation: Operation) -> list[Bound]:
        """The bound policies whose rules may speak of such writes."""
        if not self._bindings.there:
            return []
        bindings = self._store.list(self._prefixes[0])
        policies = self._store.list(self._prefixes[1])
        served = kinds.served()
        version = tuple(record.revision for record in (*bindings, *policies))
        if version != self._version or served is not self._served:
            self._load(policies, bindings)
            self._version = version
            # Rows of custom resources come and go; ids of those that went may be used again.
            self._served = served
        place = (id(kind), subresource, operation)
        found = self._found.get(place)
        if found is None:
            found = self._found[place] = [one for one in self._bound if _speaks(one[0], kind, subresource, operation)]
        return found

    def _load(self, policies: list[Record], bindings: list[Record]) -> None:
        # Whoever has no policies does not load the expression language.
        from hawser.apiserver.admission.policies import compiled

        made = [self._once(record, compiled.binding) for record in bindings]
        self._bound = []
        for record in policies:
            name = record.key.removeprefix(self._prefixes[1])
            own = tuple(one for one in made if one.policy == name)
            if own:
                self._bound.append((self._once(record, compiled.policy), own))
        live = {record.key for record in (*policies, *bindings)}
        self._made = {key: held for key, held in self._made.items() if key in live}
        self._found.clear()

    def _once(self, record: Record, make: Callable[[Any], Any]) -> Any:
        """What an object is compiled to, made once for each of its revisions."""
        held = self._made.get(record.key)
        if held is None or held[0] != record.revision:
            held = self._made[record.key] = (record.revision, make(orjson.loads(record.value)))
        return held[1]


def _speaks(policy: Policy, kind: Kind, subresource: str, operation: Operation) -> bool:
    rows = [kind] if policy.matching.exact else [kind, *twins(kind)]
    return any(rule.matches(row, subresource, operation) for row in rows for rule, _ in policy.matching.rules)

"""All resources of one server over one store."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import orjson

from hawser.api.crd.kinds import CustomKind
from hawser.api.kinds import CUSTOM_RESOURCE_DEFINITION, NAMESPACE, POD, SERVICE, SERVICE_ACCOUNT, Kind
from hawser.api.types import Obj
from hawser.apiserver import component_status, index, versions
from hawser.apiserver.admission import plugins
from hawser.apiserver.authorization.access import Access
from hawser.apiserver.callouts import Callouts
from hawser.apiserver.custom.catalog import Catalog
from hawser.apiserver.custom.converting import ConvertingResource
from hawser.apiserver.custom.resource import CustomResource
from hawser.apiserver.default_accounts import DefaultAccounts
from hawser.apiserver.registry import Resource
from hawser.apiserver.strategies.namespaces import Lifecycle
from hawser.apiserver.strategies.services import Allocator
from hawser.apiserver.strategies.table import strategy
from hawser.apiserver.writes import utc_now
from hawser.store.base import Store


class Resources:
    """A Resource for every row of the kind table; also the strategies' Lookup."""

    def __init__(
        self,
        store: Store,
        allocator: Allocator,
        now: Callable[[], datetime] = utc_now,
        choice: plugins.Choice | None = None,
    ) -> None:
        self.store = store
        self.now = now
        self.allocator = allocator
        self.access: Access = Access.over(store, self)
        self.admission = plugins.chain(self, choice)
        lifecycle = Lifecycle(self)
        self.callouts = Callouts(self)

        def custom(kind: CustomKind) -> CustomResource:
            if kind.model.webhook is None:
                return CustomResource(kind, self, store, lifecycle.admit, now, self.admission)
            converting = ConvertingResource(kind, self, store, lifecycle.admit, now, self.admission)
            converting.post = self.callouts.post
            return converting

        self.catalog = Catalog(custom)
        self._lifecycle = lifecycle
        self._resources: dict[Kind, Resource] = {}
        self._phases: dict[str, str] = {}
        store.follow("core/namespaces/", lambda events: self._phases.clear())
        self[POD].before_create = DefaultAccounts(self[SERVICE_ACCOUNT]).ensure
        statuses = component_status.resource(self, store)
        self._resources[statuses.kind] = statuses
        self.load_definitions()
        services = store.list(self[SERVICE].prefix)
        allocator.adopt(orjson.loads(record.value) for record in services)

    def __getitem__(self, kind: Kind) -> Resource:
        if isinstance(kind, CustomKind):
            return self.catalog[kind]
        return self._resources.get(kind) or self._make(kind)

    def _make(self, kind: Kind) -> Resource:
        """The resource of a row that nobody has asked for yet."""
        chosen = strategy(kind, self, self.allocator, self.catalog, self.now)
        made = versions.resource(kind)(kind, chosen, self.store, self._lifecycle.admit, self.now, self.admission)
        if isinstance(made, versions.FormResource) and kind.form_of is not None:
            made.adopt(self[kind.form_of])
        self._resources[kind] = made
        return made

    def load_definitions(self) -> None:
        """Serve what the committed CustomResourceDefinitions say, and nothing else."""
        records = self.store.list(self[CUSTOM_RESOURCE_DEFINITION].prefix)
        crds: list[Obj] = [orjson.loads(record.value) for record in records]
        left = {crd["metadata"]["name"] for crd in crds}
        for crd in self.catalog.definitions():
            if crd["metadata"]["name"] not in left:
                self.catalog.forget(crd["metadata"]["name"])
        self.catalog.keep(crds)

    def find(self, kind: Kind, namespace: str, name: str) -> Obj | None:
        """The committed object, decoded, or None."""
        record = self.store.get(self[kind].key(namespace, name))
        found: Obj | None = orjson.loads(record.value) if record is not None else None
        return found

    def phase(self, namespace: str) -> str | None:
        """A namespace's phase, or None when there is no such namespace."""
        known = self._phases.get(namespace)
        if known is None:
            record = self.store.get(self[NAMESPACE].key("", namespace))
            if record is None:
                return None
            known = self._phases[namespace] = index.of(NAMESPACE, record).field("status.phase")
        return known

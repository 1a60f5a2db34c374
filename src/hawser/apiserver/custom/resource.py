"""Custom resources in the registry: kept in one version, shown in any.

Source: Kubernetes documentation, "Versions in CustomResourceDefinitions" (conversion strategy None) and "Defaulting"
(objects that were stored before a default came show it when they are read).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

import orjson

from hawser.api.crd import objects
from hawser.api.crd.kinds import CustomKind
from hawser.api.crd.schema import has_rules
from hawser.api.encoding import dumps
from hawser.api.errors import method_not_supported
from hawser.api.kinds import Kind
from hawser.api.types import Obj
from hawser.apiserver.admission.chain import Chain
from hawser.apiserver.index import CustomIndex
from hawser.apiserver.registry import Resource
from hawser.apiserver.strategies.base import Lookup, Strategy
from hawser.store.base import Record, Store


class CustomStrategy(Strategy):
    """Updates name the version they change; the status subresource changes the status and nothing else."""

    unconditional_update = False

    kind: CustomKind

    def prepare_create(self, obj: Obj) -> None:
        """APIError 405 while the definition is being deleted."""
        kind = self.kind
        if kind.model.terminating:
            error = method_not_supported(kind.group, kind.plural, "create")
            error.message = "create not allowed while custom resource definition is terminating"
            raise error

    def prepare_status(self, obj: Obj, old: Obj) -> None:
        """Metadata stays as it was."""
        obj["metadata"] = dict(old["metadata"])


class CustomResource(Resource):
    """The objects of a CRD in one of its versions."""

    as_stored = False
    kind: CustomKind

    def __init__(
        self,
        kind: CustomKind,
        lookup: Lookup,
        store: Store,
        admit: Callable[[Kind, str], None],
        now: Callable[[], datetime],
        admission: Chain,
    ) -> None:
        super().__init__(kind, CustomStrategy(kind, lookup), store, admit, now, admission)

        self.laborious = has_rules(kind.model.schema.source)

    async def check(self, validate: Callable[..., None], *arguments: object) -> None:
        """Rules may take a second or two, for which nobody else waits. APIError 422."""
        if not self.laborious:
            validate(*arguments)
            return
        from hawser.apiserver import laborious

        await laborious.check(validate, *arguments)

    def load(self, record: Record) -> Obj:
        """The object as this version shows it."""
        return objects.read_stored(self.kind, record.value)

    def encode(self, obj: Obj) -> bytes:
        """The object in the version that it is kept in."""
        return dumps({**obj, "apiVersion": self.kind.model.stored})

    def outdated(self, record: Record) -> bool:
        """Whether the object is kept in a version that was the storage version before."""
        stored: str = orjson.loads(record.value)["apiVersion"]
        return stored != self.kind.model.stored

    def show(self, record: Record) -> bytes:
        """The bytes of the object in this version, made once."""
        index = record.index
        if not isinstance(index, CustomIndex):
            record.index = index = CustomIndex(self.kind, objects.read_stored(self.kind, record.value))
        shown = index.shown.get(self.kind.version)
        if shown is None:
            shown = dumps(self.load(record))
            if shown == record.value:
                shown = record.value
            index.shown[self.kind.version] = shown
        return shown

    def values(self, records: Iterable[Record]) -> list[bytes]:
        """The bytes of each, in this version."""
        return [self.show(record) for record in records]

    def count_generation(self, new: Obj, old: Obj) -> None:
        """Everything but metadata is counted, the status too unless it is a subresource."""
        generation = old["metadata"].get("generation", 1)
        if _desired(new, self.kind.has_status) != _desired(old, self.kind.has_status):
            generation += 1
        new["metadata"]["generation"] = generation


def _desired(obj: Obj, has_status: bool) -> Obj:
    return {k: v for k, v in obj.items() if k != "metadata" and not (k == "status" and has_status)}

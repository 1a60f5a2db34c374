"""CustomResourceDefinitions: their names are settled as they are written, their objects go before they do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from hawser.api.crd.kinds import FINALIZER, TERMINATING
from hawser.api.crd.names import set_condition
from hawser.api.kinds import Kind
from hawser.api.types import Obj
from hawser.apiserver.strategies.base import Lookup, Strategy

_TIME = "%Y-%m-%dT%H:%M:%SZ"


class Names(Protocol):
    """Knows the names that are taken."""

    def status(self, crd: Obj, now: str) -> Obj:
        """The status that a definition should have."""
        ...


class DefinitionStrategy(Strategy):
    """See the module."""

    unconditional_update = False

    def __init__(self, kind: Kind, lookup: Lookup, names: Names, now: Callable[[], datetime]) -> None:
        super().__init__(kind, lookup)
        self._names = names
        self._now = now

    def prepare_create(self, obj: Obj) -> None:
        """Established at once when its names are free."""
        self._settle(obj)

    def prepare_update(self, obj: Obj, old: Obj) -> None:
        """New names are settled, a new storage version is noted."""
        self._settle(obj)

    def _settle(self, obj: Obj) -> None:
        # Validation, which comes after this, refuses what has no group, names or versions.
        spec = obj.get("spec") or {}
        versions = [version.get("name") for version in spec.get("versions") or ()]
        if spec.get("names") and spec.get("group") and versions and all(versions):
            obj["status"] = self._names.status(obj, self._time())

    def begin_deletion(self, obj: Obj) -> None:
        """A finalizer holds the definition until its objects are gone."""
        metadata = obj["metadata"]
        metadata["finalizers"] = [*(metadata.get("finalizers") or ()), FINALIZER]
        status = obj.setdefault("status", {})
        status["conditions"] = set_condition(
            status.get("conditions") or [],
            TERMINATING,
            "True",
            "InstanceDeletionPending",
            "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
            self._time(),
        )

    def may_remove(self, obj: Obj) -> bool:
        """Never at once."""
        return "deletionTimestamp" in obj["metadata"]

    def _time(self) -> str:
        return self._now().strftime(_TIME)

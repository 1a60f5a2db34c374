"""Storage: what the server sets in volumes and claims.

Source: API reference, PersistentVolumeStatus (lastPhaseTransitionTime) and PersistentVolumeClaimSpec (dataSourceRef).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from hawser.api.kinds import Kind
from hawser.api.types import Obj
from hawser.api.warnings import labels
from hawser.api.warnings import storage as warnings
from hawser.apiserver.strategies.base import Lookup, Strategy
from hawser.apiserver.writes import timestamp


class VolumeStrategy(Strategy):
    """A volume's phase, and since when it is in it."""

    returns_deleted = True

    def __init__(self, kind: Kind, lookup: Lookup, now: Callable[[], datetime]) -> None:
        super().__init__(kind, lookup)
        self._now = now

    def prepare_create(self, obj: Obj) -> None:
        """Pending, from now on."""
        obj["status"] = {"phase": "Pending", "lastPhaseTransitionTime": timestamp(self._now())}

    def prepare_status(self, obj: Obj, old: Obj) -> None:
        """A phase that changes is noted, unless the client says when it did."""
        status, was = obj["status"], old.get("status") or {}
        field = "lastPhaseTransitionTime"
        if status.get("phase") == was.get("phase"):
            if field not in status and field in was:
                status[field] = was[field]
        elif status.get(field) in (None, was.get(field)):
            status[field] = timestamp(self._now())

    def warnings(self, obj: Obj, old: Obj | None) -> Iterable[str]:
        """What is deprecated."""
        return warnings.volume(obj)


class ClaimStrategy(Strategy):
    """A claim's two references to its source say the same."""

    returns_deleted = True

    def prepare_create(self, obj: Obj) -> None:
        """Pending."""
        obj["status"] = {"phase": "Pending"}
        _normalize(obj["spec"])

    def prepare_update(self, obj: Obj, old: Obj) -> None:
        """As at creation."""
        _normalize(obj["spec"])

    def warnings(self, obj: Obj, old: Obj | None) -> Iterable[str]:
        """What is deprecated, and fractions of a byte."""
        return warnings.claim(obj)


def _normalize(spec: Obj) -> None:
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if source is not None and reference is None:
        spec["dataSourceRef"] = dict(source)
    elif reference is not None and source is None and not reference.get("namespace"):
        spec["dataSource"] = {key: value for key, value in reference.items() if key != "namespace"}


class ClassStrategy(Strategy):
    """Classes answer a deletion with themselves."""

    returns_deleted = True


class StorageClassStrategy(ClassStrategy):
    """See the module."""

    def warnings(self, obj: Obj, old: Obj | None) -> Iterable[str]:
        """Labels of nodes that are deprecated."""
        return labels.storage_class(obj)


class DriverStrategy(ClassStrategy):
    """What drivers write names the version it changes."""

    unconditional_update = False


class CapacityStrategy(Strategy):
    """As what drivers write, but for deletions."""

    unconditional_update = False

    def warnings(self, obj: Obj, old: Obj | None) -> Iterable[str]:
        """Labels of nodes that are deprecated."""
        return labels.selector(obj.get("nodeTopology") or {}, "nodeTopology")


class AttachmentStrategy(DriverStrategy):
    """The status is the attacher's; it changes nothing else."""

    def prepare_create(self, obj: Obj) -> None:
        """Nothing is attached yet."""
        obj["status"] = {"attached": False}

    def prepare_status(self, obj: Obj, old: Obj) -> None:
        """Metadata stays as it was."""
        obj["metadata"] = dict(old["metadata"])

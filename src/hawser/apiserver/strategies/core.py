"""Small kinds of the core and other groups, each with what differs from the generic."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable

from hawser.api.types import Obj
from hawser.api.warnings import labels
from hawser.apiserver.strategies.base import Strategy


class NodeStrategy(Strategy):
    """Node agents register with a status."""

    status_at_creation = True


class SecretStrategy(Strategy):
    """stringData is write-only: it is merged into data (Secret, API reference)."""

    def prepare_create(self, obj: Obj) -> None:
        """Merge stringData."""
        _merge_strings(obj)

    def prepare_update(self, obj: Obj, old: Obj) -> None:
        """Merge stringData."""
        _merge_strings(obj)


def _merge_strings(obj: Obj) -> None:
    strings = obj.pop("stringData", None)
    if strings:
        data = obj.get("data") or {}
        obj["data"] = {**data, **{key: b64encode(value.encode()).decode() for key, value in strings.items()}}


class EventStrategy(Strategy):
    """Recorders write counts with PUT or PATCH of what may have expired."""

    create_on_update = True


class LeaseStrategy(Strategy):
    """Leader election relies on a version in every update."""

    create_on_update = True
    unconditional_update = False


class RuntimeClassStrategy(Strategy):
    """Immutable handler; updates name the version they change."""

    unconditional_update = False

    def warnings(self, obj: Obj, old: Obj | None) -> Iterable[str]:
        """Labels of nodes that are deprecated."""
        return labels.runtime_class(obj)

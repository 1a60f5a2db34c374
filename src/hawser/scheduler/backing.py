"""Extended resources that are devices of a class. Source: KEP-5004; API reference, DeviceClassSpec."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hawser.api.extended_resources import IMPLICIT, resource_of
from hawser.api.kinds import DEVICE_CLASS
from hawser.api.types import Obj
from hawser.client.controller import Manager


def backed(classes: Iterable[Obj]) -> dict[str, str]:
    """By extended resource, the name of the class whose devices it is; of several the newest, or first by name."""
    found: dict[str, str] = {}
    by_name = sorted(classes, key=lambda one: one["metadata"]["name"], reverse=True)
    for one in sorted(by_name, key=lambda one: one["metadata"].get("creationTimestamp") or ""):
        name = one["metadata"]["name"]
        found[IMPLICIT + name] = name
        if resource := resource_of(one):
            found[resource] = name
    return found


class Backing:
    """Watches DeviceClasses from the first pod on that wants an extended resource. changed: told of what there is."""

    def __init__(self, manager: Manager, changed: Callable[[dict[str, str]], None]) -> None:
        self._manager = manager
        self._changed = changed
        self._known: dict[str, str] | None = None

    @property
    def is_known(self) -> bool:
        """Whether the first list is in."""
        return self._known is not None

    async def start(self) -> None:
        """Begins to watch, and returns when all classes are known."""
        self._classes = self._manager.informer(DEVICE_CLASS)
        await self._classes.synced()
        if self._known is None:
            self._known = {}
            self._classes.on_change(self._class_changed)

    def _class_changed(self, old: Obj | None, new: Obj | None) -> None:
        found = backed(self._classes.list())
        if found != self._known:
            self._known = found
            self._changed(found)

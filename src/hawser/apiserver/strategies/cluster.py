"""What governs the API itself, and devices: who may write what of it.

Source: API conventions, "Spec and Status"; API reference, ResourceClaimStatus and DeviceTaint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from hawser.api.errors import invalid
from hawser.api.kinds import NAMESPACE, Kind
from hawser.api.types import Obj
from hawser.api.validation.rules import forbidden
from hawser.apiserver.strategies.base import Lookup, Strategy
from hawser.apiserver.writes import timestamp

_ADMIN = "resource.kubernetes.io/admin-access"


class UpsertStrategy(Strategy):
    """PUT of a name that does not exist creates it: roles, bindings, Endpoints."""

    create_on_update = True


class VersionedStrategy(Strategy):
    """Updates name the version they change."""

    unconditional_update = False


class StatusOnlyStrategy(Strategy):
    """Whoever writes the status changes nothing else."""

    def prepare_status(self, obj: Obj, old: Obj) -> None:
        """Metadata stays as it was."""
        obj["metadata"] = dict(old["metadata"])


def _authorize(strategy: Strategy, obj: Obj, asking: Iterable[str]) -> None:
    """Devices are used for administration only in namespaces that are labelled for it. Raises APIError.

    asking: the paths of what does.
    """
    path = next(iter(asking), "")
    if not path:
        return
    metadata = obj["metadata"]
    namespace = strategy.lookup.find(NAMESPACE, "", metadata["namespace"]) or {"metadata": {}}
    if (namespace["metadata"].get("labels") or {}).get(_ADMIN) == "true":
        return
    why = f"admin access to devices requires the `{_ADMIN}: true` label on the containing namespace"
    kind = strategy.kind
    name = metadata.get("name") or metadata.get("generateName") or ""
    raise invalid(kind.group, kind.kind, name, [forbidden(path, why)])


def _requested(spec: Obj) -> Iterator[str]:
    """The requests for administration."""
    for number, request in enumerate((spec.get("devices") or {}).get("requests") or ()):
        if (request.get("exactly") or {}).get("adminAccess"):
            yield f"spec.devices.requests[{number}].adminAccess"


def _given(status: Obj) -> Iterator[str]:
    """The devices that are allocated for administration."""
    devices = (status.get("allocation") or {}).get("devices") or {}
    for number, result in enumerate(devices.get("results") or ()):
        if result.get("adminAccess"):
            yield f"status.allocation.devices.results[{number}].adminAccess"


class TemplateStrategy(Strategy):
    """Templates of claims."""

    def prepare_create(self, obj: Obj) -> None:
        """Not everybody may make claims for administration of them."""
        _authorize(self, obj, _requested((obj.get("spec") or {}).get("spec") or {}))


class ClaimStrategy(StatusOnlyStrategy):
    """What a driver says of a device goes when the device is deallocated."""

    def prepare_create(self, obj: Obj) -> None:
        """Not everybody may claim devices for administration."""
        _authorize(self, obj, _requested(obj.get("spec") or {}))

    def prepare_status(self, obj: Obj, old: Obj) -> None:
        """Metadata stays; statuses of devices that are no longer allocated are dropped."""
        super().prepare_status(obj, old)
        status = obj["status"]
        if not any(_given(old.get("status") or {})):
            _authorize(self, obj, _given(status))
        gone = _allocated(old.get("status") or {}) - _allocated(status)
        if gone and status.get("devices"):
            left = [device for device in status["devices"] if _key(device) not in gone]
            status["devices"] = left
            if not left:
                status.pop("devices")


def _allocated(status: Obj) -> set[tuple[str, ...]]:
    devices = (status.get("allocation") or {}).get("devices") or {}
    return {_key(result) for result in devices.get("results") or ()}


def _key(device: Obj) -> tuple[str, ...]:
    return tuple(device.get(field) or "" for field in ("driver", "pool", "device", "shareID"))


class SliceStrategy(Strategy):
    """Taints of devices say since when."""

    def __init__(self, kind: Kind, lookup: Lookup, now: Callable[[], datetime]) -> None:
        super().__init__(kind, lookup)
        self._now = now

    def prepare_create(self, obj: Obj) -> None:
        """Taints without a time are of now."""
        for device in (obj.get("spec") or {}).get("devices") or ():
            for taint in device.get("taints") or ():
                taint.setdefault("timeAdded", timestamp(self._now()))

    def prepare_update(self, obj: Obj, old: Obj) -> None:
        """As at creation."""
        self.prepare_create(obj)

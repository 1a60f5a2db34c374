"""The subresources that change a part of a pod: ephemeralcontainers and resize.

Each starts from the pod that is stored and takes only its part from what the client wants.
Source: API reference, "update ephemeralcontainers of the specified Pod", "update resize of the specified Pod".
"""

from __future__ import annotations

from typing import Any

from hawser.api.strategic import clone
from hawser.api.types import Obj
from hawser.api.validation.pod_parts import ephemeral_containers_update, resize_update
from hawser.apiserver.strategies.base import Part

_OF_CONTAINER = ("resources", "resizePolicy")


def _ephemeral(new: Obj, old: Obj) -> Obj:
    pod: Obj = clone(old)
    wanted = (new.get("spec") or {}).get("ephemeralContainers")
    _take("ephemeralContainers", pod["spec"], wanted)
    return pod


def _resized(new: Obj, old: Obj) -> Obj:
    """Containers in the order that the client gives them, so that validation can refuse another one."""
    pod: Obj = clone(old)
    wanted = new.get("spec") or {}
    for field in ("containers", "initContainers"):
        known = {container["name"]: container for container in pod["spec"].get(field) or ()}
        listed = [_container(known.get(c.get("name", "")), c) for c in wanted.get(field) or ()]
        _take(field, pod["spec"], listed or None)
    _take("resources", pod["spec"], wanted.get("resources"))
    return pod


def _container(known: Obj | None, wanted: Obj) -> Obj:
    if known is None:
        return wanted
    container = dict(known)
    for field in _OF_CONTAINER:
        _take(field, container, wanted.get(field))
    return container


def _take(field: str, target: Obj, value: Any) -> None:
    if value is None:
        target.pop(field, None)
    else:
        target[field] = value


POD_PARTS = {
    "ephemeralcontainers": Part(_ephemeral, ephemeral_containers_update),
    "resize": Part(_resized, resize_update),
}
"""What ``PodStrategy`` knows beside status."""

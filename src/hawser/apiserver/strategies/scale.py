"""The scale subresource: autoscaling/v1 Scale of anything with spec.replicas.

Source: Scale v1 autoscaling, API reference; Kubernetes documentation, "kubectl scale".
"""

from __future__ import annotations

from typing import Any

from hawser.api import schema
from hawser.api.crd.kinds import CustomKind, Scale
from hawser.api.errors import APIError, Cause, FieldError, bad_request, invalid
from hawser.api.kinds import REPLICATION_CONTROLLER, Kind
from hawser.api.selectors import LabelSelector
from hawser.api.types import Obj

SCALE = Kind("autoscaling", "v1", "Scale", "scales", True, verbs=())
"""What is sent and shown."""
_META = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def read(obj: Obj, kind: Kind) -> Obj:
    """The Scale of an object. APIError 500 when a custom resource has nothing at the path of its replicas."""
    if isinstance(kind, CustomKind) and kind.model.scale is not None:
        return _read_custom(obj, kind, kind.model.scale)
    status: Obj = {"replicas": (obj.get("status") or {}).get("replicas", 0)}
    selected = obj["spec"].get("selector")
    if kind is REPLICATION_CONTROLLER:
        selected = {"matchLabels": selected or {}}
    selector = str(LabelSelector.from_object(selected))
    if selector:
        status["selector"] = selector
    metadata = {key: obj["metadata"][key] for key in _META if key in obj["metadata"]}
    spec = {"replicas": obj["spec"]["replicas"]} if obj["spec"].get("replicas") else {}
    return {"kind": "Scale", "apiVersion": SCALE.api_version, "metadata": metadata, "spec": spec, "status": status}


def write(obj: Obj, scale: Obj, kind: Kind) -> Obj:
    """The object with the replicas of a Scale that was read (obj is copied as deep as it changes). APIError 422."""
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if replicas < 0:
        error = FieldError(Cause.INVALID, "spec.replicas", "must be greater than or equal to 0", replicas)
        raise invalid("autoscaling", "Scale", obj["metadata"]["name"], [error])
    given = scale.get("metadata") or {}
    metadata = {**obj["metadata"]}
    # The version and identity that the client saw are checked like those of any update.
    for key in ("resourceVersion", "uid", "name", "namespace"):
        if given.get(key):
            metadata[key] = given[key]
    path = kind.model.scale.replicas if isinstance(kind, CustomKind) and kind.model.scale else ("spec", "replicas")
    changed = {**obj, "metadata": metadata}
    part = changed
    for name in path[:-1]:
        below = part.get(name)
        part[name] = dict(below) if isinstance(below, dict) else {}
        part = part[name]
    part[path[-1]] = replicas
    return changed


def configuration(kind: Kind, body: Obj) -> Obj:
    """A Scale that is applied (changed in place), as the configuration of the object that it scales. APIError 400."""
    if (body.get("apiVersion"), body.get("kind")) != (SCALE.api_version, SCALE.kind):
        raise bad_request(
            "Incorrect version specified in apply patch. "
            f"Specified patch version: {body.get('apiVersion', '')}, expected: {SCALE.api_version}"
        )
    schema.decode(SCALE, body)
    given = body.get("metadata") or {}
    if given.get("managedFields") is not None:
        raise bad_request("metadata.managedFields must be nil")
    metadata = {name: given[name] for name in ("name", "namespace", "uid", "resourceVersion") if given.get(name)}
    config: Obj = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}
    replicas = (body.get("spec") or {}).get("replicas")
    if replicas is not None:
        config["spec"] = {"replicas": replicas}
    return config


def _read_custom(obj: Obj, kind: CustomKind, paths: Scale) -> Obj:
    replicas = _at(obj, paths.replicas)
    if not isinstance(replicas, int):
        raise APIError(
            500,
            "InternalError",
            f'Internal error occurred: the spec replicas field ".{".".join(paths.replicas)}" does not exist',
        )
    current = _at(obj, paths.status_replicas)
    status: Obj = {"replicas": current if isinstance(current, int) else 0}
    selector = _at(obj, paths.selector) if paths.selector else None
    if selector:
        status["selector"] = selector
    metadata = {key: obj["metadata"][key] for key in _META if key in obj["metadata"]}
    spec = {"replicas": replicas} if replicas else {}
    return {"kind": "Scale", "apiVersion": SCALE.api_version, "metadata": metadata, "spec": spec, "status": status}


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value

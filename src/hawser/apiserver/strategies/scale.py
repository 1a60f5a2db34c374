"""The scale subresource: autoscaling/v1 Scale of anything with spec.replicas.

Source: Scale v1 autoscaling, API reference; Kubernetes documentation, "kubectl scale".
"""

from __future__ import annotations

from hawser.api.errors import Cause, FieldError, bad_request, invalid
from hawser.api.selectors import LabelSelector
from hawser.api.types import Obj

API_VERSION = "autoscaling/v1"
_META = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def read(obj: Obj) -> Obj:
    """The Scale of an object."""
    status: Obj = {"replicas": (obj.get("status") or {}).get("replicas", 0)}
    selector = str(LabelSelector.from_object(obj["spec"].get("selector")))
    if selector:
        status["selector"] = selector
    metadata = {key: obj["metadata"][key] for key in _META if key in obj["metadata"]}
    spec = {"replicas": obj["spec"]["replicas"]} if obj["spec"].get("replicas") else {}
    return {"kind": "Scale", "apiVersion": API_VERSION, "metadata": metadata, "spec": spec, "status": status}


def write(obj: Obj, scale: Obj) -> Obj:
    """The object with a Scale's replicas (obj is copied as deep as it changes). APIError 400, 422."""
    if scale.get("kind", "Scale") != "Scale":
        raise bad_request(f"expected input object type to be Scale, but {scale['kind']}")
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        raise bad_request("Scale.spec.replicas must be an integer")
    if replicas < 0:
        error = FieldError(Cause.INVALID, "spec.replicas", "must be greater than or equal to 0", replicas)
        raise invalid("autoscaling", "Scale", obj["metadata"]["name"], [error])
    given = scale.get("metadata") or {}
    metadata = {**obj["metadata"]}
    # The version and identity that the client saw are checked like those of any update.
    for key in ("resourceVersion", "uid", "name", "namespace"):
        if given.get(key):
            metadata[key] = given[key]
    return {**obj, "metadata": metadata, "spec": {**obj["spec"], "replicas": replicas}}

"""What is posted to a subresource of a pod instead of changing it: bindings and evictions."""

from __future__ import annotations

from hawser.api import schema
from hawser.api.encoding import dumps
from hawser.api.kind import Kind
from hawser.api.kinds import BINDING
from hawser.api.types import Obj
from hawser.apiserver import eviction, scheme
from hawser.apiserver.admission.base import Operation, Request
from hawser.apiserver.paths import Target
from hawser.apiserver.registry import Resource
from hawser.apiserver.reply import Reply
from hawser.apiserver.resources import Resources
from hawser.apiserver.strategies import pods
from hawser.apiserver.writes import Options, timestamp

_EVICTION = Kind("policy", "v1", "Eviction", "evictions", True, verbs=("create",))
POSTED = {"binding": BINDING, "eviction": _EVICTION}
"""What is posted to which subresource."""


async def serve(resources: Resources, target: Target, resource: Resource, obj: Obj, options: Options) -> Reply:
    """Do what was posted to ``target``'s subresource, once admission agrees. APIError for what may not be."""
    kind = POSTED[target.subresource]
    if kind is _EVICTION and obj.get("apiVersion") == "policy/v1beta1":
        # Both versions of the group are accepted for good; they have the same fields.
        obj["apiVersion"] = _EVICTION.api_version
    scheme.check_kind(kind, obj)
    options.fields.report(kind, schema.decode(kind, obj))
    name = target.name
    posted = Request(Operation.CREATE, resource.kind, target.namespace, name, obj, None, options, target.subresource)
    await resources.admission.admit(posted)
    if target.subresource == "eviction":
        status = await eviction.evict(resources, target.namespace, name, posted.new, options)
        return Reply(dumps(status), status["code"])
    now = timestamp(resources.now())

    def change(pod: Obj) -> Obj:
        return pods.bind(pod, posted.new, now)

    await resource.update(target.namespace, name, change, options, binding=True)
    return Reply(dumps(eviction.SUCCESS), 201)

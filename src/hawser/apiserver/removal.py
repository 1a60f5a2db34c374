"""Deletions, as one function of the newest state each; what remains of an object is ``deletion``'s to say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from hawser.api.encoding import dumps
from hawser.api.errors import conflict
from hawser.api.types import Obj
from hawser.apiserver import deletion, index, laborious
from hawser.apiserver.admission.base import Operation, Request
from hawser.apiserver.deletion import DeleteOptions
from hawser.apiserver.writes import TRIES, Moved, Options, Written
from hawser.store.base import Delete, Keep, Put, Record

if TYPE_CHECKING:
    from hawser.apiserver.registry import Resource


async def remove(resource: Resource, namespace: str, name: str, delete: DeleteOptions, options: Options) -> Written:
    """Delete an object, or begin to: what remains has a deletionTimestamp. APIError 403, 404, 409."""
    kind = resource.kind
    plan = resource.plan("", Operation.DELETE)
    hooks = resource.admission.asked(kind, "", Operation.DELETE)
    key = resource.key(namespace, name)
    request = Request(Operation.DELETE, kind, namespace, name, None, None, options)
    if plan or hooks is not None:
        request.delete = delete.shown(options.dry_run)
    removed = False
    asked = ""
    final: Obj = {}

    def fn(current: Record | None, revision: int) -> Put | Delete | Keep:
        nonlocal removed, final
        if current is None:
            raise resource.not_found(name)
        new: Obj = orjson.loads(current.value)
        deletion.check_preconditions(kind, new, delete)
        if asked and new["metadata"]["uid"] != asked:
            raise Moved
        if plan:
            request.old = orjson.loads(current.value) if resource.asks else resource.load(current)
            plan.mutate(request)
            plan.validate(request)
        removed = deletion.begin(resource.strategy, new, delete, resource.now())
        final = new
        if not removed and new == orjson.loads(current.value):
            return Keep()
        new["metadata"]["resourceVersion"] = str(revision)
        # It stays in the version that it is kept in.
        encoded, made = dumps(new), index.written(kind, new, bool(resource.bare))
        return Delete(encoded, made) if removed else Put(encoded, made)

    for _ in range(TRIES):
        if hooks is not None:
            found = resource.get(namespace, name)
            await resource.ready([found])
            request.old = resource.load(found)
            asked = request.old["metadata"]["uid"]
            await hooks.mutate(request)
            await hooks.validate(request)
        try:
            record = await laborious.patiently(lambda: resource.commit(key, fn, options))
            break
        except Moved:
            continue
    else:
        raise conflict(kind.group, kind.plural, name)
    if removed and not options.dry_run:
        resource.strategy.release(final)
    if resource.asks:
        await resource.ready([record])
    return Written(resource.show(record), removed=removed, uid=final["metadata"]["uid"])

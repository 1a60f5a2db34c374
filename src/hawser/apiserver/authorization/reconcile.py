"""Brings the default roles and bindings into the store, at every start.

Source: Kubernetes documentation, "Using RBAC Authorization" (auto-reconciliation): what is missing is added, nothing is
taken away, and objects annotated with autoupdate: "false" are left alone. All writes share a few commits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import orjson

from hawser.api.errors import APIError
from hawser.api.kinds import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING
from hawser.api.rbac import covers
from hawser.api.types import Obj
from hawser.apiserver.authorization import defaults
from hawser.apiserver.deletion import DeleteOptions
from hawser.apiserver.registry import Resource
from hawser.apiserver.resources import Resources
from hawser.apiserver.writes import Options

_KINDS = {kind.kind: kind for kind in (CLUSTER_ROLE, ROLE, CLUSTER_ROLE_BINDING, ROLE_BINDING)}


async def run(resources: Resources) -> None:
    """Write what is missing. APIError and StoreUnavailable as from any write."""
    writes: list[Coroutine[Any, Any, None]] = []
    for wanted in defaults.by_kind():
        resource = resources[_KINDS[wanted["kind"]]]
        metadata = wanted["metadata"]
        namespace = metadata.get("namespace", "")
        record = resource.store.get(resource.key(namespace, metadata["name"]))
        if record is None:
            writes.append(_create(resource, wanted))
            continue
        existing: Obj = orjson.loads(record.value)
        if existing["metadata"].get("annotations", {}).get(defaults.AUTOUPDATE) == "false":
            continue
        if wanted.get("roleRef") != existing.get("roleRef"):
            writes.append(_replace(resource, wanted))
        elif completed(existing, wanted) != existing:
            writes.append(_complete(resource, wanted))
    await asyncio.gather(*writes)


async def _create(resource: Resource, wanted: Obj) -> None:
    try:
        await resource.create(wanted["metadata"].get("namespace", ""), copied(wanted), Options())
    except APIError as error:
        if error.reason != "AlreadyExists":
            raise


async def _replace(resource: Resource, wanted: Obj) -> None:
    """A binding to another role: its roleRef cannot be changed, so it is made anew, with the subjects it had."""
    metadata = wanted["metadata"]
    namespace = metadata.get("namespace", "")
    existing = resource.load(resource.get(namespace, metadata["name"]))
    await resource.delete(namespace, metadata["name"], DeleteOptions(), Options())
    await _create(resource, {**wanted, "subjects": _subjects(existing, wanted)})


async def _complete(resource: Resource, wanted: Obj) -> None:
    metadata = wanted["metadata"]
    change: Callable[[Obj], Obj] = lambda existing: completed(existing, wanted)  # noqa: E731
    await resource.update(metadata.get("namespace", ""), metadata["name"], change, Options())


def completed(existing: Obj, wanted: Obj) -> Obj:
    """An existing role or binding with what is missing of the wanted one."""
    metadata, ours = existing["metadata"], wanted["metadata"]
    new = {**existing, "metadata": dict(metadata)}
    for field in ("labels", "annotations"):
        new["metadata"][field] = {**ours[field], **(metadata.get(field) or {})}
    if "roleRef" in wanted:
        subjects = _subjects(existing, wanted)
        return {**new, "subjects": subjects} if subjects else new
    if "aggregationRule" in wanted:
        # The rules are the aggregation controller's.
        have = (existing.get("aggregationRule") or {}).get("clusterRoleSelectors") or []
        wanted_selectors = wanted["aggregationRule"]["clusterRoleSelectors"]
        missing = [selector for selector in wanted_selectors if selector not in have]
        new["aggregationRule"] = {**(existing.get("aggregationRule") or {}), "clusterRoleSelectors": have + missing}
        return new
    have = existing.get("rules") or []
    missing = [rule for rule in wanted["rules"] if rule not in have]
    return {**new, "rules": have + covers(have, missing)}


def _subjects(existing: Obj, wanted: Obj) -> list[Obj]:
    have: list[Obj] = existing.get("subjects") or []
    return have + [subject for subject in wanted.get("subjects") or () if subject not in have]


def copied(obj: Obj) -> Obj:
    """An object of its own: writes change what they are given."""
    made: Obj = orjson.loads(orjson.dumps(obj))
    return made

"""The Deployment's decision: from what is to what to do next. Pure.

One plan does one kind of thing (create the new ReplicaSet, scale, clean up): its effect is seen before the next plan is
made, so a plan may be cut at any point.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import orjson

from hawser.api.types import Obj
from hawser.controllers import pods, rollout
from hawser.controllers.short_names import short_name

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
_HISTORY_LENGTH = 2000
_NOT_COPIED = {"kubectl.kubernetes.io/last-applied-configuration", REVISION, HISTORY, rollout.DESIRED, rollout.MAX,
               "deprecated.deployment.rollback.to"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scale:
    """Set the size of a ReplicaSet; annotations are merged in the same write."""

    rs: Obj
    replicas: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a Deployment needs now, in this order.

    create: a ReplicaSet without a name clash, or None. update: merge patches of the new ReplicaSet, or None.
    scale: changes of size. delete: ReplicaSets beyond the revision history limit.
    revision: what the Deployment's revision annotation should say ("" leaves it).
    """

    create: Obj | None = None
    update: Obj | None = None
    scale: tuple[Scale, ...] = ()
    delete: tuple[Obj, ...] = ()
    revision: str = ""
    collision: bool = False
    new: Obj | None = None
    old: tuple[Obj, ...] = field(default_factory=tuple)


def plan(deployment: Obj, owned: Sequence[Obj], pods_of_old: int) -> Plan:
    """Pure decision. owned: its ReplicaSets. pods_of_old: pods of old ReplicaSets that still run (for Recreate)."""
    new = find_new(deployment, owned)
    old = tuple(rs for rs in owned if rs is not new)
    if deployment["metadata"].get("deletionTimestamp"):
        return Plan(new=new, old=old)
    paused = bool(deployment["spec"].get("paused"))
    bounds = rollout.limits(deployment)
    if new is None:
        base = Plan(old=old)
    else:
        update, number = _changes(deployment, new, old, bounds)
        base = Plan(new=new, old=old, revision=number, update=update)
    if paused or _was_scaled(deployment, owned):
        return replace(base, scale=tuple(_resize(deployment, new, old, bounds)))
    recreate = (deployment["spec"].get("strategy") or {}).get("type") == "Recreate"
    if recreate:
        shrink = tuple(Scale(rs, 0) for rs in old if rollout.asked(rs))
        if shrink:
            return replace(base, scale=shrink)
        if pods_of_old:
            return base
    if new is None:
        return _creation(deployment, owned, old, rollout.new_replicas(bounds, None, old, recreate=recreate))
    return _progress(deployment, base, bounds, recreate=recreate)


def _progress(deployment: Obj, base: Plan, bounds: rollout.Limits, *, recreate: bool) -> Plan:
    """The new ReplicaSet exists: grow it, shrink the old ones, clean up."""
    new, old = base.new, base.old
    assert new is not None
    scale: tuple[Scale, ...] = ()
    current = rollout.asked(new)
    target = bounds.replicas if current > bounds.replicas else rollout.new_replicas(bounds, new, old, recreate=recreate)
    if target != current:
        scale = (Scale(new, target),)
    else:
        sizes = rollout.old_replicas(bounds, new, [rs for rs in old if rollout.asked(rs)])
        scale = tuple(Scale(rs, sizes[rs["metadata"]["name"]]) for rs in old if rs["metadata"]["name"] in sizes)
    if scale:
        return replace(base, scale=scale)
    if _is_complete(bounds, new, old):
        return replace(base, delete=tuple(_beyond_history(deployment, old)))
    return base


def _is_complete(bounds: rollout.Limits, new: Obj, old: Sequence[Obj]) -> bool:
    """All replicas are of the current template and available, and no other is left."""
    mine = (rollout.asked(new), rollout.seen(new, "replicas"), rollout.seen(new, "availableReplicas"))
    return set(mine) == {bounds.replicas} and not any(rollout.asked(rs) or rollout.seen(rs, "replicas") for rs in old)


def find_new(deployment: Obj, owned: Sequence[Obj]) -> Obj | None:
    """The ReplicaSet of the current template: the oldest one that equals it but for the hash label."""
    wanted = _bare(deployment["spec"]["template"])
    return next((rs for rs in sorted(owned, key=rollout.age) if _bare(rs["spec"]["template"]) == wanted), None)


def _bare(template: Obj) -> Obj:
    metadata = template.get("metadata") or {}
    labels = {k: v for k, v in (metadata.get("labels") or {}).items() if k != HASH_LABEL}
    return {"labels": labels, "annotations": metadata.get("annotations") or {}, "spec": template.get("spec")}


def template_hash(template: Obj, collisions: int) -> str:
    """A short name for a template, safe in labels; another one after each name clash."""
    return short_name(orjson.dumps(_bare(template), option=orjson.OPT_SORT_KEYS), collisions)


def same_template(deployment: Obj, rs: Obj) -> bool:
    """Whether a ReplicaSet is of the Deployment's current template."""
    return _bare(deployment["spec"]["template"]) == _bare(rs["spec"]["template"])


def _creation(deployment: Obj, owned: Sequence[Obj], old: tuple[Obj, ...], size: int) -> Plan:
    number = str(max((rollout.revision(rs) for rs in old), default=0) + 1)
    made = replica_set(deployment, size, number)
    name = made["metadata"]["name"]
    clash = any(rs["metadata"]["name"] == name for rs in owned)
    return Plan(create=None if clash else made, old=old, revision="" if clash else number, collision=clash)


def replica_set(deployment: Obj, size: int, number: str) -> Obj:
    """The ReplicaSet of the current template."""
    spec, metadata = deployment["spec"], deployment["metadata"]
    collisions = int(deployment.get("status", {}).get("collisionCount") or 0)
    digest = template_hash(spec["template"], collisions)
    template_meta = dict(spec["template"].get("metadata") or {})
    labels = {**(template_meta.get("labels") or {}), HASH_LABEL: digest}
    template_meta["labels"] = labels
    selector = dict(spec["selector"])
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH_LABEL: digest}
    body: Obj = {"replicas": size, "selector": selector, "template": {**spec["template"], "metadata": template_meta}}
    if spec.get("minReadySeconds"):
        body["minReadySeconds"] = spec["minReadySeconds"]
    copied = {k: v for k, v in (metadata.get("annotations") or {}).items() if k not in _NOT_COPIED}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{metadata['name'][:242]}-{digest}",
            "namespace": metadata["namespace"],
            "labels": labels,
            "annotations": {**copied, REVISION: number, **rollout.sizes_annotations(rollout.limits(deployment))},
            "ownerReferences": [pods.owner_reference(deployment)],
        },
        "spec": body,
    }


def _changes(deployment: Obj, new: Obj, old: Sequence[Obj], bounds: rollout.Limits) -> tuple[Obj | None, str]:
    """What the new ReplicaSet takes over from its Deployment (a merge patch), and the revision it has or gets."""
    newest_old = max((rollout.revision(rs) for rs in old), default=0)
    number = rollout.revision(new)
    wanted = {k: v for k, v in (deployment["metadata"].get("annotations") or {}).items() if k not in _NOT_COPIED}
    current = new["metadata"].get("annotations") or {}
    if number <= newest_old:
        if number:
            wanted[HISTORY] = _history(current.get(HISTORY, ""), number)
        number = newest_old + 1
        wanted[REVISION] = str(number)
    if bounds.replicas == rollout.annotated(new, rollout.DESIRED):
        wanted |= rollout.sizes_annotations(bounds)
    changed = {k: v for k, v in wanted.items() if current.get(k) != v}
    patch: Obj = {"metadata": {"annotations": changed}} if changed else {}
    seconds = int(deployment["spec"].get("minReadySeconds") or 0)
    if int(new["spec"].get("minReadySeconds") or 0) != seconds:
        patch["spec"] = {"minReadySeconds": seconds}
    return patch or None, str(number)


def _history(before: str, number: int) -> str:
    """The revisions a ReplicaSet had; of very many the oldest are forgotten."""
    revisions = [*before.split(","), str(number)] if before else [str(number)]
    while len(",".join(revisions)) > _HISTORY_LENGTH:
        del revisions[0]
    return ",".join(revisions)


def _was_scaled(deployment: Obj, owned: Sequence[Obj]) -> bool:
    """Whether spec.replicas changed since the ReplicaSets were last sized."""
    wanted = int(deployment["spec"].get("replicas", 1))
    return any(
        rollout.asked(rs) and rollout.DESIRED in (rs["metadata"].get("annotations") or {})
        and rollout.annotated(rs, rollout.DESIRED) != wanted
        for rs in owned
    )  # fmt: skip


def _resize(deployment: Obj, new: Obj | None, old: Sequence[Obj], bounds: rollout.Limits) -> Iterator[Scale]:
    """The Deployment was scaled or is paused: one ReplicaSet takes all, or several take their share."""
    everything = [*old, *([new] if new is not None else [])]
    active = [rs for rs in everything if rollout.asked(rs)]
    if len(active) <= 1:
        only = active[0] if active else max(everything, key=rollout.age, default=None)
        if new is not None and (not active or only is new):
            only = new
        if only is not None and (rollout.asked(only) != bounds.replicas or _stale(only, bounds)):
            yield Scale(only, bounds.replicas)
        return
    if new is not None and _saturated(new, bounds):
        yield from (Scale(rs, 0) for rs in old if rollout.asked(rs))
        return
    rolling = (deployment["spec"].get("strategy") or {}).get("type") != "Recreate"
    sizes = rollout.proportional(bounds, active, rolling=rolling)
    for rs in active:
        size = sizes.get(rs["metadata"]["name"], rollout.asked(rs))
        if size != rollout.asked(rs) or _stale(rs, bounds):
            yield Scale(rs, size)


def _stale(rs: Obj, bounds: rollout.Limits) -> bool:
    wanted = rollout.sizes_annotations(bounds)
    annotations = rs["metadata"].get("annotations") or {}
    return any(annotations.get(k) != v for k, v in wanted.items())


def _saturated(new: Obj, bounds: rollout.Limits) -> bool:
    return (
        rollout.asked(new) == bounds.replicas
        and rollout.annotated(new, rollout.DESIRED) == bounds.replicas
        and rollout.seen(new, "availableReplicas") == bounds.replicas
    )


def _beyond_history(deployment: Obj, old: Sequence[Obj]) -> Iterator[Obj]:
    """Old, empty ReplicaSets above spec.revisionHistoryLimit, the oldest revisions first; only once all is done."""
    limit = int(deployment["spec"].get("revisionHistoryLimit", 10))
    kept = sorted((rs for rs in old if not rs["metadata"].get("deletionTimestamp")), key=rollout.revision)
    empty = [
        rs
        for rs in kept
        if not rollout.asked(rs)
        and not rollout.seen(rs, "replicas")
        and rs.get("status", {}).get("observedGeneration", 0) >= rs["metadata"].get("generation", 0)
    ]
    yield from empty[: max(0, len(kept) - limit)]

"""A Deployment's status: counts and the Available and Progressing conditions. Pure.

Source: Deployment documentation, "Deployment status"; API reference, DeploymentStatus and progressDeadlineSeconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from hawser.api.status import condition
from hawser.api.types import Obj
from hawser.client.clock import parse_timestamp, timestamp
from hawser.controllers import rollout

NO_DEADLINE = 2**31 - 1


_WITHOUT_DEADLINE = ("NewReplicaSetAvailable", "DeploymentPaused", "ProgressDeadlineExceeded")


@dataclass(frozen=True, slots=True)
class _Condition:
    type: str
    status: str
    reason: str
    message: str


def status(
    deployment: Obj, new: Obj | None, old: Sequence[Obj], now: datetime, *, created: str = "", failure: str = ""
) -> Obj:
    """The DeploymentStatus.

    created: name of a ReplicaSet made just now. failure: message of a ReplicaSet that could not be made.
    """
    owned = [*old, *([new] if new is not None else [])]
    total = sum(rollout.seen(rs, "replicas") for rs in owned)
    ready = sum(rollout.seen(rs, "readyReplicas") for rs in owned)
    available = sum(rollout.seen(rs, "availableReplicas") for rs in owned)
    updated = rollout.seen(new, "replicas") if new is not None else 0
    wanted = sum(rollout.asked(rs) for rs in owned)
    made: Obj = {"observedGeneration": deployment["metadata"].get("generation", 0)}
    counts = {
        "replicas": total,
        "updatedReplicas": updated,
        "readyReplicas": ready,
        "availableReplicas": available,
        "unavailableReplicas": max(0, wanted - available),
        "terminatingReplicas": sum(rollout.seen(rs, "terminatingReplicas") for rs in owned),
    }
    made.update({name: count for name, count in counts.items() if count})
    collisions = deployment.get("status", {}).get("collisionCount")
    if collisions:
        made["collisionCount"] = collisions
    before = deployment.get("status", {}).get("conditions") or []
    wanted_conditions = [_available(deployment, available)]
    progressing = _progressing(deployment, made, new, owned, now, created, failure)
    if progressing is not None:
        wanted_conditions.append(progressing)
    problem = next((c for rs in reversed(owned) if (c := condition(rs, "ReplicaFailure"))), None)
    if problem is not None:
        wanted_conditions.append(_Condition("ReplicaFailure", "True", problem["reason"], problem.get("message", "")))
    # Conditions of other types are someone else's.
    others = [c for c in before if c["type"] not in ("Available", "Progressing", "ReplicaFailure")]
    made["conditions"] = [*(_merge(before, c, now, _moved(deployment, made)) for c in wanted_conditions), *others]
    return made


def complete(deployment: Obj, made: Obj) -> bool:
    """All replicas are updated and available, none of the old ones is left."""
    replicas = int(deployment["spec"].get("replicas", 1))
    return all(made.get(c, 0) == replicas for c in ("updatedReplicas", "replicas", "availableReplicas"))


def deadline_in(deployment: Obj, now: datetime) -> float | None:
    """Seconds until the progress deadline of a rollout under way, or None."""
    seconds = deployment["spec"].get("progressDeadlineSeconds") or NO_DEADLINE
    found = condition(deployment, "Progressing")
    if seconds >= NO_DEADLINE or found is None or found["reason"] in _WITHOUT_DEADLINE:
        return None
    return max(0.0, seconds - (now - parse_timestamp(found["lastUpdateTime"])).total_seconds()) + 0.1


def _available(deployment: Obj, available: int) -> _Condition:
    if available >= rollout.limits(deployment).least:
        return _Condition("Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    return _Condition(
        "Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability."
    )


def _progressing(
    deployment: Obj, made: Obj, new: Obj | None, owned: Sequence[Obj], now: datetime, created: str, failure: str
) -> _Condition | None:
    current = condition(deployment, "Progressing")
    if (deployment["spec"].get("progressDeadlineSeconds") or NO_DEADLINE) >= NO_DEADLINE:
        return None
    kept = (
        _Condition("Progressing", *(current.get(f, "") for f in ("status", "reason", "message"))) if current else None
    )
    if deployment["spec"].get("paused"):
        if kept is not None and kept.reason == "ProgressDeadlineExceeded":
            return kept
        return _Condition("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused")
    if failure:
        return _Condition("Progressing", "False", "ReplicaSetCreateError", failure)
    subject = f'ReplicaSet "{new["metadata"]["name"]}"' if new else f'Deployment "{deployment["metadata"]["name"]}"'
    if created:
        return _Condition("Progressing", "True", "NewReplicaSetCreated", f'Created new replica set "{created}"')
    if kept is not None and kept.reason == "DeploymentPaused":
        # Said before anything else is, so that whoever watches sees it.
        return _Condition("Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed")
    finished = complete(deployment, made)
    if finished:
        return _Condition("Progressing", "True", "NewReplicaSetAvailable", f"{subject} has successfully progressed.")
    only_new = made.get("replicas", 0) == made.get("updatedReplicas", 0)
    if kept is not None and kept.reason == "NewReplicaSetAvailable" and only_new:
        # A finished rollout stays finished when pods come and go or their number is changed.
        return kept
    if _moved(deployment, made):
        return _Condition("Progressing", "True", "ReplicaSetUpdated", f"{subject} is progressing.")
    if current is None or kept is None:
        if new is None:
            return None
        name = new["metadata"]["name"]
        return _Condition("Progressing", "True", "FoundNewReplicaSet", f'Found new replica set "{name}"')
    if kept.reason not in _WITHOUT_DEADLINE and timed_out(deployment, current, now):
        return _Condition("Progressing", "False", "ProgressDeadlineExceeded", f"{subject} has timed out progressing.")
    return kept


def timed_out(deployment: Obj, current: Obj, now: datetime) -> bool:
    """Whether the rollout made no progress for progressDeadlineSeconds."""
    seconds = deployment["spec"].get("progressDeadlineSeconds") or NO_DEADLINE
    return (now - parse_timestamp(current["lastUpdateTime"])).total_seconds() >= seconds


def _moved(deployment: Obj, made: Obj) -> bool:
    """Progress: more updated, ready or available pods, or fewer old ones."""
    old = deployment.get("status", {})
    before_old = old.get("replicas", 0) - old.get("updatedReplicas", 0)
    now_old = made.get("replicas", 0) - made.get("updatedReplicas", 0)
    grew = any(made.get(c, 0) > old.get(c, 0) for c in ("updatedReplicas", "readyReplicas", "availableReplicas"))
    return grew or now_old < before_old


def _merge(before: Sequence[Obj], wanted: _Condition, now: datetime, moved: bool) -> Obj:
    """A condition with its times: transition when the status changes, update also when the reason does."""
    old = next((c for c in before if c["type"] == wanted.type), None)
    stamp = timestamp(now)
    same_status = old is not None and old["status"] == wanted.status
    same = same_status and old is not None and old.get("reason") == wanted.reason
    progress = wanted.type == "Progressing" and wanted.reason == "ReplicaSetUpdated" and moved
    return {
        "type": wanted.type,
        "status": wanted.status,
        "lastUpdateTime": old["lastUpdateTime"] if old and same and not progress else stamp,
        "lastTransitionTime": old["lastTransitionTime"] if old and same_status else stamp,
        "reason": wanted.reason,
        "message": wanted.message,
    }

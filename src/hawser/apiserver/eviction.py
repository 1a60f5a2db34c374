"""API-initiated eviction: a deletion of a pod that asks its disruption budget first (POST pods/NAME/eviction).

Source: "API-initiated Eviction", "Specifying a Disruption Budget" (unhealthy pods); Eviction v1 policy, API reference.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson

from hawser.api.errors import APIError, bad_request, conflict, forbidden
from hawser.api.kinds import POD, POD_DISRUPTION_BUDGET
from hawser.api.selectors import LabelSelector
from hawser.api.status import condition, is_ready
from hawser.api.types import Obj
from hawser.apiserver.deletion import DeleteOptions
from hawser.apiserver.resources import Resources
from hawser.apiserver.writes import Options, timestamp

_SEVERAL = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
_REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."
# Evictions that the controller of the budgets has not seen the end of.
_MAX_DISRUPTED = 2000
_TRIES = 20
_RETRY_SECONDS = 10
SUCCESS: Obj = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


async def evict(resources: Resources, namespace: str, name: str, eviction: Obj, options: Options) -> Obj:
    """Delete a pod if its budget has room; the Status to answer with. APIError 400, 403, 404, 409, 429."""
    if (eviction.get("metadata") or {}).get("name", "") != name:
        raise bad_request("name in URL does not match name in Eviction object")
    if eviction["metadata"].get("namespace", namespace) != namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    body = eviction.get("deleteOptions") or {}
    if body.get("dryRun"):
        options.dry_run = True
    delete = DeleteOptions.read(body)
    pod = await _unguarded(resources, namespace, name, delete, options)
    if pod is None:
        return SUCCESS
    budgets = _budgets(resources, namespace, pod)
    if len(budgets) > 1:
        return {**SUCCESS, "status": "Failure", "message": _SEVERAL, "code": 500}
    pinned = delete
    if budgets:
        (budget,) = budgets
        if _may_go(pod, budget):
            # Only as long as it has not become ready meanwhile.
            pinned = _at(delete, pod)
        else:
            await _take(resources, budget, name, options)
    try:
        await _remove(resources, namespace, name, pinned, options)
    except APIError as error:
        if error.reason == "Conflict" and pinned is not delete and not delete.resource_version:
            raise _busy(budgets[0]["metadata"]["name"]) from None
        raise
    return SUCCESS


async def _unguarded(
    resources: Resources, namespace: str, name: str, delete: DeleteOptions, options: Options
) -> Obj | None:
    """Delete a pod that no budget counts; the pod, untouched, when one may.

    Pods that ended, are ending or have not begun do not serve anybody yet.
    """
    pods = resources[POD]
    for attempt in range(_TRIES):
        pod = pods.load(pods.get(namespace, name))
        phase, ending = (pod.get("status") or {}).get("phase"), pod["metadata"].get("deletionTimestamp")
        if phase not in ("Pending", "Succeeded", "Failed") and not ending:
            return pod
        # A pending pod may begin to run, and count, meanwhile.
        pinned = _at(delete, pod) if phase == "Pending" and not ending else delete
        try:
            await _remove(resources, namespace, name, pinned, options)
        except APIError as error:
            if error.reason != "Conflict" or delete.resource_version or attempt == _TRIES - 1:
                raise
        else:
            return None
    raise AssertionError("the last attempt returns or raises")


def _at(delete: DeleteOptions, pod: Obj) -> DeleteOptions:
    """The same deletion, of this version of the pod unless the client names one."""
    return replace(delete, resource_version=delete.resource_version or pod["metadata"]["resourceVersion"])


def _budgets(resources: Resources, namespace: str, pod: Obj) -> list[Obj]:
    """The budgets that select a pod; one whose selector cannot be understood selects nothing."""
    budgets = resources[POD_DISRUPTION_BUDGET]
    labels, found = pod["metadata"].get("labels"), []
    for record in budgets.store.list(f"{budgets.prefix}{namespace}/"):
        budget = budgets.load(record)
        try:
            selector = LabelSelector.from_object((budget.get("spec") or {}).get("selector"))
        except APIError:
            continue
        if selector.matches(labels):
            found.append(budget)
    return found


def _may_go(pod: Obj, budget: Obj) -> bool:
    """Whether a pod that is not healthy may be evicted beside the budget (KEP-3017)."""
    if is_ready(pod):
        return False
    if (budget.get("spec") or {}).get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    status = budget.get("status") or {}
    desired = status.get("desiredHealthy", 0)
    return bool(0 < desired <= status.get("currentHealthy", 0))


def _too_many(cause: str, retry: int) -> APIError:
    details: Obj = {"causes": [{"reason": "DisruptionBudget", "message": cause}]}
    if retry:
        details["retryAfterSeconds"] = retry
    return APIError(429, "TooManyRequests", _REFUSED, details=details)


def _busy(budget: str) -> APIError:
    return _too_many(f"The disruption budget {budget} is still being processed by the server.", _RETRY_SECONDS)


async def _take(resources: Resources, budget: Obj, pod: str, options: Options) -> None:
    """Take one disruption from a budget. APIError 403, 429."""
    now = resources.now()
    metadata = budget["metadata"]

    def change(current: Obj) -> Obj:
        return {**current, "status": taken(current, pod, now)}

    mine = Options(dry_run=options.dry_run, subresource="status")
    await resources[POD_DISRUPTION_BUDGET].update(metadata["namespace"], metadata["name"], change, mine, status=True)


def taken(budget: Obj, pod: str, now: datetime) -> Obj:
    """The status of a budget with one disruption less. APIError 403, 429 when there is none."""
    status: Obj = dict(budget.get("status") or {})
    name, allowed = budget["metadata"]["name"], status.get("disruptionsAllowed", 0)
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        raise _busy(name)
    if allowed < 0:
        raise forbidden("policy", "poddisruptionbudget", name, "pdb disruptions allowed is negative")
    disrupted: dict[str, Any] = dict(status.get("disruptedPods") or {})
    if len(disrupted) > _MAX_DISRUPTED:
        detail = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        raise forbidden("policy", "poddisruptionbudget", name, detail)
    if not allowed:
        raise _too_many(_why_not(budget, name, status), 0)
    status["disruptionsAllowed"] = allowed - 1
    if allowed == 1:
        status["conditions"] = _insufficient(status, now)
    disrupted[pod] = timestamp(now)
    status["disruptedPods"] = disrupted
    return status


def _why_not(budget: Obj, name: str, status: Obj) -> str:
    allowed = condition(budget, "DisruptionAllowed") or {}
    if allowed.get("reason") == "SyncFailed":
        failure = allowed.get("message", "")
        return f"The disruption budget {name} does not allow evicting pods currently because it failed sync: {failure}"
    desired, healthy = status.get("desiredHealthy", 0), status.get("currentHealthy", 0)
    return f"The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"


def _insufficient(status: Obj, now: datetime) -> list[Obj]:
    """The conditions of a budget that has just been used up."""
    listed = list(status.get("conditions") or ())
    old = next((c for c in listed if c.get("type") == "DisruptionAllowed"), None)
    same = old is not None and old.get("status") == "False"
    made = {
        "type": "DisruptionAllowed",
        "status": "False",
        "observedGeneration": status.get("observedGeneration", 0),
        "lastTransitionTime": old["lastTransitionTime"] if same and old else timestamp(now),
        "reason": "InsufficientPods",
        "message": "",
    }
    return [made if c is old else c for c in listed] if old is not None else [*listed, made]


async def _remove(resources: Resources, namespace: str, name: str, delete: DeleteOptions, options: Options) -> None:
    """Say in the pod's status why it goes, and delete it. APIError 404, 409."""
    pods = resources[POD]
    if not options.dry_run:
        now = timestamp(resources.now())
        mine = Options(subresource="status")
        written = await pods.update(namespace, name, lambda pod: _marked(pod, delete, now), mine, status=True)
        if delete.resource_version:
            delete = replace(delete, resource_version=orjson.loads(written.value)["metadata"]["resourceVersion"])
    await pods.delete(namespace, name, delete, options)


def _marked(pod: Obj, delete: DeleteOptions, now: str) -> Obj:
    """The pod with the condition DisruptionTarget (KEP-3329)."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    if delete.uid and delete.uid != metadata["uid"]:
        detail = (
            f"the UID in the precondition ({delete.uid}) does not match the UID in record ({metadata['uid']}). "
            "The object might have been deleted and then recreated"
        )
        raise conflict("", "Pod", metadata["name"], detail)
    version = metadata["resourceVersion"]
    if delete.resource_version and delete.resource_version != version:
        detail = (
            f"the ResourceVersion in the precondition ({delete.resource_version}) does not match the ResourceVersion "
            f"in record ({version}). The object might have been modified"
        )
        raise conflict("", "Pod", metadata["name"], detail)
    old = condition(pod, "DisruptionTarget") or {}
    made = {
        "type": "DisruptionTarget",
        "observedGeneration": metadata.get("generation", 1),
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": old["lastTransitionTime"] if old.get("status") == "True" else now,
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
    }
    others = [c for c in status.get("conditions") or () if c is not old]
    return {**pod, "status": {**status, "conditions": [*others, made]}}

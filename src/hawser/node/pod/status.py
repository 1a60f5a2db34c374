"""A pod's status from what is observed of it: a pure function.

Source: API reference, PodStatus; Kubernetes documentation, "Pod Lifecycle" (phases, container states, conditions).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache

from hawser.api.pod_resources import Amounts, pod_requests
from hawser.api.quantity import Format, format_quantity
from hawser.api.types import Obj
from hawser.node.pod import conditions, resizing, resources, restarts, view
from hawser.node.pod.container_status import Rows, close, stamp
from hawser.node.pod.observed import SHUTDOWN, Memory, Observed, Waiting

_FAMILIES = {"memory": Format.BINARY, "ephemeral-storage": Format.BINARY}


def status(
    pod: Obj,
    observed: Observed,
    memory: Memory,
    waiting: Mapping[str, Waiting],
    now: float,
    host_ips: tuple[str, ...],
    *,
    ended: bool = False,
) -> Obj:
    """The status to write: everything but qosClass and conditions of others.

    waiting: reasons from the plan. ended: nothing of the pod runs and nothing will be started (deletion, or its end).
    """
    old = pod.get("status") or {}
    if memory.rejected and memory.evicted:
        return _observed(pod, _failed(memory.evicted) | {"startTime": old.get("startTime") or stamp(now)})
    rows = Rows(pod, observed, memory, {**memory.waiting, **waiting}, ended=ended)
    inits, apps, others = rows.of("initContainers"), rows.of("containers"), rows.of("ephemeralContainers")
    if ended:
        close(inits, apps)
    if memory.evicted == SHUTDOWN:
        # Endpoints are to leave it before it stops, whatever its probes say.
        for row in (*inits, *apps):
            row["ready"] = False
    phase = _phase(pod, inits, apps, ended)
    running = any(c.running for c in observed.every())
    if phase in ("Succeeded", "Failed") and running:
        # A pod has not come to its end before all of it has.
        phase = old.get("phase") or "Pending"
    result: Obj = {"phase": phase, "hostIP": host_ips[0], "hostIPs": [{"ip": ip} for ip in host_ips]}
    if memory.evicted and not running:
        result |= _failed(memory.evicted)
    result["startTime"] = old.get("startTime") or stamp(now)
    ips = _ips(pod, observed, host_ips)
    if ips:
        result["podIP"], result["podIPs"] = ips[0], [{"ip": ip} for ip in ips]
    if inits:
        result["initContainerStatuses"] = inits
    result["containerStatuses"] = apps
    if others:
        result["ephemeralContainerStatuses"] = others
    result |= _amounts(pod, memory)
    result["conditions"] = conditions.own(pod, observed, memory, result["phase"], inits, apps, now)
    if memory.disruption and memory.evicted:
        why = memory.evicted.message
        result["conditions"].append(conditions.disrupted(pod, memory.disruption, why, now))
    return _observed(pod, result)


def _amounts(pod: Obj, memory: Memory) -> Obj:
    """What the pod as a whole was granted, and what it has (KEP-5419)."""
    requests = pod_requests(pod["spec"])
    if not any(requests.values()):
        return {}
    own = memory.actual.get(resizing.POD, pod["spec"].get("resources") or {})
    group = resources.pod_resources(resizing.with_grant(pod, {resizing.POD: own}) if own else pod)
    limits = {"cpu": group.get("cpu_quota", 0) // 100, "memory": group.get("memory_limit_in_bytes", 0)}
    has: Obj = {"requests": _quantities({k: v for k, v in requests.items() if k in ("cpu", "memory")})}
    if any(limits.values()):
        has["limits"] = _quantities({k: v for k, v in limits.items() if v})
    for part in ("requests", "limits"):
        if own.get(part):
            has[part] = {**has.get(part, {}), **own[part]}
    return {"allocatedResources": _quantities(requests), "resources": has}


def _quantities(amounts: Amounts) -> Obj:
    """A ResourceList."""
    return {name: _quantity(name, value) for name, value in amounts.items()}


@lru_cache(maxsize=1024)
def _quantity(name: str, value: int) -> str:
    return format_quantity(Decimal(value) / 1000 if name == "cpu" else value, _FAMILIES.get(name, Format.DECIMAL))


def _failed(why: Waiting) -> Obj:
    return {"phase": "Failed", "reason": why.reason, "message": why.message}


def _observed(pod: Obj, result: Obj) -> Obj:
    if (generation := pod["metadata"].get("generation")) is not None:
        result["observedGeneration"] = generation
    return result


def _ips(pod: Obj, observed: Observed, host_ips: tuple[str, ...]) -> tuple[str, ...]:
    sandbox = observed.sandbox
    if sandbox is not None and view.host_network(pod):
        return host_ips
    if sandbox is not None and sandbox.ips:
        return sandbox.ips
    # The address of a pod that has ended stays readable.
    return tuple(row["ip"] for row in (pod.get("status") or {}).get("podIPs") or () if row.get("ip"))


def _phase(pod: Obj, inits: list[Obj], apps: list[Obj], ended: bool) -> str:
    specs = {spec["name"]: spec for _, spec in view.every_container(pod)}
    if ended:
        return "Succeeded" if apps and all(exit_code(row) == 0 for row in apps) else "Failed"
    waiting = False
    for row in inits:
        spec, code = specs[row["name"]], exit_code(row)
        if view.is_sidecar(spec):
            # Sidecars that are started again do not undo the initialization.
            waiting = waiting or (code is None and not row["started"] and not _begun(apps))
        elif code is None:
            waiting = True
        elif code != 0 and not _comes_back(pod, spec, row, code):
            return "Failed"
    if waiting or any("waiting" in row["state"] and exit_code(row) is None for row in apps):
        return "Pending"
    sidecars = [row for row in inits if view.is_sidecar(specs[row["name"]])]
    if any("running" in row["state"] for row in (*apps, *sidecars)):
        return "Running"
    if any(_comes_back(pod, specs[row["name"]], row, exit_code(row) or 0) for row in apps):
        return "Running"
    return "Succeeded" if all(exit_code(row) == 0 for row in apps) else "Failed"


def _begun(apps: list[Obj]) -> bool:
    return any("running" in row["state"] or exit_code(row) is not None for row in apps)


def _comes_back(pod: Obj, spec: Obj, row: Obj, code: int) -> bool:
    last = row["state"].get("terminated") or (row.get("lastState") or {}).get("terminated") or {}
    return last.get("reason") == "RestartingAllContainers" or restarts.again(pod, spec, code)


def exit_code(row: Obj) -> int | None:
    """The exit code of the instance that ended last and is not running again; None otherwise."""
    state = row["state"]
    if "running" in state:
        return None
    terminated = state.get("terminated") or (row.get("lastState") or {}).get("terminated")
    return int(terminated["exitCode"]) if terminated else None

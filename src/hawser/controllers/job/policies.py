"""Pod failure policies and success policies of Jobs. Pure.

Source: "Jobs", "Pod failure policy" and "Success policy"; KEP-3329, KEP-3998; API reference, PodFailurePolicyRule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hawser.api.job_indexes import Indexes
from hawser.api.types import Obj


class Verdict(NamedTuple):
    """What a failure policy says of a failed pod.

    counts: towards the back-off limits. action: of the rule that matched, "" for none. message: why the Job fails.
    """

    counts: bool = True
    action: str = ""
    message: str = ""


def judge(policy: Obj | None, pod: Obj) -> Verdict:
    """The verdict of the first rule that matches a failed pod."""
    for number, rule in enumerate((policy or {}).get("rules") or ()):
        metadata, action = pod["metadata"], rule["action"]
        name = f"{metadata['namespace']}/{metadata['name']}"
        if rule.get("onExitCodes") is not None:
            container = _exited(pod, rule["onExitCodes"])
            if container is None:
                continue
            code = container["state"]["terminated"]["exitCode"]
            said = f"Container {container['name']} for pod {name} failed with exit code {code}"
        else:
            condition = _has(pod, rule.get("onPodConditions") or ())
            if condition is None:
                continue
            said = f"Pod {name} has condition {condition}"
        message = f"{said} matching {action} rule at index {number}" if action == "FailJob" else ""
        return Verdict(action != "Ignore", action, message)
    return Verdict()


def _exited(pod: Obj, requirement: Obj) -> Obj | None:
    """The first container that ended with one of the exit codes (0 never counts)."""
    wanted, name = set(requirement["values"]), requirement.get("containerName")
    status = pod.get("status", {})
    listed = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    for container in listed:
        ended: Obj | None = container.get("state", {}).get("terminated")
        if ended is None or (name is not None and name != container["name"]):
            continue
        code = ended.get("exitCode", 0)
        if code and (code in wanted) == (requirement["operator"] == "In"):
            found: Obj = container
            return found
    return None


def _has(pod: Obj, patterns: Sequence[Obj]) -> str | None:
    """The type of the pod's first condition that one of the patterns means."""
    meant = {(p["type"], p.get("status", "True")) for p in patterns}
    for condition in pod.get("status", {}).get("conditions") or ():
        if (condition["type"], condition["status"]) in meant:
            return str(condition["type"])
    return None


def success(policy: Obj | None, completed: Indexes, completions: int) -> str:
    """The message of the first rule that the completed indexes satisfy, "" for none."""
    if not len(completed):
        return ""
    for number, rule in enumerate((policy or {}).get("rules") or ()):
        count = rule.get("succeededCount")
        if rule.get("succeededIndexes") is not None:
            wanted = Indexes.read(rule["succeededIndexes"], completions)
            have = wanted.common(completed)
            met = len(wanted) > 0 and (have == len(wanted) or (count is not None and have >= count))
        else:
            met = count is not None and len(completed) >= count
        if met:
            return f"Matched rules at index {number}"
    return ""

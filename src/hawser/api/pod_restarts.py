"""Restart policies of pods and containers, and restart rules.

Source: Kubernetes documentation, "Container restart policy"; KEP-5307 (policies and rules of containers), KEP-5532
(RestartAllContainers).
"""

from __future__ import annotations

from hawser.api.types import Obj

RESTART_ALL = "RestartAllContainers"
DECLARED = "RestartAllContainersOnContainerExits"
"""The feature that nodes declare which know that action (KEP-5328)."""


def restarts(spec: Obj, container: Obj, code: int) -> bool:
    """Whether a container of a pod (its spec) that ended with this exit code is to run again."""
    own = container.get("restartPolicy")
    if own and (rule := rule_for(container, code)):
        return rule.get("action") in ("Restart", RESTART_ALL)
    policy = own or spec.get("restartPolicy") or "Always"
    return policy == "Always" or (policy == "OnFailure" and code != 0)


def rule_for(container: Obj, code: int) -> Obj | None:
    """The first of the container's restart rules that speaks of this exit code."""
    for rule in container.get("restartPolicyRules") or ():
        codes = rule.get("exitCodes")
        if codes and (code in (codes.get("values") or ())) == (codes.get("operator") == "In"):
            found: Obj = rule
            return found
    return None


def may_restart_all(spec: Obj) -> bool:
    """Whether some container's rule may start the whole pod anew."""
    return any(
        rule.get("action") == RESTART_ALL
        for field in ("initContainers", "containers")
        for container in spec.get(field) or ()
        for rule in container.get("restartPolicyRules") or ()
    )

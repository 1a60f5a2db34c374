"""Which of a pod's containers run again, and whether the pod has come to its end: pure."""

from __future__ import annotations

from hawser.api.pod_restarts import RESTART_ALL, restarts, rule_for
from hawser.api.types import Obj
from hawser.node.cri.model import Container
from hawser.node.pod import view
from hawser.node.pod.observed import Observed


def again(pod: Obj, container: Obj, code: int) -> bool:
    """Whether a container that ended with this exit code runs again by itself. Init containers succeed but once."""
    if code == 0 and not view.is_sidecar(container) and any(c is container for c in view.init_containers(pod)):
        return False
    return restarts(pod["spec"], container, code)


def after_kill(pod: Obj, container: Obj) -> bool:
    """Whether a container that the node itself ends (a failed probe) runs again."""
    return (container.get("restartPolicy") or view.restart_policy(pod)) != "Never"


def restarting_all(pod: Obj, observed: Observed) -> Container | None:
    """The container whose end is to start everything of the pod anew, when there is one."""
    for _, container in view.every_container(pod):
        if not container.get("restartPolicyRules"):
            continue
        newest = observed.newest(container["name"])
        if newest is not None and newest.exited:
            rule = rule_for(container, newest.exit_code)
            if rule is not None and rule.get("action") == RESTART_ALL:
                return newest
    return None


def complete(pod: Obj, observed: Observed) -> bool:
    """Whether the pod has come to its end by itself: nothing of it runs or will run again."""
    for container in view.init_containers(pod):
        newest = observed.newest(container["name"])
        if view.is_sidecar(container) or newest is None or not newest.exited:
            continue
        if newest.exit_code != 0 and not again(pod, container, newest.exit_code):
            return True
    for container in view.containers(pod):
        newest = observed.newest(container["name"])
        if newest is None or not newest.exited or again(pod, container, newest.exit_code):
            return False
    return True

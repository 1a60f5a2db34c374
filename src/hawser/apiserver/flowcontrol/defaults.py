"""The mandatory and suggested objects of flow control.

Source: Kubernetes documentation, "API Priority and Fairness" (default configuration); the figures are kube-apiserver's.
"""

from __future__ import annotations

from typing import Any

from hawser.api.types import Obj

AUTOUPDATE = "apf.kubernetes.io/autoupdate-spec"
_ALL = ["*"]
_EVERY = {"verbs": _ALL, "apiGroups": _ALL, "resources": _ALL, "clusterScope": True, "namespaces": _ALL}
_PATHS = {"verbs": _ALL, "nonResourceURLs": _ALL}
_CONTROLLERS, _SCHEDULER = "system:kube-controller-manager", "system:kube-scheduler"
_COORDINATION = "coordination.k8s.io"
_GRASP = ["get", "create", "update"]

# Name: shares, lendable percent, and for those that queue (queues, hand size, length of a queue).
_LEVELS: dict[str, tuple[int, int, tuple[int, int, int] | None]] = {
    "system": (30, 33, (64, 6, 50)),
    "node-high": (40, 25, (64, 6, 50)),
    "leader-election": (10, 0, (16, 4, 50)),
    "workload-high": (40, 50, (128, 6, 50)),
    "workload-low": (100, 90, (128, 6, 50)),
    "global-default": (20, 50, (128, 6, 50)),
    "catch-all": (5, 0, None),
}


def _user(name: str) -> Obj:
    return {"kind": "User", "user": {"name": name}}


def _group(name: str) -> Obj:
    return {"kind": "Group", "group": {"name": name}}


def _account(name: str) -> Obj:
    return {"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": name}}


def _resources(verbs: list[str], group: str, resources: list[str], cluster: bool) -> Obj:
    rule: Obj = {"verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": _ALL}
    return {**rule, "clusterScope": True} if cluster else rule


_EVERYBODY = [_group("system:unauthenticated"), _group("system:authenticated")]

# Name, level, precedence, what tells flows apart, subjects, resource rules, path rules.
_SCHEMAS: tuple[tuple[str, str, int, str, list[Obj], list[Obj], list[Obj]], ...] = (
    ("exempt", "exempt", 1, "", [_group("system:masters")], [_EVERY], [_PATHS]),
    (
        *("probes", "exempt", 2, "", _EVERYBODY, []),
        [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}],
    ),
    (
        *("system-leader-election", "leader-election", 100, "ByUser", [_user(_CONTROLLERS), _user(_SCHEDULER)]),
        *([_resources(_GRASP, _COORDINATION, ["leases"], False)], []),
    ),
    (
        *("endpoint-controller", "workload-high", 150, "ByUser"),
        [_user(_CONTROLLERS), _account("endpoint-controller"), _account("endpointslicemirroring-controller")],
        *([_resources(_GRASP, "", ["endpoints"], False)], []),
    ),
    (
        *("workload-leader-election", "leader-election", 200, "ByUser", [_account("*")]),
        [
            _resources(_GRASP, "", ["endpoints", "configmaps"], False),
            _resources(_GRASP, _COORDINATION, ["leases"], False),
        ],
        [],
    ),
    (
        *("system-node-high", "node-high", 400, "ByUser", [_group("system:nodes")]),
        [
            _resources(_ALL, "", ["nodes", "nodes/status"], True),
            _resources(_ALL, _COORDINATION, ["leases"], False),
        ],
        [],
    ),
    ("system-nodes", "system", 500, "ByUser", [_group("system:nodes")], [_EVERY], [_PATHS]),
    ("kube-controller-manager", "workload-high", 800, "ByNamespace", [_user(_CONTROLLERS)], [_EVERY], [_PATHS]),
    ("kube-scheduler", "workload-high", 800, "ByNamespace", [_user(_SCHEDULER)], [_EVERY], [_PATHS]),
    ("kube-system-service-accounts", "workload-high", 900, "ByNamespace", [_account("*")], [_EVERY], [_PATHS]),
    ("service-accounts", "workload-low", 9000, "ByUser", [_group("system:serviceaccounts")], [_EVERY], [_PATHS]),
    ("global-default", "global-default", 9900, "ByUser", _EVERYBODY, [_EVERY], [_PATHS]),
    ("catch-all", "catch-all", 10000, "ByUser", _EVERYBODY, [_EVERY], [_PATHS]),
)


def _metadata(name: str) -> Obj:
    return {"name": name, "annotations": {AUTOUPDATE: "true"}}


def levels() -> list[Obj]:
    """The PriorityLevelConfigurations."""
    exempt = {"nominalConcurrencyShares": 0, "lendablePercent": 0}
    made: list[Obj] = [{"metadata": _metadata("exempt"), "spec": {"type": "Exempt", "exempt": exempt}}]
    for name, (shares, lendable, queuing) in _LEVELS.items():
        response: Any = {"type": "Reject"}
        if queuing is not None:
            names = ("queues", "handSize", "queueLengthLimit")
            response = {"type": "Queue", "queuing": dict(zip(names, queuing, strict=True))}
        limited = {"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response}
        made.append({"metadata": _metadata(name), "spec": {"type": "Limited", "limited": limited}})
    return made


def schemas() -> list[Obj]:
    """The FlowSchemas."""
    made = []
    for name, level, precedence, by, subjects, resources, paths in _SCHEMAS:
        rule = {"subjects": subjects, "resourceRules": resources, "nonResourceRules": paths}
        spec: Obj = {
            "priorityLevelConfiguration": {"name": level},
            "matchingPrecedence": precedence,
            "rules": [{key: value for key, value in rule.items() if value}],
        }
        if by:
            spec["distinguisherMethod"] = {"type": by}
        made.append({"metadata": _metadata(name), "spec": spec})
    return made

"""The flow schemas and priority levels that every cluster has.

Mandatory ones have a fixed spec; suggested ones may be changed by who switches off the annotation.
Source: "API Priority and Fairness", "Default configuration".
"""

from __future__ import annotations

from hawser.api.types import Obj

AUTO_UPDATE = "apf.kubernetes.io/autoupdate-spec"
_ALL = ["*"]
_EVERYBODY = ("system:unauthenticated", "system:authenticated")
_ELECTION = ["get", "create", "update"]


def _queue(queues: int, hand: int) -> Obj:
    return {"type": "Queue", "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": 50}}


def _limited(shares: int, lendable: int, response: Obj) -> Obj:
    limited = {"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response}
    return {"type": "Limited", "limited": limited}


def _groups(*names: str) -> list[Obj]:
    return [{"kind": "Group", "group": {"name": name}} for name in names]


def _users(*names: str) -> list[Obj]:
    return [{"kind": "User", "user": {"name": name}} for name in names]


def _accounts(*names: str) -> list[Obj]:
    found = ({"name": name, "namespace": "kube-system"} for name in names)
    return [{"kind": "ServiceAccount", "serviceAccount": account} for account in found]


def _resources(verbs: list[str], group: str, resources: list[str], cluster: bool = False) -> Obj:
    rule: Obj = {"verbs": verbs, "apiGroups": [group], "resources": resources}
    if cluster:
        rule["clusterScope"] = True
    return {**rule, "namespaces": _ALL}


def _schema(level: str, precedence: int, method: str, subjects: list[Obj], **rules: list[Obj]) -> Obj:
    """rules: resourceRules and nonResourceRules; without any, everything."""
    spec: Obj = {"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence}
    if method:
        spec["distinguisherMethod"] = {"type": method}
    rules = rules or {
        "resourceRules": [_resources(_ALL, "*", _ALL, True)],
        "nonResourceRules": [{"verbs": _ALL, "nonResourceURLs": _ALL}],
    }
    return {**spec, "rules": [{"subjects": subjects, **rules}]}


_COORDINATION = "coordination.k8s.io"
_LEASES = _resources(_ELECTION, _COORDINATION, ["leases"])

MANDATORY_LEVELS: dict[str, Obj] = {
    "exempt": {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}},
    "catch-all": _limited(5, 0, {"type": "Reject"}),
}
MANDATORY_SCHEMAS: dict[str, Obj] = {
    "exempt": _schema("exempt", 1, "", _groups("system:masters")),
    "catch-all": _schema("catch-all", 10000, "ByUser", _groups(*_EVERYBODY)),
}
LEVELS: dict[str, Obj] = {
    **MANDATORY_LEVELS,
    "system": _limited(30, 33, _queue(64, 6)),
    "node-high": _limited(40, 25, _queue(64, 6)),
    "leader-election": _limited(10, 0, _queue(16, 4)),
    "workload-high": _limited(40, 50, _queue(128, 6)),
    "workload-low": _limited(100, 90, _queue(128, 6)),
    "global-default": _limited(20, 50, _queue(128, 6)),
}
SCHEMAS: dict[str, Obj] = {
    **MANDATORY_SCHEMAS,
    "system-nodes": _schema("system", 500, "ByUser", _groups("system:nodes")),
    "system-node-high": _schema(
        *("node-high", 400, "ByUser", _groups("system:nodes")),
        resourceRules=[
            _resources(_ALL, "", ["nodes", "nodes/status"], True),
            _resources(_ALL, _COORDINATION, ["leases"]),
        ],
    ),
    "probes": _schema(
        *("exempt", 2, "", _groups(*_EVERYBODY)),
        nonResourceRules=[{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}],
    ),
    "system-leader-election": _schema(
        *("leader-election", 100, "ByUser"),
        _users("system:kube-controller-manager", "system:kube-scheduler") + _accounts("*"),
        resourceRules=[_LEASES],
    ),
    "endpoint-controller": _schema(
        *("workload-high", 150, "ByUser"),
        _users("system:kube-controller-manager")
        + _accounts("endpoint-controller", "endpointslicemirroring-controller"),
        resourceRules=[_resources(_ELECTION, "", ["endpoints"])],
    ),
    "workload-leader-election": _schema(
        *("leader-election", 200, "ByUser", _accounts("*")),
        resourceRules=[_LEASES],
    ),
    "kube-controller-manager": _schema("workload-high", 800, "ByNamespace", _users("system:kube-controller-manager")),
    "kube-scheduler": _schema("workload-high", 800, "ByNamespace", _users("system:kube-scheduler")),
    "kube-system-service-accounts": _schema("workload-high", 900, "ByNamespace", _accounts("*")),
    "service-accounts": _schema("workload-low", 9000, "ByUser", _groups("system:serviceaccounts")),
    "global-default": _schema("global-default", 9900, "ByUser", _groups(*_EVERYBODY)),
}

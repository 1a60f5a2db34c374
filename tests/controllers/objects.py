"""Small objects for tables of cases."""

from __future__ import annotations

from typing import Any

Obj = dict[str, Any]
_uids = iter(range(1, 10**9))


def meta(name: str, **fields: Any) -> Obj:
    number = next(_uids)
    made: Obj = {
        "name": name,
        "namespace": "default",
        "uid": f"uid-{number}",
        "generation": 1,
        "creationTimestamp": f"2026-01-01T00:00:{number % 60:02}Z",
    }
    made.update(fields)
    return made


def pod(name: str, *, ready: bool = True, node: str = "n1", phase: str = "Running", **fields: Any) -> Obj:
    since = fields.pop("since", "2026-01-01T00:00:00Z")
    ip = fields.pop("ip", "")
    labels = fields.pop("labels", {"app": "web"})
    status: Obj = {
        "phase": phase,
        "conditions": [{"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": since}],
    }
    if ip:
        status["podIP"] = ip
    spec = {"nodeName": node, "containers": [{"name": "main", "ports": fields.pop("ports", [])}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta(name, labels=labels, **fields),
        "spec": spec,
        "status": status,
    }


def replica_set(name: str, replicas: int = 1, **status: int) -> Obj:
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": meta(name),
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": name, "image": "a"}]},
            },
        },
        "status": {"replicas": replicas, **status},
    }


def deployment(replicas: int = 3, image: str = "a", **spec: Any) -> Obj:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta("web"),
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "main", "image": image}]},
            },
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
            **spec,
        },
    }

"""Several nodes of one machine, as tests speak of them."""

from __future__ import annotations

import json
from typing import Any

from hawser.cli.engine import nodes, settings

from .conftest import Engine, Obj, pod

NAMESPACE = "default"


def kept(engine: Engine) -> settings.Settings:
    found = settings.load(engine.data_dir)
    assert found is not None
    return found


def prefix(engine: settings.Settings) -> str:
    return nodes.link_prefix(engine)[:-1]


def rows(cluster: Engine) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(cluster.hawser("node", "list", "-o", "json").stdout)
    return found


def ready(cluster: Engine, name: str) -> str:
    node = cluster.get("node", name, NAMESPACE)
    return next(c["status"] for c in node["status"]["conditions"] if c["type"] == "Ready")


def on(node: str, name: str, *args: Any, **spec: Any) -> Obj:
    """A pod that is bound to a node."""
    return pod(name, *args, nodeName=node, **spec)


def settled(cluster: Engine, name: str) -> Obj | None:
    found = cluster.get("pod", name, NAMESPACE)
    return found if all(s["ready"] for s in found["status"]["containerStatuses"]) else None


def replicated(name: str) -> Obj:
    """Three pods that leave a node one second after it was given up."""
    keys = ("node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready")
    tolerations = [{"key": k, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1} for k in keys]
    selector = {"matchLabels": {"app": name}}
    spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "labelSelector": selector}
    whole = pod(
        name, tolerations=tolerations, topologySpreadConstraints=[{**spread, "whenUnsatisfiable": "ScheduleAnyway"}]
    )
    template = {"metadata": {"labels": selector["matchLabels"]}, "spec": whole["spec"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": 3, "selector": selector, "template": template},
    }


def restarted(cluster: Engine, name: str) -> bool:
    statuses = cluster.get("pod", name, NAMESPACE)["status"]["containerStatuses"]
    return all(s["ready"] and s["restartCount"] == 1 for s in statuses)

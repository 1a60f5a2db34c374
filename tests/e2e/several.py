"""Several nodes of one machine, as tests speak of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hawser.cli.engine import nodes, settings

from .conftest import Engine, Obj, engine_of_its_own, pod
from .test_down import links, tables, traces

NAMESPACE = "default"
SILENCE = 20
"""Seconds without a sign of life that make a node NotReady: twice what lies between two of them."""


@contextmanager
def engine_of_nodes(*more: str) -> Iterator[Engine]:
    """An engine of three nodes in three zones that gives silent ones up soon; in the end nothing of it is left.

    more: arguments of ``hawser up``.
    """
    with engine_of_its_own() as made:
        flags = [f"node-monitor-grace-period={SILENCE}s", "node-eviction-rate=10"]
        arguments = [word for flag in flags for word in ("--controllers-arg", flag)]
        made.hawser("up", "--detach", "--nodes", "3", "--zones", "3", *more, *arguments, timeout=300)
        yield made
        views = [nodes.view(kept(made), node) for node in nodes.load(kept(made))]
        made.hawser("down", "--purge", "--grace", "1", timeout=300)
        assert [trace for view in views for trace in traces(made.data_dir, view.instance)] == []
        assert not [name for name in links() if name.startswith(prefix(views[0]))]
        assert not [t for t in tables() if any(view.instance in t for view in views)]
        assert not made.data_dir.exists()


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


def serving(cluster: Engine, namespace: str, service: str = "web") -> set[str]:
    """The nodes of a Service's ready endpoints."""
    slices = cluster.list("endpointslices", namespace, f"kubernetes.io/service-name={service}")
    endpoints = [endpoint for one in slices for endpoint in one.get("endpoints") or ()]
    return {endpoint["nodeName"] for endpoint in endpoints if endpoint["conditions"]["ready"]}


def replicated(name: str, kind: str = "Deployment") -> Obj:
    """Three pods that leave a node one second after it was given up."""
    keys = ("node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready")
    tolerations = [{"key": k, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1} for k in keys]
    selector = {"matchLabels": {"app": name}}
    spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "labelSelector": selector}
    whole = pod(
        name, tolerations=tolerations, topologySpreadConstraints=[{**spread, "whenUnsatisfiable": "ScheduleAnyway"}]
    )
    template = {"metadata": {"labels": selector["matchLabels"]}, "spec": whole["spec"]}
    extra: Obj = {"serviceName": name, "podManagementPolicy": "Parallel"} if kind == "StatefulSet" else {}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"replicas": 3, "selector": selector, "template": template} | extra,
    }


def restarted(cluster: Engine, name: str) -> bool:
    statuses = cluster.get("pod", name, NAMESPACE)["status"]["containerStatuses"]
    return all(s["ready"] and s["restartCount"] == 1 for s in statuses)


def uids(pods: Mapping[str, Obj]) -> set[str]:
    return {found["metadata"]["uid"] for found in pods.values()}

"""``hawser status`` and ``hawser kubeconfig``."""

from __future__ import annotations

import json
import sys
from typing import Any

import typer
from rich.table import Table

from hawser.api.errors import APIError
from hawser.api.kinds import NODE, POD
from hawser.api.status import condition
from hawser.cli import context
from hawser.cli.context import DataDir, Format, Output, out
from hawser.cli.engine import code, nodes, processes
from hawser.cli.engine.ranges import joined
from hawser.cli.engine.settings import DEFAULT_DATA_DIR, Settings
from hawser.cli.tables import age_text, size_text

NOT_RUNNING = 3
"""Exit code for an engine that does not run, as `systemctl status` gives it."""


def status(data_dir: DataDir = DEFAULT_DATA_DIR, output: Format = Output.TABLE) -> None:
    """Show the engine's processes, node and pods.

    Exits with 0 when the engine is ready, 3 when it does not run, 1 when something is wrong.

    Examples:

      hawser status

      hawser status -o json
    """
    document = context.run(lambda: _document(context.existing(data_dir)))
    if output in (Output.JSON, Output.YAML):
        context.show(document, output)
    else:
        _print(document, wide=output is Output.WIDE)
    if not document["running"]:
        raise typer.Exit(NOT_RUNNING)
    if not document["ready"]:
        raise typer.Exit(1)


async def _document(engine: Settings) -> dict[str, Any]:
    supervisor = context.supervisor_pid(engine)
    document: dict[str, Any] = {
        "dataDir": str(engine.data_dir),
        "instance": engine.instance,
        "server": engine.server,
        "metrics": engine.metrics_url,
        "podCIDR": joined((engine.pod_cidr, engine.pod_cidr6)),
        "serviceCIDR": joined((engine.service_cidr, engine.service_cidr6)),
        "loadBalancerRange": engine.load_balancer_range,
        "kubeconfig": str(engine.kubeconfig("admin")),
        "running": supervisor is not None,
        "ready": False,
        "problem": "",
        "outdated": supervisor is not None and code.is_outdated(engine.run_dir),
        "processes": _processes(engine, supervisor) if supervisor else [],
        "node": None,
        "nodes": [],
        "pods": None,
    }
    if supervisor is None:
        document["problem"] = "the engine does not run; `hawser up` starts it"
        return document
    try:
        async with context.admin(engine) as client:
            version = json.loads(await client.raw("GET", "/version"))
            document["version"] = version["gitVersion"]
            known = {node["metadata"]["name"]: node for node in (await client.list(NODE)).items}
            pods = (await client.list(POD)).items
    except APIError as e:
        document["problem"] = e.message
        return document
    wanted = [node.name for node in nodes.load(engine) if not node.stopped and not node.partitioned]
    document["nodes"] = [_node(name, known.get(name)) for name in wanted]
    document["node"] = next((node for node in document["nodes"] if node["name"] == engine.node_name), None)
    document["pods"] = _pods(pods)
    silent = [node for node in document["nodes"] if not node["ready"]]
    document["ready"] = not silent
    document["problem"] = silent[0]["message"] if silent else ""
    return document


def _processes(engine: Settings, supervisor: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [{"name": "supervisor", "pid": supervisor, "restarts": 0}]
    listed = code.state(engine.run_dir).get("processes", {}).items()
    rows += [{"name": name, "pid": p["pid"], "restarts": p["restarts"]} for name, p in listed]
    for row in rows:
        row["memoryBytes"] = processes.rss(row["pid"]) if row["pid"] else 0
        row["uptimeSeconds"] = processes.uptime(row["pid"]) if row["pid"] else 0
        row["running"] = bool(row["memoryBytes"])
    return rows


def _node(name: str, node: dict[str, Any] | None) -> dict[str, Any]:
    status = (node or {}).get("status", {})
    ready = condition(node or {}, "Ready") or {}
    pressures = (c for c in status.get("conditions", ()) if c["type"].endswith("Pressure"))
    return {
        "name": name,
        "ready": ready.get("status") == "True",
        "message": ready.get("message", "the node has not reported yet"),
        "pressures": [c["type"] for c in pressures if c["status"] == "True"],
        "allocatable": status.get("allocatable", {}),
    }


def _pods(pods: list[dict[str, Any]]) -> dict[str, int]:
    phases: dict[str, int] = {}
    for pod in pods:
        phase = pod.get("status", {}).get("phase", "Unknown")
        phases[phase] = phases.get(phase, 0) + 1
    return phases


def _print(document: dict[str, Any], *, wide: bool) -> None:
    state = "[green]ready[/]" if document["ready"] else "[red]not ready[/]" if document["running"] else "[red]down[/]"
    out.print(f"Engine {document['dataDir']}: {state}" + (f"  {document['problem']}" if document["problem"] else ""))
    if not document["running"]:
        return
    table = Table(box=None, pad_edge=False, header_style="")
    for column in ("PROCESS", "PID", "MEMORY", "RESTARTS", "UP"):
        table.add_column(column, justify="right" if column in ("PID", "MEMORY", "RESTARTS") else "left")
    for p in document["processes"]:
        up = age_text(p["uptimeSeconds"]) if p["running"] else "[red]waiting to start[/]"
        table.add_row(p["name"], str(p["pid"] or ""), size_text(p["memoryBytes"]), str(p["restarts"]), up)
    total = sum(p["memoryBytes"] for p in document["processes"])
    table.add_row("all", "", size_text(total), "", "")
    out.print(table)
    if document["outdated"]:
        out.print("Code        [yellow]has changed since the start[/]: `hawser restart` runs what is installed now")
    out.print(f"API         {document['server']}  {document.get('version', '')}")
    if document["metrics"]:
        out.print(f"Metrics     {document['metrics']}  (controllers and scheduler)")
    for node in document["nodes"]:
        short = "".join(f"  [red]{pressure}[/]" for pressure in node["pressures"])
        out.print(f"Node        {node['name']}  {'Ready' if node['ready'] else 'NotReady'}{short}")
    if document["pods"] is not None:
        pods = ", ".join(f"{count} {phase}" for phase, count in sorted(document["pods"].items())) or "none"
        out.print(f"Pods        {pods}")
    out.print(f"Kubeconfig  {document['kubeconfig']}")
    if wide:
        out.print(f"Pod range      {document['podCIDR']}\nService range  {document['serviceCIDR']}")
        out.print(f"Load balancers {document['loadBalancerRange'] or 'none'}")


def kubeconfig(data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Print an administrator's kubeconfig, certificates inside.

    Examples:

      hawser kubeconfig > ~/.kube/config

      KUBECONFIG=<(hawser kubeconfig) kubectl get pods -A
    """
    with context.failures():
        engine = context.existing(data_dir)
        try:
            text = engine.kubeconfig("admin").read_text()
        except PermissionError:
            raise context.Failure("the kubeconfig is readable by root only", "run it with sudo", 77) from None
        sys.stdout.write(text)

"""``hawser node``: the nodes of an engine, switched on and off, cut off and joined again, added and removed."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from hawser.api.errors import APIError, ignoring
from hawser.api.kinds import NODE, POD
from hawser.cli import context, ready
from hawser.cli.asked import check_memory
from hawser.cli.context import DataDir, Failure, Format, Output, err, out
from hawser.cli.engine import nodenet, nodes, power, ranges, settings
from hawser.cli.engine.nodes import Node
from hawser.cli.engine.settings import DEFAULT_DATA_DIR, Settings
from hawser.cli.graceful import CriticalGrace, Grace, Graceful, shut_down
from hawser.runtime import trees

app = typer.Typer(
    help="Nodes of the engine: several on one machine, each with its own network, containerd and agent.",
    no_args_is_help=True,
)


def _complete(ctx: typer.Context, incomplete: str) -> list[str]:
    with contextlib.suppress(Exception):
        engine = settings.load(Path(ctx.params.get("data_dir") or DEFAULT_DATA_DIR).resolve())
        return [n.name for n in nodes.load(engine) if n.name.startswith(incomplete)] if engine else []
    return []


Name = Annotated[str, typer.Argument(help="Name of the node; `hawser node list` shows them.", autocompletion=_complete)]


@dataclass(frozen=True, slots=True)
class _Held:
    """A running engine that nobody else changes meanwhile, and its nodes."""

    engine: Settings
    supervisor: int
    listed: list[Node]

    def node(self, name: str) -> Node:
        """Raises Failure when there is none of that name."""
        for node in self.listed:
            if node.name == name:
                return node
        names = ", ".join(node.name for node in self.listed)
        raise Failure(f"there is no node {name}", f"there are: {names}")

    def further(self, name: str, why: str) -> Node:
        """The same for a node that is not the first one. Raises Failure."""
        node = self.node(name)
        if node.first:
            raise Failure(f"{name} is the machine itself, {why}", "choose a further node: `hawser node add` makes one")
        return node

    def change(self, name: str, **values: object) -> list[Node]:
        changed = nodes.changed(self.listed, name, **values)
        nodes.save(self.engine, changed)
        return changed


@contextlib.contextmanager
def _held(data_dir: Path) -> Iterator[_Held]:
    with context.failures():
        context.need_root()
        engine = context.existing(data_dir)
        with settings.exclusive(engine.data_dir):
            context.running(data_dir)
            supervisor = context.supervisor_pid(engine)
            assert supervisor is not None
            yield _Held(engine, supervisor, nodes.load(engine))


@app.command("list")
def list_(data_dir: DataDir = DEFAULT_DATA_DIR, output: Format = Output.TABLE) -> None:
    """List the nodes: what they are told to be, and what the API says of them.

    Examples:

      hawser node list

      hawser node list -o wide
    """
    rows = context.run(lambda: _rows(context.existing(data_dir)))
    if output in (Output.JSON, Output.YAML):
        context.show(rows, output)
        return
    table = Table(box=None, pad_edge=False, header_style="")
    wide = output is Output.WIDE
    for column in ("NAME", "POWER", "READY", "ZONE", "ADDRESS", "PODS", *(("POD RANGE", "NETWORK NAMESPACE") * wide)):
        table.add_column(column, justify="right" if column == "PODS" else "left")
    for row in rows:
        cells = [row["name"], row["power"], row["ready"], row["zone"], row["address"], str(row["pods"])]
        table.add_row(*cells, *((row["podCIDR"], row["namespace"]) * wide))
    out.print(table)


async def _rows(engine: Settings) -> list[dict[str, Any]]:
    listed = nodes.load(engine)
    known: dict[str, dict[str, Any]] = {}
    pods: list[dict[str, Any]] = []
    if context.supervisor_pid(engine) is not None:
        with contextlib.suppress(APIError):
            async with context.admin(engine) as client:
                known = {n["metadata"]["name"]: n for n in (await client.list(NODE)).items}
                pods = (await client.list(POD)).items
    return [_row(engine, node, known.get(node.name), pods) for node in listed]


def _row(engine: Settings, node: Node, known: dict[str, Any] | None, pods: list[dict[str, Any]]) -> dict[str, Any]:
    status = (known or {}).get("status", {})
    conditions = {c["type"]: c["status"] for c in status.get("conditions", [])}
    addresses = {a["type"]: a["address"] for a in reversed(status.get("addresses", []))}
    power_word = "off" if node.stopped else "on, partitioned" if node.partitioned else "on"
    return {
        "name": node.name,
        "power": power_word,
        "ready": conditions.get("Ready", "Unknown"),
        "zone": node.zone,
        "address": addresses.get("InternalIP") or next(map(str, nodes.addresses(engine, node)), ""),
        "pods": sum(pod["spec"].get("nodeName") == node.name for pod in pods),
        "podCIDR": ranges.joined(map(str, nodes.pod_ranges(engine, node))),
        "namespace": str(nodes.namespace(engine, node) or ""),
    }


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Its name (default: the machine's with the next number).")] = "",
    zone: Annotated[str, typer.Option(help="Its zone (default: none, or the next one of the engine's zones).")] = "",
    cpu: Annotated[
        int,
        typer.Option(min=0, metavar="NUMBER", help="Its processors (default: the machine's).", show_default=False),
    ] = 0,
    memory: Annotated[str, typer.Option(metavar="QUANTITY", help="Its memory, such as 4Gi.")] = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Add a node to the running engine, and wait until it is Ready.

    Examples:

      hawser node add

      hawser node add spare --zone zone-4 --memory 2Gi
    """
    with _held(data_dir) as held:
        if name and settings.node_name(name) != name:
            raise Failure(f"{name!r} is no name of a node", "small letters, digits, dots and dashes")
        if any(node.name == name for node in held.listed):
            raise Failure(f"there is a node {name} already", "`hawser node list` shows them")
        if zone and not re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", zone):
            raise Failure(f"{zone!r} is no name of a zone: it becomes a label's value")
        if memory:
            check_memory(memory)
        *before, made = nodes.grown(held.listed, len(held.listed) + 1)
        made = Node(name or made.name, made.number, zone or made.zone, str(cpu or ""), memory)
        nodes.save(held.engine, [*before, made])
        _boot(held, made)
        out.print(f"Node {made.name} is Ready")


def _boot(held: _Held, node: Node) -> None:
    power.prepare(held.engine, nodes.load(held.engine))
    power.reload(held.engine, held.supervisor)
    asyncio.run(ready.wait_node(held.engine, node))


@app.command("start", no_args_is_help=True)
def start(name: Name, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Switch a node on, and wait until it is Ready. Its pods start again, as after a reboot.

    Examples:

      hawser node start box-2
    """
    with _held(data_dir) as held:
        node = held.node(name)
        held.change(name, stopped=False)
        _boot(held, nodes.changed([node], name, stopped=False)[0])
        out.print(f"Node {name} is on")


@app.command("stop", no_args_is_help=True)
def stop(
    name: Name,
    graceful: Graceful = False,
    grace: Grace = 30,
    critical_grace: CriticalGrace = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Switch a node off, as if its power failed: its agent, containerd and containers are gone at once.

    The API finds out as it would of any machine: the node becomes NotReady when it has been silent for too long, and
    its pods are replaced when they do not tolerate that any longer.

    With --graceful it shuts down in good order instead: pods get their preStop hooks and stop signals, those of
    system-critical priority last, and end as Failed with the reason Terminated.

    Examples:

      hawser node stop box-2

      hawser node stop box-2 --graceful --grace 60
    """
    with _held(data_dir) as held:
        node = held.node(name)
        if graceful and not node.stopped:
            shut_down(held.engine, [node], grace, critical_grace)
        held.change(name, stopped=True)
        power.reload(held.engine, held.supervisor)
        _cut(held, node)
        out.print(f"Node {name} is off")


def _cut(held: _Held, node: Node) -> None:
    if left := power.cut(held.engine, node):
        raise Failure("not everything of it could be ended:\n  " + "\n  ".join(left), "try it once more")


@app.command("partition", no_args_is_help=True)
def partition(name: Name, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Cut a node off from the API server, and the API server from it. Its pods go on and reach other pods.

    Examples:

      hawser node partition box-2
    """
    with _held(data_dir) as held:
        held.further(name, "which the API server runs on")
        nodenet.apply_table(held.engine, held.change(name, partitioned=True))
        out.print(f"Node {name} is cut off; `hawser node heal {name}` joins it again")


@app.command("heal", no_args_is_help=True)
def heal(name: Name, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """End a partition.

    Examples:

      hawser node heal box-2
    """
    with _held(data_dir) as held:
        held.node(name)
        nodenet.apply_table(held.engine, held.change(name, partitioned=False))
        out.print(f"Node {name} reaches the API server")


@app.command("remove", no_args_is_help=True)
def remove(name: Name, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Switch a node off, and remove it with its images and logs. Its pods are deleted by the pod garbage collector.

    Examples:

      kubectl drain box-3 --ignore-daemonsets && hawser node remove box-3
    """
    with _held(data_dir) as held:
        node = held.further(name, "which cannot be removed")
        with err.status(f"Removing {name}"):
            held.change(name, stopped=True)
            power.reload(held.engine, held.supervisor)
            _cut(held, node)
            asyncio.run(_forget(held.engine, name))
            with contextlib.suppress(OSError):
                trees.remove(nodes.view(held.engine, node).data_dir)
            left = [other for other in held.listed if other.name != name]
            nodes.save(held.engine, left)
            nodenet.apply_table(held.engine, left)
        out.print(f"Node {name} is removed")


async def _forget(engine: Settings, name: str) -> None:
    async with context.admin(engine) as client:
        with ignoring(404):
            await client.delete(NODE, name)

"""Waiting for an engine: one step after the other, each with its progress line, its reason and its log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from hawser.api.errors import APIError
from hawser.api.kinds import LEASE, NODE, RUNTIME_CLASS, STORAGE_CLASS, Kind
from hawser.api.status import condition
from hawser.api.types import Obj
from hawser.cli import context
from hawser.cli.context import Failure, err, out
from hawser.cli.engine import nodes
from hawser.cli.engine.nodes import Node
from hawser.cli.engine.roles import role_name
from hawser.cli.engine.settings import DEFAULT_DATA_DIR, Settings
from hawser.cli.images import base, sharing
from hawser.cli.images.importer import ImportFailed
from hawser.client.client import Client
from hawser.client.clock import parse_timestamp
from hawser.node.cri.client import Runtime
from hawser.node.cri.errors import CRIError

_PATIENCE = 120.0
_EVERY = 0.02

_RICH: Obj = {
    "apiVersion": "node.k8s.io/v1",
    "kind": "RuntimeClass",
    "metadata": {"name": "rich"},
    "handler": "rich",
}
"""What pods name to become rich containers."""
_STANDARD: Obj = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    "provisioner": "hawser.dev/local",
    "volumeBindingMode": "WaitForFirstConsumer",
    "reclaimPolicy": "Delete",
    "allowVolumeExpansion": True,
}
"""Volumes of claims that name no class: folders of this machine."""
_DISK: Obj = {**_STANDARD, "metadata": {"name": "disk"}, "parameters": {"type": "disk"}}
"""Volumes that are full at their size."""

Check = Callable[[], Awaitable[str]]
"""Says in words what is not there yet; "" when the step is done."""
Step = tuple[str, str, Check]
"""What is waited for, and the process whose log tells why it does not come."""


async def wait(engine: Settings, patience: float = _PATIENCE) -> None:
    """Waits, with progress, until the API answers, the base images are there and the node is Ready.

    patience: seconds for each step. Raises Failure naming the step that did not come and its log's last lines.
    """
    async with context.admin(engine) as client:
        steps: list[Step] = [
            ("API server", "apiserver", lambda: _api(client)),
            ("RuntimeClass rich", "apiserver", lambda: _created(client, RUNTIME_CLASS, _RICH)),
            ("StorageClass standard", "apiserver", lambda: _created(client, STORAGE_CLASS, _STANDARD)),
            ("StorageClass disk", "apiserver", lambda: _created(client, STORAGE_CLASS, _DISK)),
        ]
        listed = nodes.load(engine)
        steps += [step for node in listed for step in _node_steps(client, engine, node, alone=len(listed) == 1)]
        await _steps(engine, steps, patience)


async def wait_node(engine: Settings, node: Node, patience: float = _PATIENCE) -> None:
    """The same for one node that was just switched on: until its agent has said so itself."""
    since = datetime.now(UTC)
    async with context.admin(engine) as client:
        heard: Step = (f"agent {node.name}", role_name("agent", node), lambda: _lease(client, node.name, since))
        images, *rest = _node_steps(client, engine, node, alone=False)
        await _steps(engine, [images, *([heard, *rest] if rest else [])], patience)


async def _lease(client: Client, name: str, since: datetime) -> str:
    """What the API says of the node may be from before it was off."""
    try:
        lease = await client.get(LEASE, name, "kube-node-lease")
    except APIError as e:
        return e.message
    renewed = lease["spec"].get("renewTime")
    return "" if renewed and parse_timestamp(renewed) >= since else "the agent has not renewed its lease yet"


def _node_steps(client: Client, engine: Settings, node: Node, *, alone: bool) -> list[Step]:
    if node.stopped:
        return []
    view = nodes.view(engine, node)
    name = "" if alone else f" {node.name}"
    steps: list[Step] = [
        (
            f"base images{name}" if node.first else f"images{name}",
            role_name("containerd", node),
            _image_check(engine, node),
        )
    ]
    if not node.partitioned:
        steps.append((f"node{name}", role_name("agent", node), lambda: _node(client, view)))
    return steps


def _image_check(engine: Settings, node: Node) -> Check:
    view = nodes.view(engine, node)
    return lambda: _images(view) if node.first else _shared_images(engine, view)


async def _steps(engine: Settings, steps: list[Step], patience: float) -> None:
    columns = (SpinnerColumn(finished_text="[green]✔[/]"), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=err) as progress:
        for text, log, check in steps:
            task = progress.add_task(text, total=1)
            await _until(check, text, engine, engine.log_dir / f"{log}.log", patience)
            progress.update(task, completed=1)


async def _until(check: Check, text: str, engine: Settings, log: Path, patience: float) -> None:
    deadline = time.monotonic() + patience
    was_there = False
    while problem := await check():
        is_there = context.supervisor_pid(engine) is not None
        if was_there and not is_there:
            said = engine.log_dir / "supervisor.log"
            raise Failure("the engine was stopped before it was ready", f"The last lines of {said}:\n{tail(said)}")
        was_there = is_there
        if time.monotonic() > deadline:
            raise Failure(f"{text} did not come up: {problem}", f"The last lines of {log}:\n{tail(log)}")
        await asyncio.sleep(_EVERY)


async def _api(client: Client) -> str:
    try:
        await client.raw("GET", "/readyz")
    except APIError as e:
        return e.message
    return ""


async def _created(client: Client, kind: Kind, obj: Obj) -> str:
    """Creates an object that is there from the start; one that users have changed stays as it is."""
    try:
        await client.create(kind, obj)
    except APIError as e:
        return "" if e.reason == "AlreadyExists" else e.message
    return ""


async def _images(engine: Settings) -> str:
    try:
        await base.ensure(engine)
    except base.RuntimeNotReady as e:
        return str(e)
    return ""


async def _shared_images(engine: Settings, view: Settings) -> str:
    """A further node has what the others have, and the base images even when no other is on."""
    try:
        async with Runtime(view.cri_endpoint) as runtime:
            await runtime.list_images()
        await sharing.share(engine, base.containerd_socket(view))
        await base.ensure(view)
    except (CRIError, ImportFailed, base.RuntimeNotReady) as e:
        return str(e)
    return ""


async def _node(client: Client, engine: Settings) -> str:
    try:
        node = await client.get(NODE, engine.node_name)
    except APIError as e:
        return e.message
    ready = condition(node, "Ready")
    if ready is None:
        return "the node has not reported yet"
    return "" if ready["status"] == "True" else str(ready.get("message") or "the node is not Ready")


def say(engine: Settings) -> None:
    """What a user wants to know next."""
    flag = "" if engine.data_dir == DEFAULT_DATA_DIR else f" --data-dir {engine.data_dir}"
    out.print(f"[bold]Kubernetes is ready[/] at {engine.server}")
    out.print(f"  export KUBECONFIG={engine.kubeconfig('admin')}   then kubectl, helm, any client")
    out.print(f"  hawser status{flag}    what runs       hawser down{flag}    stop and remove every trace")


def tail(log: Path, lines: int = 12) -> str:
    """The end of a log file, for messages."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return "(there is no log)"

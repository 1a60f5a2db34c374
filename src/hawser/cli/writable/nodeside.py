"""Asking a pod's node about its containers' files, through the Kubernetes API alone.

The engine's node agent answers by itself, below the subresource ``proxy`` of its Node. On another cluster the answer
comes from the pod that the DaemonSet of `hawser rich install` has on that node, by exec. Both run the same program.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import IO, Any
from urllib.parse import urlencode

from hawser.api.errors import APIError
from hawser.api.kinds import NODE, POD
from hawser.api.types import Obj
from hawser.cli.context import Failure
from hawser.cli.exec import converse
from hawser.cli.writable.names import AGENT_CONTAINER, AGENT_LABEL, AGENT_NAMESPACE, AGENT_ROOT
from hawser.client.client import Client

_HINT = "`hawser rich install --print` makes the DaemonSet that reads containers' files on a cluster's nodes"


async def differences(client: Client, pod: Obj, container: str) -> dict[str, Any]:
    """What changed in a container: the document of ``hawser.node.writable.layer.document``. Raises Failure."""
    written = io.BytesIO()
    await ask(client, pod, container, "diff", written)
    document: dict[str, Any] = json.loads(written.getvalue())
    return document


async def ask(
    client: Client, pod: Obj, container: str, what: str, destination: IO[bytes], without: Sequence[str] = ()
) -> None:
    """Writes what a container's node tells: ``diff``, ``layer`` or ``image``. without: what is left out.

    Raises Failure when the node does not tell, APIError.
    """
    node = pod["spec"].get("nodeName")
    if not node:
        raise Failure(f"pod {pod['metadata']['name']} is on no node yet")
    container_id = _running(pod, container)
    # Anybody may give a pod of his own that label.
    agents = (await client.list(POD, AGENT_NAMESPACE, AGENT_LABEL, f"spec.nodeName={node}")).items
    agents = [agent for agent in agents if (agent.get("status") or {}).get("phase") == "Running"]
    if agents:
        await _by_exec(client, agents[0], container_id, what, destination, without)
        return
    metadata = pod["metadata"]
    path = NODE.path(None, node, f"proxy/rich/{metadata['namespace']}/{metadata['name']}/{container}/{what}")
    query = urlencode([("without", one) for one in without])
    try:
        async with client.stream("GET", f"{path}?{query}" if query else path) as response:
            async for piece in response:
                destination.write(piece)
    except APIError as error:
        if error.code == 404:
            raise Failure(f"nothing on node {node} reads containers' files", _HINT) from None
        raise Failure(f"node {node}: {error.message.strip()}") from None


async def _by_exec(
    client: Client, agent: Obj, container_id: str, what: str, destination: IO[bytes], without: Sequence[str]
) -> None:
    command = ["hawser", "rich", "changes", what, "--container", container_id, "--root", AGENT_ROOT]
    command += [f"--without={path}" for path in without]
    complaints = io.BytesIO()
    metadata = agent["metadata"]
    code = await converse(
        client,
        metadata["name"],
        metadata["namespace"],
        AGENT_CONTAINER,
        command,
        destination,  # type: ignore[arg-type]  # what tempfile makes is a BinaryIO in all but name
        complaints,
    )
    if code:
        said = complaints.getvalue().decode(errors="replace").strip()
        raise Failure(f"node {agent['spec']['nodeName']}: {said or f'{what} ended with {code}'}")


def _running(pod: Obj, container: str) -> str:
    states = (pod.get("status") or {}).get("containerStatuses") or ()
    found: Obj = next((state for state in states if state["name"] == container), {})
    if "running" not in (found.get("state") or {}):
        raise Failure(f"container {container} of pod {pod['metadata']['name']} does not run")
    return str(found["containerID"])

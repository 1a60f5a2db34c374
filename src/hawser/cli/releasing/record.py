"""What a pod tells of its releases: the annotation ``hawser.dev/released``, and Events."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from hawser.api.errors import APIError
from hawser.api.kinds import EVENT, POD
from hawser.api.types import Obj
from hawser.client.client import Client
from hawser.client.clock import timestamp

ANNOTATION = "hawser.dev/released"


def released(pod: Obj) -> dict[str, Any] | None:
    """What the pod's annotation says; None when there is none that can be read."""
    text = (pod["metadata"].get("annotations") or {}).get(ANNOTATION)
    try:
        value = json.loads(text) if text else None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


async def write(client: Client, pod: Obj, value: dict[str, Any] | None, reason: str, message: str) -> str:
    """Notes a release on its pod; None takes the note away. What could not be written, "" when all was."""
    metadata = pod["metadata"]
    text = json.dumps(value, separators=(",", ":"), sort_keys=True) if value else None
    refused = []
    if value != released(pod):
        try:
            body = {"metadata": {"annotations": {ANNOTATION: text}, "uid": metadata["uid"]}}
            await client.patch(POD, metadata["name"], metadata["namespace"], body)
        except APIError as error:
            refused.append(error.message)
    try:
        await client.create(EVENT, _event(pod, reason, message))
    except APIError as error:
        refused.append(error.message)
    return "; ".join(refused)


def _event(pod: Obj, reason: str, message: str) -> Obj:
    metadata, now = pod["metadata"], datetime.now(UTC)
    reference = {name: metadata[name] for name in ("name", "namespace", "uid", "resourceVersion")}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{int(now.timestamp() * 1e9):x}", "namespace": metadata["namespace"]},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", **reference},
        "type": "Normal" if reason in ("Released", "ReleaseUndone") else "Warning",
        "reason": reason,
        "message": message[:1024],
        "source": {"component": "hawser-release"},
        "reportingComponent": "hawser-release",
        "reportingInstance": "",
        "firstTimestamp": timestamp(now),
        "lastTimestamp": timestamp(now),
        "count": 1,
    }

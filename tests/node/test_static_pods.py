"""Static pods on a real containerd: run from files, shown by mirrors that come back, ended with their file."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hawser.api.errors import APIError
from hawser.api.kinds import POD
from hawser.client.client import Client

from . import engine as engines
from .engine import Engine
from .images import BUSYBOX
from .running import Obj, gone, phase, pod, ready, seen, state, until

pytestmark = pytest.mark.containerd
SHOWN = f"static-{engines.NODE}"


def write(engine: Engine, **spec: Any) -> None:
    made = pod("static", **spec)
    made["metadata"].pop("namespace")
    made["spec"].pop("nodeName")
    hidden = engine.manifests / ".static.yaml"
    hidden.write_text(json.dumps(made))
    hidden.rename(engine.manifests / "static.yaml")


async def test_a_file_is_a_pod(client: Client, engine: Engine) -> None:
    write(engine)
    obj = await until(lambda: _shown(client))
    obj = await seen(client, SHOWN, ready)
    notes = obj["metadata"]["annotations"]
    assert notes["kubernetes.io/config.mirror"] == notes["kubernetes.io/config.hash"]
    assert obj["metadata"]["ownerReferences"][0]["kind"] == "Node"
    container = state(obj)["containerID"]

    # Deleting the mirror ends nothing: it comes back.
    await client.delete(POD, SHOWN, "default")
    again = await seen_anew(client, obj)
    assert state(again)["containerID"] == container

    # An agent that was killed goes on with the same container.
    engine.stop_agent(9)
    engine.start_agent()
    again = await seen(client, SHOWN, ready)
    assert state(again)["containerID"] == container

    # Another manifest of the name is another pod.
    write(engine, terminationGracePeriodSeconds=1, restartPolicy="OnFailure")
    other = await seen_anew(client, again)
    assert state(other)["containerID"] != container
    assert other["spec"]["restartPolicy"] == "OnFailure"

    (engine.manifests / "static.yaml").unlink()
    await gone(client, SHOWN)
    for path in ("pods", "logs/pods"):

        async def empty(path: str = path) -> bool:
            return not any((engine.folder / "agent" / path).iterdir())

        await until(empty)


async def _shown(client: Client) -> Obj | None:
    try:
        return await client.get(POD, SHOWN, "default")
    except APIError:
        return None


async def seen_anew(client: Client, before: Obj) -> Obj:
    """The mirror that has replaced another, once it is ready."""

    async def look() -> Obj | None:
        obj = await _shown(client)
        return obj if obj and obj["metadata"]["uid"] != before["metadata"]["uid"] and ready(obj) else None

    found: Obj = await until(look)
    return found


async def test_a_static_pod_may_come_to_an_end(client: Client, engine: Engine) -> None:
    done = {"name": "c", "image": BUSYBOX, "command": ["true"]}
    write(engine, containers=[done], restartPolicy="Never")
    await until(lambda: _shown(client))
    await seen(client, SHOWN, phase("Succeeded"))
    (engine.manifests / "static.yaml").unlink()
    await gone(client, SHOWN)


async def test_a_static_pod_that_does_not_fit_has_failed_until_its_manifest_changes(
    client: Client, engine: Engine
) -> None:
    large = {"name": "c", "image": BUSYBOX, "command": ["true"], "resources": {"requests": {"cpu": "1000"}}}
    write(engine, containers=[large])
    await until(lambda: _shown(client))
    obj = await seen(client, SHOWN, phase("Failed"))
    assert obj["status"]["reason"] == "OutOfcpu"
    assert obj["status"]["message"].startswith("Pod was rejected: Node didn't have enough resource: cpu, requested: ")

    # It is asked again by the next agent, as nothing of it has started.
    engine.stop_agent(9)
    engine.start_agent()
    assert phase("Failed")(await seen(client, SHOWN, phase("Failed")))
    write(engine, terminationGracePeriodSeconds=1)
    await seen_anew(client, obj)
    (engine.manifests / "static.yaml").unlink()
    await gone(client, SHOWN)

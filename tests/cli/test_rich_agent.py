"""`hawser rich agent` beside a real API server: answers hawser-runtime, and ends when told."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

from tests.conftest import APIServerProcess

from hawser.api.errors import APIError
from hawser.api.kinds import CUSTOM_RESOURCE_DEFINITION, NAMESPACE, POD
from hawser.client.client import Client
from hawser.rich.profiles import merge
from hawser.rich.profiles.merge import PROFILE
from hawser.runtime.options import OptionError
from hawser.runtime.profile import ask

CRD = json.loads(Path(merge.__file__).with_name("crd.json").read_text())


async def test_it_answers_for_the_nodes_containers(api_server: APIServerProcess, tmp_path: Path) -> None:
    path = tmp_path / "run/profiles.sock"
    command = [sys.executable, "-m", "hawser.cli.main", "rich", "agent", "--node", "n", "--socket", str(path)]
    async with Client.from_kubeconfig(api_server.kubeconfig) as client:
        await client.apply(CUSTOM_RESOURCE_DEFINITION, CRD, "test")
        await client.create(NAMESPACE, {"metadata": {"name": "shop"}})
        spec = {"containers": [{"name": "c", "image": "i"}], "automountServiceAccountToken": False}
        pod = await client.create(POD, {"metadata": {"name": "p", "namespace": "shop"}, "spec": spec})
        agent = {"name": "w", "image": "i", "command": ["x"]}
        for name, content in (("a", {"units": {"mask": ["cron"]}}), ("b", {"agents": [agent]})):
            selector = {"matchLabels": {"kubernetes.io/metadata.name": "shop" if name == "a" else "other"}}
            body = {"apiVersion": PROFILE.api_version, "kind": PROFILE.kind, "metadata": {"name": name}}
            body["spec"] = {**content, "namespaceSelector": selector}
            async with asyncio.timeout(20):
                while True:  # until the kind is served
                    try:
                        await client.apply(PROFILE, body, "test")
                        break
                    except APIError:
                        await asyncio.sleep(0.01)
        asked = {"namespace": "shop", "name": "p", "uid": pod["metadata"]["uid"]}
        annotations = {f"io.kubernetes.cri.sandbox-{key}": value for key, value in asked.items()}
        process = await asyncio.create_subprocess_exec(*command, "--kubeconfig", str(api_server.kubeconfig))
        try:
            async with asyncio.timeout(30):
                while not path.exists():  # noqa: ASYNC110 - another process makes it
                    await asyncio.sleep(0.01)
            answer = await asyncio.to_thread(ask, str(path), annotations)
            assert (answer["profiles"], answer["mask"]) == (["a"], ["cron"])
            body["spec"]["namespaceSelector"] = {}
            await client.apply(PROFILE, body, "test")
            try:
                await asyncio.to_thread(ask, str(path), annotations)
                raise AssertionError("an image was mounted")
            except OptionError as error:
                assert str(error) == "RichProfiles: b: agent w: node n has no way to mount images"
        finally:
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(20):
                assert await process.wait() == 0
    assert not path.exists()

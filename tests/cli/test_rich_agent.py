"""`hawser rich agent` beside a real API server: answers hawser-runtime, and ends when told."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from tests.conftest import APIServerProcess

from hawser.api.errors import APIError
from hawser.api.kinds import CUSTOM_RESOURCE_DEFINITION, NAMESPACE, POD, RUNTIME_CLASS
from hawser.client.client import Client
from hawser.rich.profiles import merge
from hawser.rich.profiles.merge import PROFILE
from hawser.rich.view.manager import Manager
from hawser.runtime.options import OptionError
from hawser.runtime.profile import ask

pytestmark = pytest.mark.usefixtures("node_state")

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
            async with asyncio.timeout(120):
                while True:  # until the kind is served
                    try:
                        await client.apply(PROFILE, body, "test")
                        break
                    except APIError:
                        await asyncio.sleep(0.01)
        asked = {"namespace": "shop", "name": "p", "uid": pod["metadata"]["uid"]}
        annotations = {f"io.kubernetes.cri.sandbox-{key}": value for key, value in asked.items()}
        env = {**os.environ, "CONTAINER_RUNTIME_ENDPOINT": "unix:///run/nobody/containerd.sock"}
        process = await asyncio.create_subprocess_exec(*command, "--kubeconfig", str(api_server.kubeconfig), env=env)
        try:
            async with asyncio.timeout(120):
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
                assert str(error).startswith("RichProfiles: b: agent w: ")
                assert "/run/nobody/containerd.sock" in str(error)
        finally:
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(120):
                assert await process.wait() == 0
    assert not path.exists()


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("lxcfs"), reason="needs root and lxcfs")
async def test_it_keeps_lxcfs_while_there_are_rich_pods(api_server: APIServerProcess, tmp_path: Path) -> None:
    home, socket = tmp_path / "view", tmp_path / "profiles.sock"
    command = [sys.executable, "-m", "hawser.cli.main", "rich", "agent", "--node", "v", "--socket", str(socket)]
    command += ["--view", str(home), "--kubeconfig", str(api_server.kubeconfig)]
    spec = {"containers": [{"name": "c", "image": "i"}], "automountServiceAccountToken": False, "nodeName": "v"}
    async with Client.from_kubeconfig(api_server.kubeconfig) as client:
        await client.create(NAMESPACE, {"metadata": {"name": "view"}})
        await client.create(RUNTIME_CLASS, {"metadata": {"name": "rich"}, "handler": "rich"})
        process = await asyncio.create_subprocess_exec(*command)
        try:
            await client.create(
                POD, {"metadata": {"name": "p", "namespace": "view"}, "spec": {**spec, "runtimeClassName": "rich"}}
            )
            async with asyncio.timeout(120):
                while not (home / "offers").exists():  # noqa: ASYNC110 - another process makes it
                    await asyncio.sleep(0.01)
        finally:
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
            # It serves on, until the next agent finds that nobody needs it.
            offers = (home / "offers").read_text().split()
            await Manager(home).retire()
    assert {"lxcfs/proc/meminfo", "own/proc/diskstats"} <= {*offers}

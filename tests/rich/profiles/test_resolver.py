"""The node's answers about RichProfiles, by a real API server, over the socket that hawser-runtime asks at."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import APIServerProcess

from hawser.api.errors import APIError
from hawser.api.kinds import BY_RESOURCE, NAMESPACE, POD
from hawser.client.client import Client
from hawser.rich.profiles import merge
from hawser.rich.profiles.merge import PROFILE, ProfileError
from hawser.rich.profiles.resolver import Resolver
from hawser.rich.profiles.server import Server
from hawser.runtime.options import OptionError
from hawser.runtime.profile import ask

Obj = dict[str, Any]
CRD = json.loads(Path(merge.__file__).with_name("crd.json").read_text())
CRDS = BY_RESOURCE["apiextensions.k8s.io", "v1", "customresourcedefinitions"]


class Roots:
    """Images whose files are anywhere; one is never there in time, one not at all."""

    async def files(self, image: str, policy: str) -> Obj:
        if image == "missing":
            raise ProfileError(f"ErrImagePull: {policy} {image}")
        return {"root": f"/images/{image}"}


class Node:
    """A node's socket, and the pod that asks."""

    def __init__(self, path: Path, client: Client) -> None:
        self.path, self.client = path, client
        self.uid = ""

    async def ask(self, uid: str = "") -> Obj:
        names = {"namespace": "default", "name": "p", "uid": uid or self.uid}
        annotations = {f"io.kubernetes.cri.sandbox-{key}": value for key, value in names.items()}
        annotations["io.kubernetes.cri.container-name"] = "main"
        return await asyncio.to_thread(ask, str(self.path), annotations)

    async def profile(self, name: str, **spec: Any) -> None:
        body = {"apiVersion": PROFILE.api_version, "kind": PROFILE.kind, "metadata": {"name": name}, "spec": spec}
        await self.client.apply(PROFILE, body, "test")


@pytest.fixture
async def node(api_server: APIServerProcess, tmp_path: Path) -> AsyncIterator[Node]:
    async with Client.from_kubeconfig(api_server.kubeconfig) as client:
        made = Node(tmp_path / "rich.sock", client)
        server = Server(made.path, lambda: Resolver(client, "node-1", Roots()))
        await server.start()
        container = {"name": "main", "image": "i"}
        pod = {"metadata": {"name": "p", "namespace": "default", "labels": {"tier": "legacy"}}}
        pod["spec"] = {"containers": [container], "automountServiceAccountToken": False}
        for kind, obj in ((NAMESPACE, {"metadata": {"name": "default"}}), (POD, pod)):
            try:
                await client.create(kind, obj)
            except APIError as error:
                assert error.code == 409
        made.uid = (await client.get(POD, "p", "default"))["metadata"]["uid"]
        yield made
        await server.close()
        for profile in await profiles(client):
            await client.delete(PROFILE, profile["metadata"]["name"])


async def profiles(client: Client) -> list[Obj]:
    try:
        return list((await client.list(PROFILE)).items)
    except APIError:
        return []


@pytest.fixture
async def kind(node: Node) -> None:
    """The CRD, served."""
    await node.client.apply(CRDS, CRD, "test")
    async with asyncio.timeout(20):
        while True:
            try:
                await node.client.list(PROFILE)
                return
            except APIError:
                await asyncio.sleep(0.01)


async def test_a_cluster_without_the_kind_has_no_profiles(node: Node) -> None:
    assert await node.ask() == {}


async def test_only_root_may_ask(node: Node) -> None:
    assert node.path.stat().st_mode & 0o777 == 0o600


async def test_a_container_gets_what_its_profiles_say(node: Node, kind: None) -> None:
    agents = [{"name": "w", "image": "i", "command": ["x"]}]
    hook = {"name": "h", "script": "true", "capabilities": ["NET_ADMIN"]}
    await node.profile("b", podSelector={"matchLabels": {"tier": "legacy"}}, agents=agents, units={"mask": ["cron"]})
    await node.profile("a", hooks={"prestart": [hook]}, defaults={"init": "systemd"})
    await node.profile("c", podSelector={"matchLabels": {"tier": "other"}}, defaults={"time": "+3d"})
    answer = await node.ask()
    assert answer["profiles"] == ["a", "b"]
    assert answer["defaults"] == {"init": "systemd"}
    assert answer["mask"] == ["cron"]
    assert answer["prestart"] == [{**hook, "timeout": "30s", "onFailure": "Fail"}]
    assert (answer["agents"][0]["root"], answer["agents"][0]["restartSeconds"]) == ("/images/i", 5.0)

    async def told() -> Obj:
        found = (await node.client.get(PROFILE, "b")).get("status", {})
        return {row["node"]: row["ready"] for row in found.get("nodes", [])}

    async with asyncio.timeout(20):
        while await told() != {"node-1": True}:  # noqa: ASYNC110 - written by the server
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("agent", "message"),
    [
        ({"image": "missing"}, "RichProfiles: a: agent w: ErrImagePull:  missing"),
        ({"hostPath": "/no/such/place"}, "RichProfiles: a: agent w: node node-1 has no directory /no/such/place"),
    ],
)
async def test_what_the_node_cannot_give_is_the_reason(node: Node, kind: None, agent: Obj, message: str) -> None:
    await node.profile("a", agents=[{"name": "w", "command": ["x"], **agent}])
    with pytest.raises(OptionError, match=message):
        await node.ask()


async def test_another_pod_of_the_name_gets_nothing(node: Node, kind: None) -> None:
    await node.profile("a", defaults={"init": "systemd"})
    with pytest.raises(OptionError, match="pod default/p is another one now"):
        await node.ask(uid="of-yesterday")


async def test_while_the_api_is_away_a_container_gets_what_it_got(
    node: Node, kind: None, api_server: APIServerProcess
) -> None:
    await node.profile("a", defaults={"init": "systemd"})
    before = await node.ask()
    api_server.stop()
    assert await node.ask() == before
    with pytest.raises(OptionError, match="they can not be read"):
        await node.ask(uid="never-seen")

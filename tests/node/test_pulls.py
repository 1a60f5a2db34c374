"""Pulls from a real registry: credentials, who may use what was pulled, damage, images that are taken away again."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from hawser.api.kinds import EVENT, POD, SECRET, SERVICE_ACCOUNT
from hawser.api.types import Obj
from hawser.client.client import Client
from hawser.client.events import EventRecorder
from hawser.node.cri.client import Runtime
from hawser.node.images.collector import ImageCollector
from hawser.node.images.manager import ImageError, Images
from hawser.node.images.records import PullRecords
from hawser.node.limits import Limits
from hawser.node.metrics.counters import Counters

from . import engine as engines
from . import registry as registries
from .engine import NODE, Engine
from .images import BUSYBOX, PAUSE
from .private_containerd import Containerd
from .registry import Registry

pytestmark = pytest.mark.containerd


@pytest.fixture
def registry() -> Iterator[Registry]:
    with registries.running() as running:
        yield running


class Puller:
    """Images as pods get them, with the events that tell of it."""

    def __init__(self, runtime: Runtime, folder: Path) -> None:
        self.runtime = runtime
        self.records = PullRecords(folder)
        self.images = Images(runtime, self.records)
        self.events: list[tuple[str, str, str]] = []

    async def ensure(self, image: str, policy: str = "IfNotPresent", *secrets: Obj) -> list[str]:
        """The reasons of the events on the way to the image. Raises ImageError."""
        self.events = []
        await self.images.ensure(image, policy, secrets, lambda *event: self.events.append(event))
        return [event[1] for event in self.events]

    async def refused(self, image: str, policy: str, *secrets: Obj) -> ImageError:
        with pytest.raises(ImageError) as caught:
            await self.ensure(image, policy, *secrets)
        return caught.value


@pytest.fixture
async def puller(containerd: Containerd, tmp_path: Path) -> AsyncIterator[Puller]:
    async with Runtime(containerd.endpoint) as runtime:
        before = {image.id for image in await runtime.list_images()}
        yield Puller(runtime, tmp_path / "image_manager")
        for image in await runtime.list_images():
            if image.id not in before:
                await runtime.remove_image(image.id)


def secret(registry: Registry, user: str, password: str) -> Obj:
    auths = {registry.address: {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}}
    data = {".dockerconfigjson": base64.b64encode(json.dumps({"auths": auths}).encode()).decode()}
    return {"metadata": {"name": user, "namespace": "default", "uid": user}, "data": data}


async def test_policies_decide_when_the_registry_is_asked(puller: Puller, registry: Registry) -> None:
    image = registry.add("policies")
    error = await puller.refused(image, "Never")
    assert (error.reason, error.message) == (
        "ErrImageNeverPull",
        f'Container image "{image}" is not present with pull policy of Never',
    )
    assert await puller.ensure(image) == ["Pulling", "Pulled"]
    assert puller.events[0][2] == f'Pulling image "{image}"'
    assert puller.events[1][2].startswith(f'Successfully pulled image "{image}" in ')
    assert " including waiting). Image size: " in puller.events[1][2]
    served = len(registry.served)
    for policy in ("IfNotPresent", "Never"):
        assert await puller.ensure(image, policy) == ["Pulled"]
    assert puller.events[0][2] == f'Container image "{image}" already present on machine and can be accessed by the pod'
    assert len(registry.served) == served
    assert await puller.ensure(image, "Always") == ["Pulling", "Pulled"]
    assert len(registry.served) > served


@pytest.mark.parametrize("token", [False, True], ids=["basic", "token"])
async def test_who_has_no_credentials_gets_nothing(puller: Puller, registry: Registry, token: bool) -> None:
    registry.users, registry.token = {"me": "word"}, token
    image = registry.add(f"private-{token}".lower())
    error = await puller.refused(image, "IfNotPresent")
    assert error.reason == "ErrImagePull"
    assert error.message.startswith(f'failed to pull and unpack image "{image}"')
    assert (await puller.refused(image, "IfNotPresent", secret(registry, "me", "wrong"))).reason == "ErrImagePull"
    wrong, right = secret(registry, "you", "other"), secret(registry, "me", "word")
    assert await puller.ensure(image, "IfNotPresent", wrong, right) == ["Pulling", "Pulled"]


async def test_an_image_that_one_pod_pulled_is_not_anothers(puller: Puller, registry: Registry) -> None:
    registry.users = {"me": "word"}
    image, right = registry.add("secret"), secret(registry, "me", "word")
    await puller.ensure(image, "IfNotPresent", right)
    assert (await puller.refused(image, "Never")).reason == "ErrImageNeverPull"
    assert (await puller.refused(image, "IfNotPresent")).reason == "ErrImagePull"
    assert await puller.ensure(image, "Never", right) == ["Pulled"]
    registry.users = {}
    assert await puller.ensure(image) == ["Pulling", "Pulled"]
    assert await puller.ensure(image, "Never") == ["Pulled"]


async def test_an_image_that_was_here_before_is_everybodys(puller: Puller) -> None:
    assert await puller.ensure(BUSYBOX, "Never") == ["Pulled"]


@pytest.mark.parametrize("what", ["missing", "spoiled", "nobody"])
async def test_what_goes_wrong_is_told(puller: Puller, registry: Registry, what: str) -> None:
    image = registry.add("damaged", spoiled=True)
    names = {"missing": f"{registry.address}/nothing:1", "spoiled": image, "nobody": "127.0.0.1:9/x:1"}
    words = {"missing": "not found", "spoiled": "failed commit on ref", "nobody": "connection refused"}
    error = await puller.refused(names[what], "IfNotPresent")
    assert error.reason == "ErrImagePull"
    assert words[what] in error.message
    assert puller.events[-1][:2] == ("Warning", "Failed")
    assert puller.events[-1][2] == f'Failed to pull image "{names[what]}": {error.message}'


async def test_pods_that_want_the_same_share_one_pull(puller: Puller, registry: Registry) -> None:
    image = registry.add("shared")
    await asyncio.gather(*(puller.ensure(image, "Always") for _ in range(4)))
    assert registry.served.count("shared") <= 2, "a HEAD and a GET"


async def test_pulls_are_made_in_turn(puller: Puller, registry: Registry) -> None:
    images = [registry.add(f"turn-{number}") for number in range(3)]
    await asyncio.gather(*(puller.ensure(image) for image in images))
    turns = [name for name, _ in groupby(registry.served)]
    assert len(turns) == len(set(turns)), "one was done before the next began"


async def test_so_many_pulls_run_beside_each_other_as_is_wanted(puller: Puller, registry: Registry) -> None:
    puller.images = Images(puller.runtime, puller.records, at_once=2)
    registry.barrier = threading.Barrier(2)
    await asyncio.gather(*(puller.ensure(registry.add(f"beside-{number}")) for number in range(2)))


class Events:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def event(self, obj: Obj, kind: str, reason: str, message: str) -> None:
        self.seen.append((reason, message))


async def test_unused_images_are_taken_away_when_the_disk_is_full(puller: Puller, registry: Registry) -> None:
    image = registry.add("unused")
    await puller.ensure(image)
    events, counters = Events(), Counters()
    made: Any = events
    volume = {"name": "files", "image": {"reference": image}}
    pods: list[Obj] = [{"metadata": {"name": "reader"}, "spec": {"volumes": [{"name": "other"}, volume]}}]

    mounted: set[str] = set()

    async def held() -> set[str]:
        return mounted

    def collector(limits: Limits) -> ImageCollector:
        recorder: EventRecorder = made
        return ImageCollector(puller.runtime, puller.records, recorder, counters, limits, {}, PAUSE, lambda: pods, held)

    assert await collector(Limits(image_gc_high=100, image_gc_low=100, image_min_age=0)).collect() == 0
    assert await collector(Limits(image_gc_high=0, image_gc_low=0, image_min_age=3600)).collect() == 0
    assert events.seen[0][0] == "FreeDiskSpaceFailed"
    assert events.seen[0][1].endswith("but only found 0 bytes eligible to free.")
    eager = collector(Limits(image_gc_high=0, image_gc_low=0, image_min_age=0))
    assert await eager.collect() == 0, "a pod has it as a volume"
    pods.clear()
    found = await puller.runtime.image_status(image)
    mounted |= {found.id} if found else set()
    assert await eager.collect() == 0, "an agent in a rich container has it"
    mounted.clear()
    assert await eager.collect() > 0
    assert await puller.runtime.image_status(image) is None
    assert counters.images_collected == {"space": 1}
    assert await puller.runtime.image_status(BUSYBOX) is not None, "it came from no registry"
    assert await puller.runtime.image_status(PAUSE) is not None


async def seen(client: Client, name: str, check: Callable[[Obj], Any]) -> Obj:
    """The status of the pod's container, once ``check`` of it is true."""
    row: Obj = {}
    for _ in range(2400):
        pod = await client.get(POD, name, "default")
        row = next(iter((pod.get("status") or {}).get("containerStatuses") or ()), {})
        if check(row):
            return row
        await asyncio.sleep(0.05)
    pytest.fail(f"the container of {name} stayed as {row}")


@pytest.fixture
def engine(containerd: Containerd, tmp_path: Path) -> Iterator[Engine]:
    with engines.running(tmp_path, containerd) as running:
        yield running


async def test_pods_pull_with_their_own_and_their_accounts_secrets(engine: Engine, registry: Registry) -> None:
    registry.users = {"me": "word"}
    image = registry.add("of-pods")
    right: Obj = {"type": "kubernetes.io/dockerconfigjson", "metadata": {"name": "right", "namespace": "default"}}
    right["data"] = secret(registry, "me", "word")["data"]

    def pod(name: str, **spec: Any) -> Obj:
        container = {"name": "main", "image": image, "command": ["/bin/sleep", "1000"]}
        spec |= {"nodeName": NODE, "hostNetwork": True, "terminationGracePeriodSeconds": 0}
        return {"metadata": {"name": name, "namespace": "default"}, "spec": {**spec, "containers": [container]}}

    async with Client.from_kubeconfig(engine.kubeconfig) as client:
        account = {"metadata": {"name": "puller", "namespace": "default"}, "imagePullSecrets": [{"name": "right"}]}
        await client.create(SERVICE_ACCOUNT, account)
        await client.create(POD, pod("without", imagePullSecrets=[{"name": "right"}]))
        row = await seen(client, "without", lambda row: "ImagePullBackOff" in str(row.get("state")))
        message = f'Back-off pulling image "{image}": ErrImagePull: failed to pull and unpack image "{image}"'
        assert row["state"]["waiting"]["message"].startswith(message)
        listed = await client.list(EVENT, "default", field_selector="involvedObject.name=without")
        told = {event["reason"]: event["message"] for event in listed.items}
        assert told["FailedToRetrieveImagePullSecret"] == (
            "Unable to retrieve some image pull secrets (right); attempting to pull the image may not succeed."
        )
        assert told["Pulling"] == f'Pulling image "{image}"'
        await client.create(SECRET, right)
        await client.create(POD, pod("with", serviceAccountName="puller"))
        row = await seen(client, "with", lambda row: "running" in row.get("state", {}))
        assert row["imageID"].startswith(f"{registry.address}/of-pods@sha256:")
        await client.delete_collection(POD, "default", grace_period=1)
        for _ in range(2400):
            if not any((engine.folder / "agent/pods").iterdir()):
                break
            await asyncio.sleep(0.05)

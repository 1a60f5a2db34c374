"""CSI volumes through random histories: they are attached where pods need them, to one node at a time, and let go."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawser.api.kinds import NODE, PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD, VOLUME_ATTACHMENT
from hawser.api.pod_claims import claims_of
from hawser.api.status import has_ended
from hawser.controllers.storage.attachments import AttachDetachController

from ..living import FakeClock, Living, interrupted
from ..objects import Obj
from ..world import Fault, World

DRIVER = "a.example.com"
HOLDER = "external-attacher/a-example-com"
VOLUMES = ("v0", "v1")


class Attached(Living):
    """A driver's attacher does what VolumeAttachments ask for, some of it at each step."""

    def run_pods(self, how_many: int = 10**6) -> bool:
        before = self.world.revision
        for one in self.world.objects(VOLUME_ATTACHMENT):
            name, metadata = one["metadata"]["name"], one["metadata"]
            if metadata.get("deletionTimestamp"):
                self.world.change(VOLUME_ATTACHMENT, name, lambda new: new["metadata"].pop("finalizers"))
            elif not one["status"].get("attached"):
                self.world.change(VOLUME_ATTACHMENT, name, _attach)
        return super().run_pods(how_many) or self.world.revision != before


def _attach(attachment: Obj) -> None:
    attachment["metadata"]["finalizers"] = [HOLDER]
    attachment["status"] = {"attached": True}


def begin(world: World) -> None:
    for name in VOLUMES:
        spec = {"accessModes": ["ReadWriteOnce"], "csi": {"driver": DRIVER, "volumeHandle": name}, "capacity": {}}
        world.create(PERSISTENT_VOLUME, {"metadata": {"name": name}, "spec": spec})
        world.create(PERSISTENT_VOLUME_CLAIM, {"metadata": {"name": name}, "spec": {"volumeName": name}})
        world.change(PERSISTENT_VOLUME_CLAIM, name, lambda new: new.update(status={"phase": "Bound"}))


ACTIONS = st.one_of(
    *[st.tuples(st.just("pods"), st.just(9))] * 3,
    st.tuples(st.just("use"), st.sampled_from(VOLUMES)),
    st.tuples(st.sampled_from(["fail", "delete pod", "lose node", "deliver"]), st.integers(0, 6)),
    st.tuples(st.sampled_from(["wait", "restart", "stale"]), st.integers(1, 40)),
)


async def act(living: Living, what: str, value: Any) -> None:
    world = living.world
    if what == "use":
        volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": value}}]
        spec = {"containers": [{"name": "c", "image": "a"}], "volumes": volumes}
        world.create(POD, {"metadata": {"name": f"p{world.revision}"}, "spec": spec})
    else:
        await living.happens(what, value)
    await living.turn()


def needed(world: World) -> set[tuple[str, str]]:
    """Nodes and the volumes that their pods need."""
    running = [pod for pod in world.objects(POD) if pod["spec"].get("nodeName") and not has_ended(pod)]
    return {(pod["spec"]["nodeName"], name) for pod in running for name in claims_of(pod)}


def keeps_what_is_used(world: World) -> None:
    """At every write: none is let go that the node's pods need."""

    def check(verb: str, obj: Obj) -> None:
        if verb == "DELETE" and obj["kind"] == "VolumeAttachment":
            assert (obj["spec"]["nodeName"], _volume(obj)) not in needed(world), "it is used"

    world.on_write = check


def _volume(attachment: Obj) -> str:
    return str(attachment["spec"]["source"]["persistentVolumeName"])


def check_final(world: World) -> None:
    attached = {(one["spec"]["nodeName"], _volume(one)) for one in world.objects(VOLUME_ATTACHMENT)}
    wanted = needed(world)
    assert len(attached) == len(world.objects(VOLUME_ATTACHMENT))
    assert attached <= wanted, "nobody needs it there"
    assert {volume for _, volume in attached} == {volume for _, volume in wanted}
    assert len({volume for _, volume in attached}) == len(attached), "at two nodes"
    assert all(one["status"]["attached"] for one in world.objects(VOLUME_ATTACHMENT))
    for node in world.objects(NODE):
        name = node["metadata"]["name"]
        listed = [one["name"] for one in (node.get("status") or {}).get("volumesAttached") or ()]
        assert listed == sorted(f"kubernetes.io/csi/{DRIVER}^{volume}" for at, volume in attached if at == name)


async def live(world: World, history: list[tuple[str, Any]], *, seed: int = 0) -> None:
    begin(world)
    keeps_what_is_used(world)
    await Attached(world, AttachDetachController, nodes=2, seed=seed).live(act, history)
    check_final(world)


@settings(max_examples=60)
@given(st.lists(ACTIONS, max_size=16), st.lists(st.sampled_from(Fault), max_size=20), st.integers(0, 99))
def test_any_history_ends_as_it_should(history: list[tuple[str, Any]], faults: list[Fault], seed: int) -> None:
    asyncio.run(live(World(FakeClock(), faults), history, seed=seed))


@pytest.mark.parametrize("fault", [Fault.CRASH, Fault.LOST, Fault.REFUSED])
def test_it_may_be_interrupted_at_every_write(fault: Fault) -> None:
    history: list[tuple[str, Any]] = [
        *(("use", "v0"), ("use", "v0"), ("use", "v1"), ("pods", 9), ("pods", 9), ("wait", 5), ("delete pod", 0)),
        *(("pods", 9), ("wait", 5), ("delete pod", 0), ("pods", 9), ("wait", 5)),
    ]
    assert interrupted(fault, lambda world: live(world, history)) > 4

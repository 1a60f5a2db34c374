"""Claims and volumes through random histories: in the end each claim has a volume of its own, or says why not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawser.api import storage
from hawser.api.kinds import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM
from hawser.controllers.storage import matching
from hawser.controllers.storage.binder import PersistentVolumeBinder

from ..living import FakeClock, Living, interrupted
from ..objects import Obj
from ..world import Fault, World

SIZES = ("1Gi", "2Gi", "5Gi")


def claim(name: str, size: str, volume: str = "") -> Obj:
    spec: Obj = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": size}},
        "storageClassName": "",
        "volumeMode": "Filesystem",
    }
    return {"metadata": {"name": name}, "spec": {**spec, **({"volumeName": volume} if volume else {})}}


def volume(name: str, size: str, reserved: str = "") -> Obj:
    spec: Obj = {
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": size},
        "persistentVolumeReclaimPolicy": "Retain",
        "volumeMode": "Filesystem",
        "hostPath": {"path": "/x"},
    }
    reference = {"claimRef": {"namespace": "default", "name": reserved}} if reserved else {}
    return {"metadata": {"name": name}, "spec": {**spec, **reference}}


NUMBERS = st.integers(0, 3)
ACTIONS = st.one_of(
    st.tuples(st.just("claim"), NUMBERS, st.sampled_from(SIZES), st.none() | NUMBERS),
    st.tuples(st.just("volume"), NUMBERS, st.sampled_from(SIZES), st.none() | NUMBERS),
    st.tuples(st.sampled_from(["drop claim", "drop volume", "recycle"]), NUMBERS, st.just(""), st.none()),
    st.tuples(st.sampled_from(["deliver", "restart", "stale"]), NUMBERS, st.just(""), st.none()),
)
FAULTS = st.lists(st.sampled_from([*Fault]), max_size=12)


async def act(living: Living, what: str, value: tuple[int, str, int | None]) -> None:
    world, (number, size, other) = living.world, value
    match what:
        case "claim" if world.find(PERSISTENT_VOLUME_CLAIM, f"c{number}") is None:
            named = f"v{other}" if other is not None else ""
            world.create(PERSISTENT_VOLUME_CLAIM, claim(f"c{number}", size, named))
        case "volume" if world.find(PERSISTENT_VOLUME, f"v{number}") is None:
            world.create(PERSISTENT_VOLUME, volume(f"v{number}", size, f"c{other}" if other is not None else ""))
        case "drop claim" if world.find(PERSISTENT_VOLUME_CLAIM, f"c{number}") is not None:
            world.delete(PERSISTENT_VOLUME_CLAIM, f"c{number}")
        case "drop volume" if world.find(PERSISTENT_VOLUME, f"v{number}") is not None:
            world.delete(PERSISTENT_VOLUME, f"v{number}")
        case "recycle" if (found := world.find(PERSISTENT_VOLUME, f"v{number}")) and storage.phase(found) == "Released":
            world.change(PERSISTENT_VOLUME, f"v{number}", lambda new: new["spec"].pop("claimRef", None))
        case "deliver" | "restart" | "stale":
            await living.happens(what, number)
    if not world.stale:
        world.deliver()
    await living.turn()


def check_final(world: World) -> None:
    claims = {one["metadata"]["name"]: one for one in world.objects(PERSISTENT_VOLUME_CLAIM)}
    volumes = {one["metadata"]["name"]: one for one in world.objects(PERSISTENT_VOLUME)}
    for one in claims.values():
        name = one["spec"].get("volumeName")
        if storage.phase(one) == "Bound":
            held = volumes[name]
            assert storage.phase(held) == "Bound"
            assert held["spec"]["claimRef"]["uid"] == one["metadata"]["uid"]
            assert one["status"]["capacity"] == held["spec"]["capacity"]
        elif storage.phase(one) == "Lost":
            assert name not in volumes or not matching.is_bound_to(volumes[name], one)
        else:
            assert storage.phase(one) == "Pending"
            if not name:
                assert matching.best(one, volumes.values(), delayed=False) is None
    for one in volumes.values():
        reference = one["spec"].get("claimRef") or {}
        owner = claims.get(reference.get("name", ""))
        owned = owner is not None and owner["metadata"]["uid"] == reference.get("uid")
        if storage.phase(one) == "Bound":
            assert owned and owner is not None and owner["spec"]["volumeName"] == one["metadata"]["name"]
        elif storage.phase(one) == "Released":
            assert reference["uid"] and not owned
        else:
            assert storage.phase(one) == "Available" and not reference.get("uid")


async def live(world: World, history: list[Any]) -> None:
    await Living(world, PersistentVolumeBinder, nodes=0).live(act, ((what, rest) for what, *rest in history))
    check_final(world)


@settings(max_examples=60, deadline=None)
@given(st.lists(ACTIONS, max_size=14), FAULTS)
def test_claims_and_volumes_come_to_terms_whatever_happens(history: list[Any], faults: list[Fault]) -> None:
    asyncio.run(live(World(FakeClock(), faults), history))


@pytest.mark.parametrize("fault", [Fault.CRASH, Fault.REFUSED, Fault.LOST])
def test_a_binding_may_be_cut_after_every_write(fault: Fault) -> None:
    history = [("volume", 0, "2Gi", None), ("claim", 0, "1Gi", None)]
    assert interrupted(fault, lambda world: live(world, history)) > 4

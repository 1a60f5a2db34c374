"""Claims of the engine's own storage through random histories: each has its folder, and what nobody needs goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawser.api import storage
from hawser.api.kinds import (
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    STORAGE_CLASS,
    VOLUME_ATTRIBUTES_CLASS,
    Kind,
)
from hawser.api.pod_claims import claims_of
from hawser.api.quantity import parse_quantity
from hawser.client.controller import Controller
from hawser.controllers.storage.binder import PersistentVolumeBinder
from hawser.controllers.storage.ephemeral import EphemeralVolumeController
from hawser.controllers.storage.expansion import ExpansionController
from hawser.controllers.storage.local import PROVISIONER, LocalProvisioner
from hawser.controllers.storage_protection import (
    AttributesClassProtection,
    ClaimProtection,
    VolumeProtection,
    classes_of,
)

from ..living import FakeClock, Living, interrupted
from ..objects import Obj
from ..world import Fault, World

CONTROLLERS = (
    PersistentVolumeBinder,
    ExpansionController,
    EphemeralVolumeController,
    ClaimProtection,
    VolumeProtection,
    AttributesClassProtection,
)
CLASSES = {
    "fast": {"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"},
    "kept": {"reclaimPolicy": "Retain", "volumeBindingMode": "Immediate"},
    "late": {"reclaimPolicy": "Delete", "volumeBindingMode": "WaitForFirstConsumer"},
}
Live = Callable[..., Coroutine[Any, Any, None]]


class AtOnce(ThreadPoolExecutor):
    """Does what it is given at once: a model has no time but its own."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        made: Future[Any] = Future()
        made.set_result(fn(*args, **kwargs))
        return made


class Cluster(Living):
    """Its scheduler chooses nodes for claims, and waits until a pod's are bound."""

    def _step(self, pod: Obj) -> bool:
        if pod["metadata"].get("deletionTimestamp") or pod["spec"].get("nodeName"):
            return super()._step(pod)
        before = self.world.revision
        claims = [self.world.find(PERSISTENT_VOLUME_CLAIM, name) for name in claims_of(pod)]
        for claim in claims:
            if claim is not None and storage.class_of(claim) == "late" and not claim["spec"].get("volumeName"):
                self.change(PERSISTENT_VOLUME_CLAIM, claim["metadata"]["name"], _choose)
        able = all(c is not None and storage.phase(c) == "Bound" and not _is_ending(c) for c in claims)
        return super()._step(pod) if able else self.world.revision != before


def _choose(claim: Obj) -> None:
    claim.update(storage.with_annotations(claim, {storage.SELECTED_NODE: "n0"}))


def _is_ending(obj: Obj) -> bool:
    return "deletionTimestamp" in obj["metadata"]


def _is_kept(volume: Obj) -> bool:
    return bool(volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain")


def claim_spec(storage_class: str, size: str = "1Gi") -> Obj:
    return {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": size}},
        "storageClassName": storage_class,
        "volumeMode": "Filesystem",
    }


def pod_of(name: str, claim: str, storage_class: str = "") -> Obj:
    """A pod that has a claim, or one of its own of a class."""
    volume: Obj = {"name": "v", "persistentVolumeClaim": {"claimName": claim}}
    if storage_class:
        volume = {"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": claim_spec(storage_class)}}}
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "a"}], "volumes": [volume]}}


NUMBERS = st.integers(0, 2)
NAMES = st.sampled_from(sorted(CLASSES))
ACTIONS = st.one_of(
    # Most of what happens happens to pods that run.
    *[st.tuples(st.just("pods"), st.just(9))] * 4,
    st.tuples(st.just("claim"), st.tuples(NUMBERS, NAMES)),
    st.tuples(st.sampled_from(["no claim", "grow", "no volume", "use"]), NUMBERS),
    st.tuples(st.just("own"), NAMES),
    st.tuples(st.sampled_from(["class", "no class"]), NAMES),
    st.tuples(st.just("policy"), st.tuples(NUMBERS, st.sampled_from(["Delete", "Retain"]))),
    st.tuples(st.just("attributes"), st.tuples(NUMBERS, st.sampled_from(["gold", ""]))),
    st.tuples(st.sampled_from(["gold", "no gold"]), st.just(0)),
    st.tuples(st.sampled_from(["pods", "fail", "delete pod", "deliver"]), st.integers(0, 6)),
    st.tuples(st.sampled_from(["wait", "restart", "stale"]), st.integers(1, 40)),
)


async def act(living: Living, what: str, value: Any) -> None:
    world = living.world

    def drop(kind: Kind, name: str) -> None:
        if world.find(kind, name) is not None:
            world.delete(kind, name)

    match what:
        case "claim" if world.find(PERSISTENT_VOLUME_CLAIM, f"c{value[0]}") is None:
            spec = claim_spec(value[1])
            world.create(PERSISTENT_VOLUME_CLAIM, {"metadata": {"name": f"c{value[0]}"}, "spec": spec})
        case "no claim":
            drop(PERSISTENT_VOLUME_CLAIM, f"c{value}")
        case "grow":
            bigger = {"requests": {"storage": f"{2 + value}Gi"}}
            change_bound(living, value, {"resources": bigger})
        case "use":
            world.create(POD, pod_of(f"p{world.revision}", f"c{value}"))
        case "own":
            world.create(POD, pod_of(f"o{world.revision}", "", value))
        case "class" if world.find(STORAGE_CLASS, value) is None:
            world.create(STORAGE_CLASS, {"metadata": {"name": value}, "provisioner": PROVISIONER, **CLASSES[value]})
        case "no class":
            drop(STORAGE_CLASS, value)
        case "no volume":
            if listed := sorted(one["metadata"]["name"] for one in world.objects(PERSISTENT_VOLUME)):
                drop(PERSISTENT_VOLUME, listed[value % len(listed)])
        case "policy":
            if listed := sorted(one["metadata"]["name"] for one in world.objects(PERSISTENT_VOLUME)):
                policy = {"persistentVolumeReclaimPolicy": value[1]}
                living.change(PERSISTENT_VOLUME, listed[value[0] % len(listed)], lambda new: new["spec"].update(policy))
        case "attributes":
            change_bound(living, value[0], {"volumeAttributesClassName": value[1]})
        case "gold" if world.find(VOLUME_ATTRIBUTES_CLASS, "gold") is None:
            world.create(VOLUME_ATTRIBUTES_CLASS, {"metadata": {"name": "gold"}, "driverName": "a.example.com"})
        case "no gold":
            drop(VOLUME_ATTRIBUTES_CLASS, "gold")
        case "pods" | "fail" | "delete pod" | "deliver" | "wait" | "restart" | "stale":
            await living.happens(what, value)
    await living.turn()


def change_bound(living: Living, number: int, spec: Obj) -> None:
    """Only of bound claims something may be changed."""
    found = living.world.find(PERSISTENT_VOLUME_CLAIM, f"c{number}")
    if found is not None and storage.phase(found) == "Bound":
        living.change(PERSISTENT_VOLUME_CLAIM, f"c{number}", lambda new: new["spec"].update(spec))


def users(world: World, claim: str) -> list[str]:
    there = [pod for pod in world.objects(POD) if pod["spec"].get("nodeName")]
    return [pod["metadata"]["name"] for pod in there if claim in claims_of(pod)]


def keeps_what_is_used(world: World, root: Path) -> None:
    """At every write: no claim goes that a pod has, no volume that is bound, no class that has users, no folder."""

    def check(verb: str, obj: Obj) -> None:
        name = obj["metadata"]["name"]
        if obj["kind"] == "PersistentVolumeClaim" and world.find(PERSISTENT_VOLUME_CLAIM, name) is None:
            assert users(world, name) == [], "it is used"
        if obj["kind"] == "VolumeAttributesClass" and world.find(VOLUME_ATTRIBUTES_CLASS, name) is None:
            everybody = [*world.objects(PERSISTENT_VOLUME_CLAIM), *world.objects(PERSISTENT_VOLUME)]
            assert not any(name in classes_of(one) for one in everybody), "it is used"
        for volume in world.objects(PERSISTENT_VOLUME):
            if storage.phase(volume) in ("", "Bound") or _is_kept(volume):
                assert (root / volume["metadata"]["name"]).is_dir(), "it has lost its folder"

    world.on_write = check


def check_final(world: World) -> None:
    claims = {one["metadata"]["uid"]: one for one in world.objects(PERSISTENT_VOLUME_CLAIM)}
    volumes = {one["metadata"]["name"]: one for one in world.objects(PERSISTENT_VOLUME)}
    for claim in claims.values():
        _check_claim(world, claim, volumes)
    for volume in volumes.values():
        owned = volume["spec"]["claimRef"]["uid"] in claims
        assert storage.phase(volume) == ("Bound" if owned else "Released")
        assert owned or _is_kept(volume), "nobody needs it"
        assert owned or not _is_ending(volume), "nothing holds it"
    for pod in world.objects(POD):
        if not _is_ending(pod) and "ephemeral" in pod["spec"]["volumes"][0]:
            found = world.find(PERSISTENT_VOLUME_CLAIM, f"{pod['metadata']['name']}-v")
            assert found is not None
            assert found["metadata"]["ownerReferences"][0]["uid"] == pod["metadata"]["uid"]
    if gold := world.find(VOLUME_ATTRIBUTES_CLASS, "gold"):
        used = any("gold" in classes_of(one) for one in (*claims.values(), *volumes.values()))
        assert used or not _is_ending(gold), "nobody has it"


def check_folders(world: World, root: Path) -> None:
    volumes = {one["metadata"]["name"] for one in world.objects(PERSISTENT_VOLUME)}
    folders = {folder.name for folder in root.glob("*")}
    # Of volumes that were taken away by hand, while they were to be kept, folders are left.
    kept = {one["metadata"]["name"] for one in world.states(PERSISTENT_VOLUME) if _is_kept(one)}
    assert volumes <= folders <= volumes | kept, "a folder of nobody's is left"


def _check_claim(world: World, claim: Obj, volumes: dict[str, Obj]) -> None:
    name = claim["metadata"]["name"]
    if _is_ending(claim):
        assert users(world, name), "nobody uses it"
    elif storage.phase(claim) == "Bound":
        held = volumes[claim["spec"]["volumeName"]]
        assert held["spec"]["claimRef"]["uid"] == claim["metadata"]["uid"]
        asked = parse_quantity(claim["spec"]["resources"]["requests"]["storage"])
        assert parse_quantity(claim["status"]["capacity"]["storage"]) == asked == storage.capacity(held)
    elif storage.phase(claim) == "Pending":
        asked_for = storage.class_of(claim)
        waits = asked_for == "late" and not any(name in claims_of(pod) for pod in world.objects(POD))
        assert waits or world.find(STORAGE_CLASS, asked_for) is None, "why has it no volume?"
    else:
        raise AssertionError("its volume went while it was bound")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Live:
    """A whole life of the controllers, with folders of its own."""

    async def run(world: World, history: list[tuple[str, Any]], *, seed: int = 0) -> None:
        root = tmp_path_factory.mktemp("volumes") / "root"
        asyncio.get_running_loop().set_default_executor(AtOnce())

        def local() -> Controller:
            made = LocalProvisioner()
            made.configure({"local_volume_root": root})
            return made

        keeps_what_is_used(world, root)
        for name, row in CLASSES.items():
            world.create(STORAGE_CLASS, {"metadata": {"name": name}, "provisioner": PROVISIONER, **row})
        living = Cluster(world, *CONTROLLERS, local, nodes=1, seed=seed)
        await living.live(act, history)
        check_final(world)
        # Folders that a crash has left are looked for when a process starts.
        await living.start()
        await living.settle()
        await living.stop()
        check_folders(world, root)

    return run


@settings(max_examples=60)
@given(
    history=st.lists(ACTIONS, max_size=16),
    faults=st.lists(st.sampled_from(Fault), max_size=20),
    seed=st.integers(0, 99),
)
def test_any_history_ends_as_it_should(
    live: Live, history: list[tuple[str, Any]], faults: list[Fault], seed: int
) -> None:
    asyncio.run(live(World(FakeClock(), faults), history, seed=seed))


@pytest.mark.parametrize("fault", [Fault.CRASH, Fault.LOST, Fault.REFUSED])
@pytest.mark.parametrize("first", ["no claim", "no volume", "keep"])
def test_a_volumes_life_may_be_cut_at_every_write(live: Live, first: str, fault: Fault) -> None:
    # Kept volumes go when they are deleted by hand, and leave their folder; nothing of ours holds them.
    ends: list[tuple[str, Any]] = [("no claim", 0), ("no volume", 0)]
    before: list[tuple[str, Any]] = [("policy", (0, "Retain"))] if first == "keep" else []
    if first == "no volume":
        ends.reverse()
    history: list[tuple[str, Any]] = [
        *(("claim", (0, "late")), ("use", 0), ("pods", 9), ("pods", 9), ("pods", 9), ("grow", 0), *before),
        *(ends[0], ("delete pod", 0), ("pods", 9), ends[1]),
    ]

    async def all_of_it(world: World) -> None:
        await live(world, history)
        assert world.objects(PERSISTENT_VOLUME) == world.objects(PERSISTENT_VOLUME_CLAIM) == []

    assert interrupted(fault, all_of_it) > 12

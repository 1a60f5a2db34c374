"""Claims of devices through random histories: pods have theirs, none is kept unused, and taints drive pods out."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawser.api.kinds import POD, RESOURCE_CLAIM, RESOURCE_CLAIM_TEMPLATE, RESOURCE_SLICE
from hawser.controllers.device_taints import DeviceTaintEvictionController
from hawser.controllers.resource_claims import PROTECTION, ResourceClaimController, is_done, missing, names_of

from .living import FakeClock, Living, interrupted
from .objects import Obj
from .world import Fault, World

DRIVER = "gpu.example.com"
DEVICES = ("d0", "d1")
SPEC: Obj = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]}}


class Cluster(Living):
    """Its scheduler allocates a device for each claim of a pod and reserves it, then the pod gets a node."""

    def _step(self, pod: Obj) -> bool:
        if pod["metadata"].get("deletionTimestamp") or pod["spec"].get("nodeName"):
            return super()._step(pod)
        claims = [self.world.find(RESOURCE_CLAIM, name) for name in names_of(pod)]
        if missing(pod) or any(claim is None or "deletionTimestamp" in claim["metadata"] for claim in claims):
            return False
        for claim in claims:
            assert claim is not None
            self._reserve(claim, pod)
        return super()._step(pod)

    def _reserve(self, claim: Obj, pod: Obj) -> None:
        metadata = pod["metadata"]
        device = self.rng.choice(DEVICES)
        result = {"request": "r", "driver": DRIVER, "pool": "p", "device": device}

        def change(new: Obj) -> None:
            status = new["status"]
            status.setdefault("allocation", {"devices": {"results": [result]}})
            consumer = {"resource": "pods", "name": metadata["name"], "uid": metadata["uid"]}
            if consumer not in status.setdefault("reservedFor", []):
                status["reservedFor"].append(consumer)
            if PROTECTION not in new["metadata"].setdefault("finalizers", []):
                new["metadata"]["finalizers"].append(PROTECTION)

        self.change(RESOURCE_CLAIM, claim["metadata"]["name"], change)


def pod_of(name: str, entry: Obj) -> Obj:
    containers = [{"name": "c", "image": "a", "resources": {"claims": [{"name": "gpu"}]}}]
    claims = [{"name": "gpu", **entry}]
    return {"metadata": {"name": name}, "spec": {"containers": containers, "resourceClaims": claims}}


def pool(tainted: set[str]) -> Obj:
    taint = {"key": "broken", "effect": "NoExecute"}
    devices = [{"name": name, **({"taints": [taint]} if name in tainted else {})} for name in DEVICES]
    where = {"name": "p", "generation": 1, "resourceSliceCount": 1}
    return {"metadata": {"name": "slice"}, "spec": {"driver": DRIVER, "pool": where, "devices": devices}}


NUMBERS = st.integers(0, 2)
ACTIONS = st.one_of(
    # Most of what happens happens to pods that run.
    *[st.tuples(st.just("pods"), st.just(9))] * 4,
    st.tuples(st.just("fail"), NUMBERS),
    st.tuples(st.sampled_from(["claim", "no claim", "use", "own"]), NUMBERS),
    st.tuples(st.sampled_from(["template", "no template"]), st.just(0)),
    st.tuples(st.just("taint"), st.sets(st.sampled_from(DEVICES))),
    st.tuples(st.sampled_from(["pods", "fail", "delete pod", "deliver"]), st.integers(0, 6)),
    st.tuples(st.sampled_from(["wait", "restart", "stale"]), st.integers(1, 40)),
)


async def act(living: Living, what: str, value: Any) -> None:
    world = living.world
    match what:
        case "claim" if world.find(RESOURCE_CLAIM, f"c{value}") is None:
            world.create(RESOURCE_CLAIM, {"metadata": {"name": f"c{value}"}, "spec": SPEC})
        case "no claim" if world.find(RESOURCE_CLAIM, f"c{value}") is not None:
            world.delete(RESOURCE_CLAIM, f"c{value}")
        case "use":
            world.create(POD, pod_of(f"u{world.revision}", {"resourceClaimName": f"c{value}"}))
        case "own":
            world.create(POD, pod_of(f"o{world.revision}", {"resourceClaimTemplateName": "t"}))
        case "template" if world.find(RESOURCE_CLAIM_TEMPLATE, "t") is None:
            world.create(RESOURCE_CLAIM_TEMPLATE, {"metadata": {"name": "t"}, "spec": {"spec": SPEC}})
        case "no template" if world.find(RESOURCE_CLAIM_TEMPLATE, "t") is not None:
            world.delete(RESOURCE_CLAIM_TEMPLATE, "t")
        case "taint":
            devices = pool(value)["spec"]
            world.change(RESOURCE_SLICE, "slice", lambda new: new.update(spec=devices))
        case "pods" | "fail" | "delete pod" | "deliver" | "wait" | "restart" | "stale":
            await living.happens(what, value)
    await living.turn()


def keeps_what_is_used(world: World) -> None:
    """At every write: no claim goes, nor loses its device, that a pod on a node has; no pod has two claims for one."""

    def check(verb: str, obj: Obj) -> None:
        made: dict[str, int] = {}
        for claim in world.objects(RESOURCE_CLAIM):
            for owner in claim["metadata"].get("ownerReferences") or ():
                made[owner["uid"]] = made.get(owner["uid"], 0) + 1
        for pod in world.objects(POD):
            assert made.get(pod["metadata"]["uid"], 0) <= 1, "made twice"
            if pod["spec"].get("nodeName") and not is_done(pod):
                for name in names_of(pod):
                    found = world.find(RESOURCE_CLAIM, name)
                    assert found is not None and "allocation" in found["status"], "it is used"

    world.on_write = check


def check_final(world: World) -> None:
    pods = {pod["metadata"]["uid"]: pod for pod in world.objects(POD)}
    for claim in world.objects(RESOURCE_CLAIM):
        metadata, status = claim["metadata"], claim["status"]
        users = [pods.get(consumer["uid"]) for consumer in status.get("reservedFor") or ()]
        assert all(pod is not None and not is_done(pod) for pod in users), "reserved for nobody"
        assert bool(users) == ("allocation" in status) == (PROTECTION in metadata.get("finalizers", []))
        assert users or "deletionTimestamp" not in metadata, "nothing holds it"
        for owner in metadata.get("ownerReferences") or ():
            assert owner["uid"] in pods and not is_done(pods[owner["uid"]]), "whose is it?"
    template = world.find(RESOURCE_CLAIM_TEMPLATE, "t")
    spec = world.objects(RESOURCE_SLICE)[0]["spec"]
    tainted = {device["name"] for device in spec["devices"] if "taints" in device}
    for pod in pods.values():
        if is_done(pod):
            continue
        assert template is None or not missing(pod), "it has no claim"
        for name in names_of(pod) if pod["spec"].get("nodeName") else ():
            found = world.find(RESOURCE_CLAIM, name)
            assert found is not None
            assert found["status"]["allocation"]["devices"]["results"][0]["device"] not in tainted, (
                "it should have left"
            )


async def live(world: World, history: list[tuple[str, Any]], *, seed: int = 0) -> None:
    world.create(RESOURCE_SLICE, pool(set()))
    world.create(RESOURCE_CLAIM_TEMPLATE, {"metadata": {"name": "t"}, "spec": {"spec": SPEC}})
    keeps_what_is_used(world)
    await Cluster(world, ResourceClaimController, DeviceTaintEvictionController, seed=seed).live(act, history)
    check_final(world)


@settings(max_examples=60)
@given(st.lists(ACTIONS, max_size=16), st.lists(st.sampled_from(Fault), max_size=20), st.integers(0, 99))
def test_any_history_ends_as_it_should(history: list[tuple[str, Any]], faults: list[Fault], seed: int) -> None:
    asyncio.run(live(World(FakeClock(), faults), history, seed=seed))


@pytest.mark.parametrize("fault", [Fault.CRASH, Fault.LOST, Fault.REFUSED])
def test_they_may_be_interrupted_at_every_write(fault: Fault) -> None:
    history: list[tuple[str, Any]] = [
        *(("claim", 0), ("use", 0), ("own", 0), ("pods", 9), ("pods", 9), ("taint", {"d0", "d1"}), ("wait", 9)),
        *(
            ("pods", 9),
            ("taint", set()),
            ("own", 0),
            ("wait", 9),
            ("pods", 9),
            ("pods", 9),
            ("fail", 0),
            ("no claim", 0),
        ),
    ]

    async def all_of_it(world: World) -> None:
        await live(world, history)
        assert world.find(RESOURCE_CLAIM, "c0") is None
        assert "Failed" in [pod["status"]["phase"] for pod in world.objects(POD)]

    assert interrupted(fault, all_of_it) > 6

"""What follows pods through random histories: endpoints, budgets and quotas come to tell of the pods that there are."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawser.api.kinds import (
    ENDPOINT_SLICE,
    ENDPOINTS,
    POD,
    POD_DISRUPTION_BUDGET,
    REPLICA_SET,
    RESOURCE_QUOTA,
    SERVICE,
    Kind,
)
from hawser.controllers.disruption import DisruptionController
from hawser.controllers.endpoints import MANAGED_BY, SERVICE_LABEL
from hawser.controllers.endpointslice import EndpointSliceController
from hawser.controllers.endpointslice_mirroring import MANAGER, MirroringController
from hawser.controllers.legacy_endpoints import EndpointsController
from hawser.controllers.replicaset import ReplicaSetController
from hawser.controllers.resourcequota import ResourceQuotaController

from .living import FakeClock, Living, interrupted
from .objects import Obj
from .world import Fault, World

CONTROLLERS = (
    ReplicaSetController,
    EndpointSliceController,
    EndpointsController,
    MirroringController,
    DisruptionController,
    ResourceQuotaController,
)
PORT = {"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}


def service(name: str, **spec: Any) -> Obj:
    return {
        "metadata": {"name": name},
        "spec": {"clusterIP": "10.0.0.9", "ipFamilies": ["IPv4"], "ports": [PORT], **spec},
    }


def by_hand(addresses: int, port: int = 80) -> Obj:
    """Endpoints that a user keeps, for a Service without a selector."""
    listed = [{"ip": f"192.0.2.{number + 1}"} for number in range(addresses)]
    subset = {"addresses": listed, "ports": [{"name": "http", "port": port, "protocol": "TCP"}]}
    return {"metadata": {"name": "hand"}, "subsets": [subset] if listed else []}


MADE: dict[str, tuple[Kind, Obj]] = {
    "web": (SERVICE, service("web", selector={"app": "web"})),
    "hand": (SERVICE, service("hand")),
    "mine": (ENDPOINTS, by_hand(2)),
    "budget": (
        POD_DISRUPTION_BUDGET,
        {"metadata": {"name": "b"}, "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}}},
    ),
    "quota": (RESOURCE_QUOTA, {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "9", "services": "5"}}}),
}


def begin(world: World) -> None:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": "a"}]}}
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    world.create(REPLICA_SET, {"metadata": {"name": "web"}, "spec": spec})
    for kind, obj in MADE.values():
        world.create(kind, obj)


ACTIONS = st.one_of(
    st.tuples(st.just("scale"), st.integers(0, 4)),
    st.tuples(st.sampled_from(["drop", "make"]), st.sampled_from(sorted(MADE))),
    st.tuples(st.just("port"), st.integers(8080, 8082)),
    st.tuples(st.just("unready"), st.booleans()),
    st.tuples(st.just("hand"), st.integers(0, 3)),
    st.tuples(st.just("meddle"), st.integers(0, 9)),
    st.tuples(st.just("unavailable"), st.sampled_from([0, 1, "50%"])),
    st.tuples(st.sampled_from(["pods", "fail", "delete pod", "lose node", "deliver"]), st.integers(0, 4)),
    st.tuples(st.sampled_from(["wait", "restart", "stale", "expire"]), st.integers(1, 40)),
)


async def act(living: Living, what: str, value: Any) -> None:
    world = living.world
    match what:
        case "scale":
            living.change(REPLICA_SET, "web", lambda new: new["spec"].update(replicas=value))
        case "drop":
            living.delete(MADE[value][0], MADE[value][1]["metadata"]["name"])
        case "make" if world.find(MADE[value][0], MADE[value][1]["metadata"]["name"]) is None:
            world.create(*MADE[value])
        case "port":
            living.change(SERVICE, "web", lambda new: new["spec"].update(ports=[{**PORT, "targetPort": value}]))
        case "unready":
            living.change(SERVICE, "web", lambda new: new["spec"].update(publishNotReadyAddresses=value))
        case "hand":
            living.change(ENDPOINTS, "hand", lambda new: new.update(subsets=by_hand(value)["subsets"]))
        case "meddle":
            # Somebody deletes what controllers have made.
            if made := world.objects(ENDPOINT_SLICE):
                world.delete(ENDPOINT_SLICE, made[value % len(made)]["metadata"]["name"])
        case "unavailable":
            living.change(POD_DISRUPTION_BUDGET, "b", lambda new: new["spec"].update(maxUnavailable=value))
        case "make":
            pass
        case _:
            await living.happens(what, value)
    await living.turn()


def slices(world: World, name: str) -> dict[str, int]:
    """Addresses and ports of a Service's slices; none is in two of them."""
    found: dict[str, int] = {}
    for one in world.objects(ENDPOINT_SLICE):
        if one["metadata"]["labels"][SERVICE_LABEL] == name:
            for endpoint in one["endpoints"]:
                assert endpoint["conditions"]["ready"]
                (address,) = endpoint["addresses"]
                assert address not in found, "an address twice"
                found[address] = one["ports"][0]["port"]
    return found


def check_final(world: World) -> None:
    pods = world.objects(POD)
    size = world.objects(REPLICA_SET)[0]["spec"]["replicas"]
    running = [pod for pod in pods if pod["status"]["phase"] == "Running"]
    assert len(running) == size
    _check_endpoints(world, {pod["status"]["podIP"] for pod in running})
    if budget := world.find(POD_DISRUPTION_BUDGET, "b"):
        limit = budget["spec"]["maxUnavailable"]
        may = -(-size // 2) if limit == "50%" else limit
        status = budget["status"]
        counts = [status[field] for field in ("expectedPods", "currentHealthy", "desiredHealthy", "disruptionsAllowed")]
        least = max(0, size - may)
        assert counts == [size, size, least, size - least]
        assert status["observedGeneration"] == budget["metadata"]["generation"]
    if quota := world.find(RESOURCE_QUOTA, "q"):
        used = {"pods": str(len(running)), "services": str(len(world.objects(SERVICE)))}
        assert (quota["status"]["hard"], quota["status"]["used"]) == (quota["spec"]["hard"], used)


def _check_endpoints(world: World, addresses: set[str]) -> None:
    web, mine, kept = world.find(SERVICE, "web"), world.find(ENDPOINTS, "hand"), world.find(ENDPOINTS, "web")
    if web is None:
        assert (slices(world, "web"), kept) == ({}, None)
    else:
        port = web["spec"]["ports"][0]["targetPort"]
        assert slices(world, "web") == dict.fromkeys(addresses, port)
        assert kept is not None
        told = {(a["ip"], s["ports"][0]["port"]) for s in kept.get("subsets") or () for a in s["addresses"]}
        assert told == {(address, port) for address in addresses}
    copied = slices(world, "hand")
    if mine is None or world.find(SERVICE, "hand") is None:
        assert copied == {}
    else:
        assert copied == {a["ip"]: 80 for s in mine["subsets"] for a in s["addresses"]}
    managers = [one["metadata"]["labels"][MANAGED_BY] for one in world.objects(ENDPOINT_SLICE)]
    assert managers.count(MANAGER) == bool(copied)


async def live(world: World, history: list[tuple[str, Any]], *, calm: bool = False, seed: int = 0) -> None:
    begin(world)
    await Living(world, *CONTROLLERS, seed=seed).live(act, history, calm=calm)
    check_final(world)


@settings(max_examples=40)
@given(
    st.lists(ACTIONS, max_size=12), st.lists(st.sampled_from(Fault), max_size=25), st.booleans(), st.integers(0, 2**16)
)
def test_whatever_happens_they_tell_of_what_there_is(
    history: list[tuple[str, Any]], faults: list[Fault], calm: bool, seed: int
) -> None:
    # The last thing that happens is one that nothing else can put right.
    last = [("pods", 9), ("pods", 9), ("scale", seed % 3)]
    asyncio.run(live(World(FakeClock(), faults), [*history, *last], calm=calm, seed=seed))


@pytest.mark.parametrize("fault", [Fault.CRASH, Fault.LOST, Fault.REFUSED])
def test_they_may_be_interrupted_at_every_write(fault: Fault) -> None:
    history: list[tuple[str, Any]] = [("pods", 9), ("pods", 9), ("port", 8081), ("hand", 1), ("drop", "mine")]
    assert interrupted(fault, lambda world: live(world, history)) > 10

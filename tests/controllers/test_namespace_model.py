"""Namespaces through random histories: those that end lose all they have, pods first; those that live keep it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawser.api.kinds import CONFIG_MAP, NAMESPACE, POD, SECRET, SERVICE_ACCOUNT, Kind
from hawser.controllers import namespace, root_ca
from hawser.controllers.namespace import NamespaceController, Rest, conditions
from hawser.controllers.root_ca import RootCaController
from hawser.controllers.serviceaccount import ServiceAccountController

from .living import FakeClock, Living, interrupted
from .objects import Obj
from .world import Fault, World

CONTROLLERS = (NamespaceController, ServiceAccountController, RootCaController)
KEPT = (SECRET, CONFIG_MAP, POD, SERVICE_ACCOUNT)
"""Kinds that there are: each takes a model's time."""
HOLDER = "example.com/hold"
HELD = "Some content in the namespace has finalizers remaining"


def content(world: World, name: str) -> list[Obj]:
    return [obj for kind in KEPT for obj in world.objects(kind) if obj["metadata"]["namespace"] == name]


def user_made(world: World, name: str) -> set[str]:
    own = (root_ca.NAME, "default")
    return {obj["metadata"]["name"] for obj in content(world, name) if obj["metadata"]["name"] not in own}


class Spaces(Living):
    """Remembers what users have put into namespaces and not taken out themselves."""

    def __init__(self, world: World, *, seed: int = 0) -> None:
        self.put: dict[str, set[str]] = {}
        super().__init__(world, *CONTROLLERS, nodes=1, seed=seed)


def lives(world: World, name: str) -> bool:
    found = world.find(NAMESPACE, name)
    return found is not None and "deletionTimestamp" not in found["metadata"]


NUMBERS = st.integers(0, 1)
ACTIONS = st.one_of(
    # Most of what happens happens to pods that run.
    *[st.tuples(st.just("pods"), st.just(9))] * 4,
    st.tuples(st.sampled_from(["space", "end"]), NUMBERS),
    st.tuples(st.just("put"), st.tuples(NUMBERS, st.sampled_from([SECRET, CONFIG_MAP, POD]), st.booleans())),
    st.tuples(st.sampled_from(["release", "meddle"]), st.integers(0, 9)),
    st.tuples(st.sampled_from(["pods", "deliver"]), st.integers(0, 6)),
    st.tuples(st.sampled_from(["wait", "restart", "stale"]), st.integers(1, 40)),
)


async def act(living: Living, what: str, value: Any) -> None:
    assert isinstance(living, Spaces)
    world = living.world
    match what:
        case "space" if world.find(NAMESPACE, f"s{value}") is None:
            world.create(NAMESPACE, {"metadata": {"name": f"s{value}"}})
            living.put[f"s{value}"] = set()
        case "end" if lives(world, f"s{value}"):
            world.delete(NAMESPACE, f"s{value}")
        case "put" if lives(world, f"s{value[0]}"):
            put(living, *value)
        case "release":
            # Whoever holds an object lets it go.
            held = [(kind, obj) for kind in KEPT for obj in world.objects(kind) if obj["metadata"].get("finalizers")]
            if held:
                kind, obj = held[value % len(held)]
                metadata = obj["metadata"]
                world.change(
                    kind, metadata["name"], lambda new: new["metadata"].pop("finalizers"), metadata["namespace"]
                )
        case "meddle":
            # Somebody deletes or spoils what every namespace has.
            if maps := [
                obj["metadata"] for obj in world.objects(CONFIG_MAP) if obj["metadata"]["name"] == root_ca.NAME
            ]:
                where = maps[value % len(maps)]["namespace"]
                if value % 2:
                    world.delete(CONFIG_MAP, root_ca.NAME, where)
                else:
                    world.change(CONFIG_MAP, root_ca.NAME, lambda new: new.update(data={"ca.crt": "x"}), where)
        case "space" | "end" | "put":
            pass
        case _:
            await living.happens(what, value)
    await living.turn()


def put(living: Spaces, number: int, kind: Kind, held: bool) -> None:
    where, name = f"s{number}", f"o{living.world.revision}"
    obj: Obj = {"metadata": {"name": name, "namespace": where, **({"finalizers": [HOLDER]} if held else {})}}
    if kind == POD:
        obj["spec"] = {"containers": [{"name": "c", "image": "a"}]}
    living.world.create(kind, obj)
    living.put[where].add(name)


def takes_pods_first(world: World) -> None:
    """At every write: nothing of a namespace goes that lives, nor what its pods may need while they are there."""
    before: dict[str, set[str]] = {}

    def check(verb: str, obj: Obj) -> None:
        for space in world.objects(NAMESPACE):
            name = space["metadata"]["name"]
            left = {one["metadata"]["name"] for one in content(world, name) if one["kind"] != "Pod"}
            if any(one["metadata"]["namespace"] == name for one in world.objects(POD)) or lives(world, name):
                gone = {one for one in before.get(name, set()) - left if one.startswith("o")}
                assert verb != "DELETE" or not gone, f"{gone} went before pods"
            before[name] = left

    world.on_write = check


def check_final(living: Spaces) -> None:
    world = living.world
    for space in world.objects(NAMESPACE):
        name = space["metadata"]["name"]
        if lives(world, name):
            assert user_made(world, name) == living.put[name]
            assert world.find(SERVICE_ACCOUNT, "default", name)
            published = world.find(CONFIG_MAP, root_ca.NAME, name)
            assert published is not None and published["data"] == {"ca.crt": "the certificate"}
            continue
        left = content(world, name)
        assert left, "it has nothing, and is still there"
        pods = [one for one in left if one["kind"] == "Pod"]
        assert all(one["metadata"].get("finalizers") == [HOLDER] for one in pods or left), "nobody holds it"
        told = {c["type"]: (c["status"], c["reason"], c["message"]) for c in space["status"]["conditions"]}
        well = "All content successfully deleted, may be waiting on finalization"
        assert told["NamespaceDeletionContentFailure"] == ("False", "ContentDeleted", well)
        assert told["NamespaceDeletionDiscoveryFailure"][:2] == ("False", "ResourcesDiscovered")
        assert told["NamespaceDeletionGroupVersionParsingFailure"][:2] == ("False", "ParsedGroupVersions")
        assert told["NamespaceContentRemaining"][:2] == ("True", "SomeResourcesRemain")
        many = f"{HOLDER} in {len(pods or left)} resource instances"
        holding = f"{HELD}: {many}"
        assert told["NamespaceFinalizersRemaining"] == ("True", "SomeFinalizersRemain", holding)
    there = {space["metadata"]["name"] for space in world.objects(NAMESPACE)}
    assert {obj["metadata"]["namespace"] for kind in KEPT for obj in world.objects(kind)} <= there, "what is left over"


async def live(world: World, history: list[tuple[str, Any]], *, seed: int = 0) -> None:
    takes_pods_first(world)
    living = Spaces(world, seed=seed)
    with patch.object(namespace, "watched", lambda: KEPT):
        await living.live(act, history)
    check_final(living)


@settings(max_examples=60)
@given(st.lists(ACTIONS, max_size=16), st.lists(st.sampled_from(Fault), max_size=20), st.integers(0, 2**16))
def test_any_history_ends_as_it_should(history: list[tuple[str, Any]], faults: list[Fault], seed: int) -> None:
    asyncio.run(live(World(FakeClock(), faults), history, seed=seed))


@pytest.mark.parametrize("fault", [Fault.CRASH, Fault.LOST, Fault.REFUSED])
def test_it_may_be_interrupted_at_every_write(fault: Fault) -> None:
    history: list[tuple[str, Any]] = [
        *(
            ("space", 0),
            ("put", (0, SECRET, True)),
            ("put", (0, CONFIG_MAP, False)),
            ("put", (0, POD, False)),
            ("pods", 9),
            ("pods", 9),
            ("end", 0),
        ),
        *(("pods", 9), ("wait", 2), ("release", 0), ("wait", 2)),
    ]

    async def all_of_it(world: World) -> None:
        await live(world, history)
        assert world.find(NAMESPACE, "s0") is None

    assert interrupted(fault, all_of_it) > 6


def test_a_namespace_waits_for_what_cannot_be_discovered_and_loses_the_rest_meanwhile() -> None:
    world = World(FakeClock())
    metrics = {"version": "v1beta1", "resources": [], "freshness": "Stale"}
    world.groups = [{"metadata": {"name": "metrics.k8s.io"}, "versions": [metrics]}]

    async def run() -> None:
        living = Spaces(world)
        for what, value in (("space", 0), ("put", (0, CONFIG_MAP, False)), ("put", (0, POD, False)), ("end", 0)):
            await act(living, what, value)
        with patch.object(namespace, "watched", lambda: KEPT):
            await living.start()
            await living.settle()
            (space,) = world.objects(NAMESPACE)
            told.update({c["type"]: (c["status"], c["reason"], c["message"]) for c in space["status"]["conditions"]})
            assert not content(world, "s0")
            world.groups = []
            await living.settle()
            await living.stop()

    told: dict[str, tuple[str, str, str]] = {}
    asyncio.run(run())
    which = "metrics.k8s.io/v1beta1: stale GroupVersion discovery: metrics.k8s.io/v1beta1"
    text = f"Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: {which}"
    assert told["NamespaceDeletionDiscoveryFailure"] == ("True", "DiscoveryFailed", text)
    assert told["NamespaceContentRemaining"] == ("False", "ContentRemoved", "All content successfully removed")
    assert world.find(NAMESPACE, "s0") is None


@pytest.mark.parametrize(
    ("rest", "kind", "told"),
    [
        (
            Rest(errors=["b is broken", "a is broken"]),
            "NamespaceDeletionContentFailure",
            ("ContentDeletionFailed", "Failed to delete all resource types, 2 remaining: a is broken, b is broken"),
        ),
        (
            Rest(left=Counter({"pods.": 2, "jobs.batch": 1})),
            "NamespaceContentRemaining",
            (
                "SomeResourcesRemain",
                "Some resources are remaining: jobs.batch has 1 resource instances, pods. has 2 resource instances",
            ),
        ),
        (
            Rest(held=Counter({"b.test/x": 2, "a.test/x": 1})),
            "NamespaceFinalizersRemaining",
            ("SomeFinalizersRemain", f"{HELD}: a.test/x in 1 resource instances, b.test/x in 2 resource instances"),
        ),
    ],
)
def test_conditions_say_what_is_left(rest: Rest, kind: str, told: tuple[str, str]) -> None:
    made = {c["type"]: c for c in conditions([], rest, "2026-01-01T00:00:00Z")}
    assert len(made) == 5
    assert [c["type"] for c in made.values() if c["status"] == "True"] == [kind]
    assert (made[kind]["reason"], made[kind]["message"]) == told

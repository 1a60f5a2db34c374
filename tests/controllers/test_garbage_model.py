"""The garbage collector through random histories: what has no owner left goes, and nothing else does."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawser.api.kinds import CONFIG_MAP, CUSTOM_RESOURCE_DEFINITION
from hawser.client.controller import Manager
from hawser.controllers import garbagecollector
from hawser.controllers.garbagecollector import GarbageCollector
from hawser.controllers.ownership import is_waiting

from .living import FakeClock, Living, interrupted
from .objects import Obj
from .world import Fault, World


class Collector(GarbageCollector):
    """Follows two kinds, as each takes a model's time, and none that are custom."""

    def setup(self, manager: Manager) -> None:
        with patch.object(garbagecollector, "watched", lambda: (CONFIG_MAP, CUSTOM_RESOURCE_DEFINITION)):
            super().setup(manager)

    async def run(self) -> None:
        pass


class Uncollected(World):
    """A world that leaves garbage to its collector."""

    def collect(self) -> bool:
        return False

    def alive(self, reference: Obj) -> Obj | None:
        """The owner that a reference means."""
        found = self.find(CONFIG_MAP, reference["name"])
        return found if found is not None and found["metadata"]["uid"] == reference["uid"] else None


def references(world: World, owners: list[int], blocks: bool) -> list[Obj]:
    found = [world.find(CONFIG_MAP, f"c{number}") for number in owners]
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": blocks,
        }
        for owner in found
        if owner is not None
    ]


NUMBERS = st.integers(0, 5)
OWNERS = st.lists(NUMBERS, max_size=3, unique=True)
ACTIONS = st.one_of(
    st.tuples(st.sampled_from(["make", "own"]), st.tuples(NUMBERS, OWNERS, st.booleans())),
    st.tuples(st.just("delete"), st.tuples(NUMBERS, st.sampled_from(["", "Background", "Foreground", "Orphan"]))),
    st.tuples(st.sampled_from(["deliver", "restart", "stale"]), NUMBERS),
)


async def act(living: Living, what: str, value: Any) -> None:
    world = living.world
    if what in ("deliver", "restart", "stale"):
        await living.happens(what, value)
    else:
        name = f"c{value[0]}"
        known = world.find(CONFIG_MAP, name)
        if what == "make" and known is None:
            world.create(CONFIG_MAP, {"metadata": {"name": name, "ownerReferences": references(world, *value[1:])}})
        elif what == "own" and known is not None:
            owners = references(world, *value[1:])
            world.change(CONFIG_MAP, name, lambda new: new["metadata"].update(ownerReferences=owners))
        elif what == "delete" and known is not None:
            world.delete(CONFIG_MAP, name, propagation=value[1])
    await living.turn()


def takes_only_garbage(world: Uncollected) -> None:
    """At every deletion: what goes had owners, and all that are left of them wait for it to go."""

    def check(verb: str, obj: Obj) -> None:
        if verb == "DELETE":
            owners = obj["metadata"].get("ownerReferences") or []
            assert owners, "it never had an owner"
            left = [found for reference in owners if (found := world.alive(reference)) is not None]
            assert all(is_waiting(owner) for owner in left), "an owner is left"

    world.on_write = check


def check_final(world: Uncollected) -> None:
    for obj in world.objects(CONFIG_MAP):
        metadata = obj["metadata"]
        assert "deletionTimestamp" not in metadata, "its deletion never ends"
        assert all(world.alive(reference) for reference in metadata.get("ownerReferences") or ()), "an owner is gone"


async def live(world: World, history: list[tuple[str, Any]]) -> None:
    assert isinstance(world, Uncollected)
    takes_only_garbage(world)
    await Living(world, Collector, nodes=0).live(act, history)
    check_final(world)


@settings(max_examples=100)
@given(st.lists(ACTIONS, max_size=20), st.lists(st.sampled_from(Fault), max_size=20))
def test_only_garbage_goes_and_all_of_it(history: list[tuple[str, Any]], faults: list[Fault]) -> None:
    asyncio.run(live(Uncollected(FakeClock(), faults), history))


@pytest.mark.parametrize("fault", [Fault.CRASH, Fault.LOST, Fault.REFUSED])
@pytest.mark.parametrize("policy", ["Background", "Foreground", "Orphan"])
def test_it_may_be_interrupted_at_every_write(policy: str, fault: Fault) -> None:
    tree = [(0, []), (1, [0]), (2, [0]), (3, [1, 2]), (4, [3]), (5, [4, 0])]
    history: list[tuple[str, Any]] = [("make", (number, owners, True)) for number, owners in tree]

    async def all_of_it(world: World) -> None:
        await live(world, [*history, ("delete", (0, policy))])
        left = {"c1", "c2", "c3", "c4", "c5"} if policy == "Orphan" else set()
        assert {obj["metadata"]["name"] for obj in world.objects(CONFIG_MAP)} == left

    assert interrupted(fault, all_of_it, Uncollected) > 3

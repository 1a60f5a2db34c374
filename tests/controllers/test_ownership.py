"""Garbage collection: what happens to one object, by its owners and finalizers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hawser.api.kinds import CONFIG_MAP, CUSTOM_RESOURCE_DEFINITION, Kind, serve_custom
from hawser.controllers.garbagecollector import GarbageCollector
from hawser.controllers.ownership import (
    FOREGROUND,
    ORPHAN,
    Delete,
    DeleteDependents,
    DropFinalizer,
    DropReferences,
    Owner,
    ReleaseDependents,
    plan,
    released,
)

from .living import FakeClock, Living
from .objects import Obj, meta
from .world import World


def obj(*owners: str, blocking: bool = False, **metadata: Any) -> Obj:
    references = [{"uid": uid, "kind": "ReplicaSet", "name": uid, "blockOwnerDeletion": blocking} for uid in owners]
    return {"kind": "Pod", "metadata": meta("x", uid="me", ownerReferences=references, **metadata)}


@pytest.mark.parametrize(
    ("owners", "states", "want"),
    [
        ([], [], None),
        (["a"], [Owner.SOLID], None),
        (["a"], [Owner.ABSENT], Delete("Background")),
        (["a", "b"], [Owner.SOLID, Owner.ABSENT], DropReferences(("b",))),
        (["a", "b"], [Owner.WAITING, Owner.SOLID], DropReferences(("a",))),
        (["a", "b"], [Owner.ABSENT, Owner.ABSENT], Delete("Background")),
        (["a"], [Owner.WAITING], Delete("Background")),
    ],
)
def test_owners_decide(owners: list[str], states: list[Owner], want: object) -> None:
    assert plan(obj(*owners), states, []) == want


def test_a_dependent_with_dependents_goes_in_the_foreground_when_its_owner_waits() -> None:
    assert plan(obj("a"), [Owner.WAITING], [obj("me")]) == Delete("Foreground")


def test_owners_in_a_circle_do_not_wait_for_each_other() -> None:
    waiting = obj("me", blocking=True, deletionTimestamp="x", finalizers=[FOREGROUND])
    assert plan(obj("a", blocking=True), [Owner.WAITING], [waiting]) == Delete("Foreground", unblock=True)
    assert plan(obj("a"), [Owner.WAITING], [waiting]) == Delete("Foreground")


@pytest.mark.parametrize(
    ("old", "new", "want"),
    [
        (obj("a", "b", blocking=True), obj("b", blocking=True), {"a"}),
        (obj("a", blocking=True), obj("a"), {"a"}),
        (obj("a"), obj(), set()),
        (obj(), obj("a", blocking=True), set()),
    ],
)
def test_owners_that_a_change_releases(old: Obj, new: Obj, want: set[str]) -> None:
    assert released(old, new) == want


@pytest.mark.parametrize(("finalizer", "policy"), [(ORPHAN, "Orphan"), (FOREGROUND, "Foreground")])
def test_an_objects_own_finalizer_chooses_the_policy(finalizer: str, policy: str) -> None:
    assert plan(obj("a", finalizers=[finalizer]), [Owner.ABSENT], []) == Delete(policy)


@pytest.mark.parametrize(
    ("finalizers", "dependents", "want"),
    [
        ([ORPHAN], [obj("me")], ReleaseDependents()),
        ([FOREGROUND], [obj("me", blocking=True)], DeleteDependents()),
        ([FOREGROUND], [obj("me", blocking=False)], DropFinalizer(FOREGROUND)),
        ([FOREGROUND], [], DropFinalizer(FOREGROUND)),
        (["example.test/other"], [obj("me", blocking=True)], None),
        ([], [], None),
    ],
)
def test_objects_under_deletion(finalizers: list[str], dependents: list[Obj], want: object) -> None:
    assert plan(obj(deletionTimestamp="x", finalizers=finalizers), [], dependents) == want


WORKLOAD = Kind("scheduling.k8s.io", "v1alpha2", "Workload", "workloads", True)
"""A kind that the kind table lacks."""
NEWER = Kind("scheduling.k8s.io", "v1beta1", "Workload", "workloads", True)
"""The same in another version."""
DEFINITION = "workloads.scheduling.k8s.io"


def shown(version: str, freshness: str = "Current") -> Obj:
    """A group version with Workloads, as discovery shows it; its server says what it has unless it is Stale."""
    resource = {
        "resource": "workloads",
        "responseKind": {"kind": "Workload"},
        "scope": "Namespaced",
        "verbs": [*WORKLOAD.verbs],
    }
    return {"version": version, "freshness": freshness, "resources": [resource] if freshness == "Current" else []}


@pytest.mark.parametrize("defined", [False, True])
@pytest.mark.parametrize(
    ("then", "left"),
    [
        ([shown("v1alpha2", "Stale")], True),
        ([shown("v1beta1"), shown("v1alpha2")], True),
        ([shown("v1beta1"), shown("v1alpha2", "Stale")], True),
        ([], False),
    ],
)
def test_owners_are_gone_when_their_definition_is_and_not_when_nobody_serves_them(
    then: list[Obj], left: bool, defined: bool
) -> None:
    """then: the versions that are served in the end. defined: by a definition, which goes when none is; else another
    server has them, and its APIService goes."""
    world = World(FakeClock())

    def show(*versions: Obj) -> None:
        world.groups = [{"metadata": {"name": WORKLOAD.group}, "versions": [*versions]}] if versions else []

    async def run() -> None:
        living = Living(world, GarbageCollector, nodes=0)
        if defined:
            world.create(CUSTOM_RESOURCE_DEFINITION, {"metadata": {"name": DEFINITION}, "spec": {}})
        for kind in (WORKLOAD, NEWER):
            world.create(kind, {"metadata": {"name": "f"}})
        reference = {"kind": "Workload", "name": "f", "uid": world.find(WORKLOAD, "f")["metadata"]["uid"]}
        world.change(NEWER, "f", lambda new: new["metadata"].update(uid=reference["uid"]))
        for name in ("one", "two"):
            owners = [{**reference, "apiVersion": WORKLOAD.api_version}]
            world.create(CONFIG_MAP, {"metadata": {"name": name, "ownerReferences": owners}})
        await living.start()
        await living.settle()
        for versions in (then, [shown("v1alpha2")] if then else [], then):
            show(*versions)
            if defined and not versions and world.find(CUSTOM_RESOURCE_DEFINITION, DEFINITION):
                world.remove(CUSTOM_RESOURCE_DEFINITION, DEFINITION)
            # Whatever happens to a definition is a reason to look.
            world.create(CUSTOM_RESOURCE_DEFINITION, {"metadata": {"generateName": "other"}, "spec": {}})
            await living.turn()
            await living.settle()
        await living.stop()

    show(shown("v1alpha2"))
    serve_custom([WORKLOAD, NEWER])
    try:
        asyncio.run(run())
    finally:
        serve_custom([])
    kept = [world.find(CONFIG_MAP, name) is not None for name in ("one", "two")]
    assert kept == [left or not defined] * 2

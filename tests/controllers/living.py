"""Controllers that live in a ``World``: they run, crash, start again; nodes come and go, pods run, end and fail."""

from __future__ import annotations

import asyncio
import importlib
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from hawser.api.kinds import NODE, POD, Kind
from hawser.api.node_affinity import node_matches
from hawser.client.clock import timestamp
from hawser.client.controller import Controller, Manager

from .objects import Obj
from .world import Fault, World
from .world_client import WorldClient

FakeClock = importlib.import_module("tests.conftest").FakeClock

Act = Callable[["Living", str, Any], Awaitable[None]]
"""How something happens: what, and a number or whatever it takes."""

_QUIET = 12
_ROUNDS = 200


class Living:
    """A world with nodes, and controllers in it.

    controllers: made anew whenever their process starts. seed: for what is left to chance.
    """

    rest = 4
    """Rounds of 35 s each without any change after which nothing will change any more."""

    def __init__(self, world: World, *controllers: Callable[[], Controller], nodes: int = 3, seed: int = 0) -> None:
        self.world = world
        self.clock = world.clock
        self.rng = random.Random(seed)
        self._controllers = controllers
        self._task: asyncio.Task[None] | None = None
        self._started = 0
        for number in range(nodes):
            self.add_node(f"n{number}")

    def add_node(self, name: str, **spec: object) -> None:
        self.world.create(NODE, {"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}, "spec": spec})

    async def start(self) -> None:
        self.world.crashed = False
        manager = Manager(WorldClient(self.world), clock=self.clock)
        for make in self._controllers:
            manager.add(make())
        self._task = asyncio.create_task(manager.run())
        await self.turn()

    async def stop(self) -> None:
        """Ends the controllers as SIGKILL does: nothing is tidied up."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None

    async def turn(self) -> None:
        """Lets the controllers do what they can do now; those that have crashed start again."""
        while True:
            quiet, seen = 0, -1
            while quiet < _QUIET:
                await asyncio.sleep(0)
                quiet = quiet + 1 if seen == self.world.requests else 0
                seen = self.world.requests
            if not self.world.crashed:
                return
            await self.stop()
            await self.start()

    # What happens around controllers

    def run_pods(self, how_many: int = 10**6) -> bool:
        """Takes at most so many pods a step on: they get a node, run, end; whether there was anything to do."""
        before = self.world.revision
        listed = self.world.objects(POD)
        self.rng.shuffle(listed)
        for pod in listed:
            if how_many <= 0:
                break
            how_many -= self._step(pod)
        return self.world.revision != before

    def _step(self, pod: Obj) -> bool:
        world, name, namespace = self.world, pod["metadata"]["name"], pod["metadata"]["namespace"]
        node = pod["spec"].get("nodeName")
        if pod["metadata"].get("deletionTimestamp"):
            world.remove(POD, name, namespace)
        elif not node:
            able = [n["metadata"] for n in world.objects(NODE) if self._takes(n, pod)]
            if not able:
                return False
            chosen = self.rng.choice(able)["name"]
            world.change(POD, name, lambda new: new["spec"].update(nodeName=chosen), namespace)
        elif pod["status"].get("phase") == "Pending":
            world.change(POD, name, lambda new: new["status"].update(self._running()), namespace)
        else:
            return False
        return True

    def _takes(self, node: Obj, pod: Obj) -> bool:
        metadata = node["metadata"]
        return node_matches(pod["spec"], metadata["name"], metadata.get("labels") or {})

    def _running(self) -> Obj:
        since = timestamp(self.clock.now())
        self._started += 1
        return {
            "phase": "Running",
            "podIP": f"10.1.{self._started // 250}.{self._started % 250 + 1}",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}],
        }

    def fail_pod(self, choice: int) -> None:
        """One of the pods ends as Failed."""
        running = [pod for pod in self.world.objects(POD) if pod["status"].get("phase") == "Running"]
        if running:
            pod = running[choice % len(running)]["metadata"]
            ended: Obj = {"phase": "Failed", "conditions": []}
            self.world.change(POD, pod["name"], lambda new: new["status"].update(ended), pod["namespace"])

    def delete_pod(self, choice: int) -> None:
        """Somebody deletes one of the pods."""
        if listed := self.world.objects(POD):
            pod = listed[choice % len(listed)]["metadata"]
            self.world.delete(POD, pod["name"], pod["namespace"])

    def lose_node(self, choice: int) -> None:
        """A node goes, and its pods with it; another one comes."""
        nodes = self.world.objects(NODE)
        name = nodes[choice % len(nodes)]["metadata"]["name"]
        self.world.remove(NODE, name)
        for pod in self.world.objects(POD):
            if pod["spec"].get("nodeName") == name:
                self.world.remove(POD, pod["metadata"]["name"], pod["metadata"]["namespace"])
        self.add_node(f"{name}x")

    async def happens(self, what: str, value: int) -> None:
        """Something that may happen to every kind of workload: pods, fail, delete pod, lose node, deliver, wait,
        restart, stale, expire."""
        match what:
            case "pods":
                self.run_pods(value)
            case "fail":
                self.fail_pod(value)
            case "delete pod":
                self.delete_pod(value)
            case "lose node":
                self.lose_node(value)
            case "deliver":
                self.world.deliver(value)
            case "wait":
                self.clock.advance(value)
            case "restart":
                await self.stop()
                await self.start()
            case "stale":
                self.world.stale = True
            case "expire":
                self.world.expire()
            case _:
                raise ValueError(what)

    def change(self, kind: Kind, name: str, edit: Callable[[Obj], None]) -> None:
        """Its user edits an object, if it is still there."""
        if self.world.find(kind, name) is not None:
            self.world.change(kind, name, edit)

    def delete(self, kind: Kind, name: str) -> None:
        """Its user deletes an object, if it is still there, and the garbage collector what was its."""
        if self.world.find(kind, name) is not None:
            self.world.delete(kind, name)
            while self.world.collect():
                pass

    async def live(self, act: Act, history: Iterable[tuple[str, Any]], *, calm: bool = False) -> None:
        """The controllers' whole life: they start, all this happens, they come to rest, and end.

        calm: they come to rest whenever something has happened.
        """
        await self.start()
        for what, value in history:
            await act(self, what, value)
            if calm:
                await self.settle()
        await self.settle()
        await self.stop()

    async def settle(self) -> None:
        """Time goes by without anything bad, until nothing changes any more."""
        self.world.stale = False
        self.world.faults = iter(())
        same, before = 0, -1
        for _ in range(_ROUNDS):
            self.world.deliver()
            await self.turn()
            self.run_pods()
            self.world.collect()
            self.clock.advance(35)
            same = same + 1 if self.world.revision == before else 0
            if same == self.rest:
                break
            before = self.world.revision
        else:
            raise AssertionError("it never comes to rest")
        if self.world.broken:
            raise self.world.broken[0]


def interrupted(fault: Fault, live: Callable[[World], Coroutine[Any, Any, None]], made: type[World] = World) -> int:
    """Lives the same life again and again, with a fault at its first write, its second…; how many writes it has.

    made: the kind of world that it is lived in.
    """
    at = 0
    while True:
        world = made(FakeClock(), [Fault.NONE] * at + [fault])
        asyncio.run(live(world))
        if at >= world.writes:
            return at
        at += 1

"""Random histories of a Job: pods end, fail, are deleted; watches lag; the controller ends at any write. Its pods are
counted once, and it gets where its specification says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from hawser.api.errors import APIError
from hawser.api.kinds import JOB, POD, Kind
from hawser.api.status import has_ended
from hawser.controllers import pods as any_pods
from hawser.controllers.job.controller import JobController
from hawser.controllers.job.plan import is_finished
from hawser.controllers.job.pods import FINALIZER, index_of

from .objects import Obj, indexed, job
from .world import Crash, World

_WHAT = st.sampled_from(
    ["run", "succeed", "fail", "delete", "end", "lag", "deliver", "crash", "reconcile", "reconcile"]
)
_CHANGES = st.sampled_from(["suspend", "resume", "parallel", "orphan"])
_CHANGING = st.lists(st.tuples(st.one_of(_WHAT, _CHANGES), st.integers(0, 6)), max_size=40)
_HISTORY = st.lists(st.tuples(_WHAT, st.integers(0, 6)), max_size=40)
_SPECS = st.sampled_from(
    [
        {"completions": 3, "parallelism": 2},
        {"completions": 1, "parallelism": 1},
        {"completions": 4, "parallelism": 4, "podReplacementPolicy": "Failed"},
        {"parallelism": 2},
    ]
)


class History:
    """A Job's life, event by event, and what truly happened to its pods."""

    def __init__(self, made: Obj) -> None:
        self.world = World()
        self.made = made
        self.succeeded: dict[str, int | None] = {}
        self.failed: set[str] = set()
        self.controller: Any = None

    async def begin(self) -> None:
        await self.world.create(JOB, self.made)
        self.controller = await self.world.start(JobController())

    @property
    def job(self) -> Obj:
        (found,) = self.world.of(JOB)
        return found

    def pods(self) -> list[Obj]:
        return sorted(self.world.of(POD), key=lambda p: p["metadata"]["name"])

    async def reconcile(self) -> None:
        try:
            await self.controller.reconcile("default/work")
            for pod in self.pods():
                await self.controller.reconcile(f"pod:default/{pod['metadata']['name']}")
        except APIError as err:
            assert err.code in (404, 409), err
        except Crash:
            self.world.crash_after = None
            self.controller = await self.world.start(JobController())

    def end(self, pod: Obj, phase: str) -> None:
        metadata = pod["metadata"]
        if FINALIZER in metadata.get("finalizers", ()):
            if phase == "Succeeded":
                self.succeeded[metadata["uid"]] = index_of(pod)
            else:
                self.failed.add(metadata["uid"])
        at = self.world.clock.now().isoformat()
        container = {"name": "main", "state": {"terminated": {"exitCode": int(phase == "Failed"), "finishedAt": at}}}
        self.world.change(POD, metadata["name"], status={"phase": phase, "containerStatuses": [container]})

    async def happen(self, what: str, number: int) -> None:
        pods = self.pods()
        pod = pods[number % len(pods)] if pods else None
        world = self.world
        if what == "reconcile":
            await self.reconcile()
        elif what == "lag":
            world.clock.seconds += number
            world.deliver(number)
        elif what == "deliver":
            world.deliver()
        elif what == "crash":
            world.crash_after = number
            await self.reconcile()
            world.crash_after = None
        elif what in ("suspend", "resume"):
            self.specify(suspend=what == "suspend")
        elif what == "parallel":
            self.specify(parallelism=number)
        elif what == "orphan" and pod is not None:
            world.change(POD, pod["metadata"]["name"], metadata={**pod["metadata"], "ownerReferences": []})
        elif pod is not None:
            self.touch(pod, what)

    def specify(self, **fields: Any) -> None:
        self.world.change(JOB, "work", spec={**self.job["spec"], **fields})

    def touch(self, pod: Obj, what: str) -> None:
        name, ended = pod["metadata"]["name"], has_ended(pod)
        if what == "run" and not ended and not any_pods.is_terminating(pod):
            self.world.change(POD, name, spec={**pod["spec"], "nodeName": "n"}, status={"phase": "Running"})
        elif what in ("succeed", "fail") and not ended and pod["spec"].get("nodeName"):
            self.end(pod, "Succeeded" if what == "succeed" else "Failed")
        elif what == "delete":
            self.world.terminate(POD, name)
        elif what == "end" and any_pods.is_terminating(pod):
            if not ended:
                self.end(pod, "Failed")
            self.world.ended(POD, name)

    async def settle(self) -> None:
        """Everything that runs succeeds, until nothing changes any more."""
        world = self.world
        for _ in range(60):
            world.deliver()
            before = world.version
            await self.reconcile()
            world.deliver()
            for pod in self.pods():
                for what in ("run", "end") if any_pods.is_terminating(pod) else ("run", "succeed"):
                    known = world.objects.get((POD, pod["metadata"]["name"]))
                    if known is not None:
                        self.touch(known, what)
            if world.version == before and (not world.of(JOB) or is_finished(self.job)):
                return
            world.clock.seconds += 700
        raise AssertionError(f"it does not come to rest: {world.of(JOB)}")


def _play(made: Obj, history: list[tuple[str, int]], end: Callable[[History], None] = lambda played: None) -> History:
    """A Job through a history and whatever happens at its end, until it comes to rest."""

    async def play() -> History:
        played = History(made)
        await played.begin()
        for what, number in history:
            await played.happen(what, number)
            check(played)
        end(played)
        await played.settle()
        if played.world.of(JOB):
            check(played)
        return played

    return asyncio.run(play())


def check(history: History) -> None:
    """What holds at any moment: nothing is counted that did not happen, nothing twice."""
    status = history.job.get("status", {})
    uncounted = status.get("uncountedTerminatedPods", {})
    if history.job["spec"]["completionMode"] == "NonIndexed":
        assert status.get("succeeded", 0) + len(uncounted.get("succeeded", ())) <= len(history.succeeded)
    assert status.get("failed", 0) + len(uncounted.get("failed", ())) <= len(history.failed | history.world.deleted)


@given(_SPECS, _HISTORY)
@settings(max_examples=300, deadline=None)
def test_every_pod_is_counted_once(spec: Obj, history: list[tuple[str, int]]) -> None:
    played = _play(job(backoffLimit=100, **spec), history)
    status = played.job["status"]
    assert status["uncountedTerminatedPods"] == {}
    assert any(c["type"] == "Complete" and c["status"] == "True" for c in status["conditions"]), status
    assert "active" not in status
    assert status["terminating"] == 0
    assert status["succeeded"] >= spec.get("completions", 1)
    assert all(FINALIZER not in p["metadata"].get("finalizers", ()) for p in played.pods())


@given(st.integers(1, 4), st.sampled_from([None, 50]), _HISTORY)
@settings(max_examples=300, deadline=None)
def test_every_index_succeeds_once(completions: int, limit: int | None, history: list[tuple[str, int]]) -> None:
    more = {} if limit is None else {"backoffLimitPerIndex": limit}
    played = _play(indexed(completions, backoffLimit=100, **more), history)
    status = played.job["status"]
    assert status["succeeded"] == completions == len({i for i in played.succeeded.values() if i is not None})
    assert status["completedIndexes"] == {1: "0", 2: "0,1", 3: "0-2", 4: "0-3"}[completions]
    assert status.get("failedIndexes") == (None if limit is None else "")


@given(st.integers(0, 3), _HISTORY)
@settings(max_examples=200, deadline=None)
def test_a_job_ends_one_way_or_the_other(limit: int, history: list[tuple[str, int]]) -> None:
    played = _play(job(backoffLimit=limit, completions=3, parallelism=2), history)
    status = played.job["status"]
    ended = [c for c in status["conditions"] if c["status"] == "True" and c["type"] in ("Complete", "Failed")]
    assert len(ended) == 1
    if ended[0]["type"] == "Failed":
        assert (ended[0]["reason"], "FailureTarget") == ("BackoffLimitExceeded", status["conditions"][0]["type"])
        assert status["failed"] > limit
    assert all(FINALIZER not in p["metadata"].get("finalizers", ()) for p in played.pods())


_LEFT = ["reconcile", "run", "succeed", "deliver", "reconcile", "deliver", "orphan", "deliver", "reconcile"]


@given(_SPECS, _CHANGING)
@example({"completions": 3, "parallelism": 2}, [(what, 0) for what in _LEFT])
@settings(max_examples=300, deadline=None)
def test_a_job_gets_where_it_should_however_it_is_changed(spec: Obj, history: list[tuple[str, int]]) -> None:
    resumed = {"suspend": False, "parallelism": spec["parallelism"]}
    played = _play(job(backoffLimit=100, **spec), history, lambda played: played.specify(**resumed))
    status = played.job["status"]
    assert any(c["type"] == "Complete" and c["status"] == "True" for c in status["conditions"]), status
    assert status["uncountedTerminatedPods"] == {}
    assert status["startTime"]
    assert all(FINALIZER not in p["metadata"].get("finalizers", ()) for p in played.pods())


@given(_SPECS, _HISTORY)
@settings(max_examples=100, deadline=None)
def test_pods_of_a_deleted_job_are_let_go(spec: Obj, history: list[tuple[str, int]]) -> None:
    played = _play(job(**spec), history, lambda played: played.world.remove(JOB, "work"))
    assert all(FINALIZER not in p["metadata"].get("finalizers", ()) for p in played.pods())


class Slow(World):
    """Writing a status takes a second."""

    async def update(self, kind: Kind, obj: Obj, subresource: str = "") -> Obj:
        self.clock.seconds += 1
        return await super().update(kind, obj, subresource)


def test_a_deadline_that_passes_while_the_status_is_written_is_not_forgotten() -> None:
    async def run() -> float | None:
        world = Slow()
        await world.create(JOB, job(activeDeadlineSeconds=1))
        controller = await world.start(JobController())
        again: float | None = await controller.reconcile("default/work")
        assert not world.deleted
        await controller.reconcile("default/work")
        assert len(world.deleted) == 1
        return again

    assert asyncio.run(run()) == 0

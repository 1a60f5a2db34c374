"""CronJobs through random histories: a run has one Job at most, and the status ends as the Jobs are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hawser.api.kinds import CRON_JOB, JOB
from hawser.client.clock import timestamp
from hawser.controllers.cronjob import CronJobController
from hawser.controllers.cronjob_plan import SCHEDULED
from hawser.controllers.job.plan import is_finished

from .living import FakeClock, Living, interrupted
from .objects import Obj
from .world import Fault, World


def cron_job(policy: str) -> Obj:
    template = {"spec": {"containers": [{"name": "main", "image": "a"}], "restartPolicy": "Never"}}
    spec = {
        "schedule": "*/2 * * * *",
        "timeZone": "Etc/UTC",
        "concurrencyPolicy": policy,
        "successfulJobsHistoryLimit": 2,
        "failedJobsHistoryLimit": 1,
        "jobTemplate": {"spec": {"template": template}},
    }
    return {"metadata": {"name": "c"}, "spec": spec}


def unfinished(world: World) -> list[Obj]:
    return [job for job in world.objects(JOB) if not is_finished(job)]


def once_a_run(world: World, policy: str) -> None:
    """At every moment: no run has two Jobs, and no two run at once where they must not. policy: "" when they may."""
    made: dict[str, str] = {}

    def check(verb: str, obj: Obj) -> None:
        # Who has not heard yet that the CronJob is gone may make a Job that was there; it goes as that went.
        if verb != "POST" or world.find(CRON_JOB, "c") is None:
            return
        run, uid = obj["metadata"]["annotations"][SCHEDULED], obj["metadata"]["uid"]
        assert made.setdefault(run, uid) == uid, "a run twice"
        assert policy not in ("Forbid", "Replace") or len(unfinished(world)) == 1, "two at once"

    world.on_write = check


ACTIONS = st.one_of(
    st.tuples(st.just("ends"), st.tuples(st.integers(0, 3), st.sampled_from(["Complete", "Failed"]))),
    st.tuples(st.just("wait"), st.sampled_from([30, 70, 130, 1000])),
    st.tuples(st.sampled_from(["suspend", "drop", "deliver"]), st.integers(0, 3)),
    st.tuples(st.just("schedule"), st.sampled_from(["*/2 * * * *", "*/3 * * * *", "* * * * *"])),
    st.tuples(st.sampled_from(["restart", "stale"]), st.just(0)),
    st.tuples(st.just("delete"), st.just(0)),
)


async def act(living: Living, what: str, value: Any) -> None:
    world = living.world
    match what:
        case "ends":
            if running := unfinished(world):
                end(world, running[value[0] % len(running)], value[1])
        case "suspend":
            living.change(CRON_JOB, "c", lambda new: new["spec"].update(suspend=value == 0))
        case "schedule":
            living.change(CRON_JOB, "c", lambda new: new["spec"].update(schedule=value))
        case "drop":
            # Its user deletes a Job.
            if jobs := world.objects(JOB):
                world.delete(JOB, jobs[value % len(jobs)]["metadata"]["name"])
        case "delete":
            living.delete(CRON_JOB, "c")
        case _:
            await living.happens(what, value)
    await living.turn()


def end(world: World, job: Obj, how: str) -> None:
    now = timestamp(world.clock.now())
    status = {"conditions": [{"type": how, "status": "True", "lastTransitionTime": now}], "startTime": now}
    if how == "Complete":
        status["completionTime"] = now
    world.change(JOB, job["metadata"]["name"], lambda new: new.update(status=status))


async def live(world: World, policy: str, history: Iterable[tuple[str, Any]]) -> None:
    world.create(CRON_JOB, cron_job(policy))
    # It is suspended in the end: one that runs never comes to rest.
    await Living(world, CronJobController, nodes=0).live(act, [*history, ("suspend", 0)])
    check_final(world)


def check_final(world: World) -> None:
    found = world.find(CRON_JOB, "c")
    if found is None:
        assert world.objects(JOB) == []
        return
    jobs = {job["metadata"]["uid"]: job for job in world.objects(JOB)}
    running = {job["metadata"]["uid"] for job in unfinished(world)}
    active = {reference["uid"] for reference in found["status"].get("active") or ()}
    assert active <= running, "what it calls active runs"
    ended = [c["type"] for job in jobs.values() for c in job["status"].get("conditions") or ()]
    assert (ended.count("Complete"), ended.count("Failed")) <= (2, 1)
    completed = [job["status"]["completionTime"] for job in jobs.values() if "completionTime" in job["status"]]
    assert all(moment <= found["status"]["lastSuccessfulTime"] for moment in completed)
    runs = [jobs[uid]["metadata"]["annotations"][SCHEDULED] for uid in active]
    assert all(run <= found["status"]["lastScheduleTime"] for run in runs)


@settings(max_examples=60)
@example(
    "Allow",
    [("wait", 30), ("wait", 70), ("wait", 30), ("stale", 0), ("delete", 0), ("wait", 30)],
    [Fault.REFUSED, Fault.LOST, Fault.REFUSED],
)
@given(
    st.sampled_from(["Allow", "Forbid", "Replace"]),
    st.lists(ACTIONS, max_size=14),
    st.lists(st.sampled_from(Fault), max_size=15),
)
def test_any_history_ends_in_order(policy: str, history: list[tuple[str, Any]], faults: list[Fault]) -> None:
    world = World(FakeClock(), faults)
    # A Job whose making nobody could note, and what a cache does not know yet, runs beside others.
    plain = not faults and not any(what == "stale" for what, _ in history)
    once_a_run(world, policy if plain else "")
    asyncio.run(live(world, policy, history))


@pytest.mark.parametrize("policy", ["Allow", "Forbid", "Replace"])
@pytest.mark.parametrize("fault", [Fault.CRASH, Fault.LOST, Fault.REFUSED])
def test_it_may_be_interrupted_at_every_write(policy: str, fault: Fault) -> None:
    ends = ("ends", (0, "Complete"))
    history = [("wait", 130), ("wait", 130), ends, ("wait", 130), ends, ("wait", 130), ends]

    async def one(world: World) -> None:
        once_a_run(world, "")
        await live(world, policy, history)

    assert interrupted(fault, one) > 3

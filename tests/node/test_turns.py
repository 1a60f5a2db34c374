"""Who works on a volume: one at a time, and what was begun is finished."""

from __future__ import annotations

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor

from hawser.node.volumes.turns import Turns


async def test_of_one_name_there_is_one_at_a_time_and_of_others_more() -> None:
    turns, running, most = Turns(), {"a": 0, "b": 0}, {"a": 0, "b": 0}
    both = threading.Barrier(2, timeout=60)

    def work(name: str, meet: bool) -> str:
        running[name] += 1
        most[name] = max(most[name], running[name])
        if meet:
            both.wait()
        running[name] -= 1
        return name

    jobs = [("a", True), ("b", True), ("a", False), ("a", False), ("b", False)]
    done = await asyncio.gather(
        *(turns.finish(name, "pod", lambda job=job: work(*job)) for job in jobs for name in job[:1])
    )
    assert done == [name for name, _ in jobs] and most == {"a": 1, "b": 1}


async def test_what_was_begun_is_finished_before_the_next_one_has_its_turn() -> None:
    turns, begun, go, done = Turns(), asyncio.Event(), threading.Event(), []
    loop = asyncio.get_running_loop()

    def slow() -> None:
        loop.call_soon_threadsafe(begun.set)
        go.wait(60)
        done.append("slow")

    first = asyncio.create_task(turns.finish("a", "pod", slow))
    await begun.wait()
    never = asyncio.create_task(turns.finish("a", "pod", lambda: done.append("never")))
    second = asyncio.create_task(turns.finish("a", "other", lambda: done.append("second")))
    await asyncio.sleep(0)
    first.cancel()
    never.cancel()
    await asyncio.wait([first, never])
    assert first.cancelled() and never.cancelled() and not done
    loop.call_soon(go.set)
    await turns.over("pod")
    assert done == ["slow"], "a pod that is removed waits for it"
    await second
    assert done == ["slow", "second"]


async def test_whoever_is_cut_short_while_waiting_leaves_what_was_begun_its_turn() -> None:
    turns, go, done = Turns(), threading.Event(), []
    complaints: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))

    def slow() -> None:
        go.wait(60)
        done.append("slow")
        raise OSError("broken")

    first = asyncio.create_task(turns.finish("a", "pod", slow))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting = asyncio.ensure_future(turns.over("pod"))
    second = asyncio.create_task(turns.finish("a", "other", lambda: done.append("second")))
    await asyncio.sleep(0)
    first.cancel()
    waiting.cancel()
    await asyncio.wait([first, waiting])
    loop.call_later(0.1, go.set)
    await second
    assert done == ["slow", "second"]
    del first, waiting, second
    gc.collect()
    assert not complaints


async def test_work_that_hangs_takes_no_place_of_others() -> None:
    turns, begun, go = Turns(), asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))

    def hangs() -> None:
        loop.call_soon_threadsafe(begun.set)
        go.wait(60)

    job = asyncio.create_task(turns.finish("a", "pod", hangs))
    try:
        await begun.wait()
        async with asyncio.timeout(20):
            assert await asyncio.to_thread(int) == 0
    finally:
        go.set()
        await job


async def test_nothing_is_kept_of_names_and_owners() -> None:
    turns = Turns()

    def fails() -> None:
        raise OSError("broken")

    for number in range(3):
        (error,) = await asyncio.gather(turns.finish(f"a{number}", "pod", fails), return_exceptions=True)
        assert isinstance(error, OSError)
        async with turns.turn(f"b{number}"):
            pass
    del error
    await turns.finish("c", "pod", int)
    for thread in threading.enumerate():
        if thread.name == "volume":
            await asyncio.to_thread(thread.join, 60)  # until its end it has its error
    gc.collect()  # the error knows who raised it, and the other way round
    assert not turns._locks and not turns._working
    await turns.over("pod")

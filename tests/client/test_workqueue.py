"""The work queue's promises: once in line, never twice at once, never lost."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.client.workqueue import WorkQueue


@pytest.fixture
def queue(clock):
    return WorkQueue(clock=clock, base=1, longest=10)


async def test_a_key_added_twice_is_in_line_once(queue):
    queue.add("a")
    queue.add("b")
    queue.add("a")
    assert [await queue.get(), await queue.get()] == ["a", "b"]
    assert len(queue) == 0


async def test_a_key_added_while_processed_comes_back_after_done(queue):
    queue.add("a")
    key = await queue.get()
    queue.add("a")
    assert len(queue) == 0
    queue.done(key)
    assert await queue.get() == "a"


async def test_a_waiting_worker_is_woken(queue):
    worker = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    assert await worker == "a"


async def test_a_cancelled_worker_leaves_its_key_to_another(queue):
    first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    assert await second == "a"
    assert (await asyncio.gather(first, return_exceptions=True))[0].__class__ is asyncio.CancelledError


async def test_of_two_delays_the_shorter_counts(queue, clock):
    queue.add_after("a", 5)
    queue.add_after("a", 2)
    queue.add_after("a", 9)
    clock.advance(2)
    assert await queue.get() == "a"
    queue.done("a")
    clock.advance(100)
    assert len(queue) == 0


async def test_retries_back_off_exponentially_up_to_a_limit_until_forgotten(queue, clock):
    waits = []
    for _ in range(6):
        waits.append(queue.retry("a"))
        clock.advance(10)
        queue.done(await queue.get())
    assert waits == [1, 2, 4, 8, 10, 10]
    queue.forget("a")
    assert queue.retry("a") == 1


async def test_shutdown_drops_delayed_keys(queue, clock):
    queue.add_after("a", 1)
    queue.shutdown()
    clock.advance(10)
    assert len(queue) == 0


@given(st.lists(st.tuples(st.sampled_from(["add", "get", "done"]), st.sampled_from("abc"))))
def test_no_key_is_lost_nor_processed_twice_at_once(steps):
    async def scenario():
        queue = WorkQueue()
        processing, owed = set(), set()
        for step, key in steps:
            if step == "add":
                queue.add(key)
                owed.add(key)
            elif step == "get" and len(queue):
                got = await queue.get()
                assert got not in processing
                processing.add(got)
                owed.discard(got)
            elif step == "done" and key in processing:
                queue.done(key)
                processing.discard(key)
        for key in processing:
            queue.done(key)
        rest = {await queue.get() for _ in range(len(queue))}
        assert rest == owed

    asyncio.run(scenario())


async def test_a_resting_key_gathers_what_is_added_meanwhile(queue, clock):
    queue.add("a")
    queue.add("b")
    key = await queue.get()
    queue.rest(key, 2)
    queue.add("a")
    queue.add("a")
    assert await queue.get() == "b"
    assert len(queue) == 0
    clock.advance(2)
    assert [await queue.get() for _ in range(len(queue))] == ["a"]

"""The order in which pods are placed, and when the ones without a place are tried again."""

from __future__ import annotations

import asyncio

import pytest

from hawser.scheduler.queue import SchedulingQueue


@pytest.fixture
def queue(clock):
    return SchedulingQueue(clock)


@pytest.fixture
def info(pod, shapes):
    def info(name, **spec):
        return shapes.pod(pod(name, **spec))

    return info


async def take(queue):
    """The names of all pods that are ready, in order."""
    names = []
    while True:
        try:
            entry = await asyncio.wait_for(queue.pop(), 0.001)
        except TimeoutError:
            return names
        names.append(entry.pod.key.split("/")[1])
        queue.park(entry)


async def test_priority_goes_before_age_and_age_before_the_rest(queue, info):
    queue.add(info("a"))
    queue.add(info("b"))
    queue.add(info("urgent", priority=10))
    assert await take(queue) == ["urgent", "a", "b"]


async def test_a_parked_pod_waits_until_something_changes(queue, info):
    queue.add(info("a"))
    assert await take(queue) == ["a"]
    assert await take(queue) == []
    queue.wake()
    assert await take(queue) == ["a"]


async def test_only_pods_that_a_change_concerns_are_woken(queue, info):
    queue.add(info("a"))
    queue.add(info("b", nodeSelector={"x": "y"}))
    await take(queue)
    queue.wake(lambda pod, plugins: bool(pod.shape.spec.get("nodeSelector")))
    assert await take(queue) == ["b"]


async def test_pods_that_are_alike_are_woken_for_what_refused_the_last_of_them(queue, info):
    for name in "ab":
        queue.add(info(name))
    first, second = queue.pop_now(), queue.pop_now()
    queue.park(first)
    queue.park(second, frozenset(("NodePorts",)))
    queue.wake(lambda pod, plugins: "NodePorts" in plugins)
    assert queue.pop_now() is first
    assert queue.pop_now() is None


async def test_a_pod_in_back_off_lets_the_others_go_first(queue, info, clock):
    queue.add(info("failed", priority=100))
    await take(queue)
    queue.add(info("fresh"))
    queue.wake()
    assert await take(queue) == ["fresh", "failed"]
    clock.advance(1)
    queue.add(info("fresher"))
    queue.wake()
    assert (await take(queue))[0] == "failed"


async def test_a_change_of_the_pod_itself_wakes_it_and_a_change_of_its_status_does_not(queue, pod, shapes):
    obj = pod("a", cpu="8")
    queue.add(shapes.pod(obj))
    await take(queue)
    queue.add(shapes.pod(obj))
    assert await take(queue) == []
    smaller = pod("a", cpu="1")
    smaller["metadata"]["uid"] = obj["metadata"]["uid"]
    queue.add(shapes.pod(smaller))
    assert await take(queue) == ["a"]


async def test_a_failed_binding_is_tried_again_after_a_growing_time(queue, info, clock):
    queue.add(info("a"))
    for seconds in (1, 2, 4, 8, 10, 10):
        queue.delay(await queue.pop())
        clock.advance(seconds - 0.01)
        queue.wake()
        assert await take(queue) == []
        clock.advance(0.01)
    assert await take(queue) == ["a"]


async def test_a_deleted_pod_is_not_popped_and_its_successor_is(queue, info):
    queue.add(info("a"))
    queue.delete("default/a")
    queue.add(info("b"))
    queue.add(info("b", nodeSelector={"new": "one"}))
    entry = await queue.pop()
    assert entry.pod.shape.spec == {"nodeSelector": {"new": "one"}}
    queue.delete("default/b")
    queue.park(entry)
    assert len(queue) == 0
    assert "default/b" not in queue

"""The order in which pods are placed, and when the ones without a place are tried again."""

from __future__ import annotations

import dataclasses

import pytest

from hawser.scheduler.queue import SchedulingQueue
from hawser.scheduler.shapes import GANG_LABEL


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
    while (entry := queue.pop_now()) is not None:
        names.append(entry.pod.key.split("/")[1])
        queue.park(entry)
    return names


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


def of_group(pod, name, group):
    obj = pod(name, labels={GANG_LABEL: group} if group else {})
    return {**obj, "metadata": {**obj["metadata"], "uid": name}}


@pytest.mark.parametrize("state", ["ready", "parked", "in flight"])
async def test_a_pod_whose_label_changes_is_of_its_new_group_alone(queue, shapes, pod, state):
    for name in "ab":
        queue.add(shapes.pod(of_group(pod, name, "old")))
    entry = queue.get("default/a")
    if state != "ready":
        queue.take("default/a")
    if state == "parked":
        queue.park(entry, likeness=("gang", "default/old"))
    for group, others in (("new", []), ("", []), ("old", ["b"])):
        queue.add(shapes.pod(of_group(pod, "a", group)))
        groups = {name: {e.pod.name for e in queue.gang(f"default/{name}")} for name in ("old", "new")}
        wanted = {"old": {"b"}, "new": set()}
        assert groups == (wanted | {group: {"a", *others}} if group else wanted)
    if state == "in flight":
        queue.park(entry, likeness=("gang", "default/old"))
    assert sorted([queue.pop_now().pod.name, queue.pop_now().pod.name]) == ["a", "b"]
    queue.delete("default/a")
    queue.delete("default/b")
    assert queue.gang("default/old") == []


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


async def test_a_pod_that_was_parked_for_long_is_tried_once_more_and_known_as_such(queue, info, clock):
    queue.add(info("a"))
    await take(queue)
    clock.advance(299)
    assert await take(queue) == []
    clock.advance(31)
    entry = await queue.pop()
    assert entry.flushed
    queue.park(entry)
    queue.wake()
    assert not entry.flushed


@pytest.mark.parametrize(("plugin", "tried"), [("P", ["a"]), ("Q", [])])
async def test_what_happens_while_a_refused_pod_is_seen_to_is_heard(queue, info, plugin, tried):
    for name in "ab":
        queue.add(info(name, cpu="1" if name == "a" else "2"))
    entry, other = queue.pop_now(), queue.pop_now()
    queue.attend(entry)
    queue.wake(lambda pod, plugins: plugins == {"P"})
    queue.park(other, frozenset("P"))
    queue.park(entry, frozenset(plugin))
    assert await take(queue) == tried


async def test_a_group_is_woken_by_what_helps_any_of_its_pods(queue, info):
    for name, selector in (("a", {"x": "y"}), ("b", {})):
        queue.add(info(name, labels={"scheduling.x-k8s.io/pod-group": "g"}, nodeSelector=selector))
    for entry in (queue.pop_now(), queue.pop_now()):
        queue.park(entry, frozenset(), ("gang", "default/g"))
    queue.wake(lambda pod, plugins: not pod.shape.selects)
    assert queue.pop_now().pod.name == "a"


async def test_the_next_that_is_alike_is_tried_when_the_first_is_placed_or_goes_or_becomes_another(queue, info, clock):
    for name in "abcd":
        queue.add(info(name))
    assert await take(queue) == ["a", "b", "c", "d"]
    clock.advance(60)
    queue.wake()
    entry = queue.pop_now()
    assert queue.pop_now() is None
    queue.placed(entry)
    following = queue.pop_now()
    assert (entry.pod.name, following.pod.name) == ("a", "b")
    queue.delete(entry.pod.key)
    assert queue.pop_now() is None
    queue.delete(following.pod.key)
    queue.add(dataclasses.replace(queue.get("default/c").pod, shape=info("other", cpu="1").shape))
    assert {queue.pop_now().pod.name, queue.pop_now().pod.name} == {"c", "d"}


async def test_the_next_that_is_alike_is_tried_when_the_first_waits_for_something_of_its_own(queue, info, clock):
    for name in "abc":
        queue.add(info(name))
    assert await take(queue) == ["a", "b", "c"]
    clock.advance(60)
    queue.wake()
    queue.park(queue.pop_now(), likeness=("promised", "a"))
    queue.park(queue.pop_now())
    assert queue.pop_now() is None
    clock.advance(60)
    queue.wake()
    assert {queue.pop_now().pod.name for _ in range(2)} == {"a", "c"}

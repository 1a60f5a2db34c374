"""Manager, workers and event recorder, over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import pytest
from aiohttp import web

from hawser.api.errors import conflict
from hawser.api.kinds import EVENT, NODE, POD, REPLICA_SET
from hawser.client.controller import Controller, Manager, controller_of
from hawser.client.events import EventRecorder

POD_A = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "ns", "uid": "u"}}


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - it becomes true by what arrives over the network
            await asyncio.sleep(0.001)


class Recorded(Controller):
    """Remembers what it is asked to reconcile; ``results`` are what it answers."""

    name = "recorded"
    workers = 2

    def __init__(self, results=()):
        self.keys = []
        self.results = list(results)

    def setup(self, manager):
        self.pods = manager.informer(POD)
        self.pods.on_change(self.enqueue)
        self.pods.on_change(self.enqueue_owner("ReplicaSet"))

    async def reconcile(self, key):
        self.keys.append(key)
        result = self.results.pop(0) if self.results else None
        if isinstance(result, Exception):
            raise result
        return result


@pytest.fixture
async def manager(client, clock):
    manager = Manager(client, clock=clock)
    task = asyncio.create_task(manager.run())
    await asyncio.sleep(0)
    yield manager
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_objects_and_their_owners_are_reconciled(api, manager):
    controller = Recorded()
    manager.add(controller)
    pod = {"metadata": {"name": "a", "namespace": "ns"}}
    pod["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "name": "rs", "controller": True}]
    api.write(POD, pod)
    await until(lambda: sorted(controller.keys) == ["ns/a", "ns/rs"])


async def test_a_failed_reconcile_is_told_in_one_sentence_and_tried_again(api, manager, clock, caplog):
    controller = Recorded([ValueError("no luck"), conflict("", "pods", "a")])
    manager.add(controller)
    api.write(POD, {"metadata": {"name": "a", "namespace": "ns"}})
    await until(lambda: len(controller.keys) == 1)
    await asyncio.sleep(0)
    clock.advance(0.01)
    await until(lambda: len(controller.keys) == 2)
    await asyncio.sleep(0)
    clock.advance(0.02)
    await until(lambda: len(controller.keys) == 3)
    warnings = [r.message for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert warnings[0].startswith("recorded ns/a: ValueError: no luck (")
    assert warnings[0].endswith("again in 0.01 s")


async def test_a_reconcile_may_ask_to_look_again_later(api, manager, clock):
    controller = Recorded([30.0])
    manager.add(controller)
    api.write(POD, {"metadata": {"name": "a", "namespace": "ns"}})
    await until(lambda: len(controller.keys) == 1)
    await asyncio.sleep(0)
    clock.advance(29)
    assert len(controller.queue) == 0
    clock.advance(1)
    await until(lambda: len(controller.keys) == 2)


async def test_informers_are_shared_by_kind_and_scope(client):
    manager = Manager(client)
    assert manager.informer(POD) is manager.informer(POD)
    assert manager.informer(POD) is not manager.informer(POD, "default")


async def test_an_informer_has_whole_objects_when_anyone_wants_them(client):
    manager = Manager(client)
    bare = manager.informer(POD, metadata_only=True)
    assert bare.metadata_only
    assert manager.informer(POD) is bare
    assert not bare.metadata_only
    assert manager.informer(POD, metadata_only=True) is bare
    assert not bare.metadata_only


async def test_a_kind_that_cannot_be_listed_holds_up_only_its_own_controller(api, manager):
    class Stuck(Recorded):
        def setup(self, manager):
            manager.informer(REPLICA_SET).on_change(self.enqueue)

    api.failures += [web.Response(status=500)]
    manager.add(Stuck())
    working = Recorded()
    manager.add(working)
    api.write(POD, {"metadata": {"name": "a", "namespace": "ns"}})
    await until(lambda: working.keys)


async def test_a_controllers_own_task_is_started_again_when_it_fails(manager, clock):
    class WithTask(Recorded):
        runs = 0

        async def run(self):
            self.runs += 1
            if self.runs < 3:
                raise OSError("gone")

    controller = WithTask()
    manager.add(controller)
    await until(lambda: controller.runs == 3)


def test_the_controlling_owner_is_the_one_that_says_so():
    owners = [{"name": "x"}, {"name": "y", "controller": True}]
    assert controller_of({"metadata": {"ownerReferences": owners}})["name"] == "y"
    assert controller_of({"metadata": {}}) is None


def events(api):
    return [o for (kind, _, _), o in api.objects.items() if kind is EVENT]


async def test_an_event_is_written_with_all_its_fields(api, client, clock):
    recorder = EventRecorder(client, "kubelet", host="n1", clock=clock)
    recorder.event(POD_A, "Warning", "BackOff", "restarting", field_path="spec.containers{web}")
    await recorder.flush()
    (event,) = events(api)
    assert event["involvedObject"] == {
        "kind": "Pod",
        "apiVersion": "v1",
        "name": "a",
        "namespace": "ns",
        "uid": "u",
        "fieldPath": "spec.containers{web}",
    }
    assert event["metadata"]["name"].startswith("a.")
    assert event["source"] == {"component": "kubelet", "host": "n1"}
    assert (event["type"], event["reason"], event["message"], event["count"]) == ("Warning", "BackOff", "restarting", 1)
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2026-01-01T00:16:40Z"


async def test_a_repeated_event_counts_up(api, client, clock):
    recorder = EventRecorder(client, "c", clock=clock)
    for _ in range(3):
        recorder.event(POD_A, "Normal", "R", "m")
        await recorder.flush()
        clock.advance(10)
    (event,) = events(api)
    assert (event["count"], event["firstTimestamp"], event["lastTimestamp"]) == (
        3,
        "2026-01-01T00:16:40Z",
        "2026-01-01T00:17:00Z",
    )


@pytest.mark.parametrize(("kind", "lulls", "late"), [("Normal", 5, 2.0), ("Normal", 0.5, 0.5), ("Warning", 5, 0)])
async def test_in_a_rush_only_what_is_urgent_is_told_at_once(api, client, clock, kind, lulls, late):
    begun = clock.monotonic()
    recorder = EventRecorder(client, "c", clock=clock, busy=lambda: clock.monotonic() < begun + lulls)
    recorder.event(POD_A, kind, "R", "m")
    task = asyncio.create_task(recorder.run())
    await until(lambda: events(api))
    task.cancel()
    assert clock.monotonic() - begun == pytest.approx(late, abs=0.06)
    assert events(api)[0]["lastTimestamp"] == "2026-01-01T00:16:40Z", "it happened when it happened"


async def test_an_expired_event_starts_anew(api, client, clock):
    recorder = EventRecorder(client, "c", clock=clock)
    recorder.event(POD_A, "Normal", "R", "m")
    await recorder.flush()
    api.delete(EVENT, "ns", events(api)[0]["metadata"]["name"])
    recorder.event(POD_A, "Normal", "R", "m")
    await recorder.flush()
    assert [e["count"] for e in events(api)] == [1]


async def test_a_chatty_object_is_limited_and_others_are_not(api, client, clock):
    recorder = EventRecorder(client, "c", clock=clock)
    for number in range(40):
        recorder.event(POD_A, "Normal", "R", f"m{number}")
    recorder.event({**POD_A, "metadata": {"name": "b", "namespace": "ns"}}, "Normal", "R", "m")
    await recorder.flush()
    assert len(events(api)) == 26
    clock.advance(300)
    recorder.event(POD_A, "Normal", "R", "later")
    await recorder.flush()
    assert len(events(api)) == 27


async def test_events_of_cluster_scoped_objects_are_in_the_default_namespace(api, client, clock):
    recorder = EventRecorder(client, "c", clock=clock)
    recorder.event({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}, "Normal", "R", "m")
    await recorder.flush()
    assert events(api)[0]["metadata"]["namespace"] == "default"
    assert not [k for k in api.objects if k[0] is NODE]


async def test_a_refused_event_is_dropped_and_a_failed_one_tried_again(api, client, clock):
    recorder = EventRecorder(client, "c", clock=clock)
    api.failures.append(web.Response(status=403))
    recorder.event(POD_A, "Normal", "R", "refused")
    await recorder.flush()
    assert events(api) == []
    api.failures.append(web.Response(status=500))
    recorder.event(POD_A, "Normal", "R", "late")
    await recorder.flush()
    assert [e["message"] for e in events(api)] == ["late"]


class Costly(Recorded):
    """Takes some processor time for each reconcile, and waits for something between."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    async def reconcile(self, key):
        self.keys.append(key)
        await asyncio.sleep(0)
        self.clock.worked += 0.01
        with contextlib.suppress(ValueError):
            await failing()


async def failing():
    await asyncio.sleep(0)
    raise ValueError("handled by who awaits it")


async def test_a_costly_key_rests_before_its_next_turn_and_its_changes_become_one(api, manager, clock):
    controller = Costly(clock)
    manager.add(controller)
    api.write(POD, {"metadata": {"name": "a", "namespace": "ns"}})
    await until(lambda: controller.keys and not controller.queue.running())
    for _ in range(5):
        controller.queue.add("ns/a")
        await asyncio.sleep(0)
    assert len(controller.keys) == 1
    clock.advance(0.04)
    await until(lambda: len(controller.keys) == 2)
    clock.advance(1)
    assert len(controller.queue) == 0

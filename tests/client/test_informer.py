"""The informer against a server that goes away, forgets, and comes back."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from hawser.api.kinds import POD
from hawser.client.informer import Informer


def pod(name, namespace="default", **labels):
    return {"metadata": {"name": name, "namespace": namespace, "labels": labels, "managedFields": [{}]}}


async def until(condition):
    """Waits for something that arrives over the network."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - it becomes true by what arrives over the network
            await asyncio.sleep(0.001)


@pytest.fixture
async def informer(client, clock):
    informer = Informer(client, POD, clock=clock, jitter=lambda: 0)
    task = asyncio.create_task(informer.run())
    yield informer
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def names(informer):
    return sorted(o["metadata"]["name"] for o in informer.list())


async def test_what_is_listed_and_what_is_watched_is_there(api, informer):
    api.write(POD, pod("a"))
    await informer.synced()
    assert names(informer) == ["a"]
    api.write(POD, pod("b", "other"))
    await until(lambda: len(informer) == 2)
    assert informer.get("other", "b")["kind"] == "Pod"
    assert informer.get_key("default/a") is informer.get("default", "a")
    assert [o["metadata"]["name"] for o in informer.list("other")] == ["b"]
    api.delete(POD, "default", "a")
    await until(lambda: informer.get("default", "a") is None)


async def test_managed_fields_are_left_out(api, informer):
    api.write(POD, pod("a"))
    await informer.synced()
    assert "managedFields" not in informer.get("default", "a")["metadata"]


async def test_metadata_only_asks_for_and_keeps_nothing_else(api, client, clock):
    api.write(POD, pod("a") | {"spec": {"nodeName": "n"}})
    informer = Informer(client, POD, metadata_only=True, clock=clock, jitter=lambda: 0)
    task = asyncio.create_task(informer.run())
    await informer.synced()
    observed = api.write(POD, pod("b") | {"spec": {"nodeName": "n"}})
    informer.observe(observed)
    await until(lambda: len(informer) == 2)
    assert {frozenset(o) for o in informer.list()} == {frozenset(("apiVersion", "kind", "metadata"))}
    assert {o["kind"] for o in informer.list()} == {"Pod"}
    await until(lambda: len(api.headers) == 2)
    assert [h["Accept"].split(";")[1] for h in api.headers] == [
        "as=PartialObjectMetadataList",
        "as=PartialObjectMetadata",
    ]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_another_object_of_the_same_name_is_a_removal_and_an_addition(api, informer):
    """What is deleted and made again while no watch runs looks like a change in the next list."""
    api.write(POD, pod("a"))
    await informer.synced()
    seen = []
    informer.on_change(lambda old, new: seen.append((old and old["metadata"]["uid"], new and new["metadata"]["uid"])))
    first = informer.get("default", "a")["metadata"]["uid"]
    await api.stop()
    api.delete(POD, "default", "a")
    second = api.write(POD, pod("a"))["metadata"]["uid"]
    api.compact()
    await api.start()
    await until(lambda: len(seen) == 3)
    assert seen == [(None, first), (first, None), (None, second)]


async def test_handlers_see_every_change_once_and_what_was_there_before_them(api, informer):
    api.write(POD, pod("a"))
    await informer.synced()
    seen = []

    def handler(old, new):
        seen.append([o and o["metadata"]["resourceVersion"] for o in (old, new)])

    informer.on_change(handler)
    api.write(POD, pod("a", x="1"))
    api.delete(POD, "default", "a")
    await until(lambda: len(seen) == 3)
    assert seen == [[None, "101"], ["101", "102"], ["103", None]]


async def test_a_handler_that_fails_does_not_stop_the_others(api, informer, caplog):
    seen = []
    informer.on_change(lambda old, new: 1 / 0)
    informer.on_change(lambda old, new: seen.append(new))
    api.write(POD, pod("a"))
    await until(lambda: seen)
    assert "a handler of pods failed" in caplog.text


async def test_an_object_that_an_index_cannot_read_is_in_none_and_stops_nothing(api, informer, caplog):
    await informer.synced()
    seen = []
    informer.add_index("number", lambda o: [str(int(o["metadata"]["labels"]["n"]))])
    informer.add_tally("numbers", lambda o: [("all", int(o["metadata"]["labels"]["n"]))])
    informer.on_change(lambda old, new: seen.append(new))
    for label in ("1", "x", "2", "x"):
        api.write(POD, pod("a", n=label))
        api.write(POD, pod("b", n="1"))
    api.delete(POD, "default", "a")
    await until(lambda: None in seen)
    assert [o["metadata"]["name"] for o in informer.by_index("number", "1")] == ["b"]
    assert informer.by_index("number", "2") == []
    assert informer.tally("numbers", "all") == {1: 1}
    assert "an index of pods failed" in caplog.text


async def test_indexes_follow_changes(api, informer):
    api.write(POD, pod("a", app="x"))
    await informer.synced()
    informer.add_index("app", lambda o: [o["metadata"]["labels"]["app"]])
    api.write(POD, pod("b", app="x"))
    await until(lambda: len(informer.by_index("app", "x")) == 2)
    api.write(POD, pod("a", app="y"))
    await until(lambda: len(informer.by_index("app", "y")) == 1)
    assert [o["metadata"]["name"] for o in informer.by_index("app", "x")] == ["b"]
    api.delete(POD, "default", "b")
    await until(lambda: informer.by_index("app", "x") == [])


async def test_after_a_restart_of_the_server_it_resumes_without_a_new_list(api, informer, clock):
    await informer.synced()
    await api.stop()
    api.write(POD, pod("while-down"))
    await until(lambda: len(clock.slept) > 2)
    await api.start()
    await until(lambda: len(informer) == 1)
    assert api.lists == 1
    waits = clock.slept[:4]
    assert waits == sorted(waits)
    assert max(clock.slept) <= 5


async def test_a_version_that_is_gone_is_answered_by_a_new_list_and_its_differences(api, informer):
    api.write(POD, pod("stays"))
    api.write(POD, pod("goes"))
    await informer.synced()
    seen = []
    informer.on_change(lambda old, new: seen.append((old and old["metadata"]["name"], new and new["metadata"]["name"])))
    await api.stop()
    api.delete(POD, "default", "goes")
    api.write(POD, pod("comes"))
    api.compact()
    await api.start()
    await until(lambda: names(informer) == ["comes", "stays"])
    assert api.lists == 2
    assert seen[2:] == [("goes", None), (None, "comes")]


async def test_a_store_that_went_back_in_time_is_believed(api, informer):
    api.write(POD, pod("a", v="new"))
    api.write(POD, pod("b"))
    await informer.synced()
    await api.stop()
    api.objects.clear()
    api.revision = 50
    api.write(POD, pod("a", v="old"))
    api.compacted = 10_000
    await api.start()
    await until(lambda: names(informer) == ["a"])
    assert informer.get("default", "a")["metadata"]["labels"] == {"v": "old"}


async def test_a_refused_list_is_tried_again(api, client, clock):
    api.failures += [web.Response(status=500), web.Response(status=403)]
    informer = Informer(client, POD, clock=clock, jitter=lambda: 1)
    task = asyncio.create_task(informer.run())
    await informer.synced()
    assert clock.slept[:2] == [0.1, 0.2]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_an_own_write_is_seen_at_once_and_never_undone_by_an_older_event(api, informer):
    await informer.synced()
    made = api.write(POD, pod("a"))
    informer.observe(dict(made))
    assert names(informer) == ["a"]
    changes = []
    informer.on_change(lambda old, new: changes.append(new))
    api.write(POD, pod("marker"))
    await until(lambda: informer.get("default", "marker"))
    assert [o["metadata"]["name"] for o in changes] == ["a", "marker"]


async def test_an_own_write_that_was_deleted_meanwhile_does_not_come_back(api, informer):
    await informer.synced()
    made = api.write(POD, pod("a"))
    api.delete(POD, "default", "a")
    await until(lambda: informer.resource_version == str(api.revision))
    informer.observe(made)
    assert names(informer) == []

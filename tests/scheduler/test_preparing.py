"""Preparations can be called off until they are finished, and end between writes; promises end when nobody has them."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from unittest.mock import AsyncMock

import pytest

from hawser.scheduler.cache import Cache
from hawser.scheduler.preemption import Candidate
from hawser.scheduler.preparing import CalledOffError, Preparation, Preparations
from hawser.scheduler.promises import Promises
from hawser.scheduler.volumes import Stock, key
from hawser.scheduler.writing import Writer

from .conftest import make_node, make_pod
from .test_volumes import claim, cls, volume


async def test_who_waits_is_told_that_it_is_called_off():
    preparations = Preparations()
    with preparations.of("u") as preparation:
        waiting = asyncio.create_task(preparation.until(lambda: False, 60))
        await asyncio.sleep(0)
        preparations.stir()
        await asyncio.sleep(0)
        assert not waiting.done()
        assert preparations.call_off("u")
        with pytest.raises(CalledOffError):
            await waiting
        assert not preparation.finish()
    assert not preparations.call_off("u")


async def test_what_is_called_off_during_a_write_ends_after_it():
    preparation = Preparation()
    preparation.go_on()
    assert preparation.call_off()
    with pytest.raises(CalledOffError):
        preparation.go_on()
    with pytest.raises(CalledOffError):
        await preparation.until(lambda: False, 60)


async def test_what_is_finished_cannot_be_called_off():
    preparation = Preparation()
    await preparation.until(lambda: True, 60)
    assert preparation.finish()
    assert not preparation.call_off()


def test_a_shared_claim_stays_promised_until_its_last_pod_has_it(shapes):
    wanted, disk = claim("data"), volume("disk")
    stock = Stock({key(wanted): wanted}, {"disk": disk}, {"local": cls("local")})
    cache = Cache(shapes)
    cache.set_node(make_node("n1"))
    promises = Promises(stock, cache)
    mounted = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]
    first, second = (promises.make(shapes.pod(make_pod(name, volumes=mounted)), "n1") for name in ("a", "b"))
    promises.end(first)
    assert stock.promised == {"disk": "default/data"}
    promises.end(second)
    assert stock.promised == {}


def test_what_is_given_up_for_a_pod_does_not_concern_its_successor(shapes):
    cache = Cache(shapes)
    cache.set_node(make_node("n1"))
    before, after = (shapes.pod(make_pod("web-0")) for _ in range(2))
    cache.assume(before, "n1")
    cache.remove_pod(before.key)
    cache.assume(after, "n1")
    cache.forget(before)
    assert cache.is_assumed(after.key)
    cache.forget(after)
    assert not cache.is_placed(after.key)


async def test_who_is_preempted_is_known_to_be_leaving_before_the_watch_tells(shapes, clock):
    victim = make_pod("victim", node="n1")
    leaving = {**victim, "metadata": {**victim["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    known = []
    client = SimpleNamespace(patch=AsyncMock(return_value=victim), delete=AsyncMock(return_value=leaving))
    recorder = SimpleNamespace(event=lambda *args: None)
    manager = SimpleNamespace(client=client, clock=clock, recorder=lambda component: recorder)
    pods = SimpleNamespace(get_key=lambda key: victim, observe=known.append)
    candidate = Candidate("n1", (shapes.pod(victim),), 0)
    assert await Writer(manager, pods, Preparations()).evict(shapes.pod(make_pod("urgent")), candidate)
    assert known == [leaving]

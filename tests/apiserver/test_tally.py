"""The ledger of a quota over a real store: whatever happens in whatever order, no more is given than there is."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from hawser.api.kinds import CONFIG_MAP, POD
from hawser.api.quota.usage import exceeded
from hawser.apiserver.admission.tally import Ledger
from hawser.store.base import Delete, Put, Record
from hawser.store.sqlite import SqliteStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)
QUOTA = {
    "metadata": {"name": "q", "namespace": "n", "uid": "1"},
    "spec": {"hard": {"pods": "4", "requests.cpu": "2", "count/configmaps": "3"}},
}
Obj = dict[str, Any]


def pod(name: str, cpu: int) -> Obj:
    container = {"name": "c", "resources": {"requests": {"cpu": f"{cpu}m"}}}
    return {"metadata": {"name": name}, "spec": {"containers": [container]}, "status": {}}


class Writer:
    """Writes as the registry does: asks and takes in one step, then waits for the commit."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.ledger = Ledger(store, QUOTA)
        self.refused = 0

    async def create(self, name: str, cpu: int, fail: bool) -> None:
        kind, obj = (POD, pod(name, cpu)) if cpu else (CONFIG_MAP, {"metadata": {"name": name}})
        amount = self.ledger.tally(kind).amount(obj, NOW)
        if exceeded("q", self.ledger.hard, self.ledger.used(kind, NOW), amount):
            self.refused += 1
            return
        give_back: Callable[[], None] = self.ledger.take(obj, amount)

        def fn(current: Record | None, revision: int) -> Put:
            if current is not None or fail:
                raise ValueError("no")
            obj["metadata"]["resourceVersion"] = str(revision)
            return Put(orjson.dumps(obj))

        try:
            await self.store.write(f"core/{kind.plural}/n/{name}", fn)
        except ValueError:
            give_back()

    async def end(self, name: str) -> None:
        """The pod finishes, or what has this name goes."""
        key = f"core/pods/n/{name}"
        if self.store.get(key) is None:
            key = f"core/configmaps/n/{name}"

        def fn(current: Record | None, revision: int) -> Put | Delete:
            if current is None:
                raise ValueError("no")
            obj = orjson.loads(current.value)
            obj["metadata"]["resourceVersion"] = str(revision)
            if revision % 2 and "spec" in obj:
                obj["status"] = {"phase": "Succeeded"}
                return Put(orjson.dumps(obj))
            return Delete(orjson.dumps(obj))

        try:
            await self.store.write(key, fn)
        except ValueError:
            pass

    def check(self) -> None:
        """What is committed is within bounds, whatever is still under way."""
        pods = [orjson.loads(record.value) for record in self.store.list("core/pods/n/")]
        running = [p for p in pods if p["status"].get("phase") != "Succeeded"]
        asked = [int(p["spec"]["containers"][0]["resources"]["requests"]["cpu"][:-1]) for p in running]
        assert len(running) <= 4
        assert sum(asked) <= 2000
        assert self.store.count("core/configmaps/n/") <= 3


STEP = st.tuples(
    st.sampled_from(["create", "create", "create", "fail", "end", "wait"]),
    st.sampled_from("abcdefgh"),
    st.sampled_from([0, 100, 700, 1900]),
)


async def play(steps: list[tuple[str, str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore.open(Path(folder) / "x.db")
        writer = Writer(store)
        tasks: list[asyncio.Task[None]] = []
        for what, name, cpu in steps:
            if what == "wait":
                await asyncio.gather(*tasks)
            else:
                step = writer.end(name) if what == "end" else writer.create(name, cpu, what == "fail")
                tasks.append(asyncio.create_task(step))
                await asyncio.sleep(0)
            writer.check()
        await asyncio.gather(*tasks)
        writer.check()
        fresh = Ledger(store, QUOTA)
        for kind in (POD, CONFIG_MAP):
            left = {name: value.amount for name, value in writer.ledger.used(kind, NOW).items() if value.amount}
            wanted = {name: value.amount for name, value in fresh.used(kind, NOW).items() if value.amount}
            assert left == wanted, "something is still taken, or was given back twice"
        await store.close()


@settings(max_examples=40)
@given(st.lists(STEP, max_size=40))
def test_no_order_of_writes_gets_more_than_there_is_or_leaves_something_taken(
    steps: list[tuple[str, str, int]],
) -> None:
    asyncio.run(play(steps))


async def test_what_fails_after_others_were_committed_is_given_back() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore.open(Path(folder) / "x.db")
        ledger = Ledger(store, QUOTA)
        committed, failing = pod("a", 100), pod("b", 100)
        ledger.take(committed, ledger.tally(POD).amount(committed, NOW))
        give_back = ledger.take(failing, ledger.tally(POD).amount(failing, NOW))

        def fn(current: Record | None, revision: int) -> Put:
            committed["metadata"]["resourceVersion"] = str(revision)
            return Put(orjson.dumps(committed))

        await store.write("core/pods/n/a", fn)
        assert ledger.used(POD, NOW)["pods"].amount == 2
        give_back()
        assert ledger.used(POD, NOW)["pods"].amount == 1
        await store.close()

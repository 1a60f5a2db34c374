#!/usr/bin/env python3
"""Measures the store alone, without an API server: writes, lists, watch fan-out, loading.

bench/store.py [--directory DIR] [--seconds 3] [--objects 50000] [--size 700] [--json FILE]
DIR must be on the disk that is to be measured: every write waits for its fsync.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import count
from pathlib import Path

import uvloop

from hawser.store.base import Delete, Put, WriteFn
from hawser.store.sqlite import SqliteStore
from processes import memory
from report import Report, percentile

CONFIGMAPS = "core/configmaps/default/"


def put(value: bytes) -> WriteFn:
    return lambda state, revision: Put(value)


async def measure_writes(
    report: Report, store: SqliteStore, name: str, writers: int, seconds: float, size: int
) -> None:
    """Creates (or, for a name of update*, replaces) objects of so many bytes; each writer waits for its write."""
    latencies: list[float] = []
    start, cpu, before = time.perf_counter(), time.process_time(), store.revision

    async def write(number: int) -> None:
        value = bytes(size)
        for turn in count():
            begin = time.perf_counter()
            if begin > start + seconds:
                return
            turn = turn % 20 if name.startswith("update") else turn
            await store.write(f"{CONFIGMAPS}{name}-{number}-{turn}", put(value))
            latencies.append(time.perf_counter() - begin)

    await asyncio.gather(*(write(number) for number in range(writers)))
    elapsed = time.perf_counter() - start
    report.check(name, store.revision - before == len(latencies), "revisions do not match writes")
    report.add(f"{name}_rate", len(latencies) / elapsed, "writes/s")
    report.add(f"{name}_p50", percentile(latencies, 50) * 1000, "ms")
    report.add(f"{name}_p99", percentile(latencies, 99) * 1000, "ms")
    report.add(f"{name}_cpu", (time.process_time() - cpu) / len(latencies) * 1e6, "us/write")


async def measure_watch(report: Report, store: SqliteStore, watchers: int, events: int) -> None:
    """CPU that an event costs when so many watchers of its namespace are waiting, their wake-up included."""
    watches = [store.watch(CONFIGMAPS, store.revision) for _ in range(watchers)]
    seen = 0

    async def follow(number: int) -> None:
        nonlocal seen
        mine = 0
        async for batch in watches[number]:
            mine += len(batch)
            if mine == events:
                break
        seen += mine

    followers = [asyncio.create_task(follow(number)) for number in range(watchers)]
    cpu = time.process_time()
    for number in range(events):
        await store.write(f"{CONFIGMAPS}watched-{number}", put(b"x"))
    await asyncio.gather(*followers)
    report.check("watch", seen == watchers * events, f"{seen} events of {watchers * events}")
    report.add(f"watch_{watchers}_cpu", (time.process_time() - cpu) / events * 1e6, "us/event")
    for watch in watches:
        watch.close()


def timed_list(store: SqliteStore, prefix: str) -> float:
    """Seconds: the median of 9."""
    times = []
    for _ in range(9):
        begin = time.perf_counter()
        store.list(prefix)
        times.append(time.perf_counter() - begin)
    return percentile(times, 50)


def fill(path: Path, objects: int, size: int) -> None:
    async def write() -> None:
        store = SqliteStore.open(path)
        await asyncio.gather(
            *(store.write(f"core/pods/ns{n % 10}/pod-{n:06}", put(bytes(size))) for n in range(objects))
        )
        await store.close()

    asyncio.run(write())


async def measure_load(report: Report, path: Path, objects: int, size: int) -> None:
    # In a process of its own: what it leaves in this one's heap would make loading look smaller.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        pool.submit(fill, path, objects, size).result()
    before, begin = memory(), time.perf_counter()
    store = SqliteStore.open(path)
    report.add(f"load_{objects}", (time.perf_counter() - begin) * 1000, "ms")
    report.check("load", store.count("core/pods/") == objects, "objects are missing")
    report.add("memory_per_object", (memory() - before) / objects, f"B of which {size} value")
    prefix = "core/pods/ns1/"
    report.add(f"list_{store.count(prefix)}", timed_list(store, prefix) * 1000, "ms")
    await store.write(f"{prefix}pod-000001", lambda state, revision: Delete(b""))
    begin = time.perf_counter()
    store.list(prefix)
    report.add("list_after_delete", (time.perf_counter() - begin) * 1000, "ms")
    await store.close()


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", default="/var/tmp", help="where to put the database (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--objects", type=int, default=50_000)
    parser.add_argument("--size", type=int, default=700, help="bytes of an object")
    parser.add_argument("--json", default="")
    options = parser.parse_args()
    report = Report()
    directory = Path(tempfile.mkdtemp(prefix="hawser-bench-", dir=options.directory))
    try:
        await measure_load(report, directory / "load.db", options.objects, options.size)
        for writers in (1, 16, 64):
            store = SqliteStore.open(directory / f"create{writers}.db")
            await measure_writes(report, store, f"create_c{writers}", writers, options.seconds, options.size)
            if writers == 64:
                await measure_writes(report, store, "update_c64", writers, options.seconds, options.size)
                await measure_watch(report, store, 200, 500)
            await store.close()
    finally:
        shutil.rmtree(directory)
    if options.json:
        report.write(options.json)
    return 1 if report.failed else 0


if __name__ == "__main__":
    raise SystemExit(uvloop.run(main()))

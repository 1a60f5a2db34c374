"""ConfigMaps of 500 B: creates at 1, 16 and 64 connections; GET, merge patch, apply and delete at 16."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterator
from itertools import count, cycle
from typing import Any

import orjson

import load
from http1 import APPLY, MERGE, Connection, Target
from load import Load
from options import Options
from processes import Processes
from report import Report, percentile
from scope import namespace

OPERATIONS = ("create", "get", "patch", "apply", "delete")
HOT = 2000
"""GET, patch and apply go round on so many objects."""


def configmap(name: str, data: dict[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


class Measures:
    """Collects each operation's rounds; the medians are reported."""

    def __init__(self, target: Target, report: Report, processes: Processes, seconds: float) -> None:
        self._target = target
        self._report = report
        self._processes = processes
        self._seconds = seconds
        self._rounds: dict[str, list[dict[str, float]]] = {}

    def run(self, name: str, connections: int, requests: Iterator[bytes]) -> Load:
        cpu = self._processes.cpu()
        done = load.run(self._target, connections, self._seconds, requests)
        used = self._processes.cpu() - cpu
        self._report.check(name, not done.errors and done.answered > 0, f"{len(done.errors)} errors: {done.errors[:1]}")
        self._rounds.setdefault(name, []).append(
            {
                "rate req/s": done.rate,
                "p50 ms": percentile(done.latencies, 50) * 1000,
                "p99 ms": percentile(done.latencies, 99) * 1000,
                "server_cpu ms/req": used * 1000 / max(1, done.answered),
            }
        )
        return done

    def tell(self) -> None:
        for name, rounds in self._rounds.items():
            for figure in rounds[0]:
                kind, unit = figure.split()
                if kind != "server_cpu" or self._processes.pids:
                    self._report.add(f"{name}_{kind}", statistics.median(one[figure] for one in rounds), unit)


def run(options: Options, report: Report, processes: Processes) -> None:
    wanted = [name for name in OPERATIONS if name in options.only]
    if not wanted:
        return
    measures = Measures(options.target, report, processes, options.seconds)
    with namespace(options.target, "crud", options.keep) as (connection, path):
        path += "/configmaps"
        for number in range(options.rounds):
            _round(options, report, measures, connection, path, wanted, number)
    measures.tell()


def _names(connection: Connection, path: str) -> list[str]:
    names = (item["metadata"]["name"] for item in connection.list(path)[0])
    return [name for name in names if name.startswith("bench-")]


def _round(
    options: Options,
    report: Report,
    measures: Measures,
    connection: Connection,
    path: str,
    wanted: list[str],
    number: int,
) -> None:
    target = options.target
    template = target.request("POST", path, _encode(configmap("bench-NAME00000000", {"k": "x" * 500})))

    def creates(prefix: str) -> Iterator[bytes]:
        return (template.replace(b"NAME00000000", b"%s%08d" % (prefix.encode(), turn)) for turn in count())

    def over(names: list[str], request: Callable[[str, int], bytes]) -> Iterator[bytes]:
        return (request(name, turn) for turn, name in enumerate(cycle(names)))

    for connections in options.connections if "create" in wanted else [16]:
        # A name of 4 characters, as in the template: "c" and the connections.
        prefix = f"c{connections:03d}"
        name = f"create_c{connections}"
        done = measures.run(name, connections, creates(prefix)) if "create" in wanted else None
        if done is None:
            done = load.run(target, connections, 1, creates(prefix))
        made = sum(one.startswith(f"bench-{prefix}") for one in _names(connection, path))
        report.check(name, made == done.answered, f"{done.answered} acknowledged, {made} listed")

    names = _names(connection, path)
    random.Random(number).shuffle(names)
    hot = names[:HOT]
    sample = hot[: min(20, len(hot))]
    if "get" in wanted:
        measures.run("get_c16", 16, over(hot, lambda name, turn: target.request("GET", f"{path}/{name}")))
    if "patch" in wanted:
        measures.run(
            "patch_c16",
            16,
            over(
                hot, lambda name, turn: target.request("PATCH", f"{path}/{name}", b'{"data":{"p":"%d"}}' % turn, MERGE)
            ),
        )
        _check(report, connection, path, sample, "patch_c16", lambda data: "p" in data and "k" in data)
    if "apply" in wanted:
        measures.run(
            "apply_c16",
            16,
            over(
                hot,
                lambda name, turn: target.request(
                    "PATCH",
                    f"{path}/{name}?fieldManager=bench&force=true",
                    _encode(configmap(name, {"s": str(turn), "k": "y" * 500})),
                    APPLY,
                ),
            ),
        )
        _check(report, connection, path, sample, "apply_c16", lambda data: "s" in data and data["k"][0] == "y")
    if "delete" in wanted:
        done = measures.run("delete_c16", 16, (target.request("DELETE", f"{path}/{name}") for name in names))
        left = len(_names(connection, path))
        report.check("delete_c16", left == len(names) - done.answered, f"{done.answered} acknowledged, {left} left")
    connection.must("DELETE", path)


def _encode(body: dict[str, Any]) -> bytes:
    return orjson.dumps(body)


def _check(
    report: Report,
    connection: Connection,
    path: str,
    names: list[str],
    measure: str,
    good: Callable[[dict[str, str]], bool],
) -> None:
    """Whether these objects, which were written early in the round, are as they should be."""
    wrong = [name for name in names if not good(connection.must("GET", f"{path}/{name}").json()["data"])]
    report.check(measure, not wrong, f"{len(wrong)} of {len(names)} objects are not as written: {wrong[:3]}")

"""Pages for whoever looks into the server: /statusz, /flagz and the dumps of priority and fairness."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import pytest

from hawser.api.errors import APIError
from hawser.apiserver import zpages
from hawser.apiserver.flowcontrol import dumps
from hawser.apiserver.flowcontrol.control import FlowControl, Place, Waiting
from hawser.apiserver.flowcontrol.counts import Counts
from hawser.apiserver.flowcontrol.levels import Levels
from hawser.apiserver.paths import parse

WARNING = (
    "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is "
    "for debugging purposes only.\n"
)


def structured(kind: str, version: str = "v1beta1", media: str = "json") -> str:
    return f"application/{media};as={kind};v={version};g=config.k8s.io"


async def test_statusz_says_what_runs(api: Any) -> None:
    text = (await api.get("/statusz", accept="")).body.decode()
    assert text.startswith(f"\napiserver statusz\n{WARNING}\nStarted: ")
    assert re.search(r"\nUp: 0 hr \d\d min \d\d sec\n", text)
    assert "\nBinary version: 1.36." in text
    assert text.endswith("\nPaths: /flagz /healthz /livez /metrics /readyz /statusz /version\n")
    answer = await api.get("/statusz", accept=structured("Statusz"))
    assert (answer.json["kind"], answer.json["apiVersion"]) == ("Statusz", "config.k8s.io/v1beta1")
    assert answer.json["metadata"] == {"name": "apiserver"}
    assert answer.json["emulationVersion"] == "1.36"
    assert "Warning" not in answer.headers
    old = await api.get("/statusz", accept=structured("Statusz", "v1alpha1", "yaml"))
    assert b"apiVersion: config.k8s.io/v1alpha1\n" in old.body
    assert old.headers["Warning"] == (
        '299 - "This version of the statusz endpoint is deprecated. Please use a newer version."'
    )


async def test_flagz_says_how_the_server_was_started(api: Any) -> None:
    text = (await api.get("/flagz", accept="text/plain")).body.decode()
    assert text.startswith(f"\napiserver flagz\n{WARNING}admission-control-config-file: \n")
    assert "\nservice-cluster-ip-range: 10.96.0.0/24\n" in text
    flags = (await api.get("/flagz", accept=structured("Flagz"))).json["flags"]
    assert flags["anonymous-auth"] == "true"
    assert flags["service-account-key-file"] == "[]"


@pytest.mark.parametrize("accept", ["application/json", structured("Flagz"), structured("Statusz", "v2"), "text/html"])
def test_forms_that_a_page_does_not_have_are_not_acceptable(accept: str) -> None:
    with pytest.raises(APIError) as caught:
        zpages.statusz([], accept)
    assert (caught.value.code, caught.value.message) == (
        406,
        "only the following media types are accepted: application/json, application/yaml, text/plain",
    )


async def test_pages_are_not_for_everybody(api: Any) -> None:
    for path in ("/statusz", "/flagz", "/debug/api_priority_and_fairness/dump_queues"):
        assert (await api.get(path, token="joe-token")).status == 403


async def test_levels_are_dumped(api: Any) -> None:
    text = (await api.get("/debug/api_priority_and_fairness/dump_priority_levels")).body.decode()
    head, *lines = text.splitlines()
    assert head == (
        "PriorityLevelName, ActiveQueues, IsIdle, IsQuiescing, WaitingRequests, ExecutingRequests, DispatchedRequests, "
        "RejectedRequests, TimedoutRequests, CancelledRequests"
    )
    exempt = next(line for line in lines if line.startswith("exempt, "))
    assert [cell.strip() for cell in exempt.split(",")][1:6] == ["0", "false", "false", "0", "1"]
    assert lines == sorted(lines)


def cells(body: bytes) -> list[list[str]]:
    """Of a table."""
    return [[cell.strip() for cell in line.split(",")] for line in body.decode().splitlines()]


async def test_requests_that_are_served_are_dumped(api: Any) -> None:
    """One of them is the question itself."""
    path = "/debug/api_priority_and_fairness/dump_requests"
    rows = cells((await api.get(f"{path}?includeRequestDetails=1")).body)
    (mine,) = [row for row in rows if path in row]
    assert mine[:4] == ["exempt", "exempt", "-1", "-1"]
    assert mine[10:] == ["admin", "get", path, "", "", "", "", ""]
    assert mine[5] == mine[9]


async def test_what_waits_is_dumped() -> None:
    flow = object.__new__(FlowControl)
    flow.levels = Levels(1)
    queuing = {"type": "Queue", "queuing": {"queues": 8, "handSize": 2, "queueLengthLimit": 5}}
    limited = {"nominalConcurrencyShares": 1, "limitResponse": queuing}
    spec = {"type": "Limited", "limited": limited}
    flow.levels.configure([{"metadata": {"name": "narrow", "uid": "u"}, "spec": spec}])
    counts = Counts()
    counts.dispatched = 7
    for reason in ("queue-full", "time-out", "cancelled", "queue-full"):
        counts.reject(reason)
    flow.counts = {("narrow", "s"): counts}
    flow.waiting = {}
    target = parse("GET", "/api/v1/namespaces/n/pods/p")
    level = flow.levels["narrow"]
    assert flow.levels.enter(level, "s/joe") is None
    flow.executing = {target: (Place(level, "s/joe", ()), time.perf_counter(), 0.0)}
    for name in ("joe", "joe", "ann"):
        future = flow.levels.enter(level, f"s/{name}")
        assert isinstance(future, asyncio.Future)
        flow.waiting[future] = Waiting(level, f"s/{name}", parse("GET", "/api/v1/namespaces/n/pods/p/log"), 0.0)
    rows = cells(dumps.levels(flow).body)
    assert rows[1] == ["narrow", "2", "false", "false", "3", "1", "7", "2", "1", "1"]
    rows = cells(dumps.queues(flow).body)
    assert [row[:5] for row in rows[1:]] == [["narrow", "0", "2", "1", "1"], ["narrow", "1", "1", "0", "0"]]
    rows = cells(dumps.requests(flow, True).body)
    assert rows[-1][:5] == ["narrow", "s", "0", "-1", "joe"]
    assert rows[-1][5] == rows[-1][9]
    assert rows[-1][16:] == ["pods", ""]
    assert [row[:6] for row in rows[1:-1]] == [
        ["narrow", "s", "0", "0", "joe", "1970-01-01T00:00:00Z"],
        ["narrow", "s", "0", "1", "joe", "1970-01-01T00:00:00Z"],
        ["narrow", "s", "1", "0", "ann", "1970-01-01T00:00:00Z"],
    ]
    assert rows[1][10:] == ["system:anonymous", "get", "/api/v1/namespaces/n/pods/p/log", "n", "p", "v1", "pods", "log"]

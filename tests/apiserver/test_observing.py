"""Metrics and health, as Prometheus and probes see them."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from hawser.health import report


async def scraped(api: Any) -> dict[str, float]:
    """Every sample, by its name and labels. The text must be what Prometheus takes."""
    found: dict[str, float] = {}
    families: set[str] = set()
    for line in (await api.get("/metrics")).body.decode().splitlines():
        if line.startswith("# TYPE"):
            name = line.split()[2]
            assert name not in families
            families.add(name)
        elif not line.startswith("#"):
            series, value = line.rsplit(" ", 1)
            name = re.sub(r"_(bucket|sum|count)$", "", series.partition("{")[0])
            assert {name, series.partition("{")[0]} & families, line
            assert series not in found, line
            found[series] = float(value)
    return found


def labels(verb: str, scope: str, **more: str) -> str:
    known = {"group": "", "version": "v1", "resource": "configmaps", "subresource": "", **more}
    rest = ",".join(f'{key}="{known[key]}"' for key in ("group", "version", "resource", "subresource"))
    return f'verb="{verb}",dry_run="{more.get("dry_run", "")}",{rest},scope="{scope}",component="apiserver"'


async def test_requests_are_counted_as_dashboards_ask_for_them(api: Any) -> None:
    before = await scraped(api)
    await api.config_map("a")
    await api.call("POST", api.path("configmaps") + "?dryRun=All", {"metadata": {"name": "b"}})
    await api.get(api.path("configmaps"))
    await api.get(api.path("configmaps", "nope"))
    await api.get("/api/v1/configmaps?limit=1")
    after = await scraped(api)

    def more(series: str) -> float:
        return after[series] - before.get(series, 0)

    total = "apiserver_request_total"
    assert more(f'{total}{{{labels("POST", "resource")},code="201"}}') == 1
    assert more(f'{total}{{{labels("POST", "resource", dry_run="All")},code="201"}}') == 1
    assert more(f'{total}{{{labels("LIST", "namespace")},code="200"}}') == 1
    assert more(f'{total}{{{labels("LIST", "cluster")},code="200"}}') == 1
    assert more(f'{total}{{{labels("GET", "resource")},code="404"}}') == 1
    for name in ("apiserver_request_duration_seconds", "apiserver_request_sli_duration_seconds"):
        assert more(f'{name}_bucket{{{labels("LIST", "cluster")},le="+Inf"}}') == 1
    assert f'apiserver_request_duration_seconds_bucket{{{labels("LIST", "cluster")},le="0.005"}}' in after
    assert f'apiserver_request_sli_duration_seconds_bucket{{{labels("LIST", "cluster")},le="0.005"}}' not in after
    assert more(f'apiserver_response_sizes_bucket{{{labels("LIST", "cluster")},le="100000"}}') == 1
    assert more('apiserver_storage_objects{resource="configmaps"}') == 1
    assert more('apiserver_resource_objects{group="",resource="configmaps"}') == 1
    assert after['apiserver_current_inflight_requests{request_kind="readOnly"}'] == 1
    assert more('etcd_request_duration_seconds_count{operation="txn",type="store"}') >= 1
    assert after['apiserver_storage_size_bytes{storage_cluster_id="hawser"}'] > 0
    for name in ("cpu_seconds_total", "resident_memory_bytes", "start_time_seconds", "open_fds", "max_fds"):
        assert after[f"process_{name}"] > 0


async def test_watches_are_counted_while_they_run(api: Any) -> None:
    made = await api.config_map("a")
    running = f"apiserver_longrunning_requests{{{labels('WATCH', 'namespace')}}}"
    events = 'apiserver_watch_events_total{group="",version="v1",resource="configmaps"}'
    before = await scraped(api)
    version = made["metadata"]["resourceVersion"]
    async with asyncio.timeout(120):
        watch = api.watch(f"{api.path('configmaps')}?watch=1&resourceVersion={version}")
        await api.config_map("b")
        await anext(watch)
        during = await scraped(api)
        assert during[running] - before.get(running, 0) == 1
        assert during[events] - before.get(events, 0) >= 1
        await watch.aclose()
        ended = False
        while not ended:
            ended = (await scraped(api)).get(running, 0) == before.get(running, 0)


async def test_words_that_clients_make_up_do_not_break_the_text(api: Any) -> None:
    for path in ("/no/such/path", '/api/v1/pods/x/"odd"', "/api/v1/pods?dryRun=%0A"):
        await api.get(path)
        await api.call("SEARCH", path)
    assert await scraped(api)


async def test_every_check_can_be_asked_for(api: Any) -> None:
    text = (await api.get("/readyz?verbose", token=None)).body.decode()
    names = re.findall(r"^\[\+\](\S+) ok$", text, re.MULTILINE)
    assert {"ping", "log", "etcd", "etcd-readiness", "shutdown"} <= set(names)
    assert text.endswith("readyz check passed\n")
    for name in names:
        answer = await api.get(f"/readyz/{name}")
        assert (answer.status, answer.body) == (200, b"ok")
    assert (await api.get("/livez/shutdown")).status == 404
    text = (await api.get("/livez?verbose&exclude=etcd&exclude=b&exclude=a", token=None)).body.decode()
    assert "[+]etcd excluded: ok\n" in text
    assert 'warn: some health checks cannot be excluded: no matches for "a", "b"\n' in text


@pytest.mark.parametrize(("excluded", "good"), [(set(), False), ({"bad"}, True)])
def test_one_failed_check_fails_all_unless_it_is_excluded(excluded: set[str], good: bool) -> None:
    passed, text = report("readyz", {"fine": lambda: True, "bad": lambda: False}, excluded)
    assert passed is good
    if not good:
        assert text == "[+]fine ok\n[-]bad failed: reason withheld\nreadyz check failed\n"

"""The metrics of flow control, admission and watches, named and labelled as Kubernetes' are."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from .conftest import Api
from .test_observing import scraped
from .test_policies import bind, config_map, policy, post
from .webhooks import configured, hook

FLOW = "apiserver_flowcontrol_"
ADMISSION = "apiserver_admission_"
JOE = 'priority_level="global-default",flow_schema="global-default"'
EXEMPT = 'priority_level="exempt",flow_schema="exempt"'


class Growth:
    """How much samples have grown."""

    def __init__(self, before: dict[str, float], after: dict[str, float]) -> None:
        self._before = before
        self._after = after

    def __getitem__(self, series: str) -> float:
        return self._after[series] - self._before.get(series, 0)


async def test_requests_are_counted_by_level_and_schema(api: Api) -> None:
    async with asyncio.timeout(120):
        # The default schemas are written while the server serves already.
        while "X-Kubernetes-PF-FlowSchema-UID" not in (await api.get("/apis", token="joe-token")).headers:
            pass
    before = await scraped(api)
    for _ in range(3):
        assert (await api.get("/apis", token="joe-token")).status == 200
    after = await scraped(api)
    more = Growth(before, after)
    assert more[f"{FLOW}dispatched_requests_total{{{JOE}}}"] == 3
    assert more[f'{FLOW}request_wait_duration_seconds_bucket{{{JOE},execute="true",le="0"}}'] == 3
    assert more[f'{FLOW}request_execution_seconds_count{{{JOE},type="regular"}}'] == 3
    assert after[f"{FLOW}current_inqueue_requests{{{JOE}}}"] == 0
    assert after[f"{FLOW}current_executing_requests{{{JOE}}}"] == 0
    # The one that asks for the metrics.
    assert after[f"{FLOW}current_executing_requests{{{EXEMPT}}}"] == 1
    seats = {
        name: after[f'{FLOW}{name}_limit_seats{{priority_level="system"}}'] for name in ("lower", "nominal", "upper")
    }
    assert 0 < seats["lower"] < seats["nominal"] < seats["upper"]


async def test_plugins_are_timed_by_what_they_say(api: Api) -> None:
    before = await scraped(api)
    await api.config_map("a")
    pod = {
        "metadata": {"name": "p"},
        "spec": {"serviceAccountName": "nope", "containers": [{"name": "c", "image": "i"}]},
    }
    assert (await api.call("POST", api.path("pods"), pod)).status == 403
    more = Growth(before, await scraped(api))
    labels = 'name="ServiceAccount",type="admit",operation="CREATE",rejected="true"'
    assert more[f"{ADMISSION}controller_admission_duration_seconds_count{{{labels}}}"] == 1
    step = 'type="{}",operation="CREATE",rejected="false"'
    for sort in ("admit", "validate"):
        assert more[f"{ADMISSION}step_admission_duration_seconds_count{{{step.format(sort)}}}"] >= 1


@pytest.mark.parametrize("kind", ["mutating", "validating"])
async def test_webhooks_are_timed_and_their_refusals_counted(api: Api, kind: str) -> None:
    sort = {"mutating": "admit"}.get(kind, kind)
    asked = f'name="hook0.example.com",type="{sort}",operation="CREATE"'
    before = await scraped(api)
    async with hook(api.server) as served:
        served.respond["/"] = lambda review: {"allowed": review["name"] == "good", "status": {"code": 418}}
        one: dict[str, Any] = {"clientConfig": served.client()}
        async with configured(api, f"{kind}webhookconfigurations", one):
            await api.config_map("good")
            answer = await api.call("POST", api.path("configmaps"), {"metadata": {"name": "bad"}})
            assert answer.status == 418
        served.respond["/"] = lambda _: {"uid": "x", "allowed": True}
        async with configured(api, f"{kind}webhookconfigurations", one):
            answer = await api.call("POST", api.path("configmaps"), {"metadata": {"name": "broken"}})
            assert answer.status == 500
        async with configured(api, f"{kind}webhookconfigurations", {**one, "failurePolicy": "Ignore"}):
            await api.config_map("ignored")
    more = Growth(before, await scraped(api))
    seen = {("200", "false"): 1, ("418", "true"): 1, ("503", "true"): 1, ("503", "false"): 1}
    for (code, rejected), count in seen.items():
        assert more[f'{ADMISSION}webhook_request_total{{{asked},code="{code}",rejected="{rejected}"}}'] == count
    for error, code in (("no_error", "418"), ("calling_webhook_error", "503")):
        series = f'{ADMISSION}webhook_rejection_count{{{asked},error_type="{error}",rejection_code="{code}"}}'
        assert more[series] == 1
    assert more[f'{ADMISSION}webhook_fail_open_count{{name="hook0.example.com",type="{sort}"}}'] == 1
    assert more[f'{ADMISSION}webhook_admission_duration_seconds_count{{{asked},rejected="true"}}'] == 2


async def test_what_policies_find_is_counted_by_action(api: Api) -> None:
    made = policy(api, {"expression": "false"}, {"expression": "object.data.z == ''"})
    await bind(api, made, "Warn", "Audit")
    assert (await post(api, config_map("x"))).status == 201
    after = await scraped(api)
    name = made["metadata"]["name"]
    for error in ("no_error", "invalid_error"):
        for action in ("warn", "audit"):
            labels = f'policy="{name}",policy_binding="{name}-b",error_type="{error}",enforcement_action="{action}"'
            assert after[f"apiserver_validating_admission_policy_check_total{{{labels}}}"] == 1


async def test_sizes_of_watch_events_are_counted(api: Api) -> None:
    labels = 'group="",version="v1",resource="configmaps"'
    name = "apiserver_watch_events_sizes_bucket"
    before = await scraped(api)
    watch = api.watch(f"{api.path('configmaps')}?watch=1&resourceVersion=0")
    await api.config_map("large", data={"k": "v" * 5000})
    await anext(watch)
    more = Growth(before, await scraped(api))
    assert more[f'{name}{{{labels},le="+Inf"}}'] >= 1
    assert more[f'{name}{{{labels},le="8192"}}'] - more[f'{name}{{{labels},le="4096"}}'] == 1
    await watch.aclose()

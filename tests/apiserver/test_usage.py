"""metrics.k8s.io: rates from samples, and another server that takes the group over."""

from __future__ import annotations

import pytest

from hawser.apiserver.authorization.defaults import cluster_roles
from hawser.apiserver.usage.metrics_api import pod_metrics
from hawser.apiserver.usage.samples import NODE, Use, parse, uses

from .conftest import Api

GROUP = "/apis/metrics.k8s.io/v1beta1"
SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
WHERE = '{container="main",namespace="shop",pod="web"}'
KEY = ("shop", "web", "main")


def page(at: float, cpu: float, memory: int, started: float = 100.0, node: float = 50.0) -> str:
    stamp = int(at * 1000)
    return f"""# HELP container_cpu_usage_seconds_total x
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{WHERE} {cpu} {stamp}
container_memory_working_set_bytes{WHERE} {memory} {stamp}
container_start_time_seconds{WHERE} {started}
node_cpu_usage_seconds_total {node} {stamp}
node_memory_working_set_bytes 9 {stamp}
pod_cpu_usage_seconds_total{{namespace="shop",pod="web"}} 7 {stamp}
scrape_error 0
"""


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        pytest.param(page(200, 1, 5), page(210, 3, 6), Use(200_000_000, 6, 210, 10), id="the rate between two looks"),
        pytest.param("", page(210, 3, 6, started=200), Use(300_000_000, 6, 210, 10), id="since the start, if new"),
        pytest.param(
            page(200, 9, 5), page(210, 1, 6, started=205), Use(200_000_000, 6, 210, 5), id="since it was started again"
        ),
        pytest.param("", page(210, 1, 6, started=209.9), None, id="too young to say"),
        pytest.param(page(200, 1, 5), "", None, id="gone"),
    ],
)
def test_use_is_measured(before: str, now: str, expected: Use | None) -> None:
    assert uses(parse(before, 200), parse(now, 210)).get(KEY) == expected


def test_a_node_is_measured_beside_its_pods() -> None:
    found = uses(parse(page(200, 1, 5, node=50), 200), parse(page(210, 1, 5, node=55), 210))
    assert found[NODE] == Use(500_000_000, 9, 210, 10)


def test_a_pod_is_shown_when_all_that_runs_in_it_was_measured() -> None:
    pod = {
        "metadata": {"name": "web", "namespace": "shop", "labels": {"a": "b"}},
        "spec": {"containers": [{"name": "main"}, {"name": "side"}]},
        "status": {"containerStatuses": []},
    }
    known = {KEY: Use(5, 2048, 60, 15)}
    assert pod_metrics(pod, known) is None
    both = {**known, ("shop", "web", "side"): Use(0, 1024, 59, 15)}
    made = pod_metrics(pod, both)
    assert made == {
        "kind": "PodMetrics",
        "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": {
            "name": "web",
            "namespace": "shop",
            "creationTimestamp": "1970-01-01T00:00:59Z",
            "labels": {"a": "b"},
        },
        "timestamp": "1970-01-01T00:00:59Z",
        "window": "15.000s",
        "containers": [
            {"name": "main", "usage": {"cpu": "5n", "memory": "2Ki"}},
            {"name": "side", "usage": {"cpu": "0", "memory": "1Ki"}},
        ],
    }
    ended = {**pod, "status": {"containerStatuses": [{"name": "side", "state": {"terminated": {}}}]}}
    only = pod_metrics(ended, known)
    assert only is not None
    assert [c["name"] for c in only["containers"]] == ["main"]


def test_whoever_may_view_may_see_what_is_used() -> None:
    roles = {role["metadata"]["name"]: role["rules"] for role in cluster_roles()}
    for name in ("view", "edit", "admin"):
        rules = [rule for rule in roles[name] if rule.get("apiGroups") == ["metrics.k8s.io"]]
        assert rules, name
        assert {(verb, plural) for rule in rules for verb in rule["verbs"] for plural in rule["resources"]} == {
            *(("get", "nodes"), ("get", "pods"), ("list", "nodes"), ("list", "pods")),
        }


async def test_the_group_is_found_and_reads_only(api: Api) -> None:
    listed = (await api.get(GROUP)).json
    assert {row["name"]: row["verbs"] for row in listed["resources"]} == {
        "nodes": ["get", "list"],
        "pods": ["get", "list"],
    }
    assert (await api.get(f"{GROUP}/pods")).json["kind"] == "PodMetricsList"
    missing = await api.get(f"{GROUP}/namespaces/default/pods/none")
    assert missing.json["message"] == 'podmetrics.metrics.k8s.io "default/none" not found'
    assert (await api.get(f"{GROUP}/nodes?watch=true")).status == 405
    table = await api.get(f"{GROUP}/pods", headers={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"})
    assert [column["name"] for column in table.json["columnDefinitions"]] == ["Name", "cpu", "memory", "Window"]
    protobuf = await api.get(
        f"{GROUP}/pods", headers={"Accept": "application/vnd.kubernetes.protobuf,application/json"}
    )
    assert protobuf.json["kind"] == "PodMetricsList"


async def test_an_installed_metrics_server_takes_over(api: Api) -> None:
    service = {
        "metadata": {"name": "v1beta1.metrics.k8s.io"},
        "spec": {
            "group": "metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
            "service": {"name": "metrics-server", "namespace": "kube-system"},
        },
    }
    await api.create(SERVICES, service)
    assert (await api.get(f"{GROUP}/nodes")).status == 503
    assert (await api.call("DELETE", f"{SERVICES}/v1beta1.metrics.k8s.io")).status == 200
    assert (await api.get(f"{GROUP}/nodes")).status == 200

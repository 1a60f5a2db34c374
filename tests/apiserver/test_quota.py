"""Resource quotas over HTTP: what is refused, and that many writers at once never get more than there is."""

from __future__ import annotations

import asyncio
from typing import Any

MERGE = "application/merge-patch+json"


def pod(name: str = "p", meta: dict[str, Any] | None = None, **resources: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "i", "resources": resources}
    return {"metadata": {"name": name, **(meta or {})}, "spec": {"containers": [container]}}


async def quota(api: Any, name: str = "q", scopes: list[str] | None = None, **hard: str) -> None:
    bounds = {key.replace("__", "/").replace("_", "."): value for key, value in hard.items()}
    spec: dict[str, Any] = {"hard": bounds}
    if scopes:
        spec["scopes"] = scopes
    await api.create(api.path("resourcequotas"), {"metadata": {"name": name}, "spec": spec})


async def test_what_is_too_much_is_forbidden_with_the_numbers(api: Any) -> None:
    await quota(api, pods="1")
    await api.create(api.path("pods"), pod())
    answer = await api.call("POST", api.path("pods"), pod("second"))
    assert (answer.status, answer.json["reason"]) == (403, "Forbidden")
    assert answer.message == (
        'pods "second" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1'
    )
    dry = await api.call("POST", api.path("pods") + "?dryRun=All", pod("second"))
    assert (dry.status, dry.message) == (403, answer.message)
    assert (await api.call("DELETE", api.path("pods", "p"))).status == 200
    await api.create(api.path("pods"), pod("second"))


async def test_bounds_without_a_spec_bound_nothing(api: Any) -> None:
    """Kubernetes writes an empty spec where none is given."""
    for plural in ("resourcequotas", "limitranges"):
        made = await api.create(api.path(plural), {"metadata": {"name": "empty"}})
        assert made["spec"] == {}
    await api.create(api.path("pods"), pod())


async def test_containers_must_say_what_is_bounded(api: Any) -> None:
    await quota(api, limits_cpu="1", requests_memory="1Gi")
    answer = await api.call("POST", api.path("pods"), pod())
    assert answer.message == (
        'pods "p" is forbidden: failed quota: q: must specify limits.cpu for: c; requests.memory for: c'
    )
    await api.create(api.path("pods"), pod(limits={"cpu": "600m"}, requests={"memory": "1Gi"}))
    answer = await api.call("POST", api.path("pods"), pod("r", limits={"cpu": "600m"}, requests={"memory": "1Mi"}))
    assert answer.message == (
        'pods "r" is forbidden: exceeded quota: q, requested: limits.cpu=600m,requests.memory=1Mi, '
        "used: limits.cpu=600m,requests.memory=1Gi, limited: limits.cpu=1,requests.memory=1Gi"
    )


async def test_a_quota_with_scopes_is_about_the_pods_that_have_them(api: Any) -> None:
    await quota(api, scopes=["BestEffort"], pods="0")
    answer = await api.call("POST", api.path("pods"), pod())
    assert "exceeded quota: q" in answer.message
    await api.create(api.path("pods"), pod(requests={"cpu": "1m"}))
    await api.config_map("any")


async def test_everything_can_be_counted_custom_resources_too(api: Any) -> None:
    group = f"{api.namespace}.example.com"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    crd = {
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [version],
        },
    }
    await api.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)
    hard = {f"count/widgets.{group}": "1", "count/configmaps": "2", "services.nodeports": "1"}
    await api.create(api.path("resourcequotas"), {"metadata": {"name": "q"}, "spec": {"hard": hard}})
    widget = {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "a"}}
    for _ in range(10_000):
        answer = await api.call("POST", api.path("widgets", group=group), widget)
        if answer.status != 404:
            break
        await asyncio.sleep(0.01)
    assert answer.status == 201
    widget["metadata"] = {"name": "b"}
    answer = await api.call("POST", api.path("widgets", group=group), widget)
    name = f"count/widgets.{group}"
    assert answer.message == (
        f'widgets.{group} "b" is forbidden: exceeded quota: q, requested: {name}=1, used: {name}=1, limited: {name}=1'
    )
    port = {"port": 80}
    await api.create(api.path("services"), {"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [port]}})
    ports = [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]
    answer = await api.call("PATCH", api.path("services", "s"), {"spec": {"ports": ports}}, content=MERGE)
    assert answer.message == (
        'services "s" is forbidden: exceeded quota: q, requested: services.nodeports=1, used: services.nodeports=1, '
        "limited: services.nodeports=1"
    )


async def test_devices_are_bounded_as_the_extended_resources_that_they_are(api: Any) -> None:
    group = "/apis/resource.k8s.io/v1"
    name = api.namespace
    await api.create(f"{group}/deviceclasses", {"metadata": {"name": name}, "spec": {}})
    implicit = f"requests.deviceclass.resource.kubernetes.io/{name}"
    hard = {implicit: "2", "requests.example.com/gpu": "3"}
    await api.create(api.path("resourcequotas"), {"metadata": {"name": "q"}, "spec": {"hard": hard}})
    claims = f"{group}/namespaces/{api.namespace}/resourceclaims"

    def claim(number: int) -> dict[str, Any]:
        asks = {"name": "r", "exactly": {"deviceClassName": name, "count": 2}}
        return {"metadata": {"name": f"c{number}"}, "spec": {"devices": {"requests": [asks]}}}

    await api.create(claims, claim(1))
    answer = await api.call("POST", claims, claim(2))
    said = "exceeded quota: q, requested: {0}=2, used: {0}=2, limited: {0}={1}"
    assert (answer.status, answer.message) == (
        403,
        f'resourceclaims.resource.k8s.io "c2" is forbidden: {said.format(implicit, 2)}',
    )
    # The claims that are there count as soon as their class is a resource by name.
    patch = {"spec": {"extendedResourceName": "example.com/gpu"}}
    changed = await api.call("PATCH", f"{group}/deviceclasses/{name}", patch, content=MERGE)
    assert changed.status == 200
    patch = {"spec": {"hard": {implicit: "9"}}}
    await api.call("PATCH", api.path("resourcequotas", "q"), patch, content=MERGE)
    answer = await api.call("POST", claims, claim(2))
    assert answer.message.endswith(said.format("requests.example.com/gpu", 3))


async def test_many_writers_at_once_never_get_more_than_there_is(api: Any) -> None:
    await quota(api, pods="20", requests_cpu="5", count__configmaps="7")

    async def one(number: int) -> tuple[int, int]:
        made = await api.call("POST", api.path("pods"), pod(f"p{number}", requests={"cpu": "250m"}))
        config = await api.call("POST", api.path("configmaps"), {"metadata": {"name": f"c{number}"}})
        if made.status != 201:
            assert "exceeded quota: q, requested: " in made.message
        return made.status, config.status

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(number)) for number in range(64)]
    statuses = [task.result() for task in tasks]
    assert sorted(pods for pods, _ in statuses) == [201] * 20 + [403] * 44
    assert sorted(configs for _, configs in statuses) == [201] * 7 + [403] * 57
    assert len((await api.get(api.path("pods"))).json["items"]) == 20


async def test_writers_that_come_and_go_leave_nothing_taken(api: Any) -> None:
    await quota(api, count__configmaps="5")

    async def worker(number: int) -> int:
        made = 0
        for turn in range(10):
            name = f"c{number}-{turn}"
            answer = await api.call("POST", api.path("configmaps"), {"metadata": {"name": name}})
            if answer.status == 201:
                made += 1
                there = await api.get(api.path("configmaps"))
                assert len(there.json["items"]) <= 5
                # A name that is taken gives back what its second creation had reserved.
                again = await api.call("POST", api.path("configmaps"), {"metadata": {"name": name}})
                assert again.status in (409, 403)
                assert (await api.call("DELETE", api.path("configmaps", name))).status == 200
        return made

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(worker(number)) for number in range(32)]
    assert sum(task.result() for task in tasks) > 5
    for number in range(5):
        await api.config_map(f"last{number}")
    answer = await api.call("POST", api.path("configmaps"), {"metadata": {"name": "one-more"}})
    assert "used: count/configmaps=5, limited: count/configmaps=5" in answer.message


async def test_a_pod_does_not_grow_beyond_the_quota(api: Any) -> None:
    await api.create(api.path("pods"), pod(requests={"cpu": "100m"}, limits={"cpu": "1"}))
    await quota(api, requests_cpu="300m")
    larger = {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "400m"}}}]}}
    path = api.path("pods", "p/resize")
    answer = await api.call("PATCH", path, larger, content="application/strategic-merge-patch+json")
    assert (answer.status, answer.message) == (
        403,
        (
            'pods "p" is forbidden: exceeded quota: q, requested: requests.cpu=300m, used: requests.cpu=100m, '
            "limited: requests.cpu=300m"
        ),
    )
    larger["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "300m"
    answer = await api.call("PATCH", path, larger, content="application/strategic-merge-patch+json")
    assert answer.status == 200


async def test_a_pod_that_gets_a_deadline_counts_in_the_quota_for_such(api: Any) -> None:
    await quota(api, scopes=["Terminating"], pods="1")
    for name in ("a", "b"):
        await api.create(api.path("pods"), pod(name))
    patch = {"spec": {"activeDeadlineSeconds": 60}}
    assert (await api.call("PATCH", api.path("pods", "a"), patch, content=MERGE)).status == 200
    answer = await api.call("PATCH", api.path("pods", "b"), patch, content=MERGE)
    assert answer.message == (
        'pods "b" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1'
    )
    labels = {"metadata": {"labels": {"x": "y"}}}
    assert (await api.call("PATCH", api.path("pods", "a"), labels, content=MERGE)).status == 200

"""Eviction, ephemeral containers and resizing of pods, on a real server."""

from __future__ import annotations

from typing import Any

import pytest

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."
READY = {"type": "Ready", "status": "True"}
RESOURCES = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "200m", "memory": "64Mi"}}


def container(name: str = "main", **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "busybox", **fields}


async def pod(api: Any, name: str = "p", ready: bool = True, node: str = "n1", **spec: Any) -> Any:
    """A pod that runs on a node."""
    path = api.path("pods")
    body = {"metadata": {"name": name, "labels": {"app": "a"}}, "spec": {"containers": [container()], **spec}}
    await api.create(path, body)
    await api.create(f"{path}/{name}/binding", {"metadata": {"name": name}, "target": {"kind": "Node", "name": node}})
    status = {"status": {"phase": "Running", "conditions": [READY] if ready else []}}
    return (await api.call("PATCH", f"{path}/{name}/status", status, content=MERGE)).json


async def budget(api: Any, allowed: int, name: str = "b", **status: Any) -> Any:
    path = api.path("poddisruptionbudgets", "", "policy")
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}
    if "policy" in status:
        spec["unhealthyPodEvictionPolicy"] = status.pop("policy")
    made = await api.create(path, {"metadata": {"name": name}, "spec": spec})
    numbers = {"observedGeneration": 1, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1, **status}
    made["status"] = {"disruptionsAllowed": allowed, **numbers}
    written = await api.call("PUT", f"{path}/{name}/status", made)
    assert written.status == 200, written.body
    return f"{path}/{name}"


async def evict(api: Any, name: str = "p", query: str = "", **options: Any) -> Any:
    body: dict[str, Any] = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    if options:
        body["deleteOptions"] = options
    return await api.call("POST", f"{api.path('pods', name)}/eviction{query}", body)


async def found(api: Any, name: str = "p") -> Any:
    return (await api.get(api.path("pods", name))).json


async def test_label_keys_are_written_into_the_selectors_of_new_pods(api: Any) -> None:
    term: dict[str, Any] = {
        "topologyKey": "zone",
        "labelSelector": {"matchLabels": {"app": "a"}},
        "matchLabelKeys": ["rev", "none"],
        "mismatchLabelKeys": ["tenant"],
    }
    constraint = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
    liked = [{"weight": 1, "podAffinityTerm": term}]
    spec = {
        "containers": [container()],
        "affinity": {
            "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]},
            "podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": liked},
        },
        "topologySpreadConstraints": [{**constraint, "matchLabelKeys": ["rev"]}],
    }
    metadata = {"name": "p", "labels": {"app": "a", "rev": "1", "tenant": "t"}}
    made = (await api.create(api.path("pods"), {"metadata": metadata, "spec": spec}))["spec"]
    same = {"key": "rev", "operator": "In", "values": ["1"]}
    other = {"key": "tenant", "operator": "NotIn", "values": ["t"]}
    selector = {"matchLabels": {"app": "a"}, "matchExpressions": [same, other]}
    (required,) = made["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (preferred,) = made["affinity"]["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert (required["labelSelector"], preferred["podAffinityTerm"]["labelSelector"]) == (selector, selector)
    assert made["topologySpreadConstraints"][0]["labelSelector"] == {"matchExpressions": [same]}
    # Later writes find them there and leave them alone.
    changed = await api.call("PATCH", api.path("pods", "p"), {"metadata": {"labels": {"x": "y"}}}, content=MERGE)
    assert (changed.status, changed.json["spec"]["affinity"]) == (200, made["affinity"])
    term["matchLabelKeys"], term["mismatchLabelKeys"] = ["app"], ["app"]
    answer = await api.call("POST", api.path("pods"), {"metadata": {**metadata, "name": "q"}, "spec": spec})
    at = "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0]"
    assert answer.status == 422
    assert f'{at}[0]: Invalid value: "app": exists in both matchLabelKeys and labelSelector' in answer.message
    assert f'{at}.matchLabelKeys[0]: Invalid value: "app": exists in both matchLabelKeys and mismatch' in answer.message


async def test_a_pod_without_a_budget_is_evicted(api: Any) -> None:
    await pod(api)
    answer = await evict(api)
    assert (answer.status, answer.json["status"], answer.json["code"]) == (201, "Success", 201)
    left = await found(api)
    assert left["metadata"]["deletionGracePeriodSeconds"] == 30
    (condition,) = [c for c in left["status"]["conditions"] if c["type"] == "DisruptionTarget"]
    assert (condition["status"], condition["reason"]) == ("True", "EvictionByEvictionAPI")
    assert condition["message"] == "Eviction API: evicting"


async def test_evictions_use_the_budget_up(api: Any) -> None:
    path = await budget(api, 1)
    await pod(api)
    await pod(api, "q")
    assert (await evict(api)).status == 201
    status = (await api.get(path)).json["status"]
    assert (status["disruptionsAllowed"], list(status["disruptedPods"])) == (0, ["p"])
    (condition,) = status["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == (
        "DisruptionAllowed",
        "False",
        "InsufficientPods",
    )
    refused = await evict(api, "q")
    assert (refused.status, refused.json["reason"], refused.message) == (429, "TooManyRequests", REFUSED)
    assert refused.json["details"]["causes"] == [
        {"reason": "DisruptionBudget", "message": "The disruption budget b needs 1 healthy pods and has 1 currently"}
    ]
    assert "deletionTimestamp" not in (await found(api, "q"))["metadata"]


async def test_a_budget_that_nobody_has_looked_at_refuses_for_a_while(api: Any) -> None:
    await budget(api, 1, observedGeneration=0)
    await pod(api)
    refused = await evict(api)
    assert (refused.status, refused.headers["Retry-After"]) == (429, "10")
    (cause,) = refused.json["details"]["causes"]
    assert cause["message"] == "The disruption budget b is still being processed by the server."


async def test_several_budgets_are_not_supported(api: Any) -> None:
    await budget(api, 1)
    await budget(api, 1, "c")
    await pod(api)
    refused = await evict(api)
    assert refused.status == 500
    assert refused.message.startswith("This pod has more than one PodDisruptionBudget")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"policy": "AlwaysAllow", "currentHealthy": 0}, 201),
        ({"policy": "IfHealthyBudget", "currentHealthy": 0}, 429),
        ({"currentHealthy": 0}, 429),
        ({"currentHealthy": 1}, 201),
    ],
)
async def test_unhealthy_pods_are_evicted_beside_the_budget(api: Any, status: Any, expected: int) -> None:
    path = await budget(api, 0, **status)
    await pod(api, ready=False)
    assert (await evict(api)).status == expected
    assert "disruptedPods" not in (await api.get(path)).json["status"]


@pytest.mark.parametrize("phase", ["Pending", "Succeeded", "Failed"])
async def test_pods_that_serve_nobody_are_not_counted(api: Any, phase: str) -> None:
    await budget(api, 0)
    await pod(api)
    await api.call("PATCH", f"{api.path('pods', 'p')}/status", {"status": {"phase": phase}}, content=MERGE)
    assert (await evict(api)).status == 201


@pytest.mark.parametrize(("query", "options"), [("?dryRun=All", {}), ("", {"dryRun": ["All"]})])
async def test_a_dry_run_evicts_nothing(api: Any, query: str, options: Any) -> None:
    path = await budget(api, 1)
    made = await pod(api)
    assert (await evict(api, query=query, **options)).status == 201
    assert (await found(api)) == made
    assert (await api.get(path)).json["status"]["disruptionsAllowed"] == 1


async def test_evictions_have_the_options_of_deletions(api: Any) -> None:
    made = await pod(api)
    other = await evict(api, preconditions={"uid": "x"})
    assert other.status == 409
    assert "the UID in the precondition (x) does not match the UID in record" in other.message
    version = made["metadata"]["resourceVersion"]
    answer = await evict(api, preconditions={"resourceVersion": version}, gracePeriodSeconds=3)
    assert answer.status == 201
    assert (await found(api))["metadata"]["deletionGracePeriodSeconds"] == 3
    late = await evict(api, preconditions={"resourceVersion": version})
    assert late.status == 409


async def test_an_eviction_names_its_pod(api: Any) -> None:
    await pod(api)
    path = f"{api.path('pods', 'p')}/eviction"
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "q"}}
    refused = await api.call("POST", path, body)
    assert (refused.status, refused.message) == (400, "name in URL does not match name in Eviction object")
    body["metadata"] = {"name": "p", "namespace": "other"}
    assert (await api.call("POST", path, body)).status == 400
    assert (await evict(api, "nope")).status == 404
    old = {"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": {"name": "p"}}
    assert (await api.call("POST", path, old)).status == 201


async def test_a_container_is_added_to_a_pod(api: Any) -> None:
    await pod(api)
    path = f"{api.path('pods', 'p')}/ephemeralcontainers"
    assert (await api.get(path)).json["kind"] == "Pod"
    debugger = container("debugger", targetContainerName="main", stdin=True)
    patch = {"spec": {"ephemeralContainers": [debugger]}}
    changed = await api.call("PATCH", path, patch, content=STRATEGIC)
    assert changed.status == 200, changed.body
    assert changed.json["metadata"]["generation"] == 2
    (added,) = (await found(api))["spec"]["ephemeralContainers"]
    assert (added["name"], added["terminationMessagePath"]) == ("debugger", "/dev/termination-log")
    second = {"spec": {"ephemeralContainers": [container("two")]}}
    both = (await api.call("PATCH", path, second, content=STRATEGIC)).json["spec"]["ephemeralContainers"]
    assert {c["name"] for c in both} == {"debugger", "two"}


async def test_ephemeral_containers_are_only_added(api: Any) -> None:
    made = await pod(api)
    path = f"{api.path('pods', 'p')}/ephemeralcontainers"
    made["spec"]["ephemeralContainers"] = [container("one")]
    made["spec"]["containers"][0]["image"] = "other"
    made["metadata"]["labels"] = {"x": "y"}
    written = (await api.call("PUT", path, made)).json
    assert written["spec"]["containers"][0]["image"] == "busybox"
    assert written["metadata"]["labels"] == {"app": "a"}
    changed = {"spec": {"ephemeralContainers": [container("one", image="other")]}}
    refused = await api.call("PATCH", path, changed, content=STRATEGIC)
    assert refused.status == 422
    assert 'existing ephemeral containers "one" may not be changed' in refused.message
    gone = await api.call("PATCH", path, {"spec": {"ephemeralContainers": []}}, content=MERGE)
    assert 'existing ephemeral containers "one" may not be removed' in gone.message
    twice = {"spec": {"ephemeralContainers": [container("one"), container("main")]}}
    assert "Duplicate value" in (await api.call("PATCH", path, twice, content=MERGE)).message


async def resize(api: Any, *containers: Any, content: str = STRATEGIC, **spec: Any) -> Any:
    patch = {"spec": {**({"containers": list(containers)} if containers else {}), **spec}}
    return await api.call("PATCH", f"{api.path('pods', 'p')}/resize", patch, content=content)


def main(**resources: Any) -> dict[str, Any]:
    return {"name": "main", "resources": resources}


async def test_a_pod_is_resized(api: Any) -> None:
    await pod(api, containers=[container(resources=RESOURCES)])
    changed = await resize(api, main(requests={"cpu": "150m"}, limits={"cpu": "300m"}))
    assert changed.status == 200, changed.body
    assert changed.json["metadata"]["generation"] == 2
    resources = (await found(api))["spec"]["containers"][0]["resources"]
    assert resources == {
        "requests": {"cpu": "150m", "memory": "64Mi"},
        "limits": {"cpu": "300m", "memory": "64Mi"},
    }
    made = await found(api)
    made["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "120m"
    made["spec"]["containers"][0]["image"] = "other"
    path = f"{api.path('pods', 'p')}/resize"
    written = await api.call("PUT", path, made)
    assert written.json["spec"]["containers"][0]["image"] == "busybox"
    assert (await api.call("PUT", path, made)).status == 409
    json_patch = [{"op": "replace", "path": "/spec/containers/0/resources/limits/cpu", "value": "250m"}]
    assert (await api.call("PATCH", path, json_patch, content=JSON_PATCH)).status == 200


@pytest.mark.parametrize(
    ("containers", "expected"),
    [
        ([main(requests={"cpu": "1"})], "must be less than or equal to cpu limit of 200m"),
        (
            [main(limits={"cpu": None})],
            "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed",
        ),
        (
            [main(requests={"cpu": "200m"})],
            'spec: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing',
        ),
        (
            [main(limits={"ephemeral-storage": "1Gi"})],
            "spec: Forbidden: only cpu and memory resources are mutable",
        ),
        (
            [{"name": "other", "resources": RESOURCES}],
            "spec.containers: Forbidden: containers may not be added or removed on resize",
        ),
    ],
)
async def test_what_may_not_be_resized(api: Any, containers: Any, expected: str) -> None:
    await pod(api, containers=[container(resources=RESOURCES)])
    refused = await resize(api, *containers)
    assert refused.status == 422
    assert expected in refused.message


async def test_requests_stay(api: Any) -> None:
    await pod(api, containers=[container(resources={"requests": {"cpu": "1", "memory": "1Gi"}})])
    refused = await resize(api, main(requests={"memory": None}))
    assert "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed" in refused.message


async def test_containers_keep_names_and_order(api: Any) -> None:
    listed = [container("a", resources=RESOURCES), container("b", resources=RESOURCES)]
    await pod(api, containers=listed)
    refused = await resize(api, *reversed(listed), content=MERGE)
    detail = "Forbidden: containers may not be renamed or reordered on resize"
    assert f"spec.containers[0].name: {detail}, spec.containers[1].name: {detail}" in refused.message


async def test_a_node_that_does_not_say_what_containers_have_cannot_resize(api: Any) -> None:
    await pod(api, containers=[container(resources=RESOURCES)])
    running = {
        "name": "main",
        "image": "busybox",
        "imageID": "",
        "ready": True,
        "restartCount": 0,
        "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
    }
    path = f"{api.path('pods', 'p')}/status"
    await api.call("PATCH", path, {"status": {"containerStatuses": [running]}}, content=MERGE)
    refused = await resize(api, main(limits={"cpu": "300m"}))
    assert "Pod running on node without support for resize" in refused.message


async def test_resources_do_not_change_without_a_resize(api: Any) -> None:
    await pod(api, containers=[container(resources=RESOURCES)])
    patch = {"spec": {"containers": [main(limits={"cpu": "300m"})]}}
    refused = await api.call("PATCH", api.path("pods", "p"), patch, content=STRATEGIC)
    assert refused.status == 422
    assert "pod updates may not change fields other than" in refused.message


async def test_kubectl_resizes_a_pod(api: Any, kubectl: Any) -> None:
    await pod(api, containers=[container(resources=RESOURCES)])
    patch = '{"spec":{"containers":[{"name":"main","resources":{"limits":{"cpu":"400m"}}}]}}'
    said = kubectl("patch", "pod", "p", "--subresource", "resize", "-p", patch, namespace=api.namespace)
    assert said == "pod/p patched\n"
    resources = (await found(api))["spec"]["containers"][0]["resources"]
    assert resources["limits"]["cpu"] == "400m"


async def test_kubectl_debugs_a_pod(api: Any, kubectl: Any) -> None:
    await pod(api)
    kubectl("debug", "pod/p", "--image=busybox", "--target=main", "--attach=false", namespace=api.namespace)
    (added,) = (await found(api))["spec"]["ephemeralContainers"]
    assert added["targetContainerName"] == "main"


async def test_kubectl_drains_a_node(api: Any, kubectl: Any) -> None:
    node = f"node-{api.namespace}"
    await api.create("/api/v1/nodes", {"metadata": {"name": node}})
    path = await budget(api, 1)
    await pod(api, node=node)
    said = kubectl("drain", node, "--force", "--grace-period=0", "--timeout=120s")
    assert f"evicting pod {api.namespace}/p" in said
    assert (await api.get(api.path("pods", "p"))).status == 404
    assert (await api.get(path)).json["status"]["disruptionsAllowed"] == 0
    assert (await api.get(f"/api/v1/nodes/{node}")).json["spec"]["unschedulable"] is True
    await api.call("DELETE", f"/api/v1/nodes/{node}")

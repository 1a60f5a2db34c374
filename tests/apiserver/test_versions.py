"""Kinds in two versions over one stored object: Events and HorizontalPodAutoscalers."""

from __future__ import annotations

import json
from typing import Any

MERGE = "application/merge-patch+json"
EVENTS = "/apis/events.k8s.io/v1/namespaces/{}/events"
AUTOSCALERS = "/apis/autoscaling/{}/namespaces/{}/horizontalpodautoscalers"


def event(namespace: str, **fields: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "e"},
        "regarding": {"kind": "Pod", "name": "p", "namespace": namespace},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "example.com/c",
        "reportingInstance": "i",
        "action": "a",
        "reason": "r",
        "type": "Normal",
        "note": "something happened",
        **fields,
    }


async def test_an_event_is_one_object_in_two_groups(api: Any) -> None:
    path, old = EVENTS.format(api.namespace), api.path("events")
    made = await api.create(path, event(api.namespace))
    assert (made["apiVersion"], made["note"]) == ("events.k8s.io/v1", "something happened")
    seen = (await api.get(f"{old}/e")).json
    assert (seen["apiVersion"], seen["message"], seen["involvedObject"]["name"]) == ("v1", "something happened", "p")
    assert seen["metadata"]["uid"] == made["metadata"]["uid"]
    series = {"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}}
    changed = await api.call("PATCH", f"{path}/e", series, content=MERGE)
    assert changed.status == 200, changed.body
    assert (await api.get(f"{old}/e")).json["series"]["count"] == 2
    refused = await api.call("PATCH", f"{path}/e", {"note": "other"}, content=MERGE)
    assert (refused.status, "field is immutable" in refused.message) == (422, True)
    gone = await api.call("DELETE", f"{path}/e")
    assert gone.status == 200
    assert (await api.get(f"{old}/e")).status == 404


async def test_events_are_selected_by_the_names_of_either_group(api: Any) -> None:
    path, old = EVENTS.format(api.namespace), api.path("events")
    await api.create(path, event(api.namespace))
    legacy = {"metadata": {"name": "f"}, "involvedObject": {"kind": "Node", "namespace": api.namespace}}
    await api.create(old, legacy)
    for where, field in ((path, "regarding.kind"), (old, "involvedObject.kind")):
        for kind, name in (("Pod", "e"), ("Node", "f")):
            found = (await api.get(f"{where}?fieldSelector={field}%3D{kind}")).json
            assert [item["metadata"]["name"] for item in found["items"]] == [name]
            assert {item["apiVersion"] for item in found["items"]} == {found["apiVersion"]}
    assert (await api.get(f"{path}?fieldSelector=involvedObject.kind%3DPod")).status == 400
    controller = (await api.get(f"{path}?fieldSelector=reportingController%3Dexample.com/c")).json
    assert len(controller["items"]) == 1


async def test_a_watch_sees_what_is_written_in_the_other_group(api: Any) -> None:
    path, old = EVENTS.format(api.namespace), api.path("events")
    seen = api.watch(f"{path}?watch=1&resourceVersion={(await api.get(path)).json['metadata']['resourceVersion']}")
    await api.create(old, {"metadata": {"name": "f"}, "message": "m", "involvedObject": {"namespace": api.namespace}})
    async for found in seen:
        assert (found["type"], found["object"]["note"]) == ("ADDED", "m")
        assert found["object"]["apiVersion"] == "events.k8s.io/v1"
        break
    await seen.aclose()


async def test_an_autoscaler_of_v1_has_the_rest_in_annotations(api: Any) -> None:
    old, new = (AUTOSCALERS.format(version, api.namespace) for version in ("v1", "v2"))
    spec = {"scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}, "maxReplicas": 5}
    made = await api.create(old, {"metadata": {"name": "a"}, "spec": {**spec, "targetCPUUtilizationPercentage": 60}})
    assert made["spec"]["minReplicas"] == 1
    seen = (await api.get(f"{new}/a")).json
    target = {"type": "Utilization", "averageUtilization": 60}
    assert seen["spec"]["metrics"] == [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    memory = {
        "type": "Resource",
        "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}},
    }
    seen["spec"]["metrics"].append(memory)
    assert (await api.call("PUT", f"{new}/a", seen)).status == 200
    shown = (await api.get(f"{old}/a")).json
    assert shown["spec"]["targetCPUUtilizationPercentage"] == 60
    (annotation,) = shown["metadata"]["annotations"].values()
    assert json.loads(annotation)[0]["resource"] == {"name": "memory", "targetAverageValue": "1Gi"}
    shown["spec"]["maxReplicas"] = 7
    again = await api.call("PUT", f"{old}/a", shown)
    assert again.status == 200, again.body
    kept = (await api.get(f"{new}/a")).json
    assert kept["spec"]["maxReplicas"] == 7
    assert memory in kept["spec"]["metrics"]
    assert "annotations" not in kept["metadata"]
    status = await api.call("PATCH", f"{old}/a/status", {"status": {"currentReplicas": 2}}, content=MERGE)
    assert status.json["status"]["currentReplicas"] == 2
    assert memory in (await api.get(f"{new}/a")).json["spec"]["metrics"]


async def test_an_autoscaler_without_a_target_is_for_cpu(api: Any) -> None:
    old = AUTOSCALERS.format("v1", api.namespace)
    spec = {"scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}, "maxReplicas": 5}
    made = await api.create(old, {"metadata": {"name": "a"}, "spec": spec})
    assert made["spec"]["targetCPUUtilizationPercentage"] == 80


async def test_both_versions_are_discovered_and_the_newer_preferred(api: Any, kubectl: Any) -> None:
    group = (await api.get("/apis/autoscaling")).json
    assert [version["version"] for version in group["versions"]] == ["v2", "v1"]
    assert group["preferredVersion"]["version"] == "v2"
    await api.create(EVENTS.format(api.namespace), event(api.namespace))
    assert "something happened" in kubectl("get", "events.events.k8s.io", namespace=api.namespace)
    assert "something happened" in kubectl("get", "events", namespace=api.namespace)
    assert "something happened" in kubectl("events", namespace=api.namespace)


def _scaled(version: str, **spec: Any) -> Any:
    """An autoscaler of a Deployment."""
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    return {
        "apiVersion": f"autoscaling/{version}",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": {"scaleTargetRef": target, "maxReplicas": 3, **spec},
    }


def _cpu(percent: int) -> Any:
    target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


async def test_managers_of_two_versions_contend_for_what_is_the_same_in_both(api: Any) -> None:
    def path(version: str) -> str:
        return f"/apis/autoscaling/{version}/namespaces/{api.namespace}/horizontalpodautoscalers/web"

    async def apply(manager: str, body: Any, query: str = "") -> Any:
        at = path(body["apiVersion"].partition("/")[2])
        return await api.call(
            "PATCH", f"{at}?fieldManager={manager}{query}", body, content="application/apply-patch+yaml"
        )

    def owned(found: Any) -> dict[str, list[str]]:
        return {entry["manager"]: sorted(entry["fieldsV1"]["f:spec"]) for entry in found["metadata"]["managedFields"]}

    made = await apply("new", _scaled("v2", metrics=[_cpu(50)]))
    assert made.status == 201
    # The same in other words is no contention.
    assert (await apply("old", _scaled("v1", targetCPUUtilizationPercentage=50))).status == 200
    both = ["f:maxReplicas", "f:scaleTargetRef"]
    assert owned((await api.get(path("v2"))).json) == {
        "new": ["f:maxReplicas", "f:metrics", "f:scaleTargetRef"],
        "old": [*both, "f:targetCPUUtilizationPercentage"],
    }
    refused = await apply("old", _scaled("v1", targetCPUUtilizationPercentage=60))
    assert (refused.status, refused.json["details"]["causes"][0]["field"]) == (409, ".spec.metrics")
    forced = await apply("old", _scaled("v1", targetCPUUtilizationPercentage=60), "&force=true")
    assert owned(forced.json) == {"new": both, "old": [*both, "f:targetCPUUtilizationPercentage"]}
    # Nobody else owns it any more, so what is no longer applied goes, in every version, and the default comes.
    await apply("old", _scaled("v1"))
    assert (await api.get(path("v2"))).json["spec"]["metrics"] == [_cpu(80)]


async def test_an_update_in_one_version_takes_from_managers_of_the_other_what_it_changes(api: Any) -> None:
    collection = f"/apis/autoscaling/v2/namespaces/{api.namespace}/horizontalpodautoscalers?fieldManager=new"
    await api.create(collection, _scaled("v2", metrics=[_cpu(50)]))
    path = f"/apis/autoscaling/v1/namespaces/{api.namespace}/horizontalpodautoscalers/web?fieldManager=old"
    merge = "application/merge-patch+json"
    changed = await api.call("PATCH", path, {"spec": {"targetCPUUtilizationPercentage": 70}}, content=merge)
    entries = {entry["manager"]: entry for entry in changed.json["metadata"]["managedFields"]}
    assert "f:metrics" not in entries["new"]["fieldsV1"]["f:spec"]
    assert "f:maxReplicas" in entries["new"]["fieldsV1"]["f:spec"]
    assert entries["old"]["apiVersion"] == "autoscaling/v1"
    assert entries["old"]["fieldsV1"] == {"f:spec": {"f:targetCPUUtilizationPercentage": {}}}

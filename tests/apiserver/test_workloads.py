"""Workload kinds and those that bound them, on a real server: what they become, what changes, what kubectl shows."""

from __future__ import annotations

import json
from typing import Any

import pytest

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
LABELS = {"app": "a"}
POD: dict[str, Any] = {"containers": [{"name": "main", "image": "nginx:1"}]}
ONCE = {**POD, "restartPolicy": "Never"}
TEMPLATE: dict[str, Any] = {"metadata": {"labels": LABELS}, "spec": POD}
SELECTOR = {"matchLabels": LABELS}
NOTE = "deprecated.daemonset.template.generation"

# What each kind is made of: group, version, plural and body.
MADE: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "StatefulSet": ("apps", "v1", "statefulsets", {"spec": {"selector": SELECTOR, "template": TEMPLATE}}),
    "DaemonSet": ("apps", "v1", "daemonsets", {"spec": {"selector": SELECTOR, "template": TEMPLATE}}),
    "ControllerRevision": ("apps", "v1", "controllerrevisions", {"data": {"a": 1}, "revision": 1}),
    "ReplicationController": ("", "v1", "replicationcontrollers", {"spec": {"template": TEMPLATE}}),
    "PodTemplate": ("", "v1", "podtemplates", {"template": TEMPLATE}),
    "Job": ("batch", "v1", "jobs", {"spec": {"template": {"spec": ONCE}}}),
    "CronJob": (
        *("batch", "v1", "cronjobs"),
        {"spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": {"spec": ONCE}}}}},
    ),
    "HorizontalPodAutoscaler": (
        *("autoscaling", "v2", "horizontalpodautoscalers"),
        {
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "maxReplicas": 3,
            }
        },
    ),
    "PodDisruptionBudget": (
        *("policy", "v1", "poddisruptionbudgets"),
        {"spec": {"minAvailable": "50%", "selector": SELECTOR}},
    ),
    "LimitRange": ("", "v1", "limitranges", {"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}}]}}),
    "ResourceQuota": ("", "v1", "resourcequotas", {"spec": {"hard": {"pods": "7", "limits.cpu": "4"}}}),
}


def root(api: Any, group: str, version: str, plural: str) -> str:
    base = f"/apis/{group}/{version}" if group else f"/api/{version}"
    return f"{base}/namespaces/{api.namespace}/{plural}"


def collection(api: Any, kind: str) -> str:
    group, version, plural, _ = MADE[kind]
    return root(api, group, version, plural)


async def make(api: Any, kind: str, name: str = "a", **changed: Any) -> Any:
    return await api.create(collection(api, kind), {**MADE[kind][3], **changed, "metadata": {"name": name}})


def manifest(kind: str, name: str = "a") -> str:
    group, version, _, body = MADE[kind]
    return json.dumps(
        {"apiVersion": f"{group}/{version}".lstrip("/"), "kind": kind, "metadata": {"name": name}, **body}
    )


REPLACED = ("PodDisruptionBudget", "LimitRange")


@pytest.mark.parametrize("kind", MADE)
async def test_a_kind_is_made_changed_and_applied(api: Any, kubectl: Any, kind: str) -> None:
    made = await make(api, kind)
    path = f"{collection(api, kind)}/a"
    again = await api.call("PUT", path, made)
    assert (again.status, again.json["metadata"]["resourceVersion"]) == (200, made["metadata"]["resourceVersion"])
    labelled = await api.call("PATCH", path, {"metadata": {"labels": {"x": "y"}}}, content=MERGE)
    assert labelled.status == 200, labelled.body
    assert labelled.json["metadata"].get("generation", 1) == 1
    said = kubectl("apply", "-f", "-", stdin=manifest(kind, "b"), namespace=api.namespace)
    assert said.endswith("/b created\n")
    said = kubectl("apply", "-f", "-", stdin=manifest(kind, "b"), namespace=api.namespace)
    # kubectl always sends what it replaces as a whole: a budget's selector, a limit range's list.
    assert said.endswith("/b configured\n" if kind in REPLACED else "/b unchanged\n")
    assert "FIELDS" in kubectl("explain", MADE[kind][2])


COLUMNS = {
    "StatefulSet": "NAME READY AGE CONTAINERS IMAGES",
    "DaemonSet": "NAME DESIRED CURRENT READY UP-TO-DATE AVAILABLE NODE SELECTOR AGE CONTAINERS IMAGES SELECTOR",
    "ControllerRevision": "NAME CONTROLLER REVISION AGE",
    "ReplicationController": "NAME DESIRED CURRENT READY AGE CONTAINERS IMAGES SELECTOR",
    "PodTemplate": "NAME CONTAINERS IMAGES POD LABELS",
    "Job": "NAME STATUS COMPLETIONS DURATION AGE CONTAINERS IMAGES SELECTOR",
    "CronJob": "NAME SCHEDULE TIMEZONE SUSPEND ACTIVE LAST SCHEDULE AGE CONTAINERS IMAGES SELECTOR",
    "HorizontalPodAutoscaler": "NAME REFERENCE TARGETS MINPODS MAXPODS REPLICAS AGE",
    "PodDisruptionBudget": "NAME MIN AVAILABLE MAX UNAVAILABLE ALLOWED DISRUPTIONS AGE",
    "LimitRange": "NAME CREATED AT",
    "ResourceQuota": "NAME REQUEST LIMIT AGE",
}
CELLS = {
    "StatefulSet": ("0/1", "main", "nginx:1"),
    "DaemonSet": ("<none>", "app=a"),
    "ControllerRevision": ("<none>", "1"),
    "ReplicationController": ("1", "app=a"),
    "PodTemplate": ("main", "nginx:1", "app=a"),
    "Job": ("Running", "0/1", "batch.kubernetes.io/controller-uid="),
    "CronJob": ("*/5 * * * *", "False", "<none>"),
    "HorizontalPodAutoscaler": ("Deployment/web", "cpu: <unknown>/80%", "3"),
    "PodDisruptionBudget": ("50%", "N/A"),
    "LimitRange": ("20",),
    "ResourceQuota": ("a",),
}


@pytest.mark.parametrize("kind", MADE)
async def test_kubectl_shows_its_columns(api: Any, kubectl: Any, kind: str) -> None:
    await make(api, kind)
    head, row = kubectl("get", MADE[kind][2], "-o", "wide", namespace=api.namespace).splitlines()
    assert head.split() == COLUMNS[kind].split()
    for cell in CELLS[kind]:
        assert cell in row


@pytest.mark.parametrize("kind", ["StatefulSet", "ReplicationController"])
async def test_a_workload_is_scaled(api: Any, kubectl: Any, kind: str) -> None:
    await make(api, kind)
    path = f"{collection(api, kind)}/a"
    scale = (await api.get(f"{path}/scale")).json
    assert (scale["apiVersion"], scale["spec"]) == ("autoscaling/v1", {"replicas": 1})
    assert scale["status"] == {"replicas": 0, "selector": "app=a"}
    kubectl("scale", MADE[kind][2], "a", "--replicas=4", namespace=api.namespace)
    found = (await api.get(path)).json
    assert (found["spec"]["replicas"], found["metadata"]["generation"]) == (4, 2)
    assert (await api.call("PUT", f"{path}/scale", scale)).status == 409


STATUSES: dict[str, dict[str, Any]] = {
    "StatefulSet": {"replicas": 1},
    "DaemonSet": {"currentNumberScheduled": 1, "numberMisscheduled": 0, "desiredNumberScheduled": 1, "numberReady": 0},
    "ReplicationController": {"replicas": 1},
    "Job": {"active": 1, "startTime": "2026-01-01T00:00:00Z"},
    "CronJob": {"lastScheduleTime": "2026-01-01T00:00:00Z"},
    "HorizontalPodAutoscaler": {"currentReplicas": 1, "desiredReplicas": 2},
    "PodDisruptionBudget": {"disruptionsAllowed": 1, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1},
    "ResourceQuota": {"hard": {"pods": "7"}, "used": {"pods": "1"}},
}


@pytest.mark.parametrize("kind", STATUSES)
async def test_the_status_is_written_apart(api: Any, kind: str) -> None:
    made = await make(api, kind, status=STATUSES[kind])
    assert made.get("status", {}) != STATUSES[kind]
    path = f"{collection(api, kind)}/a"
    written = await api.call("PUT", f"{path}/status", {**made, "status": STATUSES[kind], "spec": {}})
    assert written.status == 200, written.body
    found = (await api.get(path)).json
    assert {field: found["status"][field] for field in STATUSES[kind]} == STATUSES[kind]
    assert found["spec"] == made["spec"]
    assert found["metadata"].get("generation") == made["metadata"].get("generation")


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("StatefulSet", {"replicas": 0, "availableReplicas": 0}),
        ("ReplicationController", {"replicas": 0}),
        (
            "PodDisruptionBudget",
            {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0},
        ),
    ],
)
async def test_counts_are_there_from_the_start(api: Any, kind: str, status: dict[str, Any]) -> None:
    assert (await make(api, kind))["status"] == status
    path = f"{collection(api, kind)}/a/status"
    patched = await api.call("PATCH", path, {"status": {"observedGeneration": 1}}, content=MERGE)
    assert patched.json["status"] == {**status, "observedGeneration": 1}


async def test_a_job_selects_by_its_uid(api: Any) -> None:
    made = await make(api, "Job")
    uid = made["metadata"]["uid"]
    assert made["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    assert made["spec"]["template"]["metadata"]["labels"] == {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": "a",
        "controller-uid": uid,
        "job-name": "a",
    }


async def test_jobs_are_selected_by_what_succeeded(api: Any) -> None:
    for name, count in (("none", 0), ("two", 2)):
        made = await make(api, "Job", name)
        await api.call("PUT", f"{collection(api, 'Job')}/{name}/status", {**made, "status": {"succeeded": count}})
    for count, name in ((0, "none"), (2, "two")):
        listing = await api.get(f"{collection(api, 'Job')}?fieldSelector=status.successful%3D{count}")
        assert [item["metadata"]["name"] for item in listing.json["items"]] == [name]


async def test_a_job_may_select_by_hand(api: Any) -> None:
    spec = {"manualSelector": True, "selector": SELECTOR, "template": {**TEMPLATE, "spec": ONCE}}
    made = await make(api, "Job", spec=spec)
    assert made["spec"]["template"]["metadata"]["labels"] == LABELS
    refused = await api.call(
        "POST",
        collection(api, "Job"),
        {"metadata": {"name": "b"}, "spec": {**spec, "manualSelector": False}},
    )
    assert "`selector` not auto-generated" in refused.message


async def test_a_running_job_keeps_its_template(api: Any) -> None:
    await make(api, "Job")
    patch = {"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}}
    path = f"{collection(api, 'Job')}/a"
    refused = await api.call("PATCH", path, patch, content=MERGE)
    assert refused.status == 422
    assert refused.message.endswith("field is immutable")
    suspended = await make(api, "Job", "s", spec={**MADE["Job"][3]["spec"], "suspend": True})
    assert suspended["spec"]["suspend"] is True
    assert (await api.call("PATCH", f"{collection(api, 'Job')}/s", patch, content=MERGE)).status == 200


@pytest.mark.parametrize(
    ("kind", "query", "finalizers"),
    [
        ("Job", "", ["orphan"]),
        ("Job", "?propagationPolicy=Foreground", ["foregroundDeletion"]),
        ("ReplicationController", "", ["orphan"]),
    ],
)
async def test_what_the_oldest_kinds_own_outlives_them(api: Any, kind: str, query: str, finalizers: list[str]) -> None:
    await make(api, kind)
    deleted = await api.call("DELETE", f"{collection(api, kind)}/a{query}")
    assert deleted.json["metadata"]["finalizers"] == finalizers
    told = [text for text in deleted.headers.getall("Warning", []) if "child pods are preserved by default" in text]
    assert bool(told) is (kind == "Job" and not query)


@pytest.mark.parametrize(
    ("kind", "query"), [("Job", "?propagationPolicy=Background"), ("CronJob", ""), ("DaemonSet", "")]
)
async def test_other_deletions_are_done_at_once(api: Any, kind: str, query: str) -> None:
    await make(api, kind)
    deleted = await api.call("DELETE", f"{collection(api, kind)}/a{query}")
    assert (deleted.json["kind"], deleted.json["status"]) == ("Status", "Success")


async def test_a_daemon_set_counts_its_templates(api: Any) -> None:
    made = await make(api, "DaemonSet")
    assert made["metadata"]["annotations"] == {NOTE: "1"}
    path = f"{collection(api, 'DaemonSet')}/a"
    scaled = await api.call("PATCH", path, {"spec": {"minReadySeconds": 3}}, content=MERGE)
    assert scaled.json["metadata"]["annotations"] == {NOTE: "1"}
    image = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "nginx:2"}]}}}}
    newer = (await api.call("PATCH", path, image, content=STRATEGIC)).json["metadata"]
    assert (newer["annotations"], newer["generation"]) == ({NOTE: "2"}, 3)


async def test_a_disruption_budget_is_changed_by_version(api: Any) -> None:
    made = await make(api, "PodDisruptionBudget")
    path = f"{collection(api, 'PodDisruptionBudget')}/a"
    blind = {**made, "metadata": {"name": "a"}}
    refused = await api.call("PUT", path, blind)
    assert "metadata.resourceVersion: Invalid value: 0: must be specified for an update" in refused.message
    made["spec"]["minAvailable"] = 2
    changed = await api.call("PUT", path, made)
    assert (changed.status, changed.json["metadata"]["generation"]) == (200, 2)


async def test_priority_classes_are_of_the_whole_cluster(api: Any, kubectl: Any) -> None:
    path = "/apis/scheduling.k8s.io/v1/priorityclasses"
    name = f"class-{api.namespace}"
    made = await api.create(path, {"metadata": {"name": name}, "value": 5, "description": "x"})
    assert made["preemptionPolicy"] == "PreemptLowerPriority"
    head, row = kubectl("get", "pc", name).splitlines()
    assert head.split() == ["NAME", "VALUE", "GLOBAL-DEFAULT", "AGE", "PREEMPTIONPOLICY"]
    assert row.split()[:3] == [name, "5", "false"]
    refused = await api.call("PATCH", f"{path}/{name}", {"value": 6}, content=MERGE)
    assert refused.status == 422
    assert "value: Forbidden: may not be changed in an update." in refused.message
    assert (await api.call("DELETE", f"{path}/{name}")).status == 200


async def test_kubectl_makes_jobs_and_quotas(api: Any, kubectl: Any) -> None:
    kubectl("create", "cronjob", "c", "--image=x", "--schedule=@daily", "--", "true", namespace=api.namespace)
    kubectl("create", "job", "j", "--from=cronjob/c", namespace=api.namespace)
    owner = (await api.get(f"{collection(api, 'Job')}/j")).json["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["name"]) == ("CronJob", "c")
    kubectl("create", "quota", "q", "--hard=pods=3,requests.cpu=1", namespace=api.namespace)
    kubectl("create", "pdb", "p", "--selector=app=a", "--min-available=1", namespace=api.namespace)
    described = kubectl("describe", "cronjob/c", "job/j", "quota/q", "pdb/p", namespace=api.namespace)
    assert "Schedule:" in described


async def test_kubectl_shows_what_is_hardly_meant(api: Any) -> None:
    env = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
    template = {**TEMPLATE, "spec": {"containers": [{"name": "main", "image": "x", "env": env}]}}
    body = {"metadata": {"name": "a.b"}, "spec": {"selector": SELECTOR, "template": template}}
    path = api.path("deployments", "", "apps")
    answer = await api.call("POST", path, body)
    assert answer.status == 201
    named, hidden = answer.headers.getall("Warning")
    assert "this is used in Pod names and hostnames" in named
    assert hidden == (
        '299 - "spec.template.spec.containers[0].env[1]: hides previous definition of \\"A\\", which may be dropped '
        'when using apply"'
    )
    same = await api.call("PATCH", f"{path}/a.b", {"metadata": {"labels": {"x": "y"}}}, content=MERGE)
    assert "Warning" not in same.headers
    changed = await api.call("PATCH", f"{path}/a.b", {"spec": {"replicas": 2}}, content=MERGE)
    assert changed.headers.getall("Warning") == [hidden]

"""What CustomResourceDefinitions serve, against the real server."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

from tests.apiserver.crds import CRDS, STATUS, Obj, change, cron, definition, path, version


async def test_objects_are_pruned_defaulted_and_validated(api: Any) -> None:
    crd = definition()
    await api.create(CRDS, crd)
    obj = cron("a", port="http")
    obj["spec"]["other"] = 1
    answer = await api.call("POST", path(crd, api), obj)
    assert answer.status == 201
    assert answer.headers["Warning"] == '299 - "unknown field \\"spec.other\\""'
    assert answer.json["spec"] == {"cronSpec": "* *", "replicas": 1, "color": "red", "port": "http"}
    assert answer.json["apiVersion"] == f"{crd['spec']['group']}/v1"
    strict = await api.call("POST", path(crd, api) + "?fieldValidation=Strict", {**obj, "metadata": {"name": "b"}})
    assert strict.status == 400
    assert strict.message == (
        'CronTab in version "v1" cannot be handled as a CronTab: strict decoding error: unknown field "spec.other"'
    )
    bad = {"metadata": {"name": "b"}, "spec": {"replicas": "string", "port": 1.5}}
    answer = await api.call("POST", path(crd, api), bad)
    assert answer.status == 422
    causes = {(c["field"], c["reason"], c["message"]) for c in answer.json["details"]["causes"]}
    wrong = 'Invalid value: "string": spec.replicas in body must be of type integer: "string"'
    assert causes == {
        ("spec.cronSpec", "FieldValueRequired", "Required value"),
        ("spec.replicas", "FieldValueTypeInvalid", wrong),
        (
            "spec.port",
            "FieldValueTypeInvalid",
            'Invalid value: "number": spec.port in body must be of type integer,string: "number"',
        ),
    }
    answer = await api.call("POST", path(crd, api), {"metadata": {"name": "b", "labels": {"a": 1}}})
    assert answer.status == 400
    assert "cannot unmarshal number" in answer.message


async def test_status_and_generation(api: Any) -> None:
    crd = definition(version(subresources={"status": {}}))
    await api.create(CRDS, crd)
    made = await api.create(path(crd, api), {**cron("a"), "status": {"replicas": 3}})
    assert "status" not in made
    assert made["metadata"]["generation"] == 1
    without = {**made, "metadata": {"name": "a"}}
    answer = await api.call("PUT", path(crd, api, "a"), without)
    assert answer.status == 422
    assert "metadata.resourceVersion: Invalid value: 0: must be specified for an update" in answer.message
    wanted = {**made, "spec": {**made["spec"], "color": "blue"}, "status": {"replicas": 5}}
    changed = (await api.call("PUT", path(crd, api, "a"), wanted)).json
    assert "status" not in changed
    assert (changed["metadata"]["generation"], changed["spec"]["color"]) == (2, "blue")
    wanted = {**changed, "spec": {"cronSpec": "x"}, "status": {"replicas": 5}}
    wanted["metadata"] = {**changed["metadata"], "labels": {"a": "b"}}
    status = (await api.call("PUT", path(crd, api, "a") + "/status", wanted)).json
    assert status["status"] == {"replicas": 5}
    assert status["spec"] == changed["spec"]
    assert status["metadata"]["generation"] == 2
    assert "labels" not in status["metadata"]
    answer = await api.call("PUT", path(crd, api, "a") + "/status", {**status, "status": {"replicas": "x"}})
    assert answer.status == 422
    labels = {"metadata": {"labels": {"a": "b"}}}
    content = "application/merge-patch+json"
    assert (await api.call("PATCH", path(crd, api, "a"), labels, content=content)).json["metadata"]["generation"] == 2
    content = "application/strategic-merge-patch+json"
    assert (await api.call("PATCH", path(crd, api, "a"), labels, content=content)).status == 415


async def test_without_a_status_subresource_the_status_counts(api: Any) -> None:
    crd = definition()
    await api.create(CRDS, crd)
    made = await api.create(path(crd, api), {**cron("a"), "status": {"replicas": 3}})
    assert made["status"] == {"replicas": 3}
    changed = (await api.call("PUT", path(crd, api, "a"), {**made, "status": {"replicas": 4}})).json
    assert changed["metadata"]["generation"] == 2
    assert (await api.get(path(crd, api, "a") + "/status")).status == 404


async def test_scale(api: Any) -> None:
    paths = {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    crd = definition(version(subresources={"status": {}, "scale": paths}))
    await api.create(CRDS, crd)
    made = await api.create(path(crd, api), cron("a"))
    status = {**made, "status": {"replicas": 7, "selector": "a=b"}}
    assert (await api.call("PUT", path(crd, api, "a") + "/status", status)).status == 200
    scale = (await api.get(path(crd, api, "a") + "/scale")).json
    assert (scale["kind"], scale["spec"], scale["status"]) == (
        "Scale",
        {"replicas": 1},
        {"replicas": 7, "selector": "a=b"},
    )
    table = await api.get(path(crd, api, "a") + "/scale", accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    assert table.json["rows"][0]["cells"][:3] == ["a", 1, 7]
    scaled = (await api.call("PUT", path(crd, api, "a") + "/scale", {**scale, "spec": {"replicas": 4}})).json
    assert scaled["spec"] == {"replicas": 4}
    obj = (await api.get(path(crd, api, "a"))).json
    assert (obj["spec"]["replicas"], obj["metadata"]["generation"]) == (4, 2)


async def test_every_version_shows_every_object(api: Any) -> None:
    crd = definition(version(), version("v1beta1", storage=False, deprecated=True))
    await api.create(CRDS, crd)
    await api.create(path(crd, api), cron("a"))
    answer = await api.call("POST", path(crd, api, at="v1beta1"), cron("b"))
    assert answer.status == 201
    group = crd["spec"]["group"]
    assert answer.headers["Warning"] == f'299 - "{group}/v1beta1 CronTab is deprecated"'
    for at in ("v1", "v1beta1"):
        listed = (await api.get(path(crd, api, at=at))).json
        assert listed["apiVersion"] == f"{group}/{at}"
        assert [(o["metadata"]["name"], o["apiVersion"]) for o in listed["items"]] == [
            ("a", f"{group}/{at}"),
            ("b", f"{group}/{at}"),
        ]
    old = (await api.get(path(crd, api, "a", at="v1beta1"))).json
    changed = await api.call("PUT", path(crd, api, "a", at="v1beta1"), {**old, "spec": {"cronSpec": "1"}})
    assert changed.json["apiVersion"] == f"{group}/v1beta1"
    assert (await api.get(path(crd, api, "a"))).json["spec"]["cronSpec"] == "1"
    events = api.watch(path(crd, api, at="v1beta1") + "?watch=true&timeoutSeconds=5")
    seen = [await anext(events) for _ in range(2)]
    assert {event["object"]["apiVersion"] for event in seen} == {f"{group}/v1beta1"}
    await events.aclose()
    groups = (await api.get("/apis")).json["groups"]
    (found,) = (item for item in groups if item["name"] == group)
    assert [v["version"] for v in found["versions"]] == ["v1", "v1beta1"]


async def test_selectable_fields_and_labels(api: Any) -> None:
    crd = definition(version(selectableFields=[{"jsonPath": ".spec.color"}]))
    await api.create(CRDS, crd)
    for name, color in (("a", "red"), ("b", "blue")):
        await api.create(path(crd, api), cron(name, color=color))

    async def names(selector: str) -> list[str]:
        return [o["metadata"]["name"] for o in (await api.get(path(crd, api) + f"?{selector}")).json["items"]]

    assert await names("fieldSelector=spec.color%3Dblue") == ["b"]
    assert await names("fieldSelector=metadata.name%3Da") == ["a"]
    assert (await api.get(path(crd, api) + "?fieldSelector=spec.cronSpec%3Da")).status == 400


async def test_cluster_scope(api: Any) -> None:
    crd = definition(scope="Cluster")
    await api.create(CRDS, crd)
    made = await api.create(path(crd, api), cron("a"))
    assert "namespace" not in made["metadata"]
    assert (await api.get(f"/apis/{crd['spec']['group']}/v1/namespaces/default/crontabs")).status == 404


def ruled(*rules: dict[str, Any]) -> dict[str, Any]:
    """A definition whose spec has rules."""
    crd: Obj = copy.deepcopy(definition())
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"] = [*rules]
    return crd


async def test_rules_in_cel_are_held(api: Any) -> None:
    crd = ruled(
        {"rule": "self.replicas < 5", "messageExpression": "'too many: ' + string(self.replicas)"},
        {"rule": "self.cronSpec == oldSelf.cronSpec", "message": "cronSpec is immutable"},
    )
    answer = await api.call("POST", CRDS, crd)
    assert answer.status == 201
    assert "Warning" not in answer.headers
    made = cron("a")
    made["spec"]["replicas"] = 7
    answer = await api.call("POST", path(crd, api), made)
    assert answer.status == 422
    status = answer.json
    assert status["details"]["causes"] == [
        {"reason": "FieldValueInvalid", "message": 'Invalid value: "object": too many: 7', "field": "spec"}
    ]
    made["spec"]["replicas"] = 2
    stored = await api.create(path(crd, api), made)
    stored["spec"]["cronSpec"] += " "
    answer = await api.call("PUT", f"{path(crd, api)}/a", stored)
    assert answer.status == 422
    assert 'spec: Invalid value: "object": cronSpec is immutable' in answer.json["message"]


async def test_a_rule_that_was_broken_before_is_a_warning(api: Any) -> None:
    crd = definition()
    await api.create(CRDS, crd)
    stored = await api.create(path(crd, api), cron("a", replicas=7))

    def rule(live: Obj) -> None:
        spec = live["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        spec["x-kubernetes-validations"] = [{"rule": "self.replicas < 5", "message": "too many"}]

    await change(api, crd, rule)
    stored["metadata"]["labels"] = {"a": "b"}
    answer = await api.call("PUT", path(crd, api, "a"), stored)
    assert answer.status == 200
    assert 'spec: Invalid value: \\"object\\": too many' in answer.headers["Warning"]


async def test_a_rule_of_a_field_that_is_not_there_is_refused(api: Any) -> None:
    answer = await api.call("POST", CRDS, ruled({"rule": "self.nope == 1"}))
    assert answer.status == 422
    assert "compilation failed: ERROR: <input>:1:5: undefined field 'nope'" in answer.json["message"]


async def test_appliers_share_a_list_by_its_keys(api: Any) -> None:
    ports = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string"}, "port": {"type": "integer"}},
        },
    }
    one = version(subresources={"status": {}})
    one["schema"] = {
        "openAPIV3Schema": {
            "type": "object",
            "properties": {"spec": {"type": "object", "properties": {"ports": ports}}, "status": STATUS},
        }
    }
    crd = definition(one)
    await api.create(CRDS, crd)

    async def apply(manager: str, *names: str) -> Any:
        obj = {
            "apiVersion": f"{crd['spec']['group']}/v1",
            "kind": "CronTab",
            "metadata": {"name": "a"},
            "spec": {"ports": [{"name": name, "port": 1} for name in names]},
        }
        at = path(crd, api, "a") + f"?fieldManager={manager}"
        return await api.call("PATCH", at, obj, content="application/apply-patch+yaml")

    assert (await apply("one", "a")).status == 201
    assert [p["name"] for p in (await apply("two", "b")).json["spec"]["ports"]] == ["a", "b"]
    assert [p["name"] for p in (await apply("one")).json["spec"]["ports"]] == ["b"]


async def test_rules_that_take_long_hold_nobody_up(api: Any) -> None:
    rules = [{"rule": f"self.all(x, self.all(y, x + y >= {n}))"} for n in range(6)]
    numbers = {"type": "array", "maxItems": 250, "items": {"type": "integer"}, "x-kubernetes-validations": rules}
    schema = {"type": "object", "properties": {"spec": numbers}}
    crd = definition({**version(), "schema": {"openAPIV3Schema": schema}})
    await api.create(CRDS, crd)

    async def finished(method: str, name: str, body: Any) -> tuple[Any, int]:
        """A write's answer, and how many other requests were answered meanwhile."""
        others = 0
        task = asyncio.create_task(api.call(method, path(crd, api, name), body))
        while not task.done():
            assert (await api.get("/api/v1/namespaces/default")).status == 200
            others += 1
        return await task, others

    long = list(range(10, 260))
    made, others = await finished("POST", "", {"metadata": {"name": "a"}, "spec": long})
    assert (made.status, others > 3) == (201, True)
    refused, others = await finished("PUT", "a", {**made.json, "spec": [*long[:-1], -9]})
    assert (refused.status, "failed rule" in refused.message, others > 3) == (422, True, True)
    assert (await finished("PUT", "a", {**made.json, "spec": [5]}))[0].status == 200

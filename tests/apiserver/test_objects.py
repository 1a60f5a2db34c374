"""Creating, reading, changing and deleting objects."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
SYSTEM = {"managedFields", "uid", "creationTimestamp", "resourceVersion", "name", "namespace"}


async def test_a_created_object_gets_the_servers_metadata_and_nothing_else(api: Any) -> None:
    made = await api.create(
        api.path("configmaps"),
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": "a",
                "uid": "mine",
                "creationTimestamp": None,
                "managedFields": [{}],
                "selfLink": "/x",
            },
            "data": {"k": "v"},
        },
    )
    assert set(made["metadata"]) == SYSTEM
    assert made["metadata"]["uid"] != "mine"
    assert (await api.get(api.path("configmaps", "a"))).json == made


async def test_generate_name_adds_five_characters(api: Any) -> None:
    body = {"metadata": {"generateName": "job-"}}
    names = {(await api.create(api.path("configmaps"), body))["metadata"]["name"] for _ in range(5)}
    assert len(names) == 5
    assert all(name.startswith("job-") and len(name) == 9 for name in names)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"metadata": {}}, 422, "name or generateName is required"),
        ({"metadata": {"name": "A_B"}}, 422, 'metadata.name: Invalid value: "A_B"'),
        ({"metadata": {"name": "x", "namespace": "other"}}, 400, "the namespace of the provided object does not match"),
        ({"kind": "Secret", "metadata": {"name": "x"}}, 400, "cannot be handled as a ConfigMap"),
        ({"apiVersion": "v2", "metadata": {"name": "x"}}, 400, 'no kind "ConfigMap" is registered for version "v2"'),
        ({"metadata": {"name": "x"}, "data": {"k": 1}}, 400, "cannot be handled as a ConfigMap"),
        (b"{", 400, "unexpected end of JSON input"),
        (b"[]", 400, "cannot unmarshal array into Go value"),
    ],
)
async def test_what_cannot_be_created_is_refused_with_the_reason(
    api: Any, body: Any, status: int, message: str
) -> None:
    answer = await api.call("POST", api.path("configmaps"), body)
    assert answer.status == status
    assert message in answer.message
    assert answer.json["code"] == status


async def test_a_name_is_taken_once(api: Any) -> None:
    await api.config_map("a")
    answer = await api.call("POST", api.path("configmaps"), {"metadata": {"name": "a"}})
    assert (answer.status, answer.json["reason"]) == (409, "AlreadyExists")
    assert answer.message == 'configmaps "a" already exists'


async def test_what_is_not_there_is_not_found(api: Any) -> None:
    for method, path in (("GET", "configmaps"), ("DELETE", "configmaps")):
        answer = await api.call(method, api.path(path, "nope"))
        assert answer.status == 404
        assert answer.message == 'configmaps "nope" not found'
        assert answer.json["details"] == {"name": "nope", "kind": "configmaps"}
    assert (await api.get("/apis/nope/v1/things")).status == 404
    assert (await api.get(api.path("configmaps", "a/nope"))).status == 404


async def test_unknown_and_repeated_fields_are_refused_warned_of_or_forgotten(api: Any) -> None:
    body = b'{"metadata":{"name":"a","name":"b"},"dta":{"x":"y"}}'
    path = api.path("configmaps")
    strict = await api.call("POST", f"{path}?fieldValidation=Strict", body)
    assert strict.status == 400
    await api.config_map("keeps-warnings-apart")
    warned = await api.call("POST", path, b'{"metadata":{"name":"a"},"dta":{"x":"y"}}')
    assert warned.status == 201
    assert 'unknown field \\"dta\\"' in warned.headers["Warning"]
    ignored = await api.call("POST", f"{path}?fieldValidation=Ignore", b'{"metadata":{"name":"c"},"dta":{}}')
    assert ignored.status == 201
    assert "Warning" not in ignored.headers


async def test_an_update_with_an_old_version_conflicts(api: Any) -> None:
    first = await api.config_map("a", data={"k": "1"})
    second = await api.call("PUT", api.path("configmaps", "a"), {**first, "data": {"k": "2"}})
    assert second.status == 200
    late = await api.call("PUT", api.path("configmaps", "a"), {**first, "data": {"k": "3"}})
    assert (late.status, late.json["reason"]) == (409, "Conflict")
    blind = await api.call("PUT", api.path("configmaps", "a"), {"metadata": {"name": "a"}, "data": {"k": "4"}})
    assert blind.json["data"] == {"k": "4"}
    assert blind.json["metadata"]["uid"] == first["metadata"]["uid"]


async def test_an_update_that_changes_nothing_writes_nothing(api: Any) -> None:
    first = await api.config_map("a", data={"k": "1"})
    again = await api.call("PUT", api.path("configmaps", "a"), {"metadata": {"name": "a"}, "data": {"k": "1"}})
    assert again.json == first


async def test_concurrent_patches_are_all_kept(api: Any) -> None:
    await api.config_map("a")
    path = api.path("configmaps", "a")
    await asyncio.gather(*(api.call("PATCH", path, {"data": {f"k{n}": "v"}}, content=MERGE) for n in range(40)))
    assert len((await api.get(path)).json["data"]) == 40


@pytest.mark.parametrize(
    ("content", "patch"),
    [
        (MERGE, {"data": {"a": None, "b": "2"}}),
        (STRATEGIC, {"data": {"a": None, "b": "2"}}),
        (JSON_PATCH, [{"op": "remove", "path": "/data/a"}, {"op": "add", "path": "/data/b", "value": "2"}]),
    ],
)
async def test_each_kind_of_patch(api: Any, content: str, patch: Any) -> None:
    await api.config_map("a", data={"a": "1"})
    answer = await api.call("PATCH", api.path("configmaps", "a"), patch, content=content)
    assert answer.status == 200
    assert answer.json["data"] == {"b": "2"}


async def test_an_unknown_kind_of_patch_is_refused_with_the_known_ones(api: Any) -> None:
    answer = await api.call("PATCH", api.path("configmaps", "a"), {}, content="application/x-patch")
    assert answer.status == 415
    assert "application/merge-patch+json" in answer.message
    assert "application/apply-patch+yaml" in answer.message


async def test_a_dry_run_answers_and_writes_nothing(api: Any) -> None:
    path = api.path("configmaps")
    assert (await api.call("POST", f"{path}?dryRun=All", {"metadata": {"name": "a"}})).status == 201
    assert (await api.get(f"{path}/a")).status == 404
    await api.config_map("b", data={"k": "1"})
    changed = await api.call("PATCH", f"{path}/b?dryRun=All", {"data": {"k": "2"}}, content=MERGE)
    assert changed.json["data"] == {"k": "2"}
    assert (await api.call("DELETE", f"{path}/b?dryRun=All")).status == 200
    assert (await api.get(f"{path}/b")).json["data"] == {"k": "1"}


async def test_bodies_may_be_yaml_and_answers_too(api: Any) -> None:
    body = b"metadata:\n  name: y\ndata:\n  day: '2020-01-01'\n"
    await api.create(api.path("configmaps"), body, content="application/yaml")
    answer = await api.get(api.path("configmaps", "y"), accept="application/yaml")
    assert b"name: y" in answer.body
    assert answer.headers["Content-Type"] == "application/yaml"


async def test_media_types_that_are_not_spoken(api: Any) -> None:
    assert (await api.get(api.path("configmaps"), accept="image/png")).status == 406
    answer = await api.call("POST", api.path("configmaps"), b"{}", content="application/cbor")
    assert answer.status == 415
    assert (await api.get(api.path("configmaps"), accept="application/vnd.kubernetes.protobuf")).status == 200


async def test_a_body_above_three_mebibytes_is_too_large(api: Any) -> None:
    body = {"metadata": {"name": "big"}, "data": {"k": "x" * (3 << 20)}}
    answer = await api.call("POST", api.path("configmaps"), body, expect=True)
    assert (answer.status, answer.json["reason"]) == (413, "RequestEntityTooLarge")
    body["data"] = {"k": "x" * ((1 << 20) + 1)}
    assert (await api.call("POST", api.path("configmaps"), body, expect=True)).status == 422


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (
            {"propagationPolicy": "Bad"},
            (
                'propagationPolicy: Unsupported value: "Bad": '
                'supported values: "Foreground", "Background", "Orphan", "nil"'
            ),
        ),
        (
            {"propagationPolicy": "Orphan", "orphanDependents": True},
            'propagationPolicy: Invalid value: "Orphan": orphanDependents and deletionPropagation cannot be both set',
        ),
        ({"dryRun": ["Some"]}, 'dryRun: Unsupported value: ["Some"]: supported values: "All"'),
    ],
)
async def test_options_of_deletions_that_cannot_be_are_invalid(api: Any, options: Any, complaint: str) -> None:
    await api.config_map("a")
    answer = await api.call("DELETE", api.path("configmaps", "a"), options)
    assert answer.status == 422
    assert answer.message == f'DeleteOptions.meta.k8s.io "" is invalid: {complaint}'


async def test_deletion_answers_with_a_status_and_heeds_preconditions(api: Any) -> None:
    made = await api.config_map("a")
    path = api.path("configmaps", "a")
    refused = await api.call("DELETE", path, {"preconditions": {"uid": "other"}})
    assert refused.status == 409
    answer = await api.call("DELETE", path)
    assert answer.json["status"] == "Success"
    assert answer.json["details"] == {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]}


async def test_metadata_without_anything_in_it_is_not_kept(api: Any) -> None:
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "1-2-3"}
    metadata = {"name": "a", "labels": {}, "annotations": {}, "finalizers": [], "ownerReferences": [owner]}
    made = await api.create(api.path("configmaps"), {"metadata": metadata})
    assert not {"labels", "annotations", "finalizers"} & made["metadata"].keys()
    assert made["metadata"]["ownerReferences"] == [owner]
    body = {"metadata": {"ownerReferences": [{"$patch": "delete", "uid": "1-2-3"}]}}
    strategic = "application/strategic-merge-patch+json"
    left = await api.call("PATCH", api.path("configmaps", "a"), body, content=strategic)
    assert "ownerReferences" not in left.json["metadata"]


async def test_finalizers_hold_an_object_until_they_are_gone(api: Any) -> None:
    await api.create(api.path("configmaps"), {"metadata": {"name": "a", "finalizers": ["x.io/y"]}})
    path = api.path("configmaps", "a")
    answer = await api.call("DELETE", path)
    assert answer.json["metadata"]["deletionTimestamp"]
    assert (await api.get(path)).status == 200
    await api.call("PATCH", path, {"metadata": {"finalizers": None}}, content=MERGE)
    assert (await api.get(path)).status == 404


@pytest.mark.parametrize(("policy", "finalizer"), [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")])
async def test_propagation_policies_become_finalizers(api: Any, policy: str, finalizer: str) -> None:
    await api.config_map("a")
    answer = await api.call("DELETE", api.path("configmaps", "a"), {"propagationPolicy": policy})
    assert answer.json["metadata"]["finalizers"] == [finalizer]


async def test_a_collection_is_deleted_by_selector(api: Any) -> None:
    for name, tier in (("a", "x"), ("b", "x"), ("c", "y")):
        await api.config_map(name, {"tier": tier})
    answer = await api.call("DELETE", api.path("configmaps") + "?labelSelector=tier%3Dx")
    assert {item["metadata"]["name"] for item in answer.json["items"]} == {"a", "b"}
    left = (await api.get(api.path("configmaps"))).json["items"]
    assert [item["metadata"]["name"] for item in left] == ["c"]


async def test_an_object_to_be_created_has_no_revision_yet(api: Any) -> None:
    metadata = {"name": "a", "resourceVersion": "12"}
    answer = await api.call("POST", api.path("configmaps"), {"metadata": metadata})
    message = "resourceVersion should not be set on objects to be created"
    assert (answer.status, answer.message, "reason" in answer.json) == (500, message, False)
    refused = await api.call("POST", api.path("configmaps"), {"metadata": metadata, "data": {"no/key": ""}})
    assert refused.status == 422
    assert (
        await api.call("POST", api.path("configmaps"), {"metadata": {"name": "a", "resourceVersion": "0"}})
    ).status == 201


DEPLOYMENT = (
    b'{"metadata":{"name":"d"},"spec":{"unknownField":"foo","replicas":2,"replicas":3,'
    b'"selector":{"matchLabels":{"a":"b"}},'
    b'"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}'
)


async def test_unknown_and_repeated_fields_are_told_at_once(api: Any) -> None:
    path = api.path("deployments", group="apps")
    answer = await api.call("POST", f"{path}?fieldValidation=Strict", DEPLOYMENT)
    assert 'strict decoding error: unknown field "spec.unknownField", duplicate field "spec.replicas"' in answer.message
    told = (await api.call("POST", path, DEPLOYMENT)).headers.getall("Warning")
    assert ['unknown field \\"spec.unknownField' in told[0], 'duplicate field \\"spec.replicas' in told[1]] == [
        True
    ] * 2


async def test_keys_that_yaml_has_twice_are_told_by_line(api: Any) -> None:
    path, text = (
        api.path("configmaps"),
        b"\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: a\n  k: b\n",
    )
    posted = await api.call("POST", f"{path}?fieldValidation=Strict", text, content="application/yaml")
    assert 'strict decoding error: yaml: unmarshal errors:\n  line 8: key "k" already set in map' in posted.message
    apply = f"{path}/a?fieldManager=m"
    strict = await api.call("PATCH", f"{apply}&fieldValidation=Strict", text, content="application/apply-patch+yaml")
    assert strict.message == (
        "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n"
        '  line 8: key "k" already set in map'
    )
    applied = await api.call("PATCH", apply, text, content="application/apply-patch+yaml")
    assert applied.json["data"] == {"k": "b"}
    assert applied.headers["Warning"] == '299 - "line 8: key \\"k\\" already set in map"'


async def test_reviews_have_no_table(api: Any) -> None:
    body = {"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    answer = await api.call("POST", path, body, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    assert answer.status == 406


@pytest.mark.parametrize(("timeout", "status"), [("invalid", 400), ("3m", 200), ("0s", 200), ("500ms", 200)])
async def test_a_client_says_how_long_it_waits(api: Any, timeout: str, status: int) -> None:
    answer = await api.get(f"/version?timeout={timeout}")
    assert answer.status == status
    if status == 400:
        assert answer.message == 'invalid timeout specified in the request URL - time: invalid duration "invalid"'


@pytest.mark.parametrize(
    ("media", "shown"),
    [
        ("application/strategic-merge-patch+json", "map[data:map[k:v] extra:map[a:[1 true <nil>]]]"),
        ("application/merge-patch+json", None),
    ],
)
async def test_a_patch_that_does_not_fit_is_invalid_as_a_whole(api: Any, media: str, shown: str | None) -> None:
    await api.config_map("a")
    path = api.path("configmaps", "a")
    body = b'{"data":{"k":"u","k":"v"},"extra":{"a":[1,true,null]}}'
    answer = await api.call("PATCH", f"{path}?fieldValidation=Strict", body, content=media)
    assert (answer.status, answer.json["reason"]) == (422, "Invalid")
    (cause,) = answer.json["details"]["causes"]
    assert cause["field"] == "patch"
    assert cause["message"].endswith('strict decoding error: unknown field "extra", duplicate field "data.k"')
    if shown:
        assert answer.message.startswith(f' "" is invalid: patch: Invalid value: "{shown}": ')
    told = await api.call("PATCH", path, body, content=media)
    assert (told.status, len(told.headers.getall("Warning"))) == (200, 2)
    wrong = await api.call("PATCH", path, {"data": ["x"]}, content="application/merge-patch+json")
    assert wrong.status == 422


async def test_conditions_have_a_type_and_a_status_even_where_clients_leave_them_out(api: Any) -> None:
    name = f"n-{api.namespace}"
    made = await api.create("/api/v1/nodes", {"metadata": {"name": name}, "status": {"conditions": [{"message": "m"}]}})
    assert made["status"]["conditions"] == [{"message": "m", "type": "", "status": ""}]
    patch = {"status": {"conditions": [{"reason": "r"}]}}
    changed = await api.call("PATCH", f"/api/v1/nodes/{name}/status", patch, content=MERGE)
    assert changed.json["status"]["conditions"] == [{"reason": "r", "type": "", "status": ""}]
    assert (await api.call("DELETE", f"/api/v1/nodes/{name}")).status == 200


async def test_modes_of_field_validation_that_are_none_are_refused(api: Any) -> None:
    answer = await api.call("POST", f"{api.path('configmaps')}?fieldValidation=Bad", {"metadata": {"name": "a"}})
    assert answer.status == 422
    assert answer.message == (
        'CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "Bad": '
        'supported values: "", "Ignore", "Strict", "Warn"'
    )


async def test_owners_that_are_named_twice_are_kept_once(api: Any) -> None:
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": True}
    other = {**owner, "uid": "v", "controller": False}
    metadata = {"name": "c", "ownerReferences": [owner, other, owner]}
    path = api.path("configmaps")
    told = "duplicate entries{}; API server dedups owner references in 1.20+, and may reject such requests"
    patch = {"metadata": {"ownerReferences": [owner, other, owner, other]}}
    for answer, when in (
        (await api.call("POST", path, {"metadata": metadata}), ""),
        (await api.call("PUT", f"{path}/c", {"metadata": metadata}), ""),
        (await api.call("PATCH", f"{path}/c", patch, content=MERGE), " after mutating admission happens"),
    ):
        assert answer.json["metadata"]["ownerReferences"] == [owner, other]
        assert f".metadata.ownerReferences contains {told.format(when)}" in answer.headers["Warning"]
        assert "duplicate UID(s) observed: u" in answer.headers["Warning"]

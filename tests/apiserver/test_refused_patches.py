"""Patches that cannot be applied are refused in kube-apiserver v1.36's words, with its codes and reasons.

Source of the words: k8s.io/apiserver's endpoints/handlers/patch.go and apimachinery's patches, both v0.36.
"""

from __future__ import annotations

from typing import Any

import pytest

JSON_PATCH = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
TYPES = "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, "
MAP = "map[string]interface {}"


@pytest.mark.parametrize(
    ("media", "patch", "code", "message"),
    [
        ("application/json", b"{}", 415, f"{TYPES}{MERGE}, {STRATEGIC}, {APPLY}"),
        ("", b"{}", 415, f"{TYPES}{MERGE}, {STRATEGIC}, {APPLY}"),
        (JSON_PATCH, b"{", 400, "error decoding patch: unexpected end of JSON input"),
        (
            JSON_PATCH,
            b"{}",
            400,
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
        ),
        (
            JSON_PATCH,
            b"[1]",
            400,
            "error decoding patch: json: cannot unmarshal number into Go value of type handlers.jsonPatchOp",
        ),
        (
            JSON_PATCH,
            b'[{"op":1}]',
            400,
            "error decoding patch: json: cannot unmarshal number into Go struct field jsonPatchOp.op of type string",
        ),
        (
            JSON_PATCH,
            b'[{"op":"remove","path":"/a"}]',
            422,
            "the server rejected our request due to an error in our request",
        ),
        (
            JSON_PATCH,
            b"[" + b",".join([b'{"op":"test","path":""}'] * 10001) + b"]",
            413,
            "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001",
        ),
        (MERGE, b"", 400, "error decoding patch: unexpected end of JSON input"),
        (MERGE, b"[]", 400, f"error decoding patch: json: cannot unmarshal array into Go value of type {MAP}"),
        (MERGE, b'{"metadata":{"name":"x"}}', 400, "the name of the object (x) does not match the name on the URL (c)"),
        (
            MERGE,
            b'{"metadata":{"name":null}}',
            400,
            "the name of the object (c based on URL) was undeterminable: name must be provided",
        ),
        (
            MERGE,
            b'{"metadata":{"uid":"x"}}',
            422,
            'ConfigMap "c" is invalid: metadata.uid: Invalid value: "x": field is immutable',
        ),
        (
            STRATEGIC,
            b'{"metadata":{"ownerReferences":[{"uid":"u"},5]}}',
            500,
            "list element types are not identical: [[map[apiVersion:v1 kind:Pod name:p uid:p]] [map[uid:u] 5]]",
        ),
        (STRATEGIC, b"[]", 400, f"json: cannot unmarshal array into Go value of type {MAP}"),
        (STRATEGIC, b"{", 400, "unexpected end of JSON input"),
        (STRATEGIC, b'{"apiVersion":"v2","kind":"Pod"}', 200, ""),
        (
            APPLY,
            b"",
            400,
            "Incorrect version specified in apply patch. Specified patch version: , expected: v1",
        ),
        (
            APPLY,
            b'{"apiVersion":"v1","kind":"ConfigMap","metadata":5}',
            400,
            (
                'ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go '
                "struct field ConfigMap.metadata of type v1.ObjectMeta"
            ),
        ),
        (
            APPLY,
            b"a: [\n",
            400,
            "error decoding YAML: error converting YAML to JSON: yaml: line 1: did not find expected node content",
        ),
        (
            APPLY,
            b'"a"',
            400,
            (
                "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal string into "
                f"Go value of type {MAP}"
            ),
        ),
    ],
)
async def test_a_patch_that_cannot_be_applied(api: Any, media: str, patch: bytes, code: int, message: str) -> None:
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p"}
    await api.create(api.path("configmaps"), {"metadata": {"name": "c", "ownerReferences": [owner]}})
    query = "?fieldManager=m" if media == APPLY else ""
    answer = await api.call("PATCH", api.path("configmaps", "c") + query, patch, content=media)
    assert (answer.status, answer.json.get("message", "")) == (code, message)


@pytest.mark.parametrize(
    ("patch", "why"),
    [
        ({"kind": "Pod"}, "converting (v1.Pod) to (core.ConfigMap): unknown conversion"),
        (
            {"apiVersion": 5},
            (
                "couldn't get version/kind; json parse error: json: cannot unmarshal number into Go struct field "
                ".apiVersion of type string"
            ),
        ),
        (
            {"metadata": 5},
            "json: cannot unmarshal number into Go struct field ConfigMap.metadata of type v1.ObjectMeta",
        ),
    ],
)
async def test_a_patch_that_leaves_no_such_object_is_invalid(api: Any, patch: Any, why: str) -> None:
    await api.config_map("c")
    answer = await api.call("PATCH", api.path("configmaps", "c"), patch, content=MERGE)
    assert answer.status == 422
    assert answer.message.startswith(' "" is invalid: patch: Invalid value: "{')
    assert answer.message.endswith(f": {why}")


async def test_what_is_not_there_is_said_before_what_is_wrong_with_a_patch(api: Any) -> None:
    answer = await api.call("PATCH", api.path("configmaps", "none"), b"[1]", content=JSON_PATCH)
    assert (answer.status, answer.message) == (404, 'configmaps "none" not found')

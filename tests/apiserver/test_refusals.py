"""What cannot be understood is refused in kube-apiserver v1.36's words, with its codes and reasons.

Source of the words: k8s.io/apiserver's endpoints/handlers and registry/generic/registry/store.go, and apimachinery's
serializers, both v0.36.
"""

from __future__ import annotations

from typing import Any

import pytest

PROTOBUF = "application/vnd.kubernetes.protobuf"
YAML = "application/yaml"
JSON_PATCH = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
UNRECOGNIZED = "the object provided is unrecognized (must be of type ConfigMap): "
PARSING = UNRECOGNIZED + "couldn't get version/kind; json parse error: "
META = r'struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }'
SCHEME = 'in scheme "pkg/api/legacyscheme/scheme.go:30"'
NAMELESS = 'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required'


@pytest.mark.parametrize(
    ("body", "content", "code", "message"),
    [
        (b"", "", 400, PARSING + "unexpected end of JSON input (<empty>)"),
        (b"{", "application/json; charset=utf-8", 400, PARSING + "unexpected end of JSON input ({)"),
        (b"[]", "", 400, f"{PARSING}json: cannot unmarshal array into Go value of type {META} (5b5d)"),
        (b'"x"', "", 400, f"{PARSING}json: cannot unmarshal string into Go value of type {META} (227822)"),
        (b'{"a":}', "", 400, PARSING + "invalid character '}' looking for beginning of value ({\"a\":})"),
        (b"nope", "", 400, PARSING + "invalid character 'o' in literal null (expecting 'u') (6e6f7065)"),
        (
            b'{"kind":1}',
            "",
            400,
            PARSING + 'json: cannot unmarshal number into Go struct field .kind of type string ({"kind":1})',
        ),
        (
            b'{"apiVersion":"a/b/c","kind":"ConfigMap"}',
            "",
            400,
            UNRECOGNIZED + 'unexpected GroupVersion string: a/b/c ({"apiVersion":"a/b/c","kind":" ...)',
        ),
        (b"null", "", 422, NAMELESS),
        (b"", YAML, 422, NAMELESS),
        (b"a: [\n", YAML, 400, UNRECOGNIZED + "yaml: line 1: did not find expected node content (613a205b0a)"),
        (
            b"a: b: c",
            YAML,
            400,
            UNRECOGNIZED + "yaml: mapping values are not allowed in this context (613a20623a2063)",
        ),
        (b"a: *b", YAML, 400, UNRECOGNIZED + "yaml: unknown anchor 'b' referenced (613a202a62)"),
        (b"a", YAML, 400, f"{PARSING}json: cannot unmarshal string into Go value of type {META} (61)"),
        (b"", PROTOBUF, 400, UNRECOGNIZED + "empty data (<empty>)"),
        (b"k8s\0", PROTOBUF, 400, UNRECOGNIZED + "empty body (6b387300)"),
        (b"k8s\0\xff\xff", PROTOBUF, 400, UNRECOGNIZED + "unexpected EOF (6b387300ffff)"),
        (
            b"abcd",
            PROTOBUF,
            400,
            UNRECOGNIZED
            + "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0] (61626364)",
        ),
        (
            b"x",
            "application/x-www-form-urlencoded",
            415,
            (
                "the body of the request was in an unknown format - accepted media types include: "
                "application/json, application/yaml, application/vnd.kubernetes.protobuf"
            ),
        ),
        (
            b'{"kind":"Pod"}',
            "",
            400,
            (
                'Pod in version "v1" cannot be handled as a ConfigMap: converting (v1.Pod) to (core.ConfigMap): '
                "unknown conversion"
            ),
        ),
        (
            b'{"kind":"Nope","apiVersion":"v1"}',
            "",
            400,
            'Nope in version "v1" cannot be handled as a ConfigMap: no kind "Nope" is registered for version "v1" '
            + SCHEME,
        ),
        (
            b'{"kind":"ConfigMap","apiVersion":"v2"}',
            "",
            400,
            (
                'ConfigMap in version "v2" cannot be handled as a ConfigMap: no kind "ConfigMap" is registered for '
                f'version "v2" {SCHEME}'
            ),
        ),
        (
            b'{"metadata":{"name":"x","namespace":"other"}}',
            "",
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
    ],
)
async def test_a_body_that_is_no_such_object(api: Any, body: bytes, content: str, code: int, message: str) -> None:
    answer = await api.call("POST", api.path("configmaps"), body, content=content)
    assert (answer.status, answer.message) == (code, message)
    assert answer.json["reason"] == {400: "BadRequest", 415: "UnsupportedMediaType", 422: "Invalid"}[code]


async def test_another_version_of_a_kind_is_said_to_be_one(api: Any) -> None:
    body = {"kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v2", "metadata": {"name": "h"}}
    path = f"/apis/autoscaling/v1/namespaces/{api.namespace}/horizontalpodautoscalers"
    answer = await api.call("POST", path, body)
    expected = "the API version in the data (autoscaling/v2) does not match the expected API version (autoscaling/v1)"
    assert (answer.status, answer.message) == (400, expected)


@pytest.mark.parametrize(
    ("metadata", "code", "message"),
    [
        ({"name": "d"}, 400, "the name of the object (d) does not match the name on the URL (c)"),
        ({}, 400, "the name of the object (c based on URL) was undeterminable: name must be provided"),
        (
            {"name": "c", "namespace": "x"},
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            {"name": "c", "uid": "x"},
            409,
            (
                'Operation cannot be fulfilled on configmaps "c": StorageError: invalid object, Code: 4, Key: '
                "/registry/configmaps/NAMESPACE/c, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in "
                "precondition: x, UID in object meta: UID"
            ),
        ),
        (
            {"name": "c", "deletionTimestamp": "2020-01-01T00:00:00Z"},
            422,
            (
                'ConfigMap "c" is invalid: metadata.deletionTimestamp: Invalid value: "2020-01-01T00:00:00Z": field is '
                "immutable"
            ),
        ),
        (
            {"name": "c", "deletionGracePeriodSeconds": 5},
            422,
            'ConfigMap "c" is invalid: metadata.deletionGracePeriodSeconds: Invalid value: 5: field is immutable',
        ),
        ({"name": "c", "creationTimestamp": "2020-01-01T00:00:00Z", "generation": 7}, 200, ""),
    ],
)
async def test_an_update_that_means_another_object(api: Any, metadata: Any, code: int, message: str) -> None:
    made = await api.config_map("c")
    answer = await api.call("PUT", api.path("configmaps", "c"), {"metadata": metadata})
    expected = message.replace("NAMESPACE", api.namespace).replace("meta: UID", f"meta: {made['metadata']['uid']}")
    assert (answer.status, answer.json.get("message", "")) == (code, expected)
    if code == 200:
        assert answer.json["metadata"]["creationTimestamp"] == made["metadata"]["creationTimestamp"]


async def test_an_update_without_the_version_that_a_kind_needs(api: Any) -> None:
    path = api.path("leases", group="coordination.k8s.io")
    await api.create(path, {"metadata": {"name": "l"}})
    answer = await api.call("PUT", f"{path}/l", {"metadata": {"name": "l"}})
    assert answer.message == (
        'leases.coordination.k8s.io "l" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified '
        "for an update"
    )


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
    await api.config_map("c")
    query = "?fieldManager=m" if media == APPLY else ""
    answer = await api.call("PATCH", api.path("configmaps", "c") + query, patch, content=media)
    assert (answer.status, answer.json.get("message", "")) == (code, message)


async def test_a_patch_that_leaves_another_kind_is_invalid(api: Any) -> None:
    await api.config_map("c")
    answer = await api.call("PATCH", api.path("configmaps", "c"), {"kind": "Pod"}, content=MERGE)
    assert answer.status == 422
    assert answer.message.startswith(' "" is invalid: patch: Invalid value: "{')
    assert answer.message.endswith(": converting (v1.Pod) to (core.ConfigMap): unknown conversion")


async def test_what_is_not_there_is_said_before_what_is_wrong_with_a_patch(api: Any) -> None:
    answer = await api.call("PATCH", api.path("configmaps", "none"), b"[1]", content=JSON_PATCH)
    assert (answer.status, answer.message) == (404, 'configmaps "none" not found')


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("configmaps?limit=x", 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
        (
            "configmaps?limit=9223372036854775808",
            400,
            'strconv.ParseInt: parsing "9223372036854775808": value out of range',
        ),
        ("configmaps?timeoutSeconds=", 400, 'strconv.ParseInt: parsing "": invalid syntax'),
        ("configmaps?watch=1&timeoutSeconds=x", 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("configmaps?limit=1&limit=x", 200, ""),
        (
            "configmaps?resourceVersion=x",
            400,
            'resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax',
        ),
        ("configmaps?continue=x", 400, "invalid continue token: continue key is not valid"),
        (
            "configmaps?continue=eyJ2IjoidiJ9",
            400,
            "invalid continue token: continue key is not valid: server does not recognize this encoded version v",
        ),
        ("configmaps?fieldSelector=a", 400, "invalid selector: 'a'; can't understand 'a'"),
        (
            "configmaps?fieldSelector=a%3Db",
            400,
            '"a" is not a known field selector: only "metadata.name", "metadata.namespace"',
        ),
        ("pods?fieldSelector=a%3Db", 400, "field label not supported: a"),
        ("configmaps/c?export=1", 400, "the export parameter, deprecated since v1.14, is no longer supported"),
        ("configmaps/c?export=false", 200, ""),
        (
            "configmaps/c?watch=1&fieldSelector=metadata.name%3Dd",
            400,
            "fieldSelector metadata.name doesn't match requested name",
        ),
        ("configmaps/c/status", 404, "the server could not find the requested resource"),
        ("nopes", 404, "the server could not find the requested resource"),
    ],
)
async def test_a_read_that_cannot_be(api: Any, path: str, code: int, message: str) -> None:
    await api.config_map("c")
    answer = await api.get(f"/api/v1/namespaces/{api.namespace}/{path}")
    assert (answer.status, answer.json.get("message", "")) == (code, message)


@pytest.mark.parametrize(("method", "name"), [("PUT", ""), ("PATCH", ""), ("POST", "c"), ("OPTIONS", "c")])
async def test_a_method_that_a_path_does_not_have(api: Any, method: str, name: str) -> None:
    answer = await api.call(method, api.path("configmaps", name), {"metadata": {"name": "c"}})
    assert (answer.status, answer.json["reason"], answer.json["details"]) == (405, "MethodNotAllowed", {})
    assert answer.message == "the server does not allow this method on the requested resource"


@pytest.mark.parametrize(
    ("query", "body", "code", "message"),
    [
        ("?gracePeriodSeconds=x", None, 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
        (
            "?propagationPolicy=",
            None,
            422,
            (
                'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "": supported values: '
                '"Foreground", "Background", "Orphan", "nil"'
            ),
        ),
        (
            "",
            {"gracePeriodSeconds": "x"},
            400,
            "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64",
        ),
        (
            "",
            b"nope",
            400,
            "couldn't get version/kind; json parse error: invalid character 'o' in literal null (expecting 'u')",
        ),
        (
            "",
            {"kind": "Pod", "apiVersion": "v1"},
            400,
            'no kind "Pod" is registered for version "v1" in scheme "pkg/runtime/scheme.go:110"',
        ),
        (
            "?resourceVersion=1",
            None,
            409,
            (
                'Operation cannot be fulfilled on ConfigMap "c": the ResourceVersion in the precondition (1) does not '
                "match the ResourceVersion in record (VERSION). The object might have been modified"
            ),
        ),
        ("", {"kind": "DeleteOptions", "apiVersion": "apps/v1"}, 200, ""),
    ],
)
async def test_a_deletion_that_cannot_be(api: Any, query: str, body: Any, code: int, message: str) -> None:
    made = await api.config_map("c")
    answer = await api.call("DELETE", api.path("configmaps", "c") + query, body)
    expected = message.replace("VERSION", made["metadata"]["resourceVersion"])
    assert (answer.status, answer.json.get("message", "")) == (code, expected)


async def test_a_deletion_that_goes_on_below_is_accepted(api: Any) -> None:
    """Only for whoever says so in the old way: other clients were told 200 all along."""
    for name, body, code in (("a", {"orphanDependents": False}, 202), ("b", {"propagationPolicy": "Background"}, 200)):
        await api.create(api.path("configmaps"), {"metadata": {"name": name, "finalizers": ["x.io/y"]}})
        assert (await api.call("DELETE", api.path("configmaps", name), body)).status == code


async def test_bodies_that_go_reads_are_read(api: Any) -> None:
    body = b'{"metadata":{"name":"c"},"data":{"a":"\xff","b":"\\ud800"}}'
    answer = await api.call("POST", api.path("configmaps"), body)
    assert (answer.status, answer.json["data"]) == (201, {"a": "\ufffd", "b": "\ufffd"})


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

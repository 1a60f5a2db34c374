"""Objects that cannot be understood are refused in kube-apiserver v1.36's words, with its codes and reasons.

Source of the words: k8s.io/apiserver's endpoints/handlers and registry/generic/registry/store.go, and apimachinery's
serializers, both v0.36.
"""

from __future__ import annotations

from typing import Any

import pytest

PROTOBUF = "application/vnd.kubernetes.protobuf"
YAML = "application/yaml"
MERGE = "application/merge-patch+json"
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


@pytest.mark.parametrize(
    ("method", "path", "kind", "field", "into"),
    [
        ("PUT", "configmaps/c", "ConfigMap", "metadata", "ConfigMap.metadata of type v1.ObjectMeta"),
        ("PUT", "replicationcontrollers/r/scale", "Scale", "metadata", "Scale.metadata of type v1.ObjectMeta"),
        ("PUT", "replicationcontrollers/r/scale", "Scale", "spec", "Scale.spec of type v1.ScaleSpec"),
        ("POST", "pods/p/binding", "Binding", "metadata", "Binding.metadata of type v1.ObjectMeta"),
        ("POST", "pods/p/binding", "Binding", "target", "Binding.target of type v1.ObjectReference"),
    ],
)
async def test_a_field_of_another_type(api: Any, method: str, path: str, kind: str, field: str, into: str) -> None:
    answer = await api.call(method, api.path(path), {field: "x"})
    assert (answer.status, answer.json["reason"]) == (400, "BadRequest")
    assert answer.message.startswith(f'{kind} in version "v1" cannot be handled as a {kind}: json: cannot unmarshal ')
    assert answer.message.endswith(f"string into Go struct field {into}")


async def test_objects_that_are_nested_too_deeply(api: Any) -> None:
    await api.config_map("c")
    deep = b"[" * 900 + b"]" * 900
    for method, content in (("POST", ""), ("PATCH", MERGE), ("PATCH", APPLY)):
        path = api.path("configmaps", "c" if method == "PATCH" else "") + "?fieldManager=m"
        answer = await api.call(method, path, b'{"metadata":{"name":"c"},"data":%b}' % deep, content=content)
        assert (answer.status, answer.message) == (400, "exceeded max depth")


async def test_a_pod_whose_volume_has_no_name(api: Any) -> None:
    spec = {"containers": [{"name": "a", "image": "i"}], "volumes": [{"emptyDir": {}}]}
    answer = await api.call("POST", api.path("pods"), {"metadata": {"name": "p"}, "spec": spec})
    assert (answer.status, answer.message) == (422, 'Pod "p" is invalid: spec.volumes[0].name: Required value')


async def test_an_update_without_the_version_that_a_kind_needs(api: Any) -> None:
    path = api.path("leases", group="coordination.k8s.io")
    await api.create(path, {"metadata": {"name": "l"}})
    answer = await api.call("PUT", f"{path}/l", {"metadata": {"name": "l"}})
    assert answer.message == (
        'leases.coordination.k8s.io "l" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified '
        "for an update"
    )


async def test_bodies_that_go_reads_are_read(api: Any) -> None:
    body = b'{"metadata":{"name":"c"},"data":{"a":"\xff","b":"\\ud800"}}'
    answer = await api.call("POST", api.path("configmaps"), body)
    assert (answer.status, answer.json["data"]) == (201, {"a": "\ufffd", "b": "\ufffd"})

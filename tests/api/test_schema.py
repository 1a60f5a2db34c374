"""Decoding: types, unknown and duplicate fields, normal forms, in kube-apiserver's words."""

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.api import kinds, schema
from hawser.api.errors import APIError
from hawser.api.kinds import Kind


def pod(**container: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a", "labels": {"app": "x"}},
        "spec": {"containers": [{"name": "a", "image": "b", **container}]},
    }


def test_a_well_formed_object_is_left_alone() -> None:
    obj = pod(ports=[{"containerPort": 80}], resources={"limits": {"cpu": "500m"}}, env=[{"name": "A", "value": ""}])
    before = copy.deepcopy(obj)
    assert schema.decode(kinds.POD, obj) == []
    assert obj == before


@pytest.mark.parametrize(
    ("kind", "obj", "message"),
    [
        (
            kinds.POD,
            {"spec": {"containers": "x"}},
            (
                'Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal string into Go struct field '
                "PodSpec.spec.containers of type []v1.Container"
            ),
        ),
        (
            kinds.DEPLOYMENT,
            {"spec": {"template": {"spec": {"containers": [{"env": [{"name": "A", "value": 1}]}]}}}},
            (
                'Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal number into Go '
                "struct field EnvVar.spec.template.spec.containers.env.value of type string"
            ),
        ),
        (
            kinds.CONFIG_MAP,
            {"data": {"a": True}},
            (
                'ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal bool into Go '
                "struct field ConfigMap.data of type string"
            ),
        ),
        (
            kinds.DEPLOYMENT,
            {"spec": {"replicas": "3"}},
            (
                'Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go '
                "struct field DeploymentSpec.spec.replicas of type int32"
            ),
        ),
        (
            kinds.DEPLOYMENT,
            {"spec": {"replicas": 2**31}},
            (
                'Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal number '
                "2147483648 into Go struct field DeploymentSpec.spec.replicas of type int32"
            ),
        ),
        (
            kinds.DEPLOYMENT,
            {"spec": {"replicas": 1.5}},
            (
                'Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal number 1.5 into '
                "Go struct field DeploymentSpec.spec.replicas of type int32"
            ),
        ),
        (
            kinds.POD,
            {"metadata": []},
            (
                'Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal array into Go struct field '
                "Pod.metadata of type v1.ObjectMeta"
            ),
        ),
        (
            kinds.POD,
            {"spec": {"restartPolicy": 1}},
            (
                'Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal number into Go struct field '
                "PodSpec.spec.restartPolicy of type v1.RestartPolicy"
            ),
        ),
        (
            kinds.SECRET,
            {"data": {"a": "a!"}},
            'Secret in version "v1" cannot be handled as a Secret: illegal base64 data at input byte 1',
        ),
        (
            kinds.SECRET,
            {"data": {"a": "abcde"}},
            'Secret in version "v1" cannot be handled as a Secret: illegal base64 data at input byte 4',
        ),
        (
            kinds.POD,
            {"metadata": {"creationTimestamp": "yesterday"}},
            (
                'Pod in version "v1" cannot be handled as a Pod: parsing time "yesterday" as '
                '"2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"'
            ),
        ),
        (
            kinds.LEASE,
            {"spec": {"renewTime": "2026-01-01T00:00:00Z"}},
            (
                'Lease in version "v1" cannot be handled as a Lease: parsing time "2026-01-01T00:00:00Z" as '
                '"2006-01-02T15:04:05.000000Z07:00": cannot parse "Z" as ".000000"'
            ),
        ),
        (
            kinds.POD,
            pod(resources={"limits": {"cpu": "lots"}}),
            (
                'Pod in version "v1" cannot be handled as a Pod: quantities must match the regular expression '
                "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
            ),
        ),
        (
            kinds.SERVICE,
            {"spec": {"ports": [{"port": 80, "targetPort": False}]}},
            (
                'Service in version "v1" cannot be handled as a Service: json: cannot unmarshal bool into Go struct '
                "field ServicePort.spec.ports.targetPort of type int32"
            ),
        ),
    ],
)
def test_a_value_of_the_wrong_type_is_a_bad_request(kind: Kind, obj: dict[str, Any], message: str) -> None:
    with pytest.raises(APIError) as caught:
        schema.decode(kind, obj)
    assert caught.value.message == message
    assert (caught.value.code, caught.value.reason) == (400, "BadRequest")


def test_unknown_fields_are_dropped_and_named() -> None:
    obj = pod(imagee="x", ports=[{"containerPort": 80}, {"containerPort": 81, "foo": {"bar": 1}}])
    obj["spec"]["nodename"] = None
    obj["extra"] = 1
    assert schema.decode(kinds.POD, obj) == [
        'unknown field "spec.containers[0].imagee"',
        'unknown field "spec.containers[0].ports[1].foo"',
        'unknown field "spec.nodename"',
        'unknown field "extra"',
    ]
    assert obj == pod(ports=[{"containerPort": 80}, {"containerPort": 81}])


def test_field_names_are_case_sensitive() -> None:
    assert schema.decode(kinds.POD, {"Spec": {}}) == ['unknown field "Spec"']


def test_strict_errors_are_bad_requests_that_list_every_complaint() -> None:
    error = schema.strict_error(kinds.DEPLOYMENT, ['unknown field "spec.foo"', 'duplicate field "spec.replicas"'])
    assert error.code == 400
    assert error.message == (
        'Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: '
        'unknown field "spec.foo", duplicate field "spec.replicas"'
    )


def test_null_fields_are_absent_fields_and_null_elements_zero_values() -> None:
    obj = pod(args=["a", None], env=None)
    obj["metadata"]["creationTimestamp"] = None
    obj["metadata"]["annotations"] = {"a": None}
    assert schema.decode(kinds.POD, obj) == []
    assert "creationTimestamp" not in obj["metadata"]
    assert obj["metadata"]["annotations"] == {"a": ""}
    assert obj["spec"]["containers"] == [{"name": "a", "image": "b", "args": ["a", ""]}]


@pytest.mark.parametrize(
    ("written", "read"),
    [("1000m", "1"), ("0.5", "500m"), (2, "2"), (0.1, "100m"), ("1024Mi", "1Gi"), ("1Gi", "1Gi")],
)
def test_quantities_become_canonical(written: Any, read: str) -> None:
    obj = pod(resources={"requests": {"cpu": written}})
    assert schema.decode(kinds.POD, obj) == []
    assert obj["spec"]["containers"][0]["resources"]["requests"]["cpu"] == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05+02:00", "2026-01-02T01:04:05Z"),
    ],
)
def test_times_become_utc_seconds(written: str, read: str) -> None:
    obj = {"metadata": {"creationTimestamp": written}}
    assert schema.decode(kinds.POD, obj) == []
    assert obj["metadata"]["creationTimestamp"] == read


def test_micro_times_keep_six_digits() -> None:
    obj = {"spec": {"renewTime": "2026-01-02T03:04:05.123456+01:00"}}
    assert schema.decode(kinds.LEASE, obj) == []
    assert obj["spec"]["renewTime"] == "2026-01-02T02:04:05.123456Z"


@pytest.mark.parametrize("text", ["2026-13-01T00:00:00Z", "2026-01-32T00:00:00Z", "2026-01-01T00:00:00", "", "x" * 20])
def test_impossible_times_are_refused(text: str) -> None:
    with pytest.raises(APIError, match="parsing time"):
        schema.decode(kinds.POD, {"metadata": {"creationTimestamp": text}})


def test_secret_data_may_have_line_breaks() -> None:
    obj = {"data": {"a": "YWJj\nZGVm\n"}}
    assert schema.decode(kinds.SECRET, obj) == []
    assert obj["data"]["a"] == "YWJjZGVm"


def test_managed_fields_are_kept_as_they_are() -> None:
    entry = {"manager": "x", "fieldsV1": {"f:spec": {".": {}, "f:a": None}}}
    obj = {"metadata": {"managedFields": [entry]}}
    assert schema.decode(kinds.POD, obj) == []
    assert entry["fieldsV1"] == {"f:spec": {".": {}, "f:a": None}}


def test_kinds_outside_the_table_decode_too() -> None:
    scale = Kind("autoscaling", "v1", "Scale", "", True)
    assert schema.decode(scale, {"spec": {"replicas": 2, "x": 1}}) == ['unknown field "spec.x"']


def test_recursive_definitions_compile() -> None:
    crd = Kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "", False)
    props = {"openAPIV3Schema": {"properties": {"a": {"not": {"type": "string", "x": 1}}}}}
    obj = {"spec": {"versions": [{"name": "v1", "schema": props}]}}
    assert schema.decode(crd, obj) == ['unknown field "spec.versions[0].schema.openAPIV3Schema.properties.a.not.x"']


@pytest.mark.parametrize(
    ("raw", "complaints"),
    [
        (b'{"a":1,"b":{"a":1}}', []),
        (b'{"spec":{"replicas":1,"replicas":2,"replicas":3}}', ['duplicate field "spec.replicas"']),
        (
            b'{"kind":"a","kind":"b","spec":{"containers":[{},{"name":"a","name":"b"}]}}',
            ['duplicate field "kind"', 'duplicate field "spec.containers[1].name"'],
        ),
    ],
)
def test_duplicate_fields_are_named(raw: bytes, complaints: list[str]) -> None:
    assert schema.duplicates(raw) == complaints


def test_required_fields_of_posted_kinds() -> None:
    binding = Kind("", "v1", "Binding", "bindings", True)
    assert [str(e) for e in schema.required(binding, {"metadata": {"name": "x"}})] == ["target: Required value"]
    assert schema.required(binding, {"target": {"name": "n"}}) == []
    token = Kind("authentication.k8s.io", "v1", "TokenRequest", "", True)
    assert schema.required(token, {"spec": {}}) == []


def test_kinds_of_the_table_leave_required_fields_to_validation() -> None:
    assert all(schema.required(kind, {}) == [] for kind in kinds.watched())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "spec", "metadata", "containers", "labels", "env", "x"]), inner)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["metadata", "spec", "status", "kind", "data", "x"]), json_values))
def test_decoding_is_total_and_idempotent(obj: dict[str, Any]) -> None:
    for kind in (kinds.POD, kinds.SECRET, kinds.DEPLOYMENT):
        copied = copy.deepcopy(obj)
        try:
            schema.decode(kind, copied)
        except APIError as error:
            assert error.code == 400
            continue
        once = orjson.dumps(copied)
        assert schema.decode(kind, copied) == []
        assert orjson.dumps(copied) == once

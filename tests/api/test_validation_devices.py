"""What claims, classes and slices of devices may say, in kube-apiserver's words."""

import copy
from typing import Any

import pytest

from hawser.api import kinds
from hawser.api.kinds import Kind
from hawser.api.validation import validate_create, validate_status_update, validate_update

Obj = dict[str, Any]
EXACTLY: Obj = {"deviceClassName": "c", "allocationMode": "ExactCount", "count": 1}
SLICE: Obj = {"driver": "d", "nodeName": "n", "pool": {"name": "p", "resourceSliceCount": 1}}


def made(kind: Kind, **fields: Any) -> Obj:
    return {"metadata": {"name": "x", **({"namespace": "default"} if kind.namespaced else {})}, **fields}


def errors(kind: Kind, **fields: Any) -> list[str]:
    return [str(e) for e in validate_create(kind, made(kind, **fields))]


def claim(**devices: Any) -> Obj:
    return {"devices": {"requests": [{"name": "r", "exactly": EXACTLY}], **devices}}


ONE_OF = "exactly one of `exactly` or `firstAvailable` is required"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (claim(), []),
        (claim(requests=[{"name": "r"}]), [f"spec.devices.requests[0]: Required value: {ONE_OF}"]),
        (
            claim(requests=[{"name": "r", "exactly": EXACTLY}] * 2),
            ['spec.devices.requests[1]: Duplicate value: "r"'],
        ),
        (
            claim(requests=[{"name": "r", "exactly": {**EXACTLY, "allocationMode": "All"}}]),
            [
                (
                    "spec.devices.requests[0].exactly.count: Invalid value: 1: must not be specified when "
                    "allocationMode is 'All'"
                )
            ],
        ),
        (
            claim(requests=[{"name": "r", "firstAvailable": [{**EXACTLY, "name": "a", "deviceClassName": ""}]}]),
            ["spec.devices.requests[0].firstAvailable[0].deviceClassName: Required value"],
        ),
        (
            claim(constraints=[{"requests": ["s"], "matchAttribute": "d.e/a"}]),
            [
                (
                    'spec.devices.constraints[0].requests[0]: Invalid value: "s": must be the name of a request in the '
                    "claim or the name of a request and a subrequest separated by '/'"
                )
            ],
        ),
        (
            claim(constraints=[{"matchAttribute": "a"}]),
            [
                (
                    'spec.devices.constraints[0].matchAttribute: Invalid value: "a": a fully qualified name must be a '
                    "domain and a name separated by a slash"
                )
            ],
        ),
        (
            claim(config=[{"opaque": {"driver": "d", "parameters": []}}, {}]),
            [
                (
                    'spec.devices.config[0].opaque.parameters: Invalid value: "<value omitted>": must be a valid JSON '
                    "object"
                ),
                "spec.devices.config[1].opaque: Required value",
            ],
        ),
    ],
)
def test_claims(spec: Obj, expected: list[str]) -> None:
    assert errors(kinds.RESOURCE_CLAIM, spec=spec) == expected
    in_template = [e.replace("spec.devices", "spec.spec.devices") for e in expected]
    assert errors(kinds.RESOURCE_CLAIM_TEMPLATE, spec={"spec": spec}) == in_template


def test_a_claim_does_not_change() -> None:
    old, new = made(kinds.RESOURCE_CLAIM, spec=claim()), made(kinds.RESOURCE_CLAIM, spec={})
    (error,) = validate_update(kinds.RESOURCE_CLAIM, new, old)
    assert (error.field, error.detail) == ("spec", "field is immutable")


DEVICE: Obj = {"driver": "d", "pool": "p", "device": "x"}
CONSUMER: Obj = {"resource": "pods", "name": "p", "uid": "u"}
ALLOCATED: Obj = {"devices": {"results": [{**DEVICE, "request": "r"}]}}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {"allocation": ALLOCATED, "reservedFor": [CONSUMER], "devices": [DEVICE]}, []),
        (
            {},
            {"reservedFor": [CONSUMER]},
            ["status.reservedFor: Forbidden: may not be specified when `allocated` is not set"],
        ),
        (
            {},
            {"allocation": {"devices": {"results": [{**DEVICE, "request": "q"}]}}},
            [
                (
                    'status.allocation.devices.results[0].request: Invalid value: "q": must be the name of a request '
                    "in the claim or the name of a request and a subrequest separated by '/'"
                )
            ],
        ),
        (
            {"allocation": ALLOCATED},
            {"allocation": ALLOCATED, "devices": [{**DEVICE, "device": "y"}]},
            ['status.devices[0]: Invalid value: "d/p/y": must be an allocated device in the claim'],
        ),
        (
            {"allocation": ALLOCATED},
            {"allocation": ALLOCATED, "reservedFor": [CONSUMER, CONSUMER]},
            ['status.reservedFor[1]: Duplicate value: "u"'],
        ),
        ({"allocation": ALLOCATED}, {}, []),
    ],
)
def test_what_becomes_of_a_claim(before: Obj, after: Obj, expected: list[str]) -> None:
    old, new = (made(kinds.RESOURCE_CLAIM, spec=claim(), status=status) for status in (before, after))
    assert [str(e) for e in validate_status_update(kinds.RESOURCE_CLAIM, new, old)] == expected


def test_device_classes() -> None:
    spec = {"selectors": [{}], "extendedResourceName": "kubernetes.io/x"}
    assert errors(kinds.DEVICE_CLASS, spec=spec) == [
        "spec.selectors[0].cel: Required value",
        'spec.extendedResourceName: Invalid value: "kubernetes.io/x": must be a valid extended resource name',
    ]
    assert errors(kinds.DEVICE_CLASS, spec={"extendedResourceName": "example.com/gpu"}) == []


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('device.driver == "d" && device.attributes["d"].model == "m"', ""),
        ('device.capacity["d"].memory.compareTo(quantity("1Gi")) >= 0', ""),
        ('device.attributes["d"].version.isGreaterThan(semver("1.0.0"))', ""),
        ("device.driver", "must evaluate to bool or the unknown type, not string"),
        ("device.colour == 1", "compilation failed: ERROR: <input>:1:7: undefined field 'colour'"),
    ],
)
def test_devices_are_selected_by_expressions_that_compile(expression: str, expected: str) -> None:
    found = errors(kinds.DEVICE_CLASS, spec={"selectors": [{"cel": {"expression": expression}}]})
    assert len(found) == bool(expected)
    assert all(e.startswith("spec.selectors[0].cel.expression: Invalid value: ") and expected in e for e in found)


def device(**fields: Any) -> Obj:
    return {"devices": [{"name": "x", **fields}]}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"pool": {"name": "p"}}, ["pool.resourceSliceCount: Invalid value: 0: must be greater than zero"]),
        (
            {"nodeName": None},
            [
                (
                    "Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` "
                    "is required"
                )
            ],
        ),
        (
            {"allNodes": True},
            [
                (
                    'Invalid value: "{`nodeName`, `allNodes`}": exactly one of `nodeName`, `nodeSelector`, `allNodes`, '
                    "`perDeviceNodeSelection` is required, but multiple fields are set"
                )
            ],
        ),
        (device(attributes={"a": {"string": "s"}, "d.e/b": {"version": "1.2.3-x"}}), []),
        (
            device(attributes={"a": {}, "b": {"version": "1"}}),
            [
                'devices[0].attributes[a]: Invalid value: "": exactly one value must be specified',
                (
                    'devices[0].attributes[b].version: Invalid value: "1": must be a string compatible with semver.org '
                    "spec 2.0.0"
                ),
            ],
        ),
        (
            device(taints=[{"key": "k", "effect": "Odd"}]),
            [
                (
                    'devices[0].taints[0].effect: Unsupported value: "Odd": supported values: "NoExecute", '
                    '"NoSchedule", "None"'
                )
            ],
        ),
        (
            device(bindingConditions=["a"]),
            [
                (
                    "devices[0].bindingFailureConditions: Invalid value: []: bindingFailureConditions are required to "
                    "use bindingConditions"
                )
            ],
        ),
        (
            device(nodeName="n"),
            [
                (
                    "devices[0]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if "
                    "`perDeviceNodeSelection` is set to true in the ResourceSlice spec"
                )
            ],
        ),
        (
            device(capacity={"m": {"value": "1Gi", "requestPolicy": {"default": "1Gi"}}}),
            ["devices[0].capacity[m].requestPolicy: Forbidden: allowMultipleAllocations must be true"],
        ),
        (
            device(
                allowMultipleAllocations=True,
                capacity={
                    "m": {
                        "value": "10",
                        "requestPolicy": {"default": "3", "validRange": {"min": "2", "step": "2", "max": "12"}},
                    }
                },
            ),
            [
                (
                    'devices[0].capacity[m].requestPolicy.validRange.max: Invalid value: "12": max is larger than '
                    "capacity value: 10"
                ),
                (
                    'devices[0].capacity[m].requestPolicy.validRange.step: Invalid value: "3": value is not a multiple '
                    "of a given step (2) from (2)"
                ),
            ],
        ),
    ],
)
def test_slices(change: Obj, expected: list[str]) -> None:
    spec = {key: value for key, value in {**copy.deepcopy(SLICE), **change}.items() if value is not None}
    found = errors(kinds.RESOURCE_SLICE, spec=spec)
    assert found == [f"spec: {e}" if e[0].isupper() else f"spec.{e}" for e in expected]


def test_a_slice_stays_in_its_pool() -> None:
    old = made(kinds.RESOURCE_SLICE, spec=SLICE)
    new = made(kinds.RESOURCE_SLICE, spec={**SLICE, "pool": {"name": "q", "resourceSliceCount": 1}, "nodeName": "m"})
    assert [e.field for e in validate_update(kinds.RESOURCE_SLICE, new, old)] == ["spec.pool.name", "spec.nodeName"]

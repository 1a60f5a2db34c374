"""Every kind's objects survive Kubernetes' protobuf encoding, and the field table knows every field there is."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hawser.api.definitions import definition_name, resolve
from hawser.api.kinds import KINDS, Kind
from hawser.apiserver.protobuf import encode, frames, wire
from hawser.apiserver.protobuf.table import EXTENSIONS, META, RUNTIME, Field, fields, message_of

Obj = dict[str, Any]
DEEPEST = 5

texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)
json_values = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
objects = st.dictionaries(texts, json_values, max_size=3)
seconds = st.datetimes().filter(lambda moment: moment.year > 1970).map(lambda moment: moment.replace(microsecond=0))
micros = st.datetimes().filter(lambda moment: moment.year > 1970)
items = st.lists(texts, max_size=3)
numbers = {
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "bool": st.booleans(),
    "string": texts,
    "double": st.integers(-1000, 1000) | st.floats(allow_nan=False, allow_infinity=False).filter(lambda v: v % 1 != 0),
    "bytes": st.binary(max_size=9).map(lambda raw: b64encode(raw).decode()),
    META + "Time": seconds.map(lambda moment: moment.isoformat() + "Z"),
    META + "MicroTime": micros.map(lambda moment: moment.isoformat(timespec="microseconds") + "Z"),
    META + "FieldsV1": objects,
    META + "Verbs": items,
    RUNTIME + "RawExtension": objects,
    EXTENSIONS + "JSON": json_values,
    "io.k8s.apimachinery.pkg.api.resource.Quantity": st.sampled_from(["0", "1500m", "2Gi", "3e10", "-1"]),
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": st.integers(-5, 2**31 - 1) | texts,
    "io.k8s.api.authentication.v1.ExtraValue": items,
    "io.k8s.api.authorization.v1.ExtraValue": items,
    "io.k8s.api.certificates.v1.ExtraValue": items,
}
ZERO: tuple[Any, ...] = ("", 0, False, {})


@st.composite
def objects_of(draw: st.DrawFn, message: str, depth: int = 0) -> Obj:
    """An object as JSON shows it: no empty lists and maps, no zeroes but where they are values."""
    obj: Obj = {}
    rows = list(fields(message).values())
    chosen = draw(st.lists(st.sampled_from(rows), max_size=6 if depth else 4, unique=True)) if rows else []
    for row in chosen:
        if row.shape == ".":
            obj.update(draw(objects_of(row.type, depth + 1)))
        elif depth < DEEPEST or row.type in numbers:
            value = draw(values_of(row, depth))
            if row.shape == "*" or row.required or row.type == META + "LabelSelector" or value not in ZERO:
                obj[row.name] = value
    return obj


def values_of(row: Field, depth: int) -> st.SearchStrategy[Any]:
    one = numbers.get(row.type)
    if row.type == EXTENSIONS + "JSONSchemaPropsOrArray":
        schema = objects_of(EXTENSIONS + "JSONSchemaProps", depth + 1)
        one = schema | st.lists(schema, min_size=1, max_size=2)
    elif row.type == EXTENSIONS + "JSONSchemaPropsOrBool":
        one = objects_of(EXTENSIONS + "JSONSchemaProps", depth + 1) | st.booleans()
    elif row.type == EXTENSIONS + "JSONSchemaPropsOrStringArray":
        one = objects_of(EXTENSIONS + "JSONSchemaProps", depth + 1) | st.lists(texts, min_size=1, max_size=2)
    elif one is None:
        one = objects_of(row.type, depth + 1)
    if row.shape == "[]":
        return st.lists(one, min_size=1, max_size=2)
    if row.shape == "{}":
        return st.dictionaries(texts, one, min_size=1, max_size=2)
    return one


OTHERS = [
    ("v1", "Status"),
    ("v1", "DeleteOptions"),
    ("apps/v1", "DeleteOptions"),
    ("policy/v1", "Eviction"),
    ("autoscaling/v1", "Scale"),
    ("autoscaling/v1", "HorizontalPodAutoscaler"),
    ("authentication.k8s.io/v1", "TokenRequest"),
    ("events.k8s.io/v1", "Event"),
    ("meta.k8s.io/v1", "PartialObjectMetadata"),
]
EVERY = [(kind.api_version, kind.kind) for kind in KINDS] + OTHERS


@pytest.mark.parametrize(("api_version", "kind"), EVERY)
def test_what_is_encoded_is_decoded_as_it_was(api_version: str, kind: str) -> None:
    message = message_of(api_version, kind)
    assert message is not None

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(objects_of(message))
    def check(obj: Obj) -> None:
        obj = {"kind": kind, "apiVersion": api_version, **obj}
        encoded = frames.document(obj)
        assert encoded is not None
        assert wire.decode(encoded) == obj

    check()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.plural}.{kind.group}")
def test_the_table_has_every_field_of_the_published_definitions(kind: Kind) -> None:
    todo = [definition_name(kind.gvk)]
    if "list" in kind.verbs:
        listed = message_of(kind.api_version, kind.list_kind)
        assert listed is not None
        assert [fields(listed)[number].name for number in (1, 2)] == ["metadata", "items"]
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        properties = resolve(name).get("properties")
        if properties:
            assert set(properties) - {"kind", "apiVersion"} <= known(name), name
            todo += re.findall(r"#/\$defs/([\w.\-]+)", str(properties))


def test_a_time_far_off_keeps_its_second() -> None:
    spec = {"renewTime": "2515-01-01T00:00:00.999999Z"}
    lease = {"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "spec": spec}
    assert wire.decode(frames.document(lease) or b"") == lease


def known(message: str) -> set[str]:
    found: set[str] = set()
    for row in fields(message).values():
        found |= known(row.type) if row.shape == "." else {row.name}
    return found


def test_a_frame_is_its_length_and_an_event() -> None:
    obj = frames.document({"kind": "ConfigMap", "apiVersion": "v1", "data": {"a": "b"}})
    assert obj is not None
    frame = frames.event("ADDED", obj)
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    assert frame[4:13] == b"\x0a\x05ADDED\x12" + encode.varint(len(obj) + 2)
    assert frame.endswith(obj)


def test_what_has_no_protobuf_form_has_none() -> None:
    assert frames.document({"kind": "Widget", "apiVersion": "example.com/v1"}) is None

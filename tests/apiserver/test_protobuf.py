"""Kubernetes' protobuf encoding, read by its field table."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.api.errors import Unreadable
from hawser.apiserver.protobuf import wire


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: Any) -> bytes:
    """A field: integers as varints, anything else with its length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def message(**fields: Any) -> bytes:
    """Fields called f1, f2 …; lists are repeated."""
    out = b""
    for name, value in fields.items():
        for item in value if isinstance(value, list) else [value]:
            out += field(int(name[1:]), item)
    return out


def envelope(version: str, kind: str, raw: bytes) -> bytes:
    return b"k8s\x00" + message(f1=message(f1=version, f2=kind), f2=raw)


def test_scalars_maps_bytes_and_times() -> None:
    metadata = message(f1="a", f11=[message(f1="k", f2="")], f8=message(f1=86400), f9=b"", f7=0)
    raw = message(f1=metadata, f2=[message(f1="x", f2="1"), message(f1="y")], f3=[message(f1="b", f2=b"\xff")], f4=0)
    assert wire.decode(envelope("v1", "ConfigMap", raw)) == {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {"name": "a", "labels": {"k": ""}, "creationTimestamp": "1970-01-02T00:00:00Z"},
        "data": {"x": "1", "y": ""},
        "binaryData": {"b": "/w=="},
        "immutable": False,
    }


def test_zero_is_kept_only_where_it_is_a_value() -> None:
    spec = message(f1=0, f5=0, f6=-1)
    found = wire.decode(envelope("apps/v1", "Deployment", message(f2=spec)))
    assert found["spec"] == {"replicas": 0, "revisionHistoryLimit": -1}


def test_inlined_messages_quantities_and_numbers_or_text() -> None:
    volume = message(f1="v", f2=message(f2=message(f1="Memory", f2=message(f1="1Gi"))))
    found = wire.decode(envelope("v1", "Pod", message(f2=message(f1=volume))))
    assert found["spec"]["volumes"] == [{"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}]
    ports = [message(f3=80, f4=message(f1=0, f2=8080)), message(f3=81, f4=message(f1=1, f3="http"))]
    service = wire.decode(envelope("v1", "Service", message(f2=message(f1=ports))))
    assert [port["targetPort"] for port in service["spec"]["ports"]] == [8080, "http"]


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"k8s\x00",
        envelope("v1", "Nope", b""),
        envelope("v1", "ConfigMap", b"\x0a\xff"),
        envelope("v1", "ConfigMap", b"\x0b"),
        envelope("v1", "ConfigMap", b"\xff" * 12),
        envelope("v1", "ConfigMap", field(2, message(f1=b"\xff"))),
    ],
)
def test_what_cannot_be_read_is_said_to_be_so(body: bytes) -> None:
    with pytest.raises(Unreadable):
        wire.decode(body)


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_worse_than_not_being_read(raw: bytes) -> None:
    try:
        wire.decode(envelope("v1", "Pod", raw))
    except Unreadable:
        pass


@given(st.integers(-(2**63), 2**63 - 1))
def test_integers_survive(value: int) -> None:
    found = wire.decode(envelope("v1", "Pod", message(f2=field(4, value))))
    assert found["spec"]["terminationGracePeriodSeconds"] == value


def test_unknown_fields_are_passed_over() -> None:
    raw = field(99, "x") + varint(98 << 3 | 5) + struct.pack("<I", 1) + varint(97 << 3 | 1) + struct.pack("<d", 1.0)
    assert wire.decode(envelope("v1", "ConfigMap", raw)) == {"kind": "ConfigMap", "apiVersion": "v1"}

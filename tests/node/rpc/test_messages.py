"""Messages by table: what is written and read is what google.protobuf writes and reads."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.node.rpc.reference import Reference

from hawser.node.cri import schema
from hawser.node.rpc.messages import Malformed, Message, MessageType
from hawser.node.rpc.schema import Schema

TABLE = json.loads((Path(schema.__file__).parent / "fields.json").read_text())
TEXT = st.text(max_size=8)
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXT,
    "bytes": st.binary(max_size=8),
    "bool": st.booleans(),
    "double": st.floats(allow_nan=False),
    "int32": st.integers(-(1 << 31), (1 << 31) - 1),
    "int64": st.integers(-(1 << 63), (1 << 63) - 1),
    "uint32": st.integers(0, (1 << 32) - 1),
    "uint64": st.integers(0, (1 << 64) - 1),
}


@cache
def reference() -> Reference:
    return Reference(TABLE)


def values(message: str, depth: int = 3) -> st.SearchStrategy[dict[str, Any]]:
    """Fields of a message, as a request has them."""
    made = {name: of(kind, depth) for name, (_, kind) in TABLE["messages"][message].items()}
    return st.fixed_dictionaries({}, optional={name: one for name, one in made.items() if one is not None})


def of(kind: str, depth: int) -> st.SearchStrategy[Any] | None:
    if kind.startswith("map<"):
        return st.dictionaries(TEXT, TEXT, max_size=3)
    if kind.startswith("repeated "):
        one = of(kind.removeprefix("repeated "), depth)
        return st.lists(one, max_size=3) if one is not None else None
    if kind in SCALARS:
        return SCALARS[kind]
    if kind in TABLE["enums"]:
        return st.sampled_from(sorted(TABLE["enums"][kind].values()))
    return values(kind, depth - 1) if depth else None


def plain(message: Message, fields: dict[str, Any]) -> dict[str, Any]:
    """What was decoded, of the fields that are there."""
    found = {}
    for name, (_, kind) in fields.items():
        if message.has(name):
            value, element = getattr(message, name), kind.removeprefix("repeated ")
            inner = TABLE["messages"].get(element)
            if inner is not None:
                value = [plain(one, inner) for one in value] if element != kind else plain(value, inner)
            found[name] = value
    return found


def expected(value: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    """A request as it is read: scalars of their default and what is empty are not sent."""
    found = {}
    for name, one in value.items():
        element = fields[name][1].removeprefix("repeated ")
        inner = TABLE["messages"].get(element)
        if inner is None:
            if one or (isinstance(one, float) and str(one) == "-0.0"):
                found[name] = one
        elif isinstance(one, list):
            if one:
                found[name] = [expected(part, inner) for part in one]
        else:
            found[name] = expected(one, inner)
    return found


MESSAGES = ("RunPodSandboxRequest", "CreateContainerRequest", "ListContainersResponse", "ContainerStatusResponse")


@pytest.mark.parametrize("name", [*MESSAGES, "StatusResponse", "ListContainerStatsResponse", "ListImagesResponse"])
def test_messages_are_those_of_the_reference(name: str) -> None:
    ours, theirs, fields = schema.cri().message(name), reference().message(name), TABLE["messages"][name]

    @settings(max_examples=40, deadline=None)
    @given(values(name))
    def check(value: dict[str, Any]) -> None:
        known = theirs(**value)
        assert theirs.FromString(ours.encode(value)) == known
        assert plain(ours.decode(known.SerializeToString()), fields) == expected(value, fields)

    check()


def test_every_message_of_the_table_can_be_made() -> None:
    for name in TABLE["messages"]:
        assert isinstance(schema.cri().message(name).decode(schema.cri().message(name).encode({})), Message)
    assert schema.cri().method("RuntimeService", "GetContainerEvents").streams


def test_what_is_absent_has_its_default() -> None:
    status = schema.cri().message("ContainerStatus").decode(b"")
    assert (status.id, status.exit_code, dict(status.labels), tuple(status.mounts)) == ("", 0, {}, ())
    assert status.image.image == "", "also below a message that is absent"
    assert not status.has("image")


def test_an_enum_goes_by_name_or_number_and_a_wrong_one_is_told() -> None:
    config = schema.cri().message("ContainerConfig")
    for value in ("SIGRTMINPLUS3", TABLE["enums"]["Signal"]["SIGRTMINPLUS3"]):
        assert config.decode(config.encode({"stop_signal": value})).stop_signal == 38
    with pytest.raises(ValueError, match="no value SIGNONE"):
        config.encode({"stop_signal": "SIGNONE"})
    with pytest.raises(ValueError, match="ContainerConfig has no field nose"):
        config.encode({"nose": 1})


def test_fields_that_the_table_lacks_are_passed_over() -> None:
    small = Schema({"package": "p", "enums": {}, "messages": {"M": {"last": [9, "int32"]}}, "services": {}})
    large = {"a": [1, "string"], "b": [2, "double"], "c": [3, "int64"], "d": [4, "M"], "last": [9, "int32"]}
    wide = Schema({"package": "p", "enums": {}, "messages": {"M": large}, "services": {}}).message("M")
    data = wide.encode({"a": "x" * 300, "b": 1.5, "c": -1, "d": {"a": "y"}, "last": -7})
    assert small.message("M").decode(data).last == -7


@given(st.binary(max_size=80))
def test_any_bytes_are_a_message_or_malformed(data: bytes) -> None:
    try:
        schema.cri().message("ContainerStatusResponse").decode(data)
    except Malformed:
        pass


def test_what_is_cut_short_is_malformed() -> None:
    kind: MessageType = schema.cri().message("VersionResponse")
    whole = kind.encode({"runtime_name": "containerd", "version": "v1"})
    for end in (1, 3, len(whole) - 1):
        with pytest.raises(Malformed):
            kind.decode(whole[:end])

"""Which devices a container gets of what its pod claims, and how CDI specs become part of a request: tables."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from hawser.node.deviceplugins import state as plugins
from hawser.node.devices import cdi
from hawser.node.dra import claims
from hawser.node.dra.claims import NotPrepared
from hawser.node.dra.state import Device, Prepared, State
from hawser.node.pod.env import ConfigError

Obj = dict[str, Any]


def pod(*entries: Obj, **status: Any) -> Obj:
    metadata = {"name": "p", "namespace": "ns", "uid": "u"}
    return {"metadata": metadata, "spec": {"resourceClaims": list(entries)}, "status": status}


GIVEN = {"name": "given", "resourceClaimName": "shared"}
MADE = {"name": "made", "resourceClaimTemplateName": "template"}


def test_claims_are_found_by_name_by_template_and_for_extended_resources() -> None:
    extended = {"resourceClaimName": "extra", "requestMappings": []}
    statuses = [{"name": "made", "resourceClaimName": "p-made-x"}]
    found = pod(GIVEN, MADE, resourceClaimStatuses=statuses, extendedResourceClaimStatus=extended)
    assert list(claims.names(found)) == [("given", "shared", False), ("made", "p-made-x", True), ("", "extra", False)]
    none = pod(MADE, resourceClaimStatuses=[{"name": "made"}])
    assert list(claims.names(none)) == [], "a claim may be left out on purpose"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (MADE, 'pod "ns/p": ResourceClaim not created yet'),
        ({"name": "odd"}, 'pod "ns/p", spec.resourceClaim odd: none of the supported fields are set'),
    ],
)
def test_claims_that_are_not_there_yet_are_said_so(entry: Obj, words: str) -> None:
    with pytest.raises(NotPrepared) as raised:
        list(claims.names(pod(entry)))
    assert raised.value.text == words


def test_a_container_uses_the_requests_that_it_names() -> None:
    mappings = [
        {"containerName": name, "resourceName": "x.test/toy", "requestName": f"{name}-0"} for name in ("a", "b")
    ]
    extended = {"resourceClaimName": "extra", "requestMappings": mappings}
    one = pod(GIVEN, extendedResourceClaimStatus=extended)
    both = [{"name": "given", "request": "big"}, {"name": "given", "request": "small"}]
    resources = {"claims": both, "requests": {"x.test/toy": "1"}}
    assert claims.requests(one, {"name": "a", "resources": resources}) == {
        "shared": ["big", "small"],
        "extra": ["a-0"],
    }
    assert claims.requests(one, {"name": "b", "resources": {"claims": [{"name": "given"}]}}) == {"shared": [""]}
    assert claims.requests(one, {"name": "c"}) == {}


def test_a_request_has_its_own_devices_and_those_that_are_for_all() -> None:
    devices = [
        Device("p", "1", ["big"], ["k=1", "k=1x"]),
        Device("p", "2", ["small"], ["k=2"]),
        Device("p", "3", [], ["k=3"]),
    ]
    claim = Prepared("ns", "c", "u", ["d"], devices={"d": devices})
    assert claim.of("big") == ["k=1", "k=1x", "k=3"]
    assert claim.of("") == ["k=1", "k=1x", "k=2", "k=3"]


def test_what_was_prepared_is_remembered_but_drivers_are_asked_again_for_a_new_sandbox(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    state.claims["ns", "c"] = Prepared("ns", "c", "u", ["d"], ["p"], {"d": [Device("p", "1", [], ["k=1"])]}, True, True)
    state.save()
    found = State(tmp_path / "state").claims["ns", "c"]
    assert (found.of(""), found.pods, found.prepared, found.called) == (["k=1"], ["p"], True, False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        '[{"namespace":"ns"}]',
        '{"resources":[],"pods":[]}',
        '{"pods":{"u":{}}}',
        '{"pods":{},"resources":null}',
    ],
)
def test_what_a_crash_of_the_machine_has_cut_short_does_not_keep_the_agent_from_starting(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / "state"
    file.write_text(text)
    assert State(file).claims == {}
    assert (plugins.State(file).pods, plugins.State(file).resources) == ({}, set())


CONFIG: Obj = {"envs": [{"key": "A", "value": b"1"}], "mounts": [], "devices": []}


def spec(folder: Path, name: str, kind: str = "x.test/toy", **edits: Any) -> None:
    folder.mkdir(exist_ok=True)
    device = {"name": "1", "containerEdits": edits}
    made = {"kind": kind, "devices": [device], "containerEdits": {"env": ["ALL=yes"]}}
    (folder / name).write_text(json.dumps(made))


def test_edits_of_a_device_and_of_its_spec_become_part_of_the_request(tmp_path: Path) -> None:
    mounts = [{"hostPath": "/h", "containerPath": "/c", "options": ["ro", "nosuid", "rslave"]}]
    nodes = [{"path": "/dev/x"}, {"path": "/dev/y", "hostPath": "/dev/null", "permissions": "r"}]
    spec(tmp_path / "low", "a.json", env=["A=low"])
    spec(tmp_path / "high", "a.yaml", env=["A=2=3"], mounts=mounts, deviceNodes=nodes, additionalGids=[7])
    for name, text in (
        ("broken.json", "{"),
        ("broken.yaml", "a: [\n"),
        ("odd.yaml", "devices: [x]"),
        ("list.json", "[]"),
    ):
        (tmp_path / "high" / name).write_text(text)
    (tmp_path / "high" / "ignored.txt").write_text("{")
    (tmp_path / "high" / "deep.json").write_text("[" * 100_000)
    os.mkfifo(tmp_path / "high" / "pipe.json")
    config = {**CONFIG, "mounts": [], "devices": [], "linux": {"security_context": {"supplemental_groups": [5]}}}
    cdi.inject(config, ["x.test/toy=1"], (tmp_path / "none", tmp_path / "low", tmp_path / "high"))
    assert config["envs"] == [{"key": "ALL", "value": b"yes"}, {"key": "A", "value": b"2=3"}]
    row = {"container_path": "/c", "host_path": "/h", "propagation": 1, "readonly": True}
    assert config["mounts"] == [row]
    assert [tuple(device.values()) for device in config["devices"]] == [
        ("/dev/x", "/dev/x", "rwm"),
        ("/dev/y", "/dev/null", "r"),
    ]
    assert config["linux"]["security_context"]["supplemental_groups"] == [5, 7]


@pytest.mark.parametrize(
    ("edits", "name", "words"),
    [
        ({}, "x.test/toy=2", "unresolvable CDI devices x.test/toy=2"),
        ({"hooks": [{"hookName": "createRuntime"}]}, "x.test/toy=1", "x.test/toy=1 has hooks, which this container"),
        ({"deviceNodes": [{}]}, "x.test/toy=1", "the containerEdits of x.test/toy=1 are not as specified: KeyError"),
        ({"mounts": ["/a"]}, "x.test/toy=1", "the containerEdits of x.test/toy=1 are not as specified: TypeError"),
        ({"env": [7]}, "x.test/toy=1", "the containerEdits of x.test/toy=1 are not as specified: AttributeError"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, edits: Obj, name: str, words: str) -> None:
    spec(tmp_path, "a.json", **edits)
    with pytest.raises(ConfigError, match=words):
        cdi.inject({**CONFIG}, [name], (tmp_path,))

"""Hooks as pods write them, and what poststop hooks are told. Pure."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hawser.runtime.hookplan import Ending, ending_of, plan, poststop_spec, process, told_of
from hawser.runtime.hooks import Hook, Hooks, read
from hawser.runtime.options import OptionError

CRI = {"io.kubernetes.cri.container-type": "container"}
OWN = {"capabilities": {"bounding": ["CAP_CHOWN", "CAP_NET_RAW"]}}


def prestart(value: Any) -> dict[str, str]:
    return {**CRI, "rich.hawser.dev/prestart": value if isinstance(value, str) else json.dumps(value)}


def test_a_line_is_a_script() -> None:
    assert read(prestart("ip link; true"), OWN).prestart == (Hook("prestart-1", ("/bin/sh", "-c", "ip link; true")),)


@pytest.mark.parametrize(
    ("entry", "hook"),
    [
        ({"command": ["a", "b c"]}, Hook("prestart-1", ("a", "b c"))),
        ({"name": "x-1", "script": "s", "timeout": "500ms"}, Hook("x-1", ("/bin/sh", "-c", "s"), 0.5)),
        ({"command": ["a"], "timeout": "1m", "onFailure": "Ignore"}, Hook("prestart-1", ("a",), 60.0, (), False)),
        ({"command": ["a"], "timeout": 7}, Hook("prestart-1", ("a",), 7.0)),
        ({"command": ["a"], "capabilities": ["net_raw"]}, Hook("prestart-1", ("a",), 30.0, ("CAP_NET_RAW",))),
    ],
)
def test_fields_are_read(entry: dict[str, Any], hook: Hook) -> None:
    assert read(prestart([entry]), OWN).prestart == (hook,)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("- name: a", "a list is written as JSON"),
        ("[{", "not JSON"),
        ("{}", "not a list"),
        ([1], "entry 1 is not an object"),
        ([{"cmd": []}], "entry 1 has a field cmd; known are capabilities, command"),
        ([{}], "hook prestart-1: needs either command or script"),
        ([{"command": ["a"], "script": "b"}], "needs either command or script"),
        ([{"command": []}], "command is not a list of words"),
        ([{"command": ["a", 1]}], "command is not a list of words"),
        ([{"script": " "}], "script is not a text"),
        ([{"script": "a", "name": "a b"}], "'a b' is not a name"),
        ([{"script": "a", "name": "x"}] * 2, "two hooks of the name x"),
        ([{"script": "a", "timeout": "1h"}], "the timeout '1h' is not a time up to 100 s"),
        ([{"script": "a", "timeout": 0}], "the timeout 0 is not a time"),
        ([{"script": "a", "timeout": True}], "the timeout True is not a time"),
        ([{"script": "a", "timeout": 60}] * 2, "two hooks|time limits"),
        ([{"script": "a", "timeout": 60}, {"script": "b", "timeout": 60}], "add up to more than 100 s"),
        ([{"script": "a", "onFailure": "Retry"}], "onFailure is Fail or Ignore, not 'Retry'"),
        ([{"script": "a", "capabilities": "NET_ADMIN"}], "capabilities is not a list of names"),
        ([{"script": "a", "capabilities": ["NET ADMIN"]}], "is not a capability"),
        (
            [{"script": "a", "capabilities": ["NET_ADMIN"]}],
            "the capability NET_ADMIN is not the container's own, and only a RichProfile may give it",
        ),
    ],
)
def test_what_is_not_understood_is_refused(value: Any, text: str) -> None:
    with pytest.raises(OptionError, match=text):
        read(prestart(value), OWN)


def test_an_end_can_not_fail() -> None:
    with pytest.raises(OptionError, match="a container that has ended can not fail"):
        read({"rich.hawser.dev/poststop": '[{"script": "a", "onFailure": "Fail"}]'}, OWN)


@pytest.mark.parametrize("annotations", [{}, {"rich.hawser.dev/init": "minimal"}])
def test_who_writes_a_bundle_by_hand_may_add_capabilities(annotations: dict[str, str]) -> None:
    annotations["rich.hawser.dev/prestart"] = '[{"script": "a", "capabilities": ["NET_ADMIN"]}]'
    assert read(annotations, OWN).prestart[0].capabilities == ("CAP_NET_ADMIN",)


def test_a_profiles_hooks_come_first_and_may_add_capabilities() -> None:
    granted = {"prestart": [{"name": "route", "command": ["ip"], "capabilities": ["NET_ADMIN"]}]}
    hooks = read(prestart("mine"), OWN, granted).prestart
    assert [(hook.name, hook.capabilities) for hook in hooks] == [("route", ("CAP_NET_ADMIN",)), ("prestart-1", ())]


@pytest.mark.parametrize(
    ("status", "killed", "kills", "code", "signal", "reason"),
    [
        (0, False, 0, 0, "", "Completed"),
        (3, False, 0, 3, "", "Error"),
        (9, True, 0, 137, "SIGKILL", "Error"),
        (9, True, 2, 137, "SIGKILL", "OOMKilled"),
        (137, False, 1, 137, "SIGKILL", "OOMKilled"),
        (143, False, 1, 143, "SIGTERM", "Error"),
        (0, False, 1, 0, "", "Completed"),
        (255, False, 0, 255, "", "Error"),
        (34, True, 0, 162, "SIGRTMIN", "Error"),
        (35, True, 0, 163, "SIG35", "Error"),
    ],
)
def test_ends_have_code_signal_and_reason(
    status: int, killed: bool, kills: int, code: int, signal: str, reason: str
) -> None:
    ending = ending_of(status, killed, kills, 100.0, 101.5)
    assert (ending.code, ending.reason) == (code, reason)
    assert told_of(ending) | {"HAWSER_FINISHED_AT": ""} == {
        "HAWSER_EXIT_CODE": str(code),
        "HAWSER_EXIT_SIGNAL": signal,
        "HAWSER_EXIT_REASON": reason,
        "HAWSER_DURATION": "1.500",
        "HAWSER_FINISHED_AT": "",
    }


def test_a_container_that_never_started_has_kubelets_code_for_that() -> None:
    ending = ending_of(9, True, 0, 0.0, 5.0)
    assert (ending.code, ending.signal, ending.reason) == (128, 0, "StartError")
    assert Ending(137, 0, False, 1.0, 2.0, known=False).reason == "ContainerStatusUnknown"


def test_a_poststop_container_is_the_old_one_with_another_process(spec: dict[str, Any]) -> None:
    spec["hooks"] = {"poststop": [{"path": "/bin/of-the-host"}]}
    spec["process"] |= {"terminal": True, "user": {"uid": 5, "gid": 6, "additionalGids": [7]}, "noNewPrivileges": True}
    spec["linux"]["namespaces"] = [{"type": "network", "path": "/there"}, {"type": "ipc", "path": "/gone"}]
    spec["mounts"].append({"destination": "/x", "type": "bind", "source": "x", "options": ["bind"]})
    hook = Hook("h", ("run",), 1.0, ("CAP_NET_ADMIN",))
    noted = plan(spec, Hooks((), (hook,)), "c1", "/bundle")
    made = poststop_spec(spec, noted, lambda path: path == "/there")
    assert "hooks" not in made
    assert made["root"]["path"] == "/bundle/rootfs"
    assert made["mounts"][-1]["source"] == "/bundle/x"
    assert made["linux"]["cgroupsPath"] == "/c1-poststop"
    assert made["linux"]["namespaces"] == [{"type": "network", "path": "/there"}, {"type": "ipc"}]
    assert made["linux"]["maskedPaths"] == spec["linux"]["maskedPaths"]
    run = process(noted, "poststop", hook, Ending(1, 0, False, 1.0, 2.0))
    assert run["user"] == {"uid": 0, "gid": 0, "additionalGids": [7]}
    assert (run["terminal"], run["noNewPrivileges"], run["args"]) == (False, True, ["run"])
    bounding = spec["process"]["capabilities"]["bounding"]
    assert run["capabilities"] == {
        kind: [*bounding, "CAP_NET_ADMIN"] for kind in ("bounding", "effective", "permitted")
    }

"""What is made of the words of an application."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.rich.application import (
    CONDITION,
    Application,
    Row,
    changed,
    condition,
    event,
    field_path,
    hook_event,
    misnamed,
    outlived,
    parse,
    statuses,
)

UNIT = "hawser-app.service"
RUNNING = {"name": "app", "state": {"running": {}}}
ENDED = {"name": "app", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}


def line(**fields: Any) -> bytes:
    return orjson.dumps({"kind": "app", "unit": UNIT, "state": "active", **fields})


@pytest.mark.parametrize(
    ("text", "application"),
    [
        (line(), Application(UNIT, "active")),
        (
            line(state="failed", code=137, signal=9, restarts=2, limit=3),
            Application(UNIT, "failed", 137, 9, 2, 3),
        ),
        (line(kind="hook"), None),
        (line(state="dancing"), None),
        (line(state=["active"]), None),
        (line(unit="a b\n"), None),
        (line(unit=7), None),
        (line(unit="x" * 101), None),
        (line(code="1", signal=-1, restarts=True, limit=10**18), Application(UNIT, "active")),
        (b"[]", None),
        (b"{", None),
        (b"\xff", None),
        (b"", None),
    ],
)
def test_only_well_formed_records_count(text: bytes, application: Application | None) -> None:
    assert parse(text) == application


@given(st.binary(max_size=200))
def test_nothing_that_a_tenant_writes_is_an_error(text: bytes) -> None:
    parse(text)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            key: st.none() | st.integers() | st.text() | st.lists(st.integers()) | st.just("app") | st.just("active")
            for key in ("kind", "unit", "state", "code", "signal", "restarts", "limit")
        },
    )
)
def test_what_was_understood_can_be_told(row: dict[str, Any]) -> None:
    try:
        text = orjson.dumps(row)
    except orjson.JSONEncodeError:
        return
    if (application := parse(text)) is not None:
        told = event(application)
        assert told.reason.isalpha()
        assert len(told.message) < 300


@pytest.mark.parametrize(
    ("application", "type_", "reason", "message"),
    [
        (Application(UNIT, "active"), "Normal", "ApplicationStarted", f"{UNIT} is active"),
        (
            Application(UNIT, "activating", 4, None, 1, 3),
            "Warning",
            "ApplicationRestarting",
            f"{UNIT} ended with exit code 4; it is started again, restarts: 1",
        ),
        (
            Application(UNIT, "active", None, None, 1),
            "Normal",
            "ApplicationRestarted",
            f"{UNIT} is active again, restarts: 1",
        ),
        (
            Application(UNIT, "failed", 137, 9, 2, 2),
            "Warning",
            "ApplicationFailed",
            f"{UNIT} ended with exit code 137 (SIGKILL) after 2 restarts; the container ends with it",
        ),
        (
            Application(UNIT, "failed", 0),
            "Normal",
            "ApplicationCompleted",
            f"{UNIT} ended with exit code 0; the container ends with it",
        ),
        (Application(UNIT, "inactive", 0), "Normal", "ApplicationStopped", f"{UNIT} was stopped inside the container"),
    ],
)
def test_an_event_names_unit_end_and_restarts(application: Application, type_: str, reason: str, message: str) -> None:
    assert event(application) == (type_, reason, message)


@pytest.mark.parametrize(
    ("rows", "status", "reason", "message"),
    [
        ([], "False", "Active", ""),
        (
            [Row("app", RUNNING, Application(UNIT, "active"))],
            "True",
            "Active",
            f"container app: {UNIT} is active, restarts: 0",
        ),
        (
            [Row("app", RUNNING, Application(UNIT, "activating", 4, None, 1))],
            "False",
            "Restarting",
            f"container app: {UNIT} is activating, it ended with exit code 4, restarts: 1",
        ),
        (
            [Row("app", ENDED, Application(UNIT, "active", None, None, 2))],
            "False",
            "ContainerNotRunning",
            f"container app: {UNIT} ended with exit code 137 (OOMKilled) after 2 restarts",
        ),
        ([Row("app", RUNNING, None)], "False", "Starting", "container app: the application has not started"),
        (
            [Row("a", RUNNING, Application(UNIT, "active")), Row("b", RUNNING, Application(UNIT, "inactive"))],
            "False",
            "Stopped",
            f"container a: {UNIT} is active, restarts: 0; container b: {UNIT} is inactive, restarts: 0",
        ),
    ],
)
def test_the_condition_is_true_when_every_application_runs(
    rows: list[Row], status: str, reason: str, message: str
) -> None:
    assert condition(rows) == {"type": CONDITION, "status": status, "reason": reason, "message": message}


def test_a_condition_is_written_only_when_it_changes_and_keeps_the_time_of_its_last_turn() -> None:
    true = condition([Row("app", RUNNING, Application(UNIT, "active"))])
    first = changed({}, true, "T1")
    assert first is not None
    assert first["lastTransitionTime"] == "T1"
    pod = {"status": {"conditions": [first]}}
    assert changed(pod, true, "T2") is None
    same = changed(pod, {**true, "message": "other"}, "T2")
    assert same is not None
    assert same["lastTransitionTime"] == "T1"
    turned = changed(pod, {**true, "status": "False"}, "T2")
    assert turned is not None
    assert turned["lastTransitionTime"] == "T2"


def test_hooks_are_told_too() -> None:
    row = {"kind": "hook", "phase": "prestart", "hook": "routes", "problem": "exit code 2", "output": "no route"}
    assert hook_event(row) == ("Warning", "PrestartHookFailed", "prestart hook routes: exit code 2: no route")
    row |= {"problem": "", "phase": "poststop", "seconds": 0.1, "output": ""}
    assert hook_event(row) == ("Normal", "PoststopHookSucceeded", "poststop hook routes took 0.1 s")
    assert hook_event({"kind": "app"}) is None


@pytest.mark.parametrize(
    ("listed", "lost"), [("", ""), ("main", ""), ("main, first", ""), ("man", "man"), ("a,main, b,", "a, b")]
)
def test_a_name_of_no_container_is_told(listed: str, lost: str) -> None:
    spec = {"containers": [{"name": "main"}], "initContainers": [{"name": "first"}]}
    told = misnamed({"metadata": {"annotations": {"rich.hawser.dev/container": listed}}, "spec": spec})
    text = "annotation rich.hawser.dev/container names {}: the pod has no such container, only first, main"
    assert (told.message if told else "") == (text.format(lost) if lost else "")


SPEC = {
    "initContainers": [{"name": "prepare"}, {"name": "proxy", "restartPolicy": "Always"}],
    "containers": [{"name": "app"}],
}


@pytest.mark.parametrize(
    ("name", "path"), [("proxy", "spec.initContainers{proxy}"), ("app", "spec.containers{app}"), ("", ""), ("x", "")]
)
def test_events_name_the_part_of_the_pod(name: str, path: str) -> None:
    assert field_path({"spec": SPEC}, name) == path


def test_sidecars_are_to_run_as_long_as_the_pod_and_other_init_containers_are_not() -> None:
    rows = [{"name": name} for name in ("prepare", "proxy")]
    status = {"initContainerStatuses": rows, "containerStatuses": [RUNNING]}
    told = [(row["name"], lasting) for row, lasting in statuses({"spec": SPEC, "status": status})]
    assert told == [("prepare", False), ("proxy", True), ("app", True)]
    assert list(statuses({"spec": SPEC})) == []


def end(kills: Any) -> bytes:
    return orjson.dumps({"kind": "end", "oomKills": kills})


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([line(oomKills=0), end(1)], False),  # it was killed
        ([line(oomKills=0), line(state="activating", oomKills=0), line(oomKills=1), end(1)], True),  # it was, before
        ([line(oomKills=1), line(state="failed", oomKills=1), b"", b"{", end(2)], False),
        ([line(oomKills=1), end(1), end(2)], False),  # the node's own word is the last one
        ([line(oomKills=None), end(0)], False),
        ([line(), end(0)], False),
        ([line(oomKills=3)], False),
        ([end(0)], False),
        ([line(oomKills=1), b"[]", end("0")], False),
        ([], False),
    ],
)
def test_what_ran_out_of_memory_before_the_last_start_is_not_this_end(lines: list[bytes], told: bool) -> None:
    assert outlived(lines) is told

"""Rich containers: the application decides the container's fate, whatever init is pid 1."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest

from .conftest import Engine, Obj, eventually, pod

IMAGE = "localhost/legacy-app:1"


def rich(name: str, command: list[str] | None = None, init: str = "systemd", **spec: Any) -> Obj:
    annotations = {f"rich.hawser.dev/{k}": v for k, v in {"init": init, **spec.pop("rich", {})}.items()}
    container = spec.pop("container", {})
    manifest = pod(name, runtimeClassName="rich", **spec)
    manifest["metadata"]["annotations"] = annotations
    main = manifest["spec"]["containers"][0]
    main |= {"image": IMAGE, "imagePullPolicy": "Never", **container}
    if command is None:
        del main["command"]
    else:
        main["command"] = command
    manifest["spec"]["terminationGracePeriodSeconds"] = spec.get("terminationGracePeriodSeconds", 10)
    return manifest


def application_pid(engine: Engine, namespace: str, name: str) -> int:
    """The pid, in the container, of the application that systemd started; 0 when it does not run."""
    units = engine.kubectl(
        "exec", name, "-n", namespace, "--", "pgrep", "-f", "^/usr/bin/python3 /opt/legacy-app", check=False
    )
    return int(units.stdout.split()[0]) if units.stdout.split() else 0


def kill(engine: Engine, namespace: str, name: str) -> int:
    pid = eventually(lambda: application_pid(engine, namespace, name), "the application")
    engine.kubectl("exec", name, "-n", namespace, "--", "kill", "-9", str(pid), check=False)
    return pid


def container(engine: Engine, namespace: str, name: str) -> Obj:
    statuses = engine.get("pod", name, namespace)["status"].get("containerStatuses") or [{}]
    first: Obj = statuses[0]
    return first


PROBE = {"readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1}}


def test_a_killed_application_ends_the_container_with_its_code(engine: Engine, namespace: str, image: str) -> None:
    engine.apply(rich("a", container=PROBE, restartPolicy="Never"), namespace)
    engine.wait_ready("a", namespace)
    kill(engine, namespace, "a")
    ended = eventually(lambda: container(engine, namespace, "a")["state"].get("terminated"), "the end")
    assert ended["exitCode"] == 137
    assert engine.get("pod", "a", namespace)["status"]["phase"] == "Failed"
    assert "Error" in engine.kubectl("get", "pod", "a", "-n", namespace).stdout


def test_the_pods_policy_restarts_the_container(engine: Engine, namespace: str, image: str) -> None:
    engine.apply(rich("a", container=PROBE), namespace)
    engine.wait_ready("a", namespace)
    kill(engine, namespace, "a")
    eventually(lambda: container(engine, namespace, "a").get("restartCount") == 1, "the restart")
    assert container(engine, namespace, "a")["lastState"]["terminated"]["exitCode"] == 137
    engine.wait_ready("a", namespace)
    assert engine.kubectl("get", "pod", "a", "-n", namespace).stdout.splitlines()[1].split()[3] == "1"


def test_the_init_restarts_the_application_first_and_only_so_often(engine: Engine, namespace: str, image: str) -> None:
    manifest = rich("a", container=PROBE, restartPolicy="Never", rich={"app-policy": "keep", "app-restarts": "2/600"})
    engine.apply(manifest, namespace)
    engine.wait_ready("a", namespace)
    for _ in range(2):
        old = kill(engine, namespace, "a")
        eventually(partial(lambda old: application_pid(engine, namespace, "a") not in (0, old), old), "a new process")
        assert container(engine, namespace, "a")["restartCount"] == 0
    kill(engine, namespace, "a")
    ended = eventually(lambda: container(engine, namespace, "a")["state"].get("terminated"), "the end")
    assert ended["exitCode"] == 137


def application_ready(engine: Engine, namespace: str, name: str) -> Obj:
    conditions = engine.get("pod", name, namespace)["status"].get("conditions") or ()
    row: Obj = next((row for row in conditions if row["type"] == "rich.hawser.dev/ApplicationReady"), {})
    return row


def events(engine: Engine, namespace: str, name: str) -> dict[str, str]:
    found = engine.kubectl(
        "get", "events", "-n", namespace, "-o", "json", "--field-selector", f"involvedObject.name={name}"
    )
    return {item["reason"]: item["message"] for item in json.loads(found.stdout)["items"]}


def test_restarts_inside_are_told_and_the_pod_is_not_ready_meanwhile(
    engine: Engine, namespace: str, image: str
) -> None:
    script = "touch /tmp/up; while [ -e /tmp/up ]; do sleep 0.1; done; exit 7"
    gates = [{"conditionType": "rich.hawser.dev/ApplicationReady"}]
    probe = {"readinessProbe": {"exec": {"command": ["/dev/hawser/ready"]}, "periodSeconds": 1}}
    manifest = rich(
        "a", ["sh", "-c", script], rich={"app-policy": "keep", "app-restarts": "1/600"}, restartPolicy="Never"
    )
    manifest["spec"]["readinessGates"] = gates
    engine.apply(manifest, namespace)
    engine.apply(rich("b", ["sleep", "1000"], "minimal", container=probe, readinessGates=gates), namespace)
    engine.wait_ready("a", namespace)
    assert application_ready(engine, namespace, "a")["message"].endswith("hawser-app.service is active, restarts: 0")
    engine.kubectl("exec", "a", "-n", namespace, "--", "rm", "/tmp/up")
    eventually(lambda: application_ready(engine, namespace, "a")["reason"] == "Restarting", "the condition")
    eventually(lambda: application_ready(engine, namespace, "a")["status"] == "True", "the application again")
    assert application_ready(engine, namespace, "a")["message"].endswith("hawser-app.service is active, restarts: 1")
    engine.wait_ready("a", namespace)
    transitions = engine.get("pod", "a", namespace)["status"]["conditions"]
    ready = next(row for row in transitions if row["type"] == "Ready")
    assert ready["lastTransitionTime"] >= application_ready(engine, namespace, "a")["lastTransitionTime"]
    engine.kubectl("exec", "a", "-n", namespace, "--", "rm", "/tmp/up")
    ended = eventually(lambda: container(engine, namespace, "a")["state"].get("terminated"), "the end")
    assert ended["exitCode"] == 7
    eventually(lambda: "ApplicationFailed" in events(engine, namespace, "a"), "the event")
    told = events(engine, namespace, "a")
    assert told["ApplicationRestarting"] == (
        "hawser-app.service ended with exit code 7; it is started again, restarts: 1"
    )
    assert told["ApplicationFailed"] == (
        "hawser-app.service ended with exit code 7 after 1 restarts; the container ends with it"
    )
    message = "hawser-app.service ended with exit code 7 (Error) after 1 restarts"
    eventually(lambda: application_ready(engine, namespace, "a")["message"].endswith(message), "the last word")
    engine.wait_ready("b", namespace)


def test_an_application_out_of_memory_is_seen_as_such(engine: Engine, namespace: str, image: str) -> None:
    script = "echo last words >/dev/termination-log; exec tail /dev/zero"
    limits = {"resources": {"limits": {"memory": "96Mi"}}}
    engine.apply(rich("a", ["sh", "-c", script], container=limits, restartPolicy="Never"), namespace)
    ended = eventually(lambda: container(engine, namespace, "a").get("state", {}).get("terminated"), "the end")
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)
    assert ended["message"] == "last words\n"
    assert "OOMKilled" in engine.kubectl("get", "pod", "a", "-n", namespace).stdout


@pytest.mark.parametrize("init", ["systemd", "minimal"])
@pytest.mark.parametrize("code", [0, 3])
def test_exit_codes_pass_through(engine: Engine, namespace: str, image: str, init: str, code: int) -> None:
    manifest = rich("a", ["sh", "-c", f"echo bye; exit {code}"], init, restartPolicy="Never")
    engine.apply(manifest, namespace)
    ended = eventually(lambda: container(engine, namespace, "a").get("state", {}).get("terminated"), "the end")
    assert ended["exitCode"] == code
    assert engine.kubectl("logs", "a", "-n", namespace).stdout == "bye\n"


@pytest.mark.parametrize("init", ["systemd", "minimal"])
def test_arguments_environment_user_and_directory_arrive_intact(
    engine: Engine, namespace: str, image: str, init: str
) -> None:
    words = ["a b", "it's", '"quoted"', "$HOME", "%h", "back\\slash", "", "tab\there", "ünï"]
    script = 'id -u; pwd; printf "<%s>\\n" "$ODD"; for a in "$@"; do printf "<%s>\\n" "$a"; done'
    odd = "value with 'quotes' \"and\" $dollars %percent"
    settings = {
        "workingDir": "/opt",
        "env": [{"name": "ODD", "value": odd.replace("$", "$$")}],
        "args": words,
        "securityContext": {"runAsUser": 12345},
    }
    manifest = rich("a", ["sh", "-c", script, "sh"], init, container=settings, restartPolicy="Never")
    engine.apply(manifest, namespace)
    eventually(lambda: container(engine, namespace, "a").get("state", {}).get("terminated"), "the end")
    lines = engine.kubectl("logs", "a", "-n", namespace).stdout.split("\n")
    assert lines == ["12345", "/opt", f"<{odd}>", *(f"<{w}>" for w in words), ""]


def test_stop_is_graceful_and_in_order(engine: Engine, namespace: str, image: str, tmp_path: Any) -> None:
    script = "trap 'echo stopped >> /out/log; exit 0' TERM; echo started >> /out/log; while :; do sleep 0.1; done"
    tmp_path.chmod(0o777)
    manifest = rich(
        "a",
        ["sh", "-c", script],
        container={"volumeMounts": [{"name": "out", "mountPath": "/out"}]},
        volumes=[{"name": "out", "hostPath": {"path": str(tmp_path)}}],
    )
    manifest["spec"]["terminationGracePeriodSeconds"] = 60
    engine.apply(manifest, namespace)
    engine.wait_ready("a", namespace)
    eventually((tmp_path / "log").exists, "the application")
    engine.kubectl("delete", "pod", "a", "-n", namespace, "--timeout=50s", timeout=60)
    assert (tmp_path / "log").read_text().split() == ["started", "stopped"]


def test_an_unknown_init_is_refused_with_the_reason(engine: Engine, namespace: str, image: str) -> None:
    engine.apply(rich("a", init="upstart"), namespace)
    message = engine.wait_event(namespace, "a", "Failed")
    assert "upstart" in message
    assert "systemd" in message


def test_minimal_reaps_zombies(engine: Engine, namespace: str, image: str) -> None:
    script = "(sleep 0.1 & exec sleep 0.3) & sleep 100000"
    engine.apply(rich("a", ["sh", "-c", script], "minimal"), namespace)
    engine.wait_ready("a", namespace)

    def zombies() -> str:
        return engine.kubectl("exec", "a", "-n", namespace, "--", "ps", "-eo", "stat=,comm=").stdout

    eventually(lambda: "sleep" in zombies(), "the processes")
    eventually(lambda: not [z for z in zombies().splitlines() if z.startswith("Z")], "no zombie")

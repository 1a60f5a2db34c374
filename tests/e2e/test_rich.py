"""Rich containers: the application decides the container's fate, whatever init is pid 1."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import KUBECTL, ROOT, Engine, Obj, eventually, first_pid, pod

IMAGE = "localhost/legacy-app:1"
EXAMPLE = ROOT / "examples/legacy-app/image.yaml"


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


PROBE = {"readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1, "timeoutSeconds": 20}}
# Without a probe a container is Ready once pid 1 runs: no service may be there yet, and no bus that systemctl asks.
ACTIVE = {"readinessProbe": {"exec": {"command": ["/dev/hawser/ready"]}, "periodSeconds": 1, "timeoutSeconds": 20}}


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


Watched = Callable[[Engine, str, str, str, Path], Callable[[], list[str]]]


@pytest.fixture
def watched() -> Iterator[Watched]:
    """Has kubectl write a field of a pod into a file whenever the pod changes; what is returned reads the lines."""
    running: list[subprocess.Popen[bytes]] = []

    def watch(engine: Engine, namespace: str, name: str, field: str, file: Path) -> Callable[[], list[str]]:
        env = {**os.environ, "KUBECONFIG": str(engine.kubeconfig)}
        words = [str(KUBECTL), "get", "pod", name, "-n", namespace, "--watch", "-o", "jsonpath=" + field + '{"\\n"}']
        with file.open("wb") as out:
            running.append(subprocess.Popen(words, env=env, stdout=out))
        eventually(lambda: file.stat().st_size, "the first line")
        return lambda: file.read_text().split()

    yield watch
    for process in running:
        process.kill()
        process.wait()


def test_restarts_inside_are_told_and_the_pod_is_not_ready_meanwhile(
    engine: Engine, namespace: str, image: str, tmp_path: Path, watched: Watched
) -> None:
    script = "touch /tmp/up; while [ -e /tmp/up ]; do sleep 0.1; done; exit 7"
    gates = [{"conditionType": "rich.hawser.dev/ApplicationReady"}]
    manifest = rich(
        "a", ["sh", "-c", script], rich={"app-policy": "keep", "app-restarts": "1/600"}, restartPolicy="Never"
    )
    manifest["spec"]["readinessGates"] = gates
    engine.apply(manifest, namespace)
    other = rich("b", ["sleep", "1000"], "minimal", rich={"stop-signal": "INT"}, container=ACTIVE, readinessGates=gates)
    engine.apply(other, namespace)
    engine.wait_ready("a", namespace)
    assert application_ready(engine, namespace, "a")["message"].endswith("hawser-app.service is active, restarts: 0")

    def end_application() -> None:
        # It counts as active from just before its first instruction.
        words = ("exec", "a", "-n", namespace, "--", "rm", "/tmp/up")
        eventually(lambda: engine.kubectl(*words, check=False).returncode == 0, "the application's file")

    condition = '{.status.conditions[?(@.type=="%s")].%s}'
    readiness = watched(engine, namespace, "a", condition % ("Ready", "status"), tmp_path / "ready")
    reasons = watched(engine, namespace, "a", condition % (gates[0]["conditionType"], "reason"), tmp_path / "reasons")
    # Long enough to be told of on any machine; ordinarily it is a second.
    slow = "mkdir $0 && printf '[Service]\nRestartSec=5\n' >$0/slow.conf && systemctl daemon-reload"
    place = "/run/systemd/system/hawser-app.service.d"
    engine.kubectl("exec", "a", "-n", namespace, "--", "sh", "-c", slow, place)
    end_application()
    eventually(lambda: "Restarting" in reasons(), "the condition")
    again = "hawser-app.service is active, restarts: 1"
    eventually(lambda: application_ready(engine, namespace, "a")["message"].endswith(again), "the application again")
    assert application_ready(engine, namespace, "a")["status"] == "True"
    eventually(lambda: [state for state, _ in groupby(readiness())] == ["True", "False", "True"], "readiness")
    end_application()
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


def test_of_several_containers_the_chosen_ones_are_rich_and_each_is_told_by_its_name(
    engine: Engine, namespace: str, image: str
) -> None:
    look = "cat /proc/1/comm; exec sleep 1000000"
    plain = pod("x", look)["spec"]["containers"][0]
    own = {"image": image, "imagePullPolicy": "Never", "command": ["sh", "-c", look]}
    manifest = rich("a", ["sh", "-c", look], rich={"container": "main, proxy"})
    manifest["spec"]["initContainers"] = [
        {**plain, "name": "prepare", "command": ["cat", "/proc/1/comm"]},
        {**own, "name": "proxy", "restartPolicy": "Always"},
    ]
    manifest["spec"]["containers"].append({**plain, "name": "side"})
    engine.apply(manifest, namespace)
    engine.wait_ready("a", namespace)
    firsts = {"prepare": "cat\n", "proxy": "systemd\n", "main": "systemd\n", "side": "sh\n"}
    for name, line in firsts.items():
        # A pod is Ready before an application has said anything.
        told = partial(engine.kubectl, "logs", "a", "-c", name, "-n", namespace)
        assert eventually(lambda told=told: told().stdout, f"{name}'s line") == line  # type: ignore[misc]
    active = [f"container {name}: hawser-app.service is active, restarts: 0" for name in ("proxy", "main")]
    eventually(lambda: application_ready(engine, namespace, "a").get("message") == "; ".join(active), "the condition")

    def paths() -> set[str]:
        words = ("get", "events", "-n", namespace, "--field-selector", "reason=ApplicationStarted", "-o")
        return set(engine.kubectl(*words, "jsonpath={.items[*].involvedObject.fieldPath}").stdout.split())

    eventually(lambda: paths() == {"spec.initContainers{proxy}", "spec.containers{main}"}, "their events")


def test_an_application_out_of_memory_is_seen_as_such(engine: Engine, namespace: str, image: str) -> None:
    script = "echo last words >/dev/termination-log; exec tail /dev/zero"
    limits = {"resources": {"limits": {"memory": "96Mi"}}}
    engine.apply(rich("a", ["sh", "-c", script], container=limits, restartPolicy="Never"), namespace)
    ended = eventually(lambda: container(engine, namespace, "a").get("state", {}).get("terminated"), "the end")
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)
    assert ended["message"] == "last words\n"
    assert "OOMKilled" in engine.kubectl("get", "pod", "a", "-n", namespace).stdout


def test_an_end_is_not_called_out_of_memory_for_what_an_earlier_run_of_the_application_was(
    engine: Engine, namespace: str, image: str
) -> None:
    limits = {"resources": {"limits": {"memory": "96Mi"}}}
    for name, rest in {"a": "exit 137", "b": "sleep 1000"}.items():
        script = f"[ -e /ran ] || {{ : >/ran; exec tail /dev/zero; }}; echo again; {rest}"
        policy = {"app-policy": "keep", "app-restarts": "1/600"}
        manifest = rich(name, ["sh", "-c", script], container=limits, restartPolicy="Never", rich=policy)
        manifest["spec"]["terminationGracePeriodSeconds"] = 1
        engine.apply(manifest, namespace)
    say = partial(engine.kubectl, "logs", "b", "-n", namespace, check=False)
    eventually(lambda: "again\n" in say().stdout, "the second run")
    # From outside, so that nothing inside has a word in it.
    os.kill(first_pid(engine, container(engine, namespace, "b")["containerID"]), 9)
    for name in ("a", "b"):
        find = partial(lambda name: container(engine, namespace, name).get("state", {}).get("terminated"), name)
        ended = eventually(find, "the end")
        assert (ended["exitCode"], ended["reason"]) == (137, "Error")


def test_an_application_that_outlives_what_runs_out_of_memory_has_its_own_end(
    engine: Engine, namespace: str, image: str
) -> None:
    limits = {"resources": {"limits": {"memory": "96Mi"}}}
    ends = {"a": (0, "Completed"), "b": (7, "Error")}
    for name, (code, _) in ends.items():
        # What is killed says so; the application goes on until the runtime has heard of it, too.
        script = f"tail /dev/zero; echo $?; sleep 1; exit {code}"
        engine.apply(rich(name, ["sh", "-c", script], container=limits, restartPolicy="Never"), namespace)
    for name, end in ends.items():
        find = partial(lambda name: container(engine, namespace, name).get("state", {}).get("terminated"), name)
        ended = eventually(find, "the end")
        assert (ended["exitCode"], ended["reason"]) == end
        assert "137\n" in engine.kubectl("logs", name, "-n", namespace).stdout


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


def test_the_images_own_words_user_and_environment_are_the_applications(
    engine: Engine, namespace: str, image: str, tmp_path: Path
) -> None:
    described = yaml.safe_load(EXAMPLE.read_text())
    del described["overlay"]  # packages and users stay: they are built already
    script = 'id -un; pwd; echo "$ODD"; printf "<%s>" "$0" "$@"; exit 4'
    described |= {
        "name": "localhost/entry:1",
        "entrypoint": ["/bin/sh", "-c", script, "it's"],
        "cmd": ["a b", "$HOME %h"],
        "env": {"ODD": "'quotes' $dollars %percent"},
        "user": "legacy",
        "workdir": "/var/lib/new place",
    }
    (tmp_path / "image.yaml").write_text(yaml.safe_dump(described))
    engine.hawser("image", "build-rich", str(tmp_path / "image.yaml"))
    own = {"image": described["name"], "terminationMessagePolicy": "FallbackToLogsOnError"}
    words = {"a": "<a b><$HOME %h>", "b": "<a b><$HOME %h>", "c": "<other>"}
    for name, init, args in (("a", "systemd", {}), ("b", "minimal", {}), ("c", "systemd", {"args": ["other"]})):
        engine.apply(rich(name, None, init, container={**own, **args}, restartPolicy="Never"), namespace)
    for name, told in words.items():
        find = partial(lambda name: container(engine, namespace, name).get("state", {}).get("terminated"), name)
        ended = eventually(find, "the end")
        assert ended["exitCode"] == 4
        lines = ["legacy", "/var/lib/new place", described["env"]["ODD"], f"<it's>{told}"]
        assert engine.kubectl("logs", name, "-n", namespace).stdout.split("\n") == lines
        assert ended["message"].split("\n") == lines


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

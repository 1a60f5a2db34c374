"""RichProfiles: what an operator gives rich containers without a word in their manifests; hooks whoever is killed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import ROOT, Engine, Obj, eventually, first_pid, pod
from .test_crash import process

IMAGE = "localhost/legacy-app:1"
CRD = ROOT / "src/hawser/rich/profiles/crd.json"
Give = Callable[..., str]


@pytest.fixture(scope="module")
def image(engine: Engine, image: str) -> str:
    """The example's rich image and the CRD, in the engine."""
    engine.kubectl("apply", "-f", str(CRD))
    engine.kubectl("wait", "--for=condition=Established", "crd/richprofiles.rich.hawser.dev", "--timeout=120s")
    return image


@pytest.fixture
def give(engine: Engine, namespace: str, image: str) -> Iterator[Give]:
    """Makes a RichProfile for the test's namespace; returns its name."""
    engine.kubectl("label", "namespace", namespace, f"test={namespace}")
    names: list[str] = []

    def make(name: str = "a", **spec: Any) -> str:
        metadata = {"name": f"{namespace}-{name}"}
        spec["namespaceSelector"] = {"matchLabels": {"test": namespace}}
        engine.kubectl("apply", "-f", "-", input=json.dumps({**KIND, "metadata": metadata, "spec": spec}))
        names.append(metadata["name"])
        return metadata["name"]

    yield make
    engine.kubectl("delete", "richprofile", *names, check=False)


KIND = {"apiVersion": "rich.hawser.dev/v1", "kind": "RichProfile"}


def rich(name: str, command: str, labels: dict[str, str] | None = None, **spec: Any) -> Obj:
    container = {"image": IMAGE, "imagePullPolicy": "Never", **spec.pop("container", {})}
    manifest = pod(name, command, runtimeClassName="rich", container=container, restartPolicy="Never", **spec)
    manifest["metadata"]["labels"] |= labels or {}
    return manifest


def ended(engine: Engine, namespace: str, name: str) -> Obj:
    """How the pod's container ended, once it has."""

    def terminated() -> Obj:
        statuses = engine.get("pod", name, namespace)["status"].get("containerStatuses") or [{}]
        found: Obj = statuses[0].get("state", {}).get("terminated") or {}
        return found

    return eventually(terminated, "the end")


AGENT = {
    "name": "watch",
    "image": "docker.io/library/busybox:1.36",
    "command": ["sh", "-c", 'echo "$WHO sees $(head -c 4 /proc/1/root/etc/passwd)"; exec sleep 1000000'],
    "env": [{"name": "WHO", "value": "agent"}],
    "limits": {"memory": "16Mi", "cpu": "100m"},
}


def test_a_profile_gives_agents_hooks_units_and_defaults_to_pods_that_say_nothing(
    engine: Engine, namespace: str, give: Give
) -> None:
    hooks = {
        "prestart": [{"name": "route", "script": "ip route add 10.77.0.0/16 dev eth0", "capabilities": ["NET_ADMIN"]}],
        "poststop": [{"name": "tell", "script": 'echo "code $HAWSER_EXIT_CODE of $HAWSER_POD"'}],
    }
    # Of an image of several layers; its own files, and the container's devices.
    script = 'test -e /opt/legacy-app -a -c /dev/null && echo "as $(id -un)"; exec sleep 1000000'
    layered = {"name": "own", "image": IMAGE, "imagePullPolicy": "Never", "command": ["bash", "-c", script]}
    profile = give(
        podSelector={"matchLabels": {"tier": "legacy"}},
        defaults={"init": "systemd", "app-policy": "keep"},
        units={"mask": ["cron"]},
        hooks=hooks,
        agents=[AGENT, layered],
    )
    command = "ip route show 10.77.0.0/16; until [ -e /run/go ]; do sleep 0.1; done; exit 3"
    manifest = rich("a", command, {"tier": "legacy"})
    # Of use with a policy alone, and that one is the profile's.
    manifest["metadata"]["annotations"] = {"rich.hawser.dev/app-restarts": "0/60"}
    engine.apply(manifest, namespace)
    engine.apply(rich("other", command), namespace)
    engine.wait_ready("a", namespace)

    def inside(name: str, *words: str) -> str:
        return engine.kubectl("exec", name, "-n", namespace, "--", *words, check=False).stdout.strip()

    def journal(agent: str) -> str:
        return inside("a", "journalctl", "-o", "cat", "-u", f"hawser-agent-{agent}")

    eventually(lambda: "agent sees root" in journal("watch"), "the agent's line")
    eventually(lambda: "as root" in journal("own"), "the other agent's line")
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        limit = inside("a", "cat", "/sys/fs/cgroup/system.slice/hawser-agent-watch.service/memory.max")
        assert limit == str(16 << 20)
    else:
        groups = inside("a", "sh", "-c", "cat /proc/$(systemctl show -P MainPID hawser-agent-watch)/cgroup")
        assert "/hawser-watch" in groups

    def states() -> list[str]:
        return inside("a", "systemctl", "is-active", "cron", "hawser-app", "hawser-agent-watch").split()

    def logs() -> str:
        return engine.kubectl("logs", "a", "-n", namespace).stdout

    eventually(lambda: states() == ["inactive", "active", "active"], "the units")
    eventually(lambda: "10.77.0.0/16 dev eth0 scope link" in logs(), "the route")

    def told() -> bool:
        shown = json.loads(engine.kubectl("get", "richprofile", profile, "-o", "json").stdout)
        return [node["ready"] for node in shown.get("status", {}).get("nodes", [])] == [True]

    eventually(told, "the profile's status")
    # A pod that is not selected has nothing of it.
    engine.wait_ready("other", namespace)
    eventually(lambda: inside("other", "systemctl", "is-active", "cron") == "active", "cron")
    assert inside("other", "ip", "route", "show", "10.77.0.0/16") == ""
    inside("a", "touch", "/run/go")
    assert ended(engine, namespace, "a")["exitCode"] == 3
    *_, end, last = logs().splitlines()
    assert end == "hawser: the application ended with code 3 after 0 restarts in 60s; the container ends"
    assert last == "hawser: poststop tell: code 3 of a"


def test_the_example_is_a_profile_that_works(engine: Engine, namespace: str, image: str) -> None:
    example = ROOT / "examples/rich-profile/operations.yaml"
    engine.kubectl("label", "namespace", namespace, "operations=managed")
    engine.kubectl("apply", "-f", str(example))
    try:
        engine.apply(rich("a", "ip route show type blackhole"), namespace)
        assert ended(engine, namespace, "a")["exitCode"] == 0
    finally:
        engine.kubectl("delete", "-f", str(example))
    lines = engine.kubectl("logs", "a", "-n", namespace).stdout.splitlines()
    assert lines[0].strip() == "blackhole 198.51.100.0/24"
    assert lines[-1].startswith("hawser: poststop report: a/main ended with 0 (Completed) after ")
    assert "poststop hook report took" in engine.wait_event(namespace, "a", "PoststopHookSucceeded")
    assert "prestart hook routes took" in engine.wait_event(namespace, "a", "PrestartHookSucceeded")


def test_what_a_profile_cannot_give_is_told_and_given_later(
    engine: Engine, namespace: str, give: Give, tmp_path: Path
) -> None:
    place = tmp_path / "agent"
    profile = give(agents=[{"name": "files", "hostPath": str(place), "command": ["/dev/hawser-agents/files/run"]}])
    engine.apply(rich("a", "sleep 1000000"), namespace)
    message = engine.wait_event(namespace, "a", "Failed")
    assert f"RichProfiles: {profile}: agent files: node" in message
    assert f"has no directory {place}" in message

    def problem() -> str:
        nodes = json.loads(engine.kubectl("get", "richprofile", profile, "-o", "json").stdout).get("status", {})
        return next((node.get("problem", "") for node in nodes.get("nodes", [])), "")

    assert "has no directory" in eventually(problem, "the profile's status")
    place.mkdir()
    (place / "run").write_text("#!/bin/sh\ntouch /run/agent-was-here\nexec sleep 1000000\n")
    (place / "run").chmod(0o755)
    engine.apply(rich("b", "sleep 1000000"), namespace)
    engine.wait_ready("b", namespace)
    words = ("exec", "b", "-n", namespace, "--", "ls", "/run/agent-was-here")
    eventually(lambda: engine.kubectl(*words, check=False).returncode == 0, "the agent")
    assert eventually(lambda: not problem(), "a status without a problem")


def test_profiles_that_contradict_each_other_are_named(engine: Engine, namespace: str, give: Give) -> None:
    first, second = (give(name, agents=[AGENT]) for name in ("a", "b"))
    engine.apply(rich("a", "sleep 1000000"), namespace)
    message = engine.wait_event(namespace, "a", "Failed")
    assert f"RichProfiles: {second}: the agent watch is in RichProfile {first}, too" in message


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"agents": [{"name": "a", "command": ["x"]}]}, "needs either image or hostPath"),
        ({"agents": [{**AGENT, "hostPath": "/x"}]}, "needs either image or hostPath"),
        ({"agents": [{"name": "a", "hostPath": "/a/../b", "command": ["x"]}]}, "hostPath must not contain '..'"),
        ({"agents": [{"name": "A b", "hostPath": "/a", "command": ["x"]}]}, "spec.agents[0].name"),
        ({"agents": [AGENT, AGENT]}, "Duplicate value"),
        ({"agents": [{**AGENT, "limits": {"memory": "lots"}}]}, "spec.agents[0].limits.memory"),
        ({"hooks": {"prestart": [{"name": "a"}]}}, "needs either command or script"),
        ({"hooks": {"poststop": [{"name": "a", "script": "x", "onFailure": "Fail"}]}}, 'unknown field "spec.hooks'),
        ({"hooks": {"prestart": [{"name": "a", "script": "x", "timeout": "soon"}]}}, "timeout"),
        ({"hooks": {"prestart": [{"name": "a", "script": "x", "capabilities": ["net admin"]}]}}, "capabilities"),
        ({"units": {"mask": ["a"], "enable": ["a"]}}, "a unit is to be enabled or to be masked"),
        ({"units": {"mask": ["../a"]}}, "spec.units.mask[0]"),
        ({"defaults": {"inti": "systemd"}}, "known are init"),
        ({"defaults": {"init": "upstart"}}, "init is systemd, init or minimal"),
    ],
)
def test_a_profile_that_makes_no_sense_is_refused(engine: Engine, image: str, spec: Obj, message: str) -> None:
    body = json.dumps({**KIND, "metadata": {"name": "wrong"}, "spec": spec})
    done = engine.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", input=body, check=False)
    assert done.returncode == 1
    assert message in done.stderr


def test_hooks_of_pods_that_never_ran_and_of_pods_that_are_gone_are_told(
    engine: Engine, namespace: str, image: str
) -> None:
    for name, phase, script in (("a", "prestart", "echo no disk; exit 4"), ("b", "poststop", "sleep 1; echo bye")):
        manifest = rich(name, "exec sleep 1000000")
        annotations = {f"rich.hawser.dev/{phase}": script, "rich.hawser.dev/init": "minimal"}
        manifest["metadata"]["annotations"] = annotations
        engine.apply(manifest, namespace)
    said = "prestart hook prestart-1: exit code 4: no disk"
    assert engine.wait_event(namespace, "a", "PrestartHookFailed") == said
    assert said in engine.wait_event(namespace, "a", "Failed")
    engine.wait_ready("b", namespace)
    engine.kubectl("delete", "pod", "b", "-n", namespace)
    assert "poststop-1 took" in engine.wait_event(namespace, "b", "PoststopHookSucceeded")


def test_poststop_runs_while_agent_and_containerd_are_dead(
    engine: Engine, namespace: str, image: str, tmp_path: Path
) -> None:
    tmp_path.chmod(0o777)
    manifest = rich(
        "a",
        "sleep 1000000",
        container={"volumeMounts": [{"name": "out", "mountPath": "/out"}]},
        volumes=[{"name": "out", "hostPath": {"path": str(tmp_path)}}],
    )
    script = 'echo "$HAWSER_EXIT_CODE $HAWSER_EXIT_SIGNAL $HAWSER_EXIT_REASON" >/out/new; mv /out/new /out/told'
    manifest["metadata"]["annotations"] = {"rich.hawser.dev/poststop": script}
    engine.apply(manifest, namespace)
    status = engine.wait_ready("a", namespace)["status"]["containerStatuses"][0]
    first = first_pid(engine, status["containerID"])
    victims = [eventually(lambda n=n: process(engine, n), n) for n in ("agent", "containerd")]
    for victim in victims:
        os.kill(victim, signal.SIGSTOP)  # nobody hears of the end before the hooks have run
    try:
        os.kill(first, signal.SIGKILL)
        eventually((tmp_path / "told").exists, "the hook")
    finally:
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
    assert (tmp_path / "told").read_text() == "137 SIGKILL Error\n"
    assert ended(engine, namespace, "a")["exitCode"] == 137

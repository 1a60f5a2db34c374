"""crun and newer runc as the real runtime, on pure cgroup v1 and v2: a rich container keeps its promises."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.conftest import CACHE, Container, Containers
from tests.runtime.environments import newer, remove_groups, within
from tests.runtime.test_containers import SLEEP, rich

from hawser.runtime.install import install

Spec = dict[str, Any]


@pytest.fixture(params=["crun-v1", "crun-v2", "runc-v2"])
def containers(
    request: pytest.FixtureRequest, debian: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Containers]:
    """Real containers by another runtime, on another layout of control groups."""
    name, _, layout = request.param.partition("-")
    monkeypatch.setenv("HAWSER_RUNTIME_STATE", str(tmp_path / "records"))
    directory = CACHE / "test-containers" / str(os.getpid())
    runtime = install(tmp_path / "hawser-runtime", str(newer(name)))
    made = Containers(directory, within(layout, tmp_path / "there", [str(runtime)]))
    try:
        yield made
    finally:
        made.close()
        remove_groups(layout, f"hawser-test-{os.getpid()}")
        shutil.rmtree(directory, ignore_errors=True)


def test_a_machine_lives_and_ends_as_its_application(containers: Containers, debian: Path, spec: Spec) -> None:
    """One container for all: boot, services, control groups, exec, the stop by a signal, hooks before and after."""
    spec["annotations"] |= {
        "rich.hawser.dev/prestart": "echo prepared; (trap '' TERM; sleep 1000) &",
        "rich.hawser.dev/poststop": 'echo "ended $HAWSER_EXIT_CODE $HAWSER_EXIT_REASON"',
    }
    spec["process"]["oomScoreAdj"] = 500
    script = "trap 'echo bye; exit 5' TERM; echo ready; sleep 1000 & while :; do sleep 0.1; done"
    container = containers.make(debian, rich(spec, ["bash", "-c", script]))
    container.start()
    container.until("running", "systemctl", "is-system-running")
    for unit in ("cron", "ssh", "hawser-app"):
        assert container.exec("systemctl", "is-active", unit) == "active", unit
    assert container.exec("systemctl", "show", "--value", "-p", "ControlGroup", "cron") == "/system.slice/cron.service"
    assert container.exec("systemd-run", "--quiet", "--wait", "--pipe", "sh", "-c", "echo inside") == "inside"
    assert container.exec("systemd-detect-virt", "-c") == "container-other"
    assert container.exec("/dev/hawser/ready") == "active"
    assert executed(container, spec, "cat", "/proc/self/oom_score_adj") == "500\n"
    container.until_output("ready")
    container.kill("TERM")
    container.until_stopped()
    container.until_output("ended", name="err")
    # A stopped container ends with 0, whatever its application says; what it left running did not hold it.
    assert container.output() == "ready\nbye\n"
    told = container.output("err").splitlines()
    assert told == ["hawser: prestart prestart-1: prepared", "hawser: poststop poststop-1: ended 0 Completed"]


def executed(container: Container, spec: Spec, *words: str) -> str:
    """What a command prints that is executed as a CRI has it: with all that the container's own process has."""
    path = container.directory / "process.json"
    path.write_text(json.dumps({**spec["process"], "args": words, "cwd": "/"}, separators=(",", ":")))
    command = container.command("exec", "--process", str(path), container.name)
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.parametrize(("script", "code"), [("exit 3", 3), ("kill -9 $$", 137)])
def test_the_applications_end_is_the_containers(
    containers: Containers, debian: Path, spec: Spec, script: str, code: int
) -> None:
    command = ["sh", "-c", f"trap '' TERM; (while :; do sleep 1; done) & echo out; echo err >&2; {script}"]
    ran = containers.make(debian, rich(spec, command, user={"uid": 1000, "gid": 1000})).run()
    assert (ran.returncode, ran.stdout) == (code, b"out\n"), ran.stderr
    assert ran.stderr.startswith(b"err\n")


def test_other_inits(containers: Containers, debian: Path, busybox: Path, spec: Spec) -> None:
    ran = containers.make(debian, rich(spec, ["sh", "-c", "cat /proc/1/comm; exit 7"], "minimal")).run()
    assert (ran.returncode, ran.stdout) == (7, b"hawser-init\n"), ran.stderr
    spec["annotations"]["rich.hawser.dev/init"] = "init"
    spec["linux"].pop("cgroupsPath")
    ran = containers.make(busybox, rich(spec, ["sh", "-c", "echo out; exit 4"], "init")).run()
    assert (ran.returncode, ran.stdout) == (4, b"out\n"), ran.stderr


def test_what_can_not_be_is_said_in_the_runtimes_log(containers: Containers, debian: Path, spec: Spec) -> None:
    spec["annotations"]["rich.hawser.dev/prestart"] = "echo no; exit 7"
    container = containers.make(debian, rich(spec, SLEEP))
    assert container.run().returncode == 1
    assert "prestart hook prestart-1: exit code 7: no" in (container.directory / "log").read_text()
    assert container.status() == "gone"

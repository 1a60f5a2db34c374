"""Rich containers below conmon, the parent that CRI-O and podman give to containers: logs, ends, hooks."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.clients.debian import Unavailable, program, unpacked
from tests.runtime.conftest import PATIENCE, Container, Containers
from tests.runtime.environments import NEWER
from tests.runtime.test_containers import rich

Spec = dict[str, Any]


@pytest.fixture(scope="module")
def conmon() -> Path:
    """conmon of Debian's newest release, with its libraries."""
    try:
        return program(unpacked(NEWER, ["conmon"], dependencies="lib*"), "conmon")
    except Unavailable as error:
        pytest.skip(f"no conmon: {error}")


class Monitored:
    """A container that conmon makes, as CRI-O has it do."""

    def __init__(self, conmon: Path, container: Container) -> None:
        self._container = container
        self._home = container.directory / "conmon"
        (self._home / "exits").mkdir(parents=True)
        *runtime, _ = container.command("x")
        words = [f"--runtime-arg={word}" for word in runtime[1:]]
        words += ["--cid", container.name, "--cuuid", container.name, "--name", container.name]
        words += ["--runtime", runtime[0], "--bundle", str(container.directory), "--log-path", str(self._home / "log")]
        words += ["--container-pidfile", str(self._home / "pid"), "--conmon-pidfile", str(self._home / "conmon.pid")]
        words += ["--exit-dir", str(self._home / "exits"), "--socket-dir-path", str(self._home), "--log-level", "error"]
        subprocess.run([conmon, "--api-version", "1", *words], check=True, timeout=120 * PATIENCE)
        self._until(lambda: (self._home / "pid").exists(), "its creation")
        subprocess.run(container.command("start", container.name), check=True, timeout=120 * PATIENCE)

    def code(self) -> int:
        """The exit code that conmon tells."""
        told = self._home / "exits" / self._container.name
        self._until(lambda: told.exists() and told.read_text(), "its end")
        return int(told.read_text())

    def log(self) -> list[str]:
        """The container's output, by stream."""
        return [" ".join(line.split(" ", 3)[1::2]) for line in (self._home / "log").read_text().splitlines()]

    def until_logged(self, line: str) -> None:
        self._until(lambda: line in self.log(), line)

    def _until(self, check: Callable[[], object], what: str) -> None:
        end = time.monotonic() + 120 * PATIENCE
        while not check():
            assert time.monotonic() < end, f"conmon does not tell {what}"
            time.sleep(0.02)

    def delete(self) -> None:
        subprocess.run(self._container.command("delete", self._container.name), check=True, timeout=120 * PATIENCE)


@pytest.fixture
def hooked(spec: Spec) -> Spec:
    """A specification with a hook before and one after."""
    spec["annotations"] |= {
        "rich.hawser.dev/prestart": "echo prepared",
        "rich.hawser.dev/poststop": 'echo "ended $HAWSER_EXIT_CODE $HAWSER_EXIT_SIGNAL"',
    }
    return spec


@pytest.mark.parametrize(
    ("init", "first", "script", "code", "told"),
    [("systemd", "systemd", "exit 3", 3, "3 "), ("minimal", "hawser-init", "kill -9 $$", 137, "137 SIGKILL")],
)
def test_the_applications_end_is_told_after_the_hooks(
    containers: Containers, debian: Path, conmon: Path, hooked: Spec,
    init: str, first: str, script: str, code: int, told: str,
) -> None:  # fmt: skip
    container = containers.make(debian, rich(hooked, ["sh", "-c", f"cat /proc/1/comm; {script}"], init))
    monitored = Monitored(conmon, container)
    assert monitored.code() == code
    before, after = "hawser: prestart prestart-1: prepared", f"hawser: poststop poststop-1: ended {told}"
    assert monitored.log() == [f"stderr {before}", f"stdout {first}", f"stderr {after}"]
    monitored.delete()
    assert container.status() == "gone"


def test_a_stop_is_orderly(containers: Containers, debian: Path, conmon: Path, hooked: Spec) -> None:
    script = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.1; done"
    container = containers.make(debian, rich(hooked, ["bash", "-c", script]))
    monitored = Monitored(conmon, container)
    container.until("running", "systemctl", "is-system-running")
    monitored.until_logged("stdout ready")
    container.kill("TERM")
    assert monitored.code() == 0
    assert monitored.log()[1:3] == ["stdout ready", "stdout bye"]
    monitored.delete()

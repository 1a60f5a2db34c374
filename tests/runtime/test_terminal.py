"""A rich container at a terminal: its output is the application's, also at the end."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import Container, Containers

STOP = "stop"


def shown(container: Container) -> tuple[int, list[str]]:
    """Runs a container at a terminal, and stops it when it asks for that; its code, and all words that it shows."""
    terminal, inner = os.openpty()
    words = container.command("run", "--bundle", str(container.directory), container.name)
    with subprocess.Popen(words, stdin=inner, stdout=inner, stderr=inner, start_new_session=True) as process:
        os.close(inner)
        text, stopped = b"", False
        with contextlib.suppress(OSError):  # EIO: nobody has it open any more
            while piece := os.read(terminal, 4096):
                text += piece
                if STOP.encode() in text and not stopped:
                    container.kill("TERM")
                    stopped = True
    os.close(terminal)
    return process.returncode, text.decode().split()


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("exit 3", 3),
        ("reboot; sleep 1000", 133),
        ("systemctl poweroff; sleep 1000", 0),
        (f"echo {STOP}; sleep 1000", 0),
    ],
)
def test_the_terminal_is_the_applications_until_the_end(
    containers: Containers, debian: Path, spec: dict[str, Any], script: str, code: int
) -> None:
    spec["annotations"]["rich.hawser.dev/init"] = "systemd"
    spec["process"] |= {"terminal": True, "args": ["sh", "-c", f"echo begin; {script}"]}
    said = ["begin", STOP] if STOP in script else ["begin"]
    assert shown(containers.make(debian, spec)) == (code, said)


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("systemctl reboot --force", 0),
        ("systemctl --force --force reboot || exit 7", 7),
        ("reboot -f || exit 7", 7),
    ],
)
def test_who_reboots_by_force_ends_systemd_or_nothing(
    containers: Containers, debian: Path, spec: dict[str, Any], script: str, code: int
) -> None:
    spec["annotations"]["rich.hawser.dev/init"] = "systemd"
    spec["process"]["args"] = ["sh", "-c", f"{script}; sleep 1000"]
    assert containers.make(debian, spec).run().returncode == code

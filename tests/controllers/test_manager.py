"""The controllers' process: its command line, and that it runs, ends and is small."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hawser.controllers import registry
from hawser.controllers.manager import arguments, main


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ("*", list(registry.CONTROLLERS)),
        ("", list(registry.CONTROLLERS)),
        ("scheduler", ["scheduler"]),
        ("*,-scheduler", [n for n in registry.CONTROLLERS if n != "scheduler"]),
        ("-scheduler", [n for n in registry.CONTROLLERS if n != "scheduler"]),
        (" node-lifecycle , scheduler", ["scheduler", "node-lifecycle"]),
    ],
)
def test_a_list_chooses_controllers(names, chosen):
    assert registry.chosen(names) == chosen


def test_an_unknown_controller_is_refused_with_those_there_are(capsys):
    with pytest.raises(SystemExit) as caught:
        arguments(["--controllers", "sheduler"])
    assert caught.value.code == 2
    assert '"sheduler" is no controller; there are: scheduler, ' in capsys.readouterr().err


@pytest.mark.parametrize("name", registry.CONTROLLERS)
def test_every_row_makes_a_controller(name):
    assert registry.make(name).name


def test_a_missing_kubeconfig_is_said(tmp_path, capsys):
    assert main(["--kubeconfig", str(tmp_path / "none")]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_it_runs_small_and_ends_on_sigterm(api_server, tmp_path):
    command = [sys.executable, "-m", "hawser.controllers", "--kubeconfig", str(api_server.kubeconfig)]
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stderr=file, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while "running scheduler, " not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        status = Path(f"/proc/{process.pid}/status").read_text()
        resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
        assert resident < 50 * 1024
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert "stopped" in log.read_text()
        assert "Traceback" not in log.read_text()
    finally:
        process.kill()
        process.wait()

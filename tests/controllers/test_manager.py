"""The controllers' process: its command line, and that it runs, ends and is small."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hawser.api.kinds import RESOURCE_QUOTA, RUNTIME_CLASS
from hawser.client.controller import Controller
from hawser.controllers import registry
from hawser.controllers.manager import arguments, main

from .running import eventually, running

ALL = [name for name, row in registry.CONTROLLERS.items() if row.by_default]


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ("*", ALL),
        ("", ALL),
        ("scheduler", ["scheduler"]),
        ("*,-scheduler", [n for n in ALL if n != "scheduler"]),
        ("-scheduler", [n for n in ALL if n != "scheduler"]),
        (" node-lifecycle-controller , scheduler", ["scheduler", "node-lifecycle-controller"]),
        ("nodelifecycle,tokencleaner", ["node-lifecycle-controller", "token-cleaner-controller"]),
        ("*,-deployment", [n for n in ALL if n != "deployment-controller"]),
        ("*,bootstrapsigner", [n for n in registry.CONTROLLERS if n in ALL or n == "bootstrap-signer-controller"]),
    ],
)
def test_a_list_chooses_controllers_by_their_names_and_older_names(names, chosen):
    assert registry.chosen(names) == chosen


def test_an_unknown_controller_is_refused_with_those_there_are(capsys):
    with pytest.raises(SystemExit) as caught:
        arguments(["--controllers", "sheduler"])
    assert caught.value.code == 2
    assert '"sheduler" is no controller; there are: scheduler, ' in capsys.readouterr().err


@pytest.mark.parametrize("name", registry.CONTROLLERS)
def test_every_row_makes_a_controller_of_its_name(name):
    assert registry.make(name).name == name


def test_a_missing_kubeconfig_is_said(tmp_path, capsys):
    assert main(["--kubeconfig", str(tmp_path / "none")]) == 1
    assert "cannot be read" in capsys.readouterr().err


async def test_a_controller_starts_with_the_first_object_of_its_kind(api_server):
    seen: list[str] = []

    class Follower(Controller):
        name = "follower"

        def setup(self, manager):
            seen.append("set up")
            self.classes = manager.informer(RUNTIME_CLASS)
            self.classes.on_change(self.enqueue)

        async def reconcile(self, key):
            found = self.classes.get_key(key)
            seen.append(f"{key} {found['handler']}" if found else f"{key} gone")

    class Waiting(Controller):
        name = "waiting"

        def setup(self, manager):
            manager.add_with_first((RESOURCE_QUOTA, RUNTIME_CLASS), Follower)

    async with running(api_server.kubeconfig, Waiting()) as client:
        for name in ("first", "second"):
            made = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}, "handler": "a"}
            await client.create(RUNTIME_CLASS, made)
            await eventually(lambda wanted=f"{name} a": _true(wanted in seen))
            await client.delete(RUNTIME_CLASS, name)
            await eventually(lambda wanted=f"{name} gone": _true(wanted in seen))
    assert seen == ["set up", "first a", "first gone", "second a", "second gone"]


async def _true(value: bool) -> bool:
    return value


def test_it_runs_small_and_ends_on_sigterm(api_server, tmp_path):
    command = [sys.executable, "-m", "hawser.controllers", "--kubeconfig", str(api_server.kubeconfig)]
    command += ["--secure-port", "0"]
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stderr=file, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while "running scheduler, " not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        status = Path(f"/proc/{process.pid}/status").read_text()
        resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
        assert resident < 50 * 1024
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert "stopped" in log.read_text()
        assert "Traceback" not in log.read_text()
    finally:
        process.kill()
        process.wait()

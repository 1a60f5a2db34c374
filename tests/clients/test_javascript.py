"""@kubernetes/client-node, unmodified: the tests in ``js/``, with the packages that its lock file pins."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ..apiserver.conftest import Server
from . import debian

SOURCES = Path(__file__).parent / "js"
SCRIPT = SOURCES / "clients.test.js"
NAMES = re.findall(r"^test\('([^']+)'", SCRIPT.read_text(), re.MULTILINE)
OLDEST = 20


@pytest.fixture(scope="module")
def folder() -> Path:
    """Where the packages are installed: once a machine for each lock file."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip(f"node (version {OLDEST} or later) and npm are not installed")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=120).stdout
    if int(version.removeprefix("v").partition(".")[0]) < OLDEST:
        pytest.skip(f"node is {version.strip()}, the client needs version {OLDEST}")
    lock = SOURCES / "package-lock.json"
    made = debian.CACHE / f"javascript-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    made.mkdir(parents=True, exist_ok=True)
    with (made / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (made / "installed").exists():
            for file in ("package.json", lock.name):
                shutil.copy(SOURCES / file, made)
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(command, cwd=made, capture_output=True, text=True, timeout=300)
            if done.returncode:
                pytest.skip(f"npm could not install the client: {done.stderr[-500:]}")
            (made / "installed").touch()
        # Packages are found beside the script.
        shutil.copy(SCRIPT, made)
    return made


@pytest.fixture(scope="module")
def said(folder: Path, server: Server) -> dict[str, str]:
    """What was said of each test: nothing when it passed."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(server.folder), "KUBECONFIG": str(server.kubeconfig)}
    command = ["node", "--test", "--test-reporter=tap", SCRIPT.name]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    found: dict[str, str] = {}
    for result in re.split(r"^(?=(?:not )?ok \d+ - )", done.stdout, flags=re.MULTILINE)[1:]:
        head, _, rest = result.partition("\n")
        passed, name = head.startswith("ok"), head.partition(" - ")[2]
        found[name] = "" if passed else rest
    assert found, done.stdout + done.stderr
    return found


@pytest.mark.parametrize("name", NAMES)
def test_client_node(said: dict[str, str], name: str) -> None:
    assert not said[name], said[name]

"""`make demo` on a clone ends with a legacy application in a rich container, and everything inside works."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import HAWSER, ROOT, Engine, Obj, eventually

DEFAULT_CAPABILITIES = 0x00000000A80425FB
"""The OCI runtimes' default set, as containerd gives it to an unprivileged container."""


@pytest.fixture(scope="module")
def demo() -> Iterator[tuple[Engine, str]]:
    """The engine that `make demo` started, and what it printed."""
    data_dir = Path(tempfile.mkdtemp(prefix="hawser-demo-", dir="/var/tmp"))
    command = ["make", "--no-print-directory", "demo", f"DATA_DIR={data_dir}"]
    env = {**os.environ, "NO_COLOR": "1", "COLUMNS": "160"}
    engine = Engine(data_dir)
    try:
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=900, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        yield engine, done.stdout
    finally:
        down = ["make", "--no-print-directory", "down", f"DATA_DIR={data_dir}", "PURGE=1"]
        ended = subprocess.run(down, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        shutil.rmtree(f"{data_dir}-kubectl-cache", ignore_errors=True)
        assert not data_dir.exists()


@pytest.fixture
def legacy(demo: tuple[Engine, str]) -> Obj:
    (pod,) = demo[0].list("pods", "default", "app=legacy-app")
    return pod


def inside(demo: tuple[Engine, str], *command: str, check: bool = True) -> str:
    return demo[0].kubectl("exec", "deploy/legacy-app", "--", *command, check=check).stdout


def test_the_pod_is_ready_and_the_user_is_told_what_next(demo: tuple[Engine, str], legacy: Obj) -> None:
    conditions = {c["type"]: c["status"] for c in legacy["status"]["conditions"]}
    assert conditions["Ready"] == "True"
    for expected in (legacy["status"]["podIP"], "ssh", "kubectl", "logs", "down"):
        assert expected in demo[1]
    for unit in ("hawser-app", "ssh", "cron", "rsyslog"):
        assert re.search(rf"{unit}.service +active \(running\)", demo[1])


def test_systemd_is_pid_1_and_everything_runs(demo: tuple[Engine, str]) -> None:
    assert inside(demo, "cat", "/proc/1/comm").strip() == "systemd"
    assert inside(demo, "systemctl", "is-system-running").strip() == "running"
    for unit in ("hawser-app", "ssh", "cron", "rsyslog"):
        assert inside(demo, "systemctl", "is-active", unit).strip() == "active"


def test_it_is_unprivileged(demo: tuple[Engine, str]) -> None:
    lines = inside(demo, "cat", "/proc/1/status").splitlines()
    bounding = next(int(line.split()[1], 16) for line in lines if line.startswith("CapBnd:"))
    assert bounding == DEFAULT_CAPABILITIES


def test_the_application_answers_on_the_pod_ip(legacy: Obj) -> None:
    connection = http.client.HTTPConnection(legacy["status"]["podIP"], 8080, timeout=60)
    connection.request("GET", "/")
    response = connection.getresponse()
    assert response.status == 200
    assert response.read()
    connection.close()


def test_sshd_accepts_a_login(demo: tuple[Engine, str], legacy: Obj) -> None:
    key = demo[0].data_dir / "demo" / "id_ed25519"
    command = [
        "ssh",
        "-i",
        str(key),
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "BatchMode=yes",
        f"root@{legacy['status']['podIP']}",
        "systemctl is-system-running",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "running"), done.stderr


def test_cron_has_fired_and_rsyslog_has_written(demo: tuple[Engine, str]) -> None:
    inside(demo, "logger", "a line for rsyslog")
    eventually(lambda: "a line for rsyslog" in inside(demo, "cat", "/var/log/syslog"), "the syslog line")
    eventually(lambda: "CRON" in inside(demo, "cat", "/var/log/syslog"), "a cron job's syslog line", 180)


def test_kubectl_logs_shows_the_application_alone(demo: tuple[Engine, str]) -> None:
    log = eventually(lambda: demo[0].kubectl("logs", "deploy/legacy-app").stdout, "the log")
    assert "systemd" not in log


def test_the_shell_completes_the_names_of_pods(demo: tuple[Engine, str], legacy: Obj) -> None:
    asked = {"_HAWSER_COMPLETE": "complete_bash", "COMP_WORDS": "hawser logs legacy", "COMP_CWORD": "2"}
    env = {**os.environ, **asked, "HAWSER_DATA_DIR": str(demo[0].data_dir)}
    done = subprocess.run([str(HAWSER)], env=env, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == [legacy["metadata"]["name"]]


def test_the_application_writes_its_own_log_files(demo: tuple[Engine, str]) -> None:
    script = "cat /var/log/legacy-app/*.log"
    eventually(lambda: inside(demo, "sh", "-c", script, check=False), "the application's log files")


def test_a_second_demo_run_is_quick_and_changes_nothing(demo: tuple[Engine, str], legacy: Obj) -> None:
    command = ["make", "--no-print-directory", "demo", f"DATA_DIR={demo[0].data_dir}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (again,) = demo[0].list("pods", "default", "app=legacy-app")
    assert again["metadata"]["uid"] == legacy["metadata"]["uid"]
    assert again["status"]["containerStatuses"] == legacy["status"]["containerStatuses"]

"""The launcher passes everything on to the real runtime, except what it is there for."""

from __future__ import annotations

import ast
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hawser.runtime import install as module
from hawser.runtime.install import build, install


class Launcher:
    """The installed launcher with a runtime behind it that only notes its arguments."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.real = directory / "fake runc"
        self.real.write_text(
            f'#!/bin/sh\nprintf "%s\\n" "$@" >"{directory}/called"\ncat >"{directory}/given"\nexit ${{FAKE_CODE:-0}}\n'
        )
        self.real.chmod(0o755)
        self.path = install(directory / "hawser-runtime")
        self.records = directory / "records"
        self.code = 0

    def __call__(self, *words: str, given: str = "", **environment: str) -> list[str]:
        """Calls the launcher, which is given that on its standard input; returns what the runtime was called with."""
        called = self.directory / "called"
        called.unlink(missing_ok=True)
        env = {
            "HAWSER_OCI_RUNTIME": str(self.real),
            "HAWSER_RUNTIME_STATE": str(self.records),
            "PATH": os.environ["PATH"],
        }
        ran = subprocess.run(
            [self.path, *words], env=env | environment, input=given, capture_output=True, text=True, timeout=30
        )
        self.code, self.error = ran.returncode, ran.stderr
        return called.read_text().split("\n")[:-1] if called.exists() else []

    def note(self, root: str, name: str, init: str) -> Path:
        path = Path(f"{self.records}{root}") / name
        path.parent.mkdir(parents=True)
        path.write_text(init + "\n")
        return path


@pytest.fixture
def launcher(tmp_path: Path) -> Launcher:
    return Launcher(tmp_path)


@pytest.mark.parametrize(
    "words",
    [
        ["--version"],
        ["--root", "/run/x", "--log=/dev/null", "state", "id"],
        ["--root", "/run/x", "exec", "--process", "a b", "id"],
        ["start", "id"],
        ["kill", "id", "15"],
        ["kill", "--all", "id", "9"],
        ["delete", "--force", "id"],
    ],
)
def test_other_commands_pass_untouched(launcher: Launcher, words: list[str]) -> None:
    assert launcher(*words) == words


@pytest.mark.parametrize(
    ("note", "env", "told"),
    [
        ("minimal", ["A=b"], ["A=b"]),
        ("minimal /lib/x.so", ["A=b"], ["LD_PRELOAD=/lib/x.so", "A=b"]),
        ("minimal /lib/x.so", ['A="env":["LD=', "B=c"], ["LD_PRELOAD=/lib/x.so", 'A="env":["LD=', "B=c"]),
        ("minimal /lib/x.so", ["LD_PRELOAD=/own.so"], ["LD_PRELOAD=/own.so"]),
    ],
)
def test_what_runs_later_gets_what_is_preloaded(launcher: Launcher, note: str, env: list[str], told: list[str]) -> None:
    launcher.note("/run/x", "id", note)
    process = launcher.directory / "process.json"
    process.write_text(json.dumps({"args": ["env:["], "env": env}, separators=(",", ":")))
    words = ["--root", "/run/x", "exec", "--process", str(process), "--detach", "id"]
    assert launcher(*words) == words
    assert json.loads(process.read_text()) == {"args": ["env:["], "env": told}


@pytest.mark.parametrize(("init", "group"), [("systemd", "0"), ("sysvinit", "0"), ("minimal", "1"), ("", "1")])
def test_new_limits_do_not_make_an_init_end_with_what_runs_out_of_memory(
    launcher: Launcher, init: str, group: str
) -> None:
    if init:
        launcher.note("/run/x", "id", init)
    given = '{"memory":{"limit":9},"unified":{"a":"1","memory.oom.group":"1","z":"1"}}'
    words = ["--root", "/run/x", "update", "--resources", "-", "id"]
    assert launcher(*words, given=given, FAKE_CODE="3") == words
    assert launcher.code == 3
    told = json.loads((launcher.directory / "given").read_text())
    assert told == {"memory": {"limit": 9}, "unified": {"a": "1", "memory.oom.group": group, "z": "1"}}


@pytest.mark.parametrize(
    ("init", "signal", "sent"),
    [
        ("systemd", "15", "37"),
        ("systemd", "TERM", "37"),
        ("systemd", "SIGTERM", "37"),
        ("systemd", "3", "37"),
        ("systemd", "9", "9"),
        ("systemd", "KILL", "KILL"),
        ("systemd", "37", "37"),
        ("busybox", "TERM", "3"),
        ("busybox", "9", "9"),
        ("sysvinit", "15", "2"),
        ("minimal", "15", "15"),
        ("minimal:SIGQUIT", "15", "SIGQUIT"),
        ("minimal:SIGQUIT", "9", "9"),
    ],
)
def test_a_stop_is_said_in_the_inits_own_signal(launcher: Launcher, init: str, signal: str, sent: str) -> None:
    launcher.note("/run/x", "id", init)
    assert launcher("--root", "/run/x", "kill", "--all", "id", signal) == [
        "--root",
        "/run/x",
        "kill",
        "--all",
        "id",
        sent,
    ]


def test_a_stop_without_a_signal_is_one_too(launcher: Launcher) -> None:
    launcher.note("/default", "id", "systemd")
    assert launcher("kill", "id") == ["kill", "id", "37"]


def test_the_same_id_below_another_root_is_another_container(launcher: Launcher) -> None:
    launcher.note("/run/x", "id", "systemd")
    assert launcher("--root=/run/y", "kill", "id", "15") == ["--root=/run/y", "kill", "id", "15"]


def test_delete_takes_the_note_along_once_it_succeeds(launcher: Launcher) -> None:
    note = launcher.note("/run/x", "id", "systemd")
    launcher("--root", "/run/x", "delete", "id", FAKE_CODE="3")
    assert launcher.code == 3
    assert note.exists()
    launcher("--root", "/run/x", "delete", "id")
    assert launcher.code == 0
    assert not note.exists()


def test_delete_takes_what_was_mounted_for_one_that_could_not_be_made(launcher: Launcher) -> None:
    """Whoever made it was killed before there was a note."""
    records = Path(f"{launcher.records}/run/x")
    journal, kept, space = records / ".inside/id", records / ".roots/id", launcher.directory / "space"
    for place in (journal, kept, space):
        place.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    Path(f"{kept}.space").symlink_to(space)
    (journal / "journal").write_text("line\n")
    launcher("--root", "/run/x", "delete", "--force", "id")
    assert (launcher.code, launcher.error) == (0, "")
    assert not os.path.ismount(space)
    assert [path.name for path in sorted(records.rglob("*")) if path.is_file()] == ["id.inside.jsonl"]
    assert not [place for place in (journal, kept) if place.exists()]


@pytest.mark.parametrize(
    ("name", "counted", "told"),
    [
        ("memory.events", "oom 3\noom_kill 2\noom_group_kill 1\n", ['{"kind":"end","oomKills":2}']),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n", ['{"kind":"end","oomKills":0}']),
        ("memory.oom_control", "under_oom 0\n", []),
        ("other", "", []),
    ],
)
def test_delete_notes_how_many_were_killed_for_want_of_memory(
    launcher: Launcher, name: str, counted: str, told: list[str]
) -> None:
    group = launcher.directory / "a group"
    group.mkdir()
    (group / name).write_text(counted)
    note = launcher.note("/run/x", "id", f"systemd\n{group}")
    inside = note.parent / ".inside/id"
    inside.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", inside], check=True)
    (inside / "journal").write_text("line\n")
    launcher("--root", "/run/x", "delete", "id")
    assert (launcher.code, launcher.error) == (0, "")
    assert (note.parent / ".journal/id.inside.jsonl").read_text().split() == ["line", *told]


@pytest.mark.parametrize("key", ["io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"])
def test_a_sandbox_passes_without_an_edit(launcher: Launcher, tmp_path: Path, key: str) -> None:
    text = json.dumps({"annotations": {key: "sandbox"}}, separators=(",", ":"))
    (tmp_path / "config.json").write_text(text)
    words = ["create", "--bundle", str(tmp_path), "id"]
    assert launcher(*words) == words
    assert (tmp_path / "config.json").read_text() == text


def test_a_container_that_is_not_chosen_passes_without_an_edit(
    launcher: Launcher, tmp_path: Path, spec: dict[str, Any]
) -> None:
    spec["annotations"] = {"io.kubernetes.cri.container-name": "side", "rich.hawser.dev/container": "main"}
    (tmp_path / "config.json").write_text(json.dumps(spec))
    assert launcher("create", "--bundle", str(tmp_path), "id")[0] == "create"
    assert json.loads((tmp_path / "config.json").read_text()) == spec
    assert not launcher.records.exists()


@pytest.mark.parametrize("format_", ["json", "text"])
def test_a_failure_is_one_line_on_stderr_and_in_the_log(
    launcher: Launcher, tmp_path: Path, spec: dict[str, Any], format_: str
) -> None:
    spec["annotations"] = {"rich.hawser.dev/init": "upstart"}
    (tmp_path / "config.json").write_text(json.dumps(spec))
    log = tmp_path / "log"
    assert not launcher("--log", str(log), "--log-format", format_, "create", "--bundle", str(tmp_path), "id")
    text = 'annotation rich.hawser.dev/init: "upstart" is not one of systemd, init, minimal'
    assert launcher.code == 1
    assert launcher.error == f"hawser-runtime: {text}\n"
    line = log.read_text()
    if format_ == "json":
        entry = json.loads(line)
        assert (entry["level"], entry["msg"]) == ("error", f"hawser-runtime: {text}")
    else:
        assert "level=error" in line


def test_a_missing_runtime_is_said(launcher: Launcher, tmp_path: Path) -> None:
    launcher("--log", str(tmp_path / "log"), "state", "id", HAWSER_OCI_RUNTIME="/nonexistent/runc")
    assert launcher.code == 1
    assert "no OCI runtime" in json.loads((tmp_path / "log").read_text())["msg"]


def test_the_minimal_init_is_put_in_front(launcher: Launcher, tmp_path: Path, spec: dict[str, Any]) -> None:
    (tmp_path / "rootfs/bin").mkdir(parents=True)
    (tmp_path / "rootfs/bin/true").write_text("#!")
    (tmp_path / "rootfs/bin/true").chmod(0o755)
    (tmp_path / "config.json").write_text(json.dumps(spec))
    launcher("--root", "/run/x", "create", "--bundle", str(tmp_path), "id")
    if launcher.code == 1 and "none of catatonit" in launcher.error:
        pytest.skip("no static init on this machine")
    edited = json.loads((tmp_path / "config.json").read_text())
    assert edited["process"]["args"] == ["/dev/hawser-init", "--", "/bin/true"]
    assert Path(f"{launcher.records}/run/x/id").read_text() == "minimal\n"


def test_the_program_is_python_3_9(tmp_path: Path) -> None:
    directory = Path(module.__file__).parent
    for name in module._MODULES:
        ast.parse((directory / f"{name}.py").read_text(), feature_version=(3, 9))


def test_another_python_has_the_sources(launcher: Launcher, tmp_path: Path, spec: dict[str, Any]) -> None:
    launcher.path.write_bytes(build(python=["/nonexistent/python"]))
    spec["annotations"] = {"rich.hawser.dev/init": "upstart"}
    (tmp_path / "config.json").write_text(json.dumps(spec))
    assert not launcher("create", "--bundle", str(tmp_path), "id")
    assert '"upstart" is not one of systemd, init, minimal' in launcher.error


def test_two_builds_are_the_same_and_an_install_keeps_an_equal_file(tmp_path: Path) -> None:
    assert build("/usr/sbin/runc") == build("/usr/sbin/runc")
    path = install(tmp_path / "bin/hawser-runtime")
    before = path.stat()
    assert install(path).stat().st_ino == before.st_ino


def test_a_runtimes_path_can_not_be_shell(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="characters that a shell would read"):
        build("/usr/bin/runc; reboot")

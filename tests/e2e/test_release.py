"""Releases into running containers: the pod, its container and its address stay, and what fails is undone."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import ROOT, Engine, Obj, eventually, pod
from .test_rich import PROBE, rich

APP = "/opt/legacy-app"
SOURCE = ROOT / "examples/legacy-app/rootfs/opt/legacy-app/legacy_app.py"


def push(engine: Engine, namespace: str, words: str, src: Path, *more: str, check: bool = True) -> Any:
    args = ("release", "push", words, "-n", namespace, "--src", str(src), "--owner", "0:0", *more)
    return engine.hawser(*args, check=check)


def identity(pod: Obj) -> tuple[str, ...]:
    """What a release must not change."""
    status = pod["status"]["containerStatuses"][0]
    return status["containerID"], pod["status"]["podIP"], str(status["restartCount"]), pod["metadata"]["uid"]


def inside(engine: Engine, namespace: str, name: str, *command: str) -> str:
    return engine.kubectl("exec", name, "-n", namespace, "--", *command).stdout


def release_of(tmp_path: Path, greeting: str, ahead: str = "") -> Path:
    """A directory with the example's application, whose answer is changed."""
    folder = tmp_path / greeting
    folder.mkdir()
    text = SOURCE.read_text()
    assert "listening on port" in text
    (folder / SOURCE.name).write_text(ahead + text.replace("listening on port", f"{greeting}, listening on port"))
    return folder


def test_the_application_is_replaced_inside_and_what_fails_is_undone(
    engine: Engine, namespace: str, image: str, tmp_path: Path
) -> None:
    engine.apply(rich("a", container=PROBE), namespace)
    before = identity(engine.wait_ready("a", namespace))
    sandbox = inside(engine, namespace, "a", "readlink", "/proc/1/ns/net", "/proc/1/ns/pid")
    booted = inside(engine, namespace, "a", "stat", "-c", "%Y", "/proc/1")
    more = ("--dest", APP, "--unit", "hawser-app", "--settle", "1")

    good = release_of(tmp_path, "second")
    done = json.loads(push(engine, namespace, "a", good, *more, "-o", "json").stdout)[0]
    assert (done["result"], done["changed"], done["added"]) == ("released", ["legacy_app.py"], [])
    eventually(lambda: "second, listening" in engine.kubectl("logs", "a", "-n", namespace).stdout, "its first words")
    assert "second" in inside(engine, namespace, "a", "cat", APP + "/legacy_app.py")
    noted = json.loads(engine.get("pod", "a", namespace)["metadata"]["annotations"]["hawser.dev/released"])
    assert (noted["id"], noted["unit"], noted["changed"]) == (done["release"], "hawser-app", 1)
    assert done["release"] in engine.wait_event(namespace, "a", "Released")
    assert json.loads(push(engine, namespace, "a", good, *more, "-o", "json").stdout)[0]["result"] == "unchanged"

    refused = push(engine, namespace, "a", good.parent, "--dest", APP, "--unit", "shop", check=False)
    assert (refused.returncode, "the container has no unit shop.service" in refused.stderr) == (1, True)
    assert inside(engine, namespace, "a", "ls", APP) == "legacy_app.py\n"

    # The application ends at once: with neither a hold nor a rollback the container would end, too.
    bad = release_of(tmp_path, "third", "#!/usr/bin/python3\nraise SystemExit('no such luck')\n")
    (bad / "more").write_text("x")
    # It has ten seconds to start and end, on whatever machine.
    failed = push(engine, namespace, "a", bad, *more[:-1], "10", "-o", "json", check=False)
    assert failed.returncode == 1
    outcome = json.loads(failed.stdout)[0]
    assert outcome["result"] == "rolled back"
    assert "unit hawser-app failed: exit-code, exit code 1" in outcome["why"]
    assert "no such luck" in outcome["why"]
    assert "no such luck" in engine.wait_event(namespace, "a", "ReleaseFailed")
    assert "1" in engine.wait_event(namespace, "a", "ApplicationFailed")
    assert "second" in inside(engine, namespace, "a", "cat", APP + "/legacy_app.py")
    assert inside(engine, namespace, "a", "ls", APP) == "legacy_app.py\n"
    status = json.loads(engine.hawser("release", "status", "a", "-n", namespace, "-o", "json").stdout)[0]
    assert (status["state"], status["id"]) == ("released", done["release"])

    undone = json.loads(
        engine.hawser("release", "rollback", "a", "-n", namespace, "-o", "json", "--settle", "1").stdout
    )[0]
    assert (undone["result"], undone["release"]) == ("rolled back", done["release"])
    assert inside(engine, namespace, "a", "cat", APP + "/legacy_app.py") == SOURCE.read_text()
    assert "hawser.dev/released" not in engine.get("pod", "a", namespace)["metadata"]["annotations"]
    again = engine.hawser("release", "rollback", "a", "-n", namespace, check=False)
    assert again.returncode == 1
    assert "no release in this container" in again.stderr

    assert identity(engine.wait_ready("a", namespace)) == before
    assert inside(engine, namespace, "a", "readlink", "/proc/1/ns/net", "/proc/1/ns/pid") == sandbox
    assert inside(engine, namespace, "a", "stat", "-c", "%Y", "/proc/1") == booted
    # Nothing of the hold is left: the application decides about the container again.
    assert "99-hawser-release" not in inside(engine, namespace, "a", "systemctl", "cat", "hawser-app")


def test_a_push_that_is_killed_is_undone_by_whoever_comes_next(
    engine: Engine, namespace: str, image: str, tmp_path: Path
) -> None:
    engine.apply(rich("a", container=PROBE), namespace)
    engine.wait_ready("a", namespace)
    cron = tmp_path / "cron"
    cron.mkdir()
    (cron / "tick").write_text("* * * * * root true\n")
    args = ("release", "push", "a", "-n", namespace, "--src", cron, "--dest", "/etc/cron.d", "--unit", "cron")
    env = {**os.environ, "HAWSER_DATA_DIR": str(engine.data_dir)}
    check = ("sh", "-c", "cat /var/lib/hawser/release/*/state 2>/dev/null; ls /etc/cron.d")
    undo = ("release", "rollback", "a", "-n", namespace, "--unit", "cron", "--settle", "0")
    with subprocess.Popen(
        [ROOT / "hawser", *args, "--settle", "100"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            eventually(lambda: inside(engine, namespace, "a", *check).startswith("applied"), "the files")
            assert "tick" in inside(engine, namespace, "a", *check)
            early = engine.hawser(*undo, check=False)
            assert "is under way in this container" in early.stderr
        finally:
            process.kill()
    eventually(lambda: engine.hawser(*undo, check=False).returncode == 0, "the rollback")
    assert "tick" not in inside(engine, namespace, "a", "ls", "/etc/cron.d")


@pytest.fixture
def three(engine: Engine, namespace: str) -> list[str]:
    """Three ordinary busybox pods that say whether they are ready by a file."""
    probe = {"readinessProbe": {"exec": {"command": ["test", "!", "-e", "/srv/broken"]}, "periodSeconds": 1}}
    probe["readinessProbe"] |= {"failureThreshold": 1, "timeoutSeconds": 20}
    names = ["a", "b", "c"]
    for name in names:
        manifest = pod(name, "mkdir -p /srv/old; echo 1 > /srv/old/file; exec sleep 1000000", container=probe)
        manifest["metadata"]["labels"] = {"set": "three"}
        engine.apply(manifest, namespace)
    for name in names:
        engine.wait_ready(name, namespace)
    return names


def test_files_are_synced_into_any_container(engine: Engine, namespace: str, three: list[str], tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/with space").write_text("x" * 100_000)
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o4751)
    (tmp_path / "link").symlink_to("conf/with space")
    (tmp_path / "skip.log").write_text("")
    more = ("--dest", "/srv", "--exclude", "*.log", "--delete", "--settle", "0")
    planned = push(engine, namespace, "a", tmp_path, *more, "--dry-run")
    assert planned.stdout.splitlines()[:6] == ["+ conf", "+ conf/with space", "+ link", "+ tool", "- old", "- old/file"]
    assert inside(engine, namespace, "a", "ls", "/srv") == "old\n"
    before = identity(engine.get("pod", "a", namespace))
    done = push(engine, namespace, "a", tmp_path, *more, "--command", "cat '/srv/link' | wc -c > /srv/count.log")
    assert "released" in done.stdout
    assert inside(engine, namespace, "a", "ls", "/srv") == "conf\ncount.log\nlink\ntool\n"
    assert inside(engine, namespace, "a", "cat", "/srv/count.log").strip() == "100000"
    assert inside(engine, namespace, "a", "stat", "-c", "%a %u %F", "/srv/tool") == "4751 0 regular file\n"
    assert json.loads(push(engine, namespace, "a", tmp_path, *more, "-o", "json").stdout)[0]["result"] == "unchanged"
    # Another cluster is named as kubectl names it.
    shown = engine.hawser("release", "status", "a", "-n", namespace, "--kubeconfig", str(engine.kubeconfig))
    assert "released" in shown.stdout
    engine.hawser("release", "rollback", "a", "-n", namespace, "--settle", "0", "--kubeconfig", str(engine.kubeconfig))
    assert inside(engine, namespace, "a", "find", "/srv", "-type", "f").split() == ["/srv/count.log", "/srv/old/file"]
    assert identity(engine.get("pod", "a", namespace)) == before


def test_without_systemd_the_units_script_is_asked(
    engine: Engine, namespace: str, three: list[str], tmp_path: Path
) -> None:
    script = tmp_path / "web"
    script.write_text('#!/bin/sh\n[ "$1" = status ] || echo "$1" >> /srv/asked\n')
    script.chmod(0o755)
    more = ("--dest", "/etc/init.d", "--unit", "web", "--settle", "0")
    assert "released" in push(engine, namespace, "b", tmp_path, *more).stdout
    assert inside(engine, namespace, "b", "cat", "/srv/asked") == "restart\n"
    script.write_text("#!/bin/sh\n[ $1 = restart ]\n")
    failed = push(engine, namespace, "b", tmp_path, *more, check=False)
    assert failed.returncode == 1
    assert "unit web failed: it does not run" in failed.stderr
    assert inside(engine, namespace, "b", "tail", "-n", "1", "/srv/asked") == "restart\n"
    assert "asked" in inside(engine, namespace, "b", "cat", "/etc/init.d/web")


def test_of_several_pods_none_is_touched_after_a_failure(
    engine: Engine, namespace: str, three: list[str], tmp_path: Path
) -> None:
    (tmp_path / "version").write_text("2")
    more = ("--dest", "/srv", "-o", "json", "--command", "true", "--settle", "0")
    done = json.loads(push(engine, namespace, "set=three", tmp_path, *more, "--parallel", "2").stdout)
    assert [(one["pod"], one["result"]) for one in done] == [(name, "released") for name in three]
    (tmp_path / "broken").write_text("")
    failed = push(engine, namespace, "set=three", tmp_path, *more[:-1], "10", "--timeout", "30", check=False)
    assert failed.returncode == 1
    results = json.loads(failed.stdout)
    assert [one["result"] for one in results] == ["rolled back", "skipped", "skipped"]
    assert "the pod is not ready" in results[0]["why"]
    assert "a failed" in results[2]["why"]
    for name in three:
        assert inside(engine, namespace, name, "ls", "/srv") == "old\nversion\n"
        engine.wait_ready(name, namespace)


def test_what_can_not_be_is_refused_with_the_reason(
    engine: Engine, namespace: str, three: list[str], tmp_path: Path
) -> None:
    cases = [
        (("nobody",), 'pods "nobody" not found'),
        (("set=none",), "no pod in namespace"),
        (("a", "--dest", "/bin/sh"), "/bin/sh is not a directory"),
        (("a", "--dest", "/srv", "--unit", "web"), "no systemd and no /etc/init.d/web (--command says"),
    ]
    (tmp_path / "f").write_text("")
    for (words, *more), text in cases:
        refused = push(engine, namespace, words, tmp_path, *more, check=False)
        assert refused.returncode in (1, 3), refused.stdout
        assert text in " ".join(refused.stderr.split()), refused.stderr
    assert inside(engine, namespace, "a", "ls", "/srv") == "old\n"
    usage = push(engine, namespace, "a", tmp_path, "--delete", check=False)
    assert usage.returncode == 2

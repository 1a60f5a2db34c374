"""The command line on an engine of its own, beside another: status, errors, and that nothing is left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from .conftest import Engine, engine_of_its_own, eventually, pod


@pytest.fixture
def second(engine: Engine) -> Iterator[Engine]:
    """A second engine beside the session's."""
    with engine_of_its_own() as made:
        yield made


def traces(data_dir: Path, instance: str) -> list[str]:
    """What of an engine is on the host: mounts, processes, cgroups, links, nftables tables, network namespaces."""
    found = [line for line in Path("/proc/self/mounts").read_text().splitlines() if instance in line]
    found += [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(data_dir) in line]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if f"/run/hawser/{instance}" in command or (str(data_dir) in command and "pytest" not in command):
            found.append(command)
    # Not deeper: cgroups of other engines come and go meanwhile.
    found += [str(p) for depth in ("", "*/") for p in Path("/sys/fs/cgroup").glob(f"{depth}hawser-{instance}*")]
    return found


def links() -> set[str]:
    return {p.name for p in Path("/sys/class/net").iterdir()}


def tables() -> set[str]:
    return set(subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout.split("\n"))


def test_two_engines_live_side_by_side_and_down_removes_every_trace(engine: Engine, second: Engine) -> None:
    engine.apply(pod("a"), "default")
    one = engine.wait_ready("a", "default")
    second.hawser("up", "--detach")
    config = json.loads((second.data_dir / "config.json").read_text())
    second.apply(pod("a"), "default")
    two = second.wait_ready("a", "default")
    assert one["metadata"]["uid"] != two["metadata"]["uid"]
    assert one["status"]["podIP"] != two["status"]["podIP"]
    assert traces(second.data_dir, config["instance"])
    second.hawser("down", "--grace", "1")
    assert traces(second.data_dir, config["instance"]) == []
    tag = sha256(config["instance"].encode()).hexdigest()[:5]
    assert [name for name in links() if tag in name] == []
    assert [name for name in tables() if tag in name] == []
    assert engine.get("pod", "a", "default")["status"]["phase"] == "Running"
    engine.kubectl("delete", "pod", "a", "--wait=false")

    # The data is there: the same pod comes back, in a new container.
    second.hawser("up", "--detach")
    again = second.wait_ready("a", "default")
    assert again["metadata"]["uid"] == two["metadata"]["uid"]
    second.hawser("down", "--purge", "--grace", "1")
    assert not second.data_dir.exists()
    assert traces(second.data_dir, config["instance"]) == []


def test_what_an_engine_without_its_data_left_is_removed_by_the_next_one(second: Engine) -> None:
    """Killed, and its directory removed before `down` could read it: old tables would guard its address ranges."""
    with engine_of_its_own() as lost:
        lost.hawser("up", "--detach", "--nodes", "2")
        instance = json.loads((lost.data_dir / "config.json").read_text())["instance"]
        tag = sha256(instance.encode()).hexdigest()[:5]
        lost.apply(pod("a"), "default")
        lost.wait_ready("a", "default")
        processes = json.loads(lost.hawser("status", "-o", "json").stdout)["processes"]
        supervisor = next(process["pid"] for process in processes if process["name"] == "supervisor")
        os.kill(supervisor, signal.SIGKILL)
        eventually(lambda: not Path(f"/proc/{supervisor}").exists(), "the end of the supervisor")
        assert traces(lost.data_dir, instance)
        assert [name for name in tables() if tag in name]

        shutil.rmtree(lost.data_dir, ignore_errors=True)
        # Or another engine that starts or stops on this machine meanwhile: whoever comes first.
        second.hawser("up", "--detach")
        assert traces(lost.data_dir, instance) == []
        assert [name for name in links() if tag in name] == []
        assert [name for name in tables() if tag in name or instance in name] == []
        assert not list(Path("/run/netns").glob(f"hawser-{instance}-*"))
        assert not Path("/run/hawser", instance).exists()


def test_status_tells_what_runs(engine: Engine) -> None:
    document = json.loads(engine.hawser("status", "-o", "json").stdout)
    assert document["ready"] is True
    assert {p["name"] for p in document["processes"]} == {
        "supervisor",
        "containerd",
        "apiserver",
        "agent",
        "controllers",
    }
    assert all(p["memoryBytes"] > 0 for p in document["processes"])
    assert "ready" in engine.hawser("status").stdout


def test_commands_without_an_engine_say_what_to_do(tmp_path: Path) -> None:
    nothing = Engine(tmp_path)
    for command in (["status"], ["logs", "x"], ["exec", "x", "--", "true"], ["kubeconfig"], ["image", "list"]):
        done = nothing.hawser(*command, check=False)
        assert done.returncode == 1
        assert "there is no engine in" in done.stderr
        assert "hawser up" in done.stderr
    assert nothing.hawser("down").stdout.startswith("There is no engine")


def test_a_stopped_engine_has_an_exit_code_of_its_own(second: Engine) -> None:
    second.hawser("up", "--detach")
    second.hawser("down", "--grace", "1")
    done = second.hawser("status", check=False)
    assert done.returncode == 3
    assert "down" in done.stdout


def test_kubeconfig_prints_what_kubectl_takes(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(engine.hawser("kubeconfig").stdout)
    done = engine.kubectl("get", "namespaces", "-o", "name", env={"KUBECONFIG": str(tmp_path / "config")})
    assert "namespace/default" in done.stdout.split()


def test_images_are_listed_and_imported(engine: Engine, tmp_path: Path) -> None:
    rows = json.loads(engine.hawser("image", "list", "-o", "json").stdout)
    names = {name for row in rows for name in row["names"]}
    assert {"docker.io/library/busybox:1.36", "hawser.dev/pause:1"} <= names
    archive = engine.data_dir / "images" / "busybox.tar"
    assert "busybox" in engine.hawser("image", "import", str(archive)).stdout
    broken = tmp_path / "broken.tar"
    broken.write_bytes(b"not an archive")
    done = engine.hawser("image", "import", str(broken), check=False)
    assert done.returncode == 1
    assert "could not be imported" in done.stderr


@pytest.mark.parametrize(
    "command", ["up", "down", "status", "kubeconfig", "logs", "exec", "image", "node", "demo", "version"]
)
def test_help_has_examples(command: str, tmp_path: Path) -> None:
    words = {"image": ["image", "import"], "node": ["node", "add"]}.get(command, [command])
    assert "Examples" in Engine(tmp_path).hawser(*words, "--help").stdout

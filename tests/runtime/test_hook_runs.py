"""Hooks around real containers: before the application, after every end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.conftest import Container, Containers

from hawser.runtime import hookrun
from hawser.runtime.install import install

Spec = dict[str, Any]
ROUTE = "ip link set lo up && ip route add 10.9.8.0/24 dev lo"
INITS = ("systemd", "minimal")


def hooked(spec: Spec, args: list[str], init: str, **phases: Any) -> Spec:
    spec["annotations"]["rich.hawser.dev/init"] = init
    for phase, hooks in phases.items():
        spec["annotations"]["rich.hawser.dev/" + phase] = hooks if isinstance(hooks, str) else json.dumps(hooks)
    spec["process"] |= {"args": args, "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "MINE=it's"]}
    return spec


def shared(spec: Spec, tmp_path: Path) -> Path:
    """A volume of the container, as tests see it."""
    place = tmp_path / "volume"
    place.mkdir()
    spec["mounts"].append({"destination": "/volume", "type": "bind", "source": str(place), "options": ["rbind", "rw"]})
    return place


@pytest.mark.parametrize("init", INITS)
def test_prestart_runs_inside_before_the_application_and_poststop_hears_its_code(
    containers: Containers, debian: Path, spec: Spec, tmp_path: Path, init: str
) -> None:
    place = shared(spec, tmp_path)
    before = [
        {
            "name": "route",
            "script": "ip link set lo up && ip route add 10.9.8.0/24 dev lo",
            "capabilities": ["NET_ADMIN"],
        },
        {"name": "file", "command": ["touch", "/etc/made-by-hook"]},
    ]
    after = 'echo "$HAWSER_EXIT_CODE/$HAWSER_EXIT_SIGNAL/$HAWSER_EXIT_REASON/$MINE" >/volume/told; ls /etc/made-by-hook'
    command = ["sh", "-c", "ip route show 10.9.8.0/24; ls /etc/made-by-hook; grep CapEff /proc/self/status; exit 3"]
    ran = containers.make(debian, hooked(spec, command, init, prestart=before, poststop=after)).run()
    assert ran.returncode == 3, ran.stderr
    assert ran.stdout.decode().splitlines()[:2] == ["10.9.8.0/24 dev lo scope link ", "/etc/made-by-hook"]
    assert ran.stdout.decode().splitlines()[2].endswith("00000000a80425fb")
    assert (place / "told").read_text() == "3//Error/it's\n"
    assert b"hawser: poststop poststop-1: /etc/made-by-hook\n" in ran.stderr


TOLD = 'echo "$HAWSER_EXIT_CODE $HAWSER_EXIT_SIGNAL $HAWSER_EXIT_REASON" >/volume/told; date +%s >>/volume/told'


def pid1(container: Container) -> int:
    """The host's pid of a container's first process."""
    state = subprocess.run(container.command("state", container.name), capture_output=True, check=True, timeout=120)
    return int(json.loads(state.stdout)["pid"])


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def delete(container: Container, *flags: str) -> None:
    subprocess.run(container.command("delete", *flags, container.name), check=True, timeout=120)


class TestEnds:
    """What a poststop hook is told, whatever ended the container."""

    @pytest.mark.parametrize("by", ["the runtime", "somebody else"])
    def test_a_killed_container(
        self, containers: Containers, debian: Path, spec: Spec, tmp_path: Path, by: str
    ) -> None:
        place = shared(spec, tmp_path)
        container = containers.make(debian, hooked(spec, ["sleep", "1000"], "minimal", poststop=TOLD))
        container.start()
        if by == "the runtime":
            container.kill("KILL")
        else:
            os.kill(pid1(container), signal.SIGKILL)
        container.until_stopped()
        delete(container)
        assert (place / "told").read_text().splitlines()[0] == "137 SIGKILL Error"

    def test_a_container_that_ran_out_of_memory(
        self, containers: Containers, debian: Path, spec: Spec, tmp_path: Path
    ) -> None:
        place = shared(spec, tmp_path)
        spec["linux"]["resources"]["memory"] = {"limit": 32 << 20}
        ran = containers.make(debian, hooked(spec, ["tail", "/dev/zero"], "minimal", poststop=TOLD)).run()
        assert ran.returncode == 137
        assert (place / "told").read_text().splitlines()[0] == "137 SIGKILL OOMKilled"

    @pytest.mark.parametrize("init", ["systemd", "init"])
    @pytest.mark.parametrize(
        ("first", "second", "reason"),
        [("exec tail /dev/zero", "kill -9 $$", "Error"), ("kill -9 $$", "exec tail /dev/zero", "OOMKilled")],
    )
    def test_an_end_after_one_that_the_init_made_good_has_a_reason_of_its_own(
        self,
        containers: Containers,
        debian: Path,
        busybox: Path,
        spec: Spec,
        tmp_path: Path,
        init: str,
        first: str,
        second: str,
        reason: str,
    ) -> None:
        place = shared(spec, tmp_path)
        spec["linux"]["resources"]["memory"] = {"limit": 128 << 20}
        spec["annotations"] |= {"rich.hawser.dev/app-policy": "keep", "rich.hawser.dev/app-restarts": "1/600"}
        script = f"echo run; [ -e /volume/ran ] || {{ : >/volume/ran; {first}; }}; {second}"
        spec = hooked(spec, ["sh", "-c", script], init, poststop=TOLD)
        container = containers.make(debian if init == "systemd" else busybox, spec)
        ran = container.run()
        assert (ran.returncode, ran.stdout) == (137, b"run\nrun\n"), ran.stderr
        assert (place / "told").read_text().splitlines()[0] == f"137 SIGKILL {reason}"

    def test_a_container_that_is_deleted_by_force(
        self, containers: Containers, debian: Path, spec: Spec, tmp_path: Path
    ) -> None:
        place = shared(spec, tmp_path)
        container = containers.make(debian, hooked(spec, ["sleep", "1000"], "systemd", poststop=TOLD))
        container.start()
        delete(container, "--force")
        assert (place / "told").read_text().splitlines()[0] == "137 SIGKILL Error"
        assert not list((tmp_path / "records").rglob("*.json"))

    def test_the_hooks_run_even_when_their_witness_was_killed(
        self, containers: Containers, debian: Path, spec: Spec, tmp_path: Path
    ) -> None:
        place = shared(spec, tmp_path)
        container = containers.make(debian, hooked(spec, ["sleep", "1000"], "minimal", poststop=TOLD))
        container.start()
        first = pid1(container)
        os.kill(parent(first), signal.SIGKILL)
        container.until("hawser-init", "cat", "/proc/1/comm")
        container.kill("KILL")
        container.until_stopped()
        delete(container)
        assert (place / "told").read_text().splitlines()[0] == "137  ContainerStatusUnknown"

    def test_the_runtime_may_be_replaced_while_the_container_runs(
        self, containers: Containers, debian: Path, spec: Spec, tmp_path: Path
    ) -> None:
        place = shared(spec, tmp_path)
        container = containers.make(debian, hooked(spec, ["sleep", "1000"], "minimal", poststop=TOLD))
        container.start()
        before = container.runtime.read_bytes()
        assert install(container.runtime, profiles="/run/another/place/of/other/length").read_bytes() != before
        os.kill(pid1(container), signal.SIGKILL)
        container.until_stopped()
        delete(container)
        assert (place / "told").read_text().splitlines()[0] == "137 SIGKILL Error"

    def test_they_are_told_signal_and_duration(
        self, containers: Containers, debian: Path, spec: Spec, tmp_path: Path
    ) -> None:
        place = shared(spec, tmp_path)
        after = 'echo "$HAWSER_EXIT_CODE $HAWSER_EXIT_SIGNAL $HAWSER_DURATION" >/volume/told'
        command = ["sh", "-c", "sleep 1.5; kill -TERM $$"]
        ran = containers.make(debian, hooked(spec, command, "systemd", poststop=after)).run()
        assert ran.returncode == 143
        code, name, seconds = (place / "told").read_text().split()
        assert (code, name) == ("143", "SIGTERM")
        assert 1.5 <= float(seconds) < 300

    def test_they_run_in_order_and_a_failing_one_stops_nobody(
        self, containers: Containers, debian: Path, spec: Spec, tmp_path: Path
    ) -> None:
        place = shared(spec, tmp_path)
        after = [
            {"name": "one", "script": "echo one >>/volume/told; exit 1"},
            {"name": "two", "script": "(sleep 1000 &) ; sleep 1000", "timeout": "500ms"},
            {"name": "three", "script": "pgrep sleep; echo three >>/volume/told"},
        ]
        ran = containers.make(debian, hooked(spec, ["true"], "minimal", poststop=after)).run()
        assert ran.returncode == 0
        assert (place / "told").read_text() == "one\nthree\n"
        assert ran.stderr == b""


class TestPrestart:
    def test_a_failure_keeps_the_container_from_starting_and_says_why(
        self, containers: Containers, debian: Path, spec: Spec, tmp_path: Path
    ) -> None:
        place = shared(spec, tmp_path)
        before = [{"name": "bad", "script": "echo no disk; exit 4"}, {"name": "never", "script": "touch /volume/never"}]
        container = containers.make(
            debian, hooked(spec, ["touch", "/volume/never"], "systemd", prestart=before, poststop=TOLD)
        )
        ran = container.run()
        assert ran.returncode == 1
        assert b"hawser-runtime: prestart hook bad: exit code 4: no disk\n" in ran.stderr
        assert json.loads(container.output("log").splitlines()[-1])["msg"].endswith("bad: exit code 4: no disk")
        assert (place / "told").read_text().splitlines()[0] == "128  StartError"
        assert not (place / "never").exists()
        assert container.status() == "gone"

    @pytest.mark.parametrize("policy", ["Ignore", "Fail"])
    def test_a_hook_that_hangs_is_killed_with_its_children(
        self, containers: Containers, debian: Path, spec: Spec, policy: str
    ) -> None:
        before = [{"name": "slow", "script": "setsid sleep 1000 & sleep 1000", "timeout": 0.5, "onFailure": policy}]
        command = ["sh", "-c", "pgrep -c -r R,S,D sleep; true"]
        ran = containers.make(debian, hooked(spec, command, "minimal", prestart=before)).run()
        assert (ran.returncode, ran.stdout) == ((0, b"0\n") if policy == "Ignore" else (1, b""))
        assert policy == "Ignore" or b"prestart hook slow: it did not end within 0.5 s and was killed" in ran.stderr

    def test_what_a_hook_leaves_running_does_not_keep_its_capabilities(
        self, containers: Containers, debian: Path, spec: Spec
    ) -> None:
        # The second one keeps the hook's output open, too, which runc would wait for.
        sleepers = ("setsid sleep 1000 >/dev/null 2>&1 &", "echo said; trap '' TERM; sleep 1000 &")
        before = [{"script": script, "capabilities": ["NET_ADMIN"], "timeout": "20s"} for script in sleepers]
        ran = containers.make(
            debian, hooked(spec, ["sh", "-c", "pgrep -c -r R,S,D sleep"], "minimal", prestart=before)
        ).run()
        assert ran.stdout == b"0\n", ran.stderr
        assert ran.stderr == b"hawser: prestart prestart-2: said\n"

    def test_it_is_root_though_the_application_is_not(self, containers: Containers, debian: Path, spec: Spec) -> None:
        hooked(
            spec,
            ["sh", "-c", "stat -c %u /var/lib/mine; id -u"],
            "systemd",
            prestart="install -d -o 1234 /var/lib/mine",
        )
        spec["process"]["user"] = {"uid": 1234, "gid": 1234}
        ran = containers.make(debian, spec).run()
        assert ran.stdout == b"1234\n1234\n", ran.stderr

    def test_create_and_start_run_it_too(self, containers: Containers, debian: Path, spec: Spec) -> None:
        container = containers.make(debian, hooked(spec, ["sleep", "1000"], "systemd", prestart="echo 1 >/etc/made"))
        null = subprocess.DEVNULL
        words = container.command("create", "--bundle", str(container.directory), container.name)
        subprocess.run(words, stdin=null, stdout=null, stderr=null, check=True, timeout=120)
        assert not (container.upper / "etc/made").exists()
        subprocess.run(container.command("start", container.name), check=True, timeout=120)
        container.until("running", "systemctl", "is-system-running")
        assert (container.upper / "etc/made").read_text() == "1\n"


def test_only_a_containers_processes_are_taken_for_it(
    containers: Containers, debian: Path, spec: Spec, tmp_path: Path
) -> None:
    container = containers.make(debian, hooked(spec, ["sh", "-c", "sleep 1000 & sleep 1000"], "minimal"))
    container.start()
    container.until("2", "pgrep", "-c", "-x", "sleep")
    first, here = pid1(container), os.getpid()
    inside = hookrun.members(hookrun.group(first), hookrun.mounts(first))
    assert first in inside
    assert len(inside) == 4  # init, sh and twice sleep
    # A group that is not the container's alone: on a node without the controller, say.
    (tmp_path / "cgroup.procs").write_text(f"{here}\n{first}\n")
    assert sorted(hookrun.members(str(tmp_path), hookrun.mounts(first))) == sorted(inside)
    # Whatever else is in a group.
    (tmp_path / "cgroup.procs").write_text(f"{first}\n1\n")
    assert hookrun.members(str(tmp_path), hookrun.mounts(first)) == [first]
    # A container without mounts of its own.
    (tmp_path / "cgroup.procs").write_text(f"{here}\n1\n")
    assert hookrun.members(str(tmp_path), hookrun.mounts(here)) == []


def test_busybox_init_has_hooks_too(containers: Containers, busybox: Path, spec: Spec, tmp_path: Path) -> None:
    place = shared(spec, tmp_path)
    hooked(spec, ["sh", "-c", "cat /made; exit 5"], "init", prestart="echo made >/made", poststop=TOLD)
    ran = containers.make(busybox, spec).run()
    assert (ran.returncode, ran.stdout) == (5, b"made\n"), ran.stderr
    assert (place / "told").read_text().splitlines()[0] == "5  Error"

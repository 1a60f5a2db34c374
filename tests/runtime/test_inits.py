"""Real containers whose pid 1 is an init with an inittab, as unmodified images bring it: sysvinit, busybox, OpenRC."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from tests.runtime.conftest import CACHE, Containers
from tests.runtime.test_containers import rich

Spec = dict[str, Any]
WAITING = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.1; done"
# Alpine's, where busybox init runs OpenRC
ALPINE = """\
::sysinit:/sbin/openrc sysinit
::sysinit:/sbin/openrc boot
::wait:/sbin/openrc default
tty1::respawn:/sbin/getty 38400 tty1
::ctrlaltdel:/sbin/reboot
::shutdown:/sbin/openrc shutdown
"""


@pytest.fixture(scope="module")
def sysvinit(debian_with: Callable[[str], Path]) -> Path:
    """Debian with sysvinit, as `apt install sysvinit-core` leaves it."""
    return debian_with("sysvinit-core,initscripts,cron,openssh-server,procps")


@pytest.fixture(scope="module")
def openrc(debian_with: Callable[[str], Path]) -> Iterator[Path]:
    """Busybox init with Alpine's inittab above OpenRC."""
    packages = debian_with("openrc,busybox-static,cron,procps,sysvinit-core")
    root = CACHE / "test-roots" / (packages.name + "-alpine")
    if not root.exists():
        partial = root.with_suffix(".new")
        shutil.rmtree(partial, ignore_errors=True)
        subprocess.run(["cp", "-a", "--reflink=auto", packages, partial], check=True)
        for name in ("init", "reboot", "poweroff", "halt"):
            link = partial / "usr/sbin" / name
            link.unlink(missing_ok=True)
            link.symlink_to("/bin/busybox")
        (partial / "etc/inittab").write_text(ALPINE)
        partial.rename(root)
    yield root


def lay_upper(archive: Path, root: Path) -> None:
    """Puts an image's uppermost layer over a directory, as a container's snapshot has it."""
    with tarfile.open(archive) as tar:

        def blob(digest: str) -> IO[bytes]:
            found = tar.extractfile("blobs/sha256/" + digest.removeprefix("sha256:"))
            assert found
            return found

        index = tar.extractfile("index.json")
        assert index
        manifest = json.load(blob(json.load(index)["manifests"][0]["digest"]))
        with tarfile.open(fileobj=blob(manifest["layers"][-1]["digest"])) as layer:
            for member in layer:
                folder, _, name = member.name.rpartition("/")
                if name.startswith(".wh."):
                    (root / folder / name.removeprefix(".wh.")).unlink()
                else:
                    layer.extract(member, root)


class TestSysvinit:
    @pytest.mark.parametrize(
        ("script", "code"),
        [
            ("exit 0", 0),
            ("exit 9", 9),
            ("kill -9 $$", 137),
            ("poweroff; sleep 1000", 0),
            ("shutdown -h now; sleep 1000", 0),
            ("reboot; sleep 1000", 133),
        ],
    )
    def test_the_applications_end_is_the_containers_and_so_is_the_machines(
        self, containers: Containers, sysvinit: Path, spec: Spec, script: str, code: int
    ) -> None:
        command = ["sh", "-c", f'cat /proc/1/comm; echo "$A"; pwd; {script}']
        ran = containers.make(sysvinit, rich(spec, command, "init", env=["A=it's $x\n"], cwd="/tmp")).run()
        assert ran.stdout == b"init\nit's $x\n\n/tmp\n"
        assert (ran.returncode, ran.stderr) == (code, b"")

    def test_services_run_and_a_stop_is_orderly(self, containers: Containers, sysvinit: Path, spec: Spec) -> None:
        container = containers.make(sysvinit, rich(spec, ["sh", "-c", WAITING], "init"))
        container.start()
        container.until_output("ready\n")
        container.until("N 2", "runlevel")
        for daemon in ("cron", "sshd"):
            container.until("1", "pgrep", "-c", "-x", daemon)
        assert container.exec("/dev/hawser/ready") == "active"
        # init re-executes itself when libc is upgraded, and goes on.
        container.exec("telinit", "u")
        container.until("init [2]", "sh", "-c", "ps -o args= 1")
        container.kill("TERM")
        container.until_stopped()
        assert container.output() == "ready\nbye\n"

    def test_a_lifted_machine_starts_its_services_and_none_of_the_nodes(
        self, containers: Containers, sysvinit: Path, spec: Spec, tmp_path: Path
    ) -> None:
        lift = ["image", "lift", "-t", "localhost/sysv:1", "--output", tmp_path / "lifted.tar", "-o", "json"]
        command = [sys.executable, "-m", "hawser.cli.main", *lift, "--from-rootfs", sysvinit]
        report = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        assert report["init"] == "init"
        assert {"cron.service", "ssh.service"} <= set(report["services"]["kept"])
        assert {"hwclock.service", "mountall.service"} <= {row["unit"] for row in report["services"]["masked"]}
        container = containers.make(sysvinit, rich(spec, ["sh", "-c", WAITING], "init"))
        lay_upper(tmp_path / "lifted.tar", container.directory / "rootfs")
        container.start()
        container.until_output("ready\n")
        container.until("N 2", "runlevel")
        for daemon in ("cron", "sshd"):
            container.until("1", "pgrep", "-c", "-x", daemon)
        started = container.exec("ls", "/etc/rcS.d").split()
        assert "S01hostname.sh" in started
        assert not [name for name in started if "hwclock" in name or "mountall" in name]
        container.kill("TERM")
        container.until_stopped()
        assert container.output() == "ready\nbye\n"

    def test_the_application_is_restarted_so_often_and_no_more(
        self, containers: Containers, sysvinit: Path, spec: Spec
    ) -> None:
        spec["annotations"] |= {"rich.hawser.dev/app-policy": "keep", "rich.hawser.dev/app-restarts": "1/600"}
        ran = containers.make(sysvinit, rich(spec, ["sh", "-c", "echo run; exit 4"], "init")).run()
        assert (ran.returncode, ran.stdout) == (4, b"run\n" * 2)
        assert b"hawser: the application ended with code 4; restart 1 of 1" in ran.stderr

    def test_another_user_with_its_groups(self, containers: Containers, sysvinit: Path, spec: Spec) -> None:
        user = {"uid": 12345, "gid": 23456, "additionalGids": [34567], "umask": 0o027}
        script = "id -u; id -G; umask; echo >/dev/stderr"
        ran = containers.make(sysvinit, rich(spec, ["sh", "-c", script], "init", user=user)).run()
        assert ran.stdout == b"12345\n23456 34567\n0027\n"


class TestBusybox:
    @pytest.mark.parametrize(
        ("script", "code"),
        [
            ("exit 0", 0),
            ("exit 9", 9),
            ("kill -9 $$", 137),
            # busybox init says the same of both ends.
            ("poweroff; sleep 1000", 0),
            ("reboot; sleep 1000", 0),
        ],
    )
    def test_the_applications_end_is_the_containers_and_so_is_the_machines(
        self, containers: Containers, busybox: Path, spec: Spec, script: str, code: int
    ) -> None:
        command = ["sh", "-c", f'cat /proc/1/comm; echo "$A"; pwd; {script}']
        ran = containers.make(busybox, rich(spec, command, "init", env=["A=it's $x"], cwd="/tmp")).run()
        assert ran.stdout.startswith(b"init\nit's $x\n/tmp\n")
        assert ran.returncode == code, ran.stderr

    def test_a_stop_is_orderly(self, containers: Containers, busybox: Path, spec: Spec) -> None:
        container = containers.make(busybox, rich(spec, ["sh", "-c", WAITING], "init"))
        container.start()
        container.until_output("ready\n")
        assert container.exec("/dev/hawser/ready") == "active"
        container.kill("TERM")
        container.until_stopped()
        assert container.output() == "ready\nbye\n"

    def test_another_user_is_refused_where_no_tool_of_the_image_can_become_it(
        self, containers: Containers, busybox: Path, spec: Spec
    ) -> None:
        assert (busybox / "bin/setpriv").exists()  # busybox' own, which knows no --reuid
        ran = containers.make(busybox, rich(spec, ["id"], "init", user={"uid": 1000, "gid": 1000})).run()
        assert (ran.returncode, ran.stdout) == (1, b"")
        assert (
            b"init init: running the application as user 1000 needs setpriv(1) or coreutils in the image" in ran.stderr
        )


class TestOpenRC:
    def test_services_run_below_busybox_init_and_a_stop_is_orderly(
        self, containers: Containers, openrc: Path, spec: Spec
    ) -> None:
        container = containers.make(openrc, rich(spec, ["sh", "-c", WAITING], "init"))
        container.start()
        container.until_output("ready\n")
        assert container.exec("cat", "/proc/1/comm") in ("init", "busybox")
        container.until("1", "pgrep", "-c", "-x", "cron")
        container.kill("TERM")
        container.until_stopped()
        assert "ready\nbye\n" in container.output()

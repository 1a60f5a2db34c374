"""systemd of other releases of Debian, 247 to the newest, on this host's control groups whatever they are."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.conftest import Containers
from tests.runtime.test_containers import rich

Spec = dict[str, Any]


@pytest.fixture(scope="module", params=["bullseye", "trixie", "trixie as Fedora", "sid"])
def release(request: pytest.FixtureRequest, debian_with: Callable[..., Path]) -> Path:
    """The root of a release with systemd and little else."""
    suite, _, other = request.param.partition(" as ")
    try:
        root = debian_with("systemd-sysv,procps,dbus", suite)
        return as_fedora(root) if other else root
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no {request.param}: {error.stderr[-300:].decode()}")


def as_fedora(debian: Path) -> Path:
    """The same packages in the layout of Fedora 42: one directory for programs, libraries in lib64, no machine id."""
    root = debian.with_name(debian.name + "-fedora")
    if root.exists():
        return root
    partial = root.with_suffix(".new")
    shutil.rmtree(partial, ignore_errors=True)
    subprocess.run(["cp", "-a", "--reflink=auto", debian, partial], check=True, capture_output=True)
    usr = partial / "usr"
    for name in [path.name for path in (usr / "sbin").iterdir()]:
        if not os.path.lexists(usr / "bin" / name):
            (usr / "sbin" / name).rename(usr / "bin" / name)
    shutil.rmtree(usr / "sbin")
    (usr / "sbin").symlink_to("bin")
    (usr / "lib/x86_64-linux-gnu/systemd").rename(usr / "lib64/systemd")
    (partial / "etc/ld.so.conf.d/systemd.conf").write_text("/usr/lib64/systemd\n")
    (partial / "etc/machine-id").write_text("uninitialized\n")
    subprocess.run(["chroot", partial, "ldconfig"], check=True, capture_output=True)
    partial.rename(root)
    return root


def test_it_boots_and_ends_as_its_application(containers: Containers, release: Path, spec: Spec) -> None:
    spec["annotations"] |= {
        "rich.hawser.dev/prestart": "echo prepared",
        "rich.hawser.dev/poststop": "echo ended $HAWSER_EXIT_CODE",
    }
    # The application tells what it finds, and leaves something behind that ignores requests to end.
    script = """
    while state=$(systemctl is-system-running || :); case $state in *ing) [ "$state" != running ] ;; *) false ;; esac
    do sleep 0.1; done
    echo "$state"
    systemctl show --value --property=ControlGroup hawser-app
    systemd-run --quiet --wait --pipe echo a unit of its own
    systemd-detect-virt --container
    grep -cxE "[0-9a-f]{32}" /etc/machine-id
    (trap '' TERM; while :; do sleep 1; done) &
    exit 3"""
    command = ["sh", "-c", script]
    ran = containers.make(release, rich(spec, command)).run(60)
    told = ["running", "/system.slice/hawser-app.service", "a unit of its own", "container-other", "1"]
    assert (ran.returncode, ran.stdout.decode().splitlines()) == (3, told), ran.stderr
    hooks = ["hawser: prestart prestart-1: prepared", "hawser: poststop poststop-1: ended 3"]
    assert ran.stderr.decode().splitlines() == hooks


def test_its_control_groups_are_its_own(containers: Containers, release: Path, spec: Spec) -> None:
    container = containers.make(release, rich(spec, ["sh", "-c", "echo ready; exec sleep 1000"]))
    container.start()
    container.until("running", "systemctl", "is-system-running")
    root = "for root in /sys/fs/cgroup/systemd /sys/fs/cgroup; do [ -e $root/cgroup.procs ] && break; done; cd $root; "
    assert container.exec("sh", "-c", root + "mkdir mine && rmdir mine && echo own") == "own"
    # Neither the node's groups nor limits of its own are within reach.
    assert container.exec("sh", "-c", root + "ls -d hawser-* ../hawser-* 2>/dev/null") == ""
    frozen = root + "[ ! -e cgroup.freeze ] || echo 1 >cgroup.freeze"
    assert "Read-only" in (said := container.exec("sh", "-c", frozen)) or not said
    memory = "echo 1 >/sys/fs/cgroup/memory/memory.limit_in_bytes"
    assert container.exec("sh", "-c", memory).partition(": ")[2] != ""
    container.kill("TERM")
    container.until_stopped()

"""Systemd as old distributions have it, told by what is not there: no shared library, no setpriv, no /lib.

No such systemd runs on today's kernels' control groups any more, so today's is put into their place: its library is
where nobody looks for it, and its systemctl takes no code to end with.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.conftest import CACHE, Containers
from tests.runtime.test_containers import rich

Spec = dict[str, Any]
# As systemd before 227 had it.
SYSTEMCTL = """\
#!/bin/sh
case " $* " in
*" exit "[0-9]*) echo 'Too many arguments.' >&2; exit 1 ;;
esac
exec /usr/bin/systemctl.real "$@"
"""


@pytest.fixture(scope="module")
def old(debian: Path) -> Path:
    """The layout of a RHEL 7: everything below /usr, /sbin/init -> ../lib/systemd/systemd, no setpriv."""
    root = CACHE / "test-roots" / (debian.name + "-old")
    if not root.exists():
        partial = root.with_suffix(".new")
        shutil.rmtree(partial, ignore_errors=True)
        subprocess.run(["cp", "-a", "--reflink=auto", debian, partial], check=True)
        usr = partial / "usr"
        libraries = usr / "lib64-systemd"
        (usr / "lib/x86_64-linux-gnu/systemd").rename(libraries)
        (partial / "etc/ld.so.conf.d/systemd.conf").write_text("/usr/lib64-systemd\n")
        subprocess.run(["chroot", partial, "ldconfig"], check=True)
        for name in ("bin/systemctl", "bin/setpriv"):
            (usr / name).rename(usr / (name + ".real"))
        (usr / "bin/systemctl").write_text(SYSTEMCTL)
        (usr / "bin/systemctl").chmod(0o755)
        (usr / "sbin/init").unlink()
        (usr / "sbin/init").symlink_to("../lib/systemd/systemd")
        partial.rename(root)
    return root


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137), ("systemctl reboot; sleep 1000", 133)]
)
def test_the_applications_end_is_the_containers(
    containers: Containers, old: Path, spec: Spec, script: str, code: int
) -> None:
    env = ["PATH=/usr/bin:/usr/sbin", "A=it's $x %h\n", "a.b=1"]
    odd = """tr '\\0' '\\n' </proc/$$/environ | grep -c '^a.b=1'"""
    command = ["sh", "-c", f'cat /proc/1/comm; echo "$A"; {odd}; pwd; echo two >&2; {script}']
    ran = containers.make(old, rich(spec, command, env=env, cwd="/tmp")).run()
    assert ran.stdout == b"systemd\nit's $x %h\n\n1\n/tmp\n", ran.stderr
    # The manager may be gone before it has answered systemctl.
    told = ran.stderr.removesuffix(b"Call to Reboot failed: Connection reset by peer\n")
    assert (ran.returncode, told) == (code, b"two\n")


def test_restarts_are_counted_and_told(containers: Containers, old: Path, spec: Spec) -> None:
    spec["annotations"] |= {"rich.hawser.dev/app-policy": "keep", "rich.hawser.dev/app-restarts": "1/600"}
    ran = containers.make(old, rich(spec, ["sh", "-c", "echo run; exit 4"])).run()
    assert (ran.returncode, ran.stdout) == (4, b"run\n" * 2)
    assert b"restart 1 of 1" in ran.stderr


def test_another_user_with_its_groups(containers: Containers, old: Path, spec: Spec) -> None:
    user = {"uid": 12345, "gid": 23456, "additionalGids": [34567], "umask": 0o027}
    script = "id -u; id -G; umask; pwd; echo >/dev/stderr"
    ran = containers.make(old, rich(spec, ["sh", "-c", script], user=user, cwd="/tmp")).run()
    assert ran.stdout == b"12345\n23456 34567\n0027\n/tmp\n", ran.stderr


def test_a_stop_is_orderly(containers: Containers, old: Path, spec: Spec) -> None:
    script = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.1; done"
    container = containers.make(old, rich(spec, ["bash", "-c", script]))
    container.start()
    container.until_output("ready")
    container.until("running", "systemctl", "is-system-running")
    container.kill("TERM")
    container.until_stopped()
    assert container.output() == "ready\nbye\n"

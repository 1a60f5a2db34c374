"""Rich containers as machines that people log in to: sessions, identity, reboot, terminals, and what must not work."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import KUBECTL, Engine, Obj, eventually, pod
from .test_rich import ACTIVE

IMAGE = "localhost/legacy-app:1"
NAMESPACE = "rich-sessions"
WORDS = "words with 'quotes', $dollars and %percent"
PASSWORD = "correct horse"
SIZE = (33, 77)  # of the terminal


def rich(name: str, command: list[str], **container: object) -> Obj:
    manifest = pod(name, runtimeClassName="rich", restartPolicy="OnFailure", terminationGracePeriodSeconds=1)
    manifest["metadata"]["annotations"] = {"rich.hawser.dev/init": "systemd"}
    settings = {"image": IMAGE, "imagePullPolicy": "Never", "command": command, **ACTIVE, **container}
    manifest["spec"]["containers"][0] |= settings
    return manifest


@pytest.fixture(scope="module")
def machines(engine: Engine, image: str) -> Iterator[Engine]:
    """Three rich pods: one to log in to, one like it, one that reads its standard input at a terminal."""
    engine.kubectl("create", "namespace", NAMESPACE)
    settings = {"env": [{"name": "GREETING", "value": WORDS.replace("$", "$$")}]}
    settings |= {"resources": {"limits": {"memory": "256Mi", "cpu": "1"}}}
    engine.apply(rich("host", ["sleep", "1000000"], **settings), NAMESPACE)
    engine.apply(rich("other", ["sleep", "1000000"]), NAMESPACE)
    sized = f'until [ "$(stty size)" = "{SIZE[0]} {SIZE[1]}" ]; do sleep 0.1; done'
    ask = f'read -r line; echo "got <$line>"; {sized}; tty; exec sleep 1000000'
    engine.apply(rich("console", ["sh", "-c", ask], stdin=True, tty=True), NAMESPACE)
    engine.apply(rich("pipe", ["sh", "-c", "exec wc -c"], stdin=True, stdinOnce=True), NAMESPACE)
    for name in ("host", "other", "console", "pipe"):
        engine.wait_ready(name, NAMESPACE)
        assert inside(engine, name, "systemctl is-system-running --wait") == "running"
    yield engine
    engine.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def inside(engine: Engine, name: str, script: str) -> str:
    """What a shell script prints in a pod, standard error included."""
    done = engine.kubectl("exec", name, "-n", NAMESPACE, "--", "sh", "-c", f"exec 2>&1; {script}", check=False)
    return done.stdout.strip()


class Login:
    """Ways into the pod by its sshd."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.address = engine.get("pod", "host", NAMESPACE)["status"]["podIP"]
        self.key = folder / "key"
        self._ask = folder / "ask"
        self._ask.write_text(f"#!/bin/sh\necho '{PASSWORD}'\n")
        self._ask.chmod(0o700)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        public = self.key.with_suffix(".pub").read_text().strip()
        inside(engine, "host", f"mkdir -p -m 700 /root/.ssh; echo '{public}' >/root/.ssh/authorized_keys")
        inside(engine, "host", f"useradd -m -s /bin/bash ann; echo 'ann:{PASSWORD}' | chpasswd")
        inside(engine, "host", "echo PasswordAuthentication yes >/etc/ssh/sshd_config.d/00.conf; systemctl restart ssh")
        eventually(lambda: inside(engine, "host", "systemctl is-active ssh") == "active", "sshd")

    def __call__(self, user: str, *words: str, options: tuple[str, ...] = ()) -> str:
        """What a command prints over ssh, at a terminal; root has a key, others a password."""
        way = ["-o", "PubkeyAuthentication=no"] if user != "root" else ["-o", "BatchMode=yes", "-i", str(self.key)]
        common = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        command = ["setsid", "ssh", "-tt", *way, *common, *options, f"{user}@{self.address}", *words]
        env = {
            **os.environ,
            "SSH_ASKPASS": str(self._ask),
            "SSH_ASKPASS_REQUIRE": "force",
            "DISPLAY": ":0",
            "TERM": "xterm",
        }
        done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout.replace("\r\n", "\n")


@pytest.fixture(scope="module")
def login(machines: Engine, tmp_path_factory: pytest.TempPathFactory) -> Login:
    return Login(machines, tmp_path_factory.mktemp("ssh"))


@pytest.mark.parametrize("user", ["root", "ann"])
def test_a_login_sees_the_pods_variables_limits_and_processes(machines: Engine, login: Login, user: str) -> None:
    # pam_limits has soft limits of its own.
    script = 'echo "<$GREETING>"; echo "$KUBERNETES_SERVICE_HOST"; ulimit -Hn; who; echo --; ps -eo comm='
    greeting, api, hard, rest = login(user, script).split("\n", 3)
    assert greeting == f"<{WORDS}>"
    assert [api, hard] == inside(machines, "host", "echo $KUBERNETES_SERVICE_HOST; ulimit -Hn").split()
    who, _, processes = rest.partition("--\n")
    assert who.split()[0] == user
    assert {"systemd", "sshd", "sleep", "cron"} <= set(processes.split())
    assert not {"containerd", "runc"} & set(processes.split())
    top = login(user, "top -bn1 -p 1")
    assert "systemd" in top.splitlines()[-1]
    if shutil.which("lxcfs"):
        assert "256.0 total" in next(line for line in top.splitlines() if line.startswith("MiB Mem"))
        assert login(user, "nproc; free -m | awk '/^Mem/ { print $2 }'").split() == ["1", "256"]


def test_an_exec_session_sees_the_same(machines: Engine) -> None:
    assert inside(machines, "host", 'echo "$GREETING"') == WORDS
    assert set(inside(machines, "host", "ps -eo comm=").split()) >= {"systemd", "sshd", "sleep"}


def test_a_service_of_ones_own_can_be_limited_but_not_beyond_the_pod(machines: Engine) -> None:
    v2 = inside(machines, "host", "stat -fc %T /sys/fs/cgroup") == "cgroup2fs"
    run = "systemd-run --quiet --wait --collect --pipe -p MemoryMax=32M"
    if v2:
        limit = f"{run} sh -c 'cat /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/memory.max'"
        assert inside(machines, "host", limit) == str(32 << 20)
    else:
        # On cgroup v1 only systemd's own hierarchy is the container's: the unit runs, the limit is not enforced.
        assert inside(machines, "host", f"{run} echo ran") == "ran"
    own = "memory.max" if v2 else "memory/memory.limit_in_bytes"
    assert "lifted" not in inside(machines, "host", f"echo 1G >/sys/fs/cgroup/{own} && echo lifted")


def test_it_knows_that_it_is_a_container(machines: Engine) -> None:
    assert inside(machines, "host", "systemd-detect-virt -c") == "container-other"


@pytest.mark.parametrize(
    "command",
    [
        "date -s @1",
        "hwclock --systohc",
        "modprobe dummy",
        "insmod /dev/null",
        "sysctl -w kernel.panic=1",
        "sysctl -w kernel.core_pattern=x",
        "sysctl -w vm.overcommit_memory=1",
        "swapoff -a && swapon /dev/zero",
        "mount -t tmpfs none /mnt",
        "reboot -ff",
        "echo b >/proc/sysrq-trigger",
        "dmesg -C",
    ],
)
def test_what_the_host_would_feel_fails_and_harms_nothing(machines: Engine, command: str) -> None:
    before = time.time()
    script = f"PATH=$PATH:/sbin:/usr/sbin; ({command}) >/dev/null 2>&1 && echo done || echo failed"
    assert inside(machines, "host", script) == "failed"
    assert abs(time.time() - before) < 60
    assert inside(machines, "host", "systemctl is-active hawser-app") == "active"


def test_standard_input_reaches_the_application(machines: Engine) -> None:
    machines.kubectl("attach", "-i", "pipe", "-n", NAMESPACE, input="twelve bytes", check=False)
    eventually(lambda: machines.kubectl("logs", "pipe", "-n", NAMESPACE).stdout == "12\n", "the count")


def test_a_terminal_is_the_applications(machines: Engine) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *SIZE, 0, 0))
    env = {**os.environ, "KUBECONFIG": str(machines.kubeconfig)}
    command = [KUBECTL, "attach", "-it", "console", "-n", NAMESPACE]
    attached = subprocess.Popen(command, env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    try:
        os.write(ours, b"hello there\n")
        seen = b""
        # The same terminal, of the same size; crun's has its own name, too.
        while b"/dev/console" not in seen and b"/dev/pts/0" not in seen:
            assert select.select([ours], [], [], 30)[0], seen
            seen += os.read(ours, 4096)
        assert b"got <hello there>" in seen
        # systemd has no line on it, from the beginning.
        first = machines.kubectl("logs", "console", "-n", NAMESPACE).stdout.splitlines()[0]
        assert first in ("hello there", "got <hello there>")
    finally:
        attached.kill()
        attached.wait()
        os.close(ours)


def status(engine: Engine, name: str) -> Obj:
    found: Obj = engine.get("pod", name, NAMESPACE)["status"]["containerStatuses"][0]
    return found


def test_reboot_starts_the_container_again_with_its_identity_and_power_off_ends_it(machines: Engine) -> None:
    first = inside(machines, "other", "cat /etc/machine-id")
    assert first != inside(machines, "host", "cat /etc/machine-id")
    inside(machines, "other", "reboot")
    eventually(lambda: status(machines, "other")["restartCount"] == 1, "the restart")
    assert status(machines, "other")["lastState"]["terminated"]["exitCode"] == 133
    eventually(lambda: "running" in status(machines, "other")["state"], "the container")
    # Pid 1 becomes systemd a moment after the container's start.
    eventually(lambda: inside(machines, "other", "cat /proc/1/comm") == "systemd", "systemd")
    assert inside(machines, "other", "cat /etc/machine-id") == first
    eventually(lambda: inside(machines, "other", "systemctl is-active multi-user.target") == "active", "the boot")
    inside(machines, "other", "poweroff")
    ended = eventually(lambda: status(machines, "other")["state"].get("terminated"), "the end")
    assert (ended["exitCode"], ended["reason"]) == (0, "Completed")
    assert machines.get("pod", "other", NAMESPACE)["status"]["phase"] == "Succeeded"

"""Real containers: systemd as pid 1 with default capabilities, the application as the container's fate."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.conftest import DEFAULT_CAPABILITIES, Containers

Spec = dict[str, Any]
SLEEP = ["/bin/sh", "-c", "echo ready; exec sleep 1000"]
# capability.h numbers of the default set
_BITS = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_FOWNER": 3,
    "CAP_FSETID": 4,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_SETPCAP": 8,
    "CAP_NET_BIND_SERVICE": 10,
    "CAP_NET_RAW": 13,
    "CAP_SYS_CHROOT": 18,
    "CAP_MKNOD": 27,
    "CAP_AUDIT_WRITE": 29,
    "CAP_SETFCAP": 31,
}

# Tells all that a process can be given, by tools of the base system; NUL ends a word.
TELL = """
id -u; id -g; id -G; pwd; umask; ulimit -Sn; ulimit -Hn
printf -- '--\\0'
printf '%s\\0' "$@"
printf -- '--\\0'
cat "/proc/$$/environ" # as it was given: dash itself drops names with dots
"""


def rich(spec: Spec, args: list[str], init: str = "systemd", **process: Any) -> Spec:
    spec["annotations"]["rich.hawser.dev/init"] = init
    spec["process"] |= {"args": args, **process}
    return spec


class TestSystemd:
    def test_it_boots_to_running_with_default_capabilities(
        self, containers: Containers, debian: Path, spec: Spec
    ) -> None:
        container = containers.make(debian, rich(spec, SLEEP))
        # A machine's file systems are not a container's: systemd would take their failures for an emergency.
        (container.directory / "rootfs/etc/fstab").write_text(
            "tmpfs /srv tmpfs defaults 0 0\nfiles:/x /mnt nfs hard 0 0\n"
        )
        container.start()
        container.until("running", "systemctl", "is-system-running")
        assert container.exec("sh", "-c", "journalctl --header | grep -c '^File path: /var/log/journal'") == "1"
        assert container.exec("ls", "-A", "/run/log/journal") == "" or "No such" in container.exec(
            "ls", "/run/log/journal"
        )
        mask = sum(1 << _BITS[name] for name in DEFAULT_CAPABILITIES)
        status = dict(line.split(":\t") for line in container.exec("cat", "/proc/1/status").splitlines())
        assert {status[name] for name in ("CapPrm", "CapEff", "CapBnd")} == {f"{mask:016x}"}
        assert container.exec("cat", "/proc/1/comm") == "systemd"
        for unit in ("cron", "rsyslog", "ssh", "hawser-app"):
            assert container.exec("systemctl", "is-active", unit) == "active", unit
        # What the host would feel fails, and harms nothing.
        assert "ermission" in container.exec("date", "-s", "2001-01-01") or "permitted" in container.exec(
            "date", "-s", "@1"
        )
        assert container.exec("systemctl", "is-system-running") == "running"

    def test_the_image_keeps_its_files_but_for_what_services_write(
        self, containers: Containers, debian: Path, spec: Spec
    ) -> None:
        container = containers.make(debian, rich(spec, SLEEP))
        container.start()
        container.until("running", "systemctl", "is-system-running")
        # Not by pathlib, which fails where a service removes a directory meanwhile.
        written = {
            f"/{Path(folder, name).relative_to(container.upper)}"
            for folder, _, names in os.walk(container.upper)
            for name in names
        }
        services = ("/var/", "/etc/ssh/ssh_host_", "/etc/machine-id", "/etc/.pwd.lock", "/etc/resolv.conf")
        assert [path for path in sorted(written) if not path.startswith(services)] == []

    def test_the_command_keeps_its_words_user_and_environment(
        self, containers: Containers, debian: Path, spec: Spec
    ) -> None:
        words = [
            "",
            "two words",
            '"',
            "'",
            "\\",
            "$HOME",
            "${X}",
            "$$",
            "%h",
            "100%",
            "a\nb",
            "\t",
            "ü€",
            ";",
            "-x",
            "*",
            "`id`",
        ]
        env = {"PATH": "/usr/bin", "QUOTES": "\"'`$x\\", "LINES": "a\n b\n", "dotted.name-x": "1 2", "ESC": "\x1b[0m"}
        env |= {"EMPTY": "", "PERCENT": "%n", "TRAILING": "x ", "UMLAUT": "ü", "BACK": "\\"}
        container = containers.make(
            debian,
            rich(
                spec,
                ["sh", "-c", TELL, "tell", *words],
                env=[f"{name}={value}" for name, value in env.items()],
                user={"uid": 4321, "gid": 8765, "additionalGids": [10, 8765], "umask": 0o27},
                cwd="/new place",
                rlimits=[{"type": "RLIMIT_NOFILE", "soft": 321, "hard": 654}],
            ),
        )
        ran = container.run()
        assert ran.returncode == 0, ran.stderr
        facts, _, rest = ran.stdout.partition(b"--\0")
        arguments, _, environment = rest.partition(b"--\0")
        assert [word.decode() for word in arguments.split(b"\0")[:-1]] == words
        told = dict(pair.decode().partition("=")[::2] for pair in environment.split(b"\0")[:-1])
        assert told.pop("HOME") == "/"
        assert told == env
        assert facts.decode().split("\n") == ["4321", "8765", "8765 10", "/new place", "0027", "321", "654", ""]

    @pytest.mark.parametrize(
        ("script", "code"),
        [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137), ("kill -TERM $$", 143), ("exit 203", 203)],
    )
    def test_the_applications_end_is_the_containers(
        self, containers: Containers, debian: Path, spec: Spec, script: str, code: int
    ) -> None:
        ran = containers.make(debian, rich(spec, ["sh", "-c", f"echo out; echo err >&2; {script}"])).run()
        assert ran.returncode == code
        assert ran.stdout == b"out\n"
        assert ran.stderr.startswith(b"err\n")

    def test_an_application_without_root_may_reopen_its_streams(
        self, containers: Containers, debian: Path, spec: Spec
    ) -> None:
        command = ["sh", "-c", "echo one >/dev/stdout; echo two >/dev/stderr"]
        ran = containers.make(debian, rich(spec, command, user={"uid": 1000, "gid": 1000})).run()
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"one\n", b"two\n")

    @pytest.mark.parametrize(
        "script",
        [
            "sleep 1000 & exit 3",
            "(sleep 1000 &); sleep 0.3; exit 3",
            "setsid sleep 1000 & exit 3",
            "trap '' TERM; (while :; do sleep 1; done) & exit 3",
        ],
    )
    def test_children_that_outlive_the_application_do_not_hold_the_container(
        self, containers: Containers, debian: Path, spec: Spec, script: str
    ) -> None:
        assert containers.make(debian, rich(spec, ["sh", "-c", script])).run().returncode == 3

    def test_a_stop_is_orderly(self, containers: Containers, debian: Path, spec: Spec) -> None:
        script = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.1; done"
        container = containers.make(debian, rich(spec, ["bash", "-c", script]))
        container.start()
        container.until("running", "systemctl", "is-system-running")
        container.until_output("ready")
        container.kill("TERM")
        container.until_stopped()
        assert container.output() == "ready\nbye\n"

    def test_systemd_restarts_the_application_so_often_and_no_more(
        self, containers: Containers, debian: Path, spec: Spec
    ) -> None:
        spec["annotations"] |= {"rich.hawser.dev/app-policy": "keep", "rich.hawser.dev/app-restarts": "2/600"}
        ran = containers.make(debian, rich(spec, ["sh", "-c", "echo run; exit 4"])).run()
        assert ran.returncode == 4
        assert ran.stdout == b"run\n" * 3
        assert b"hawser: the application ended with code 4; restart 2 of 2" in ran.stderr

    def test_an_end_without_failure_may_be_the_containers(
        self, containers: Containers, debian: Path, spec: Spec
    ) -> None:
        spec["annotations"] |= {"rich.hawser.dev/app-policy": "keep-on-failure"}
        script = "echo run; [ -e /failed ] && exit 0; touch /failed; exit 4"
        ran = containers.make(debian, rich(spec, ["sh", "-c", script])).run()
        assert (ran.returncode, ran.stdout) == (0, b"run\n" * 2)

    def test_a_release_restarts_the_application_inside(self, containers: Containers, debian: Path, spec: Spec) -> None:
        container = containers.make(debian, rich(spec, SLEEP))
        container.start()
        container.until("running", "systemctl", "is-system-running")
        for number in (1, 2):
            # Active is a unit before its application has done anything.
            container.until_output("ready\n" * number)
            container.exec("systemctl", "restart", "hawser-app")
            container.until("active", "systemctl", "is-active", "hawser-app")
        container.until_output("ready\n" * 3)
        container.exec("systemctl", "kill", "--signal=KILL", "systemd-journald")
        container.exec("systemctl", "daemon-reexec")
        container.exec("systemctl", "restart", "hawser-app")
        container.until("active", "systemctl", "is-active", "hawser-app")
        assert container.status() == "running"
        container.until_output("ready\n" * 4)
        assert container.output() == "ready\n" * 4

    def test_zombies_are_reaped(self, containers: Containers, debian: Path, spec: Spec) -> None:
        container = containers.make(debian, rich(spec, ["sh", "-c", "(sleep 0.1 & ) ; (sleep 0.1 &); exec sleep 1000"]))
        container.start()
        container.until("running", "systemctl", "is-system-running")
        container.until("", "sh", "-c", "ps -eo stat= | grep Z")

    def test_the_machine_id_is_the_containers_own(self, containers: Containers, debian: Path, spec: Spec) -> None:
        spec["annotations"] |= {"io.kubernetes.cri.sandbox-id": "s", "io.kubernetes.cri.container-name": "c"}
        ids = [containers.make(debian, rich(spec, ["cat", "/etc/machine-id"])).run().stdout for _ in range(2)]
        assert ids[0] == ids[1]
        assert len(ids[0].strip()) == 32

    def test_poweroff_inside_ends_the_container_only(self, containers: Containers, debian: Path, spec: Spec) -> None:
        container = containers.make(debian, rich(spec, SLEEP))
        container.start()
        container.until("running", "systemctl", "is-system-running")
        container.exec("systemctl", "poweroff")
        container.until_stopped()


class TestMinimal:
    @pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -9 $$", 137)])
    def test_the_code_passes_through(
        self, containers: Containers, debian: Path, spec: Spec, script: str, code: int
    ) -> None:
        ran = containers.make(debian, rich(spec, ["sh", "-c", f"cat /proc/1/comm; {script}"], "minimal")).run()
        assert ran.returncode == code
        assert ran.stdout == b"hawser-init\n"

"""Units of the image enabled and masked, operation agents with limits of their own, and what RichProfiles answer."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.conftest import Containers

from hawser.runtime import units
from hawser.runtime.edited import EditError
from hawser.runtime.facts import DEFAULT_PATH, Cgroups
from hawser.runtime.options import PREFIX, OptionError
from hawser.runtime.profile import ask, merged, wanted
from hawser.runtime.rootfs import Mount, RootFS
from hawser.runtime.units import Agent, Wanted

Spec = dict[str, Any]
POD = {
    "io.kubernetes.cri.sandbox-namespace": "shop",
    "io.kubernetes.cri.sandbox-name": "web-0",
    "io.kubernetes.cri.sandbox-uid": "u",
    "io.kubernetes.cri.container-name": "web",
}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ()),
        ("cron, ssh.socket  a@b.service", ("cron.service", "ssh.socket", "a@b.service")),
        ("cron cron.service", ("cron.service",)),
        ("a.b", ("a.b.service",)),
    ],
)
def test_names_of_units(text: str, found: tuple[str, ...]) -> None:
    assert units.names(text) == found


@pytest.mark.parametrize("text", ["../x", "a/b.service", "hawser-app", "hawser-agent-x.service", "ü"])
def test_names_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        units.names(text)


class TestFiles:
    @pytest.fixture
    def rootfs(self, tmp_path: Path) -> RootFS:
        texts = {
            "lib/systemd/system/cron.service": "[Install]\nWantedBy=multi-user.target\n",
            "lib/systemd/system/x.socket": "[Install]\nWantedBy=sockets.target other.target\n",
            "lib/systemd/system/t@.service": "[Service]\n",
            "lib/systemd/system/off.service": "[Service]\n",
            "lib/systemd/system/sly.service": "[Install]\nWantedBy=../../../etc/x.target basic.target\n",
            "lib/systemd/system/empty.service": "[Service]\n",
        }
        for path, text in texts.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        (tmp_path / "etc/systemd/system").mkdir(parents=True)
        (tmp_path / "etc/systemd/system/off.service").symlink_to("/dev/null")
        (tmp_path / "etc/systemd/system/empty.service").touch()
        (tmp_path / "etc/init.d").mkdir()
        (tmp_path / "etc/init.d/old").touch(0o755)
        return RootFS(str(tmp_path), [Mount("/dev", "")])  # a tmpfs, as in every container

    @pytest.mark.parametrize(
        ("name", "links"),
        [
            ("cron.service", {"multi-user.target.wants/cron.service": "/lib/systemd/system/cron.service"}),
            (
                "x.socket",
                {
                    "sockets.target.wants/x.socket": "/lib/systemd/system/x.socket",
                    "other.target.wants/x.socket": "/lib/systemd/system/x.socket",
                },
            ),
            ("t@1.service", {"multi-user.target.wants/t@1.service": "/lib/systemd/system/t@.service"}),
            (
                "off.service",
                {
                    "off.service": "[Service]\n",
                    "multi-user.target.wants/off.service": "/lib/systemd/system/off.service",
                },
            ),
            (
                "empty.service",
                {
                    "empty.service": "[Service]\n",
                    "multi-user.target.wants/empty.service": "/lib/systemd/system/empty.service",
                },
            ),
            ("sly.service", {"basic.target.wants/sly.service": "/lib/systemd/system/sly.service"}),
            ("old.service", {"multi-user.target.wants/old.service": "../old.service"}),
        ],
    )
    def test_enabling_is_what_systemctl_would_do(self, rootfs: RootFS, name: str, links: dict[str, str]) -> None:
        files = units.unit_files(Wanted(enable=(name,)), rootfs)
        assert {path.removeprefix("units/"): file.content for path, file in files.items()} == links

    @pytest.mark.parametrize(
        ("wanted", "text"),
        [
            (Wanted(("none.service",)), "the image has no unit none.service"),
            (Wanted(("cron.service",), ("cron.service",)), "is to be enabled and to be masked"),
        ],
    )
    def test_what_can_not_be_is_refused(self, rootfs: RootFS, wanted: Wanted, text: str) -> None:
        with pytest.raises(EditError, match=text):
            units.unit_files(wanted, rootfs)

    def test_limits_are_systemds_on_cgroup_v2_and_the_nodes_on_v1(self) -> None:
        agent = Agent("a", "/r", ("x",), memory=1 << 20, cpu=0.25)
        text = units.agent_files((agent,), Cgroups(v2=True))["units/hawser-agent-a.service"].content
        assert {"MemoryMax=1048576", "CPUQuota=25%"} <= set(text.splitlines())
        text = units.agent_files((agent,), Cgroups(v2=False))["units/hawser-agent-a.service"].content
        assert "MemoryMax" not in text
        made = units.groups((agent,), "/p/c", {"memory": "/cg/memory", "cpu": "/cg/cpu"}, 0.1)
        assert [(g.directory, g.settings[0][1], g.settings[1][1]) for g in made] == [
            ("/cg/memory/p/c/hawser-a", "1048576", "1048576"),
            ("/cg/cpu/p/c/hawser-a", "100000", "10000"),
        ]

    @pytest.mark.parametrize(
        ("agent", "path"),
        [
            (Agent("a", "/r", ("x",), chroot=True), DEFAULT_PATH),
            (Agent("a", "/r", ("x",), chroot=True, env=(("PATH", "/opt/a"),)), "/opt/a"),
            (Agent("a", "/r", ("x",)), None),
        ],
    )
    def test_programs_of_an_agents_image_are_looked_for_where_images_have_them(
        self, agent: Agent, path: str | None
    ) -> None:
        lines = units.agent_files((agent,), Cgroups(v2=True))["agents/a.env"].content.splitlines()
        assert lines == ([] if path is None else [f'PATH="{path}"'])


class TestProfiles:
    def test_the_pods_annotations_go_before_a_profiles_defaults(self) -> None:
        own = {"rich.hawser.dev/init": "minimal", "x": "y"}
        answer = {"defaults": {"init": "systemd", "stop-signal": "SIGQUIT"}}
        assert merged(own, answer) == {**own, "rich.hawser.dev/stop-signal": "SIGQUIT"}

    @pytest.mark.parametrize(
        ("own", "defaults", "counts"),
        [
            ({}, {"app-policy": "keep", "app-restarts": "5/60"}, True),
            ({"app-policy": "exit"}, {"app-policy": "keep", "app-restarts": "5/60"}, False),
            ({"app-policy": "keep-on-failure"}, {"app-restarts": "5/60"}, True),
            ({}, {"app-restarts": "5/60"}, False),
            ({"rootfs": "keep"}, {"rootfs-size": "1Gi"}, True),
            ({"rootfs": " image"}, {"rootfs": "keep", "rootfs-size": "1Gi"}, False),
        ],
    )
    def test_a_default_that_needs_another_setting_counts_with_it(
        self, own: dict[str, str], defaults: dict[str, str], counts: bool
    ) -> None:
        result = merged({PREFIX + key: value for key, value in own.items()}, {"defaults": defaults})
        assert (PREFIX + list(defaults)[-1] in result) is counts
        assert {key: result[PREFIX + key] for key in own} == own

    def test_what_the_pod_says_itself_is_not_left_out(self) -> None:
        own = {PREFIX + "app-restarts": "1/60"}
        assert merged(own, {"defaults": {"app-policy": "keep"}}) == {**own, PREFIX + "app-policy": "keep"}
        assert merged(own, {"defaults": {}}) == own

    def test_units_of_profile_and_pod_add_up(self) -> None:
        annotations = {"rich.hawser.dev/mask-units": "cron", "rich.hawser.dev/enable-units": "b.timer"}
        answer = {"enable": ["a"], "mask": ["ssh.socket"]}
        assert wanted(annotations, answer)[:2] == (("a.service", "b.timer"), ("ssh.socket", "cron.service"))

    def test_nobody_is_asked_for_a_container_in_no_pod(self) -> None:
        assert ask("/nowhere", {}) == {}
        assert ask("", POD) == {}

    @pytest.mark.parametrize(
        ("answer", "text"),
        [
            ('{"error": "the pod is gone"}\n', "RichProfiles: the pod is gone"),
            ("[]\n", r"RichProfiles: \[\]"),
            ("nonsense\n", "the node does not answer at .*rich.sock: "),
            ('{"cut', "the answer is cut off"),
        ],
    )
    def test_a_resolver_in_trouble_fails_the_container(self, resolver: Resolver, answer: str, text: str) -> None:
        resolver.answer = answer
        with pytest.raises(OptionError, match=text):
            ask(resolver.path, POD)

    def test_no_resolver_where_one_should_be_fails_the_container(self, tmp_path: Path) -> None:
        with pytest.raises(OptionError, match=r"the node does not answer at .*: .*No such file"):
            ask(str(tmp_path / "rich.sock"), POD)


class Resolver:
    """Answers at a socket as the node's resolver does, with what a test has put there."""

    def __init__(self, path: Path) -> None:
        self.path, self.answer, self.asked = str(path), "{}\n", [""]
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(self.path)
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection, connection.makefile("rwb") as file:
                self.asked.append(file.readline().decode())
                if not self.asked[-1]:
                    return
                file.write(self.answer.encode())

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(self.path)
        self._thread.join()
        self._socket.close()


@pytest.fixture
def resolver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    made = Resolver(tmp_path / "rich.sock")
    monkeypatch.setenv("HAWSER_PROFILES", made.path)
    try:
        yield made
    finally:
        made.close()


Profiled = Callable[..., Spec]


@pytest.fixture
def profiled(spec: Spec, resolver: Resolver) -> Profiled:
    """A specification of a container in a pod, whose profile says what is given."""

    def make(args: list[str], init: str = "systemd", **answer: Any) -> Spec:
        resolver.answer = json.dumps(answer) + "\n"
        spec["annotations"] |= {**POD, "io.kubernetes.cri.container-type": "container", "rich.hawser.dev/init": init}
        spec["process"]["args"] = args
        return spec

    return make


SLEEP = ["/bin/sh", "-c", "echo ready; exec sleep 1000"]
UNIT = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/touch /run/{0}\n[Install]\nWantedBy=basic.target\n"


def test_units_are_enabled_and_masked_without_touching_the_image(
    containers: Containers, debian: Path, profiled: Profiled, resolver: Resolver
) -> None:
    spec = profiled(SLEEP, mask=["cron", "rsyslog"], enable=["mine"])
    spec["annotations"] |= {PREFIX + "mask-units": "ssh.service", PREFIX + "enable-units": "off, empty.service"}
    container = containers.make(debian, spec)
    image = container.directory / "rootfs"
    for place, name in (("etc", "mine"), ("lib", "off"), ("lib", "empty")):
        (image / place / f"systemd/system/{name}.service").write_text(UNIT.format(name))
    (image / "etc/systemd/system/off.service").symlink_to("/dev/null")
    (image / "etc/systemd/system/empty.service").touch()
    container.start()
    container.until("running", "systemctl", "is-system-running")
    units = ("cron", "rsyslog", "ssh", "mine", "off", "empty")
    states = container.exec("systemctl", "is-active", *units).split()
    assert dict(zip(units, states, strict=True)) == {
        **dict.fromkeys(("cron", "rsyslog", "ssh"), "inactive"),
        **dict.fromkeys(("mine", "off", "empty"), "active"),
    }
    assert json.loads(resolver.asked[-1]) == {"namespace": "shop", "pod": "web-0", "uid": "u", "container": "web"}


def test_a_profiles_hook_has_the_capability_that_the_pod_has_not(
    containers: Containers, debian: Path, profiled: Profiled
) -> None:
    hook = {
        "name": "route",
        "script": "ip link set lo up; ip route add 10.9.8.0/24 dev lo",
        "capabilities": ["NET_ADMIN"],
    }
    ran = containers.make(debian, profiled(["ip", "route", "show", "10.9.8.0/24"], "minimal", prestart=[hook])).run()
    assert ran.stdout == b"10.9.8.0/24 dev lo scope link \n", ran.stderr


@pytest.mark.parametrize(
    ("key", "value"), [("mask", ["cron"]), ("agents", [{"name": "a", "root": "/", "command": ["a"]}])]
)
def test_a_minimal_init_runs_no_units(
    containers: Containers, debian: Path, profiled: Profiled, key: str, value: list[Any]
) -> None:
    ran = containers.make(debian, profiled(["true"], "minimal", **{key: value})).run()
    assert ran.returncode == 1
    assert b"need init systemd: a container with a minimal init has nobody to run them" in ran.stderr


class TestAgents:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        """A host's directory with an agent that does as its first argument says."""
        place = tmp_path / "agent"
        place.mkdir()
        script = (
            "#!/bin/sh\necho start >>/run/agent-log; cat /proc/self/cgroup >/run/agent-groups\n"
            "case $1 in crash) kill -9 $$ ;; leak) exec tail /dev/zero ;; esac\n"
            'echo "$SAY" >/run/said; exec sleep 1000\n'
        )
        (place / "run").write_text(script)
        (place / "run").chmod(0o755)
        return place

    def agent(self, root: Path, how: str, **fields: Any) -> dict[str, Any]:
        command = ["/dev/hawser-agents/a/run", how]
        return {"name": "a", "root": str(root), "command": command, "restartSeconds": 0.2, **fields}

    def test_it_runs_beside_the_application(
        self, containers: Containers, debian: Path, profiled: Profiled, root: Path
    ) -> None:
        say = 'it\'s "5" $x'
        container = containers.make(debian, profiled(SLEEP, agents=[self.agent(root, "stay", env={"SAY": say})]))
        container.start()
        container.until("active", "systemctl", "is-active", "hawser-agent-a")
        container.until(say, "cat", "/run/said")
        container.until_output("ready\n")
        assert "Read-only" in container.exec("touch", "/dev/hawser-agents/a/x")
        container.kill("TERM")
        container.until_stopped()
        assert container.output() == "ready\n"

    @pytest.mark.parametrize("how", ["crash", "leak"])
    def test_it_may_crash_and_leak_and_the_application_goes_on(
        self, containers: Containers, debian: Path, profiled: Profiled, root: Path, how: str
    ) -> None:
        spec = profiled(SLEEP, agents=[self.agent(root, how, memory=16 << 20, cpu=0.5)])
        spec["linux"]["resources"]["memory"] = {"limit": 256 << 20}
        container = containers.make(debian, spec)
        container.start()
        container.until("3", "sh", "-c", "head -3 /run/agent-log | wc -l")
        assert container.exec("systemctl", "is-active", "hawser-app") == "active"
        if Path("/sys/fs/cgroup/cgroup.controllers").exists():
            limits = "cat /sys/fs/cgroup/system.slice/hawser-agent-a.service/memory.max"
            container.until(str(16 << 20), "sh", "-c", limits)  # not there between two starts
        else:
            assert "/hawser-a\n" in container.exec("cat", "/run/agent-groups") + "\n"
        for unit in ("cron", "systemd-journald"):
            assert container.exec("systemctl", "show", "-P", "NRestarts", unit) == "0"
        container.until_output("ready\n")
        assert container.output() == "ready\n"

    def test_one_from_an_image_lives_in_its_own_files(
        self, containers: Containers, debian: Path, busybox: Path, profiled: Profiled, tmp_path: Path
    ) -> None:
        script = "ls /etc/debian_version || ls /proc/1/root/etc/debian_version; wc -c </proc/keys; exec sleep 1000"
        command = ["sh", "-c", script]
        agent = {"name": "a", "root": str(skeleton(busybox, tmp_path)), "command": command, "chroot": True}
        container = containers.make(debian, profiled(SLEEP, agents=[agent]))
        container.start()
        container.until("active", "systemctl", "is-active", "hawser-agent-a")
        container.until("0", "sh", "-c", "journalctl -o cat -u hawser-agent-a | tail -1")
        lines = container.exec("journalctl", "-o", "cat", "-u", "hawser-agent-a").splitlines()
        assert "/proc/1/root/etc/debian_version" in lines
        assert "Read-only" in container.exec("sh", "-c", "echo 1 >/dev/hawser-agents/a/proc/sys/kernel/hostname")


def skeleton(image: Path, tmp_path: Path) -> Path:
    """An image's files with the places that a program's surroundings are mounted at."""
    root = tmp_path / "root"
    shutil.copytree(image, root, symlinks=True)
    for name in ("proc", "sys", "dev", "run", "tmp"):
        (root / name).mkdir(exist_ok=True)
    for name in ("null", "zero", "full", "random", "urandom"):
        (root / "dev" / name).touch()
    return root

"""The edit of a specification, without running anything."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from hawser.runtime.bundle import edit
from hawser.runtime.edited import EditError
from hawser.runtime.facts import Cgroups, Facts
from hawser.runtime.options import Options

FACTS = Facts(
    systemd="/sbin/init",
    systemd_version=252,
    executable="/usr/bin/app",
    home="/root",
    env="/usr/bin/env",
    setpriv="/usr/bin/setpriv",
    chown="/bin/chown",
    machine_id="0" * 32,
    cgroups=Cgroups(v2=False, named_systemd="/sys/fs/cgroup/systemd/pod/app"),
    limits=(("NOFILE", "1024:4096"),),
    static_init="/usr/bin/catatonit",
)
Spec = dict[str, Any]


def unit(spec: Spec, options: Options = Options(), facts: Facts = FACTS) -> dict[str, str]:  # noqa: B008
    """The application's unit as a mapping; a setting that comes twice keeps its last value."""
    text = edit(spec, options, facts).files["units/hawser-app.service"].content
    return dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)


def mounts(spec: Spec) -> dict[str, Spec]:
    return {mount["destination"]: mount for mount in spec["mounts"]}


@pytest.mark.parametrize(
    ("init", "facts", "chosen"),
    [
        (None, FACTS, "systemd"),
        (None, FACTS._replace(systemd=""), "minimal"),
        ("minimal", FACTS, "minimal"),
        ("systemd", FACTS, "systemd"),
        ("init", FACTS, "systemd"),
        ("init", FACTS._replace(systemd="", busybox_init=True), "busybox"),
        ("init", FACTS._replace(systemd="", sysvinit="/rootfs/sbin/init"), "sysvinit"),
    ],
)
def test_the_pod_chooses_and_the_image_is_the_default(spec: Spec, init: str | None, facts: Facts, chosen: str) -> None:
    assert edit(spec, Options(init=init), facts).init == chosen


def test_the_given_specification_stays_as_it_is(spec: Spec) -> None:
    before = copy.deepcopy(spec)
    edit(spec, Options(), FACTS)
    assert spec == before


@pytest.mark.parametrize(
    ("change", "options", "facts", "text"),
    [
        ({}, Options(), FACTS._replace(executable=""), 'exec: "/bin/true": executable file not found'),
        ({"args": []}, Options(), FACTS, "no command"),
        ({}, Options(init="systemd"), FACTS._replace(systemd=""), "the image has no systemd"),
        ({}, Options(init="systemd"), FACTS._replace(shell=False), "needs /bin/sh and systemctl"),
        ({}, Options(init="minimal"), FACTS._replace(static_init=""), "none of catatonit, tini-static, dumb-init"),
        (
            {},
            Options(init="init"),
            FACTS._replace(systemd="", other_init="/sbin/upstart"),
            "/sbin/init is /sbin/upstart",
        ),
        ({}, Options(init="init"), FACTS._replace(systemd=""), "it has no /sbin/init"),
        ({}, Options(init="minimal", keep=True), FACTS._replace(systemd=""), "a minimal init restarts nothing"),
        ({"user": {"uid": 7}}, Options(), FACTS._replace(setpriv=""), "user 7 needs setpriv"),
        ({"user": {"uid": 7}, "capabilities": {"bounding": []}}, Options(), FACTS, "capabilities SETUID and SETGID"),
        ({"capabilities": {"ambient": ["CAP_KILL"]}}, Options(), FACTS, "ambient capabilities"),
        ({"cwd": "/a\nb"}, Options(), FACTS, "working directory"),
        ({"env": ["a.b=c"]}, Options(), FACTS._replace(env=""), "variable a.b needs env"),
        (
            {"user": {"uid": 7}},
            Options(init="init"),
            FACTS._replace(systemd="", busybox_init=True, setpriv=""),
            "user 7 needs setpriv",
        ),
    ],
)
def test_what_can_not_be_is_refused_with_the_reason(
    spec: Spec, change: Spec, options: Options, facts: Facts, text: str
) -> None:
    spec["process"].update(change)
    with pytest.raises(EditError, match=text):
        edit(spec, options, facts)


@pytest.mark.parametrize("namespaces", [[], [{"type": "pid", "path": "/proc/7/ns/pid"}]])
def test_systemd_needs_a_pid_namespace_of_its_own(spec: Spec, namespaces: list[Spec]) -> None:
    spec["linux"]["namespaces"] = namespaces
    with pytest.raises(EditError, match="share its process ID namespace"):
        edit(spec, Options(), FACTS)


class TestSystemd:
    def test_pid_1_is_root_with_the_containers_own_bounding_set(self, spec: Spec) -> None:
        spec["process"]["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [5]}
        process = edit(spec, Options(), FACTS).spec["process"]
        bounding = spec["process"]["capabilities"]["bounding"]
        assert process["user"] == {"uid": 0, "gid": 0}
        assert process["capabilities"] == {"bounding": bounding, "effective": bounding, "permitted": bounding}

    def test_pid_1_sees_none_of_the_applications_environment(self, spec: Spec) -> None:
        spec["process"]["env"] += ["SYSTEMD_LOG_LEVEL=debug", "LD_PRELOAD=/x.so"]
        assert edit(spec, Options(), FACTS).spec["process"]["env"] == [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "container=hawser",
            f"container_uuid={'0' * 32}",
            "SYSTEMD_UNIT_PATH=/dev/hawser/units:",
            "SYSTEMD_GENERATOR_PATH=/dev/hawser/generators:",
        ]

    def test_new_mounts_lie_below_run_dev_and_tmp_only(self, spec: Spec) -> None:
        new = mounts(edit(spec, Options(), FACTS).spec).keys() - mounts(spec).keys()
        assert new == {
            *("/run", "/run/lock", "/tmp", "/dev/shm", "/dev/hawser", "/sys/fs/cgroup/systemd"),
            "/run/systemd/system.conf.d/10-hawser.conf",
        }

    def test_what_the_pod_mounts_wins_and_lies_on_top(self, spec: Spec) -> None:
        spec["mounts"] += [
            {"destination": "/tmp", "type": "bind", "source": "/volume", "options": ["rbind"]},
            {"destination": "/var/run/secrets/token", "type": "bind", "source": "/secret", "options": ["rbind"]},
        ]
        result = edit(spec, Options(), FACTS).spec["mounts"]
        places = [mount["destination"] for mount in result]
        assert places.count("/tmp") == 1
        assert places.index("/run") < places.index("/var/run/secrets/token")

    def test_on_v1_only_the_named_hierarchy_is_writable(self, spec: Spec) -> None:
        result = edit(spec, Options(), FACTS).spec
        assert "ro" in mounts(result)["/sys/fs/cgroup"]["options"]
        assert mounts(result)["/sys/fs/cgroup/systemd"]["source"] == "/sys/fs/cgroup/systemd/pod/app"
        assert {"type": "cgroup"} in result["linux"]["namespaces"]

    def test_on_v2_the_containers_own_limits_stay_out_of_reach(self, spec: Spec) -> None:
        facts = FACTS._replace(cgroups=Cgroups(v2=True))
        result = edit(spec, Options(), facts).spec
        options = mounts(result)["/sys/fs/cgroup"]["options"]
        assert "rw" in options
        assert "ro" not in options
        assert "/sys/fs/cgroup/memory.max" in result["linux"]["readonlyPaths"]

    @pytest.mark.parametrize("version", [252, 253])
    def test_on_v2_what_runs_out_of_memory_does_not_take_systemd_with_it(self, spec: Spec, version: int) -> None:
        spec["linux"]["resources"] = {"unified": {"memory.oom.group": "1", "memory.high": "9"}}
        facts = FACTS._replace(cgroups=Cgroups(v2=True), systemd_version=version)
        edited = edit(spec, Options(), facts)
        assert edited.spec["linux"]["resources"]["unified"] == {"memory.high": "9"}
        # Older ones would complain of the setting, and need it not.
        assert ("units/init.scope.d/10-hawser.conf" in edited.files) is (version == 253)

    def test_masked_and_read_only_paths_stay(self, spec: Spec) -> None:
        result = edit(spec, Options(), FACTS).spec["linux"]
        assert result["maskedPaths"] == spec["linux"]["maskedPaths"]
        assert set(spec["linux"]["readonlyPaths"]) <= set(result["readonlyPaths"])

    def test_the_unit_carries_the_process(self, spec: Spec) -> None:
        spec["process"] |= {
            "args": ["app", "a b", "$x"],
            "cwd": "/50% off",
            "user": {"uid": 0, "gid": 0, "umask": 0o77},
        }
        settings = unit(spec, Options(stop_signal="SIGQUIT"))
        assert settings["ExecStart"] == '"@/usr/bin/app" "app" "a b" "$$x"'
        assert settings["WorkingDirectory"] == "/50%% off"
        assert settings["UMask"] == "0077"
        assert settings["KillSignal"] == "SIGQUIT"
        assert settings["LimitNOFILE"] == "1024:4096"
        assert settings["StandardOutput"] == "append:/dev/hawser-streams/1"
        assert "User" not in settings
        assert settings["KillMode"] == "process"

    def test_another_user_is_taken_by_number(self, spec: Spec) -> None:
        spec["process"] |= {"args": ["app"], "user": {"uid": 7, "gid": 8, "additionalGids": [9, 10]}}
        settings = unit(spec)
        assert settings["ExecStart"] == (
            '"@/usr/bin/setpriv" "/usr/bin/setpriv" "--reuid=7" "--regid=8" "--groups=9,10" "--" "app"'
        )
        text = edit(spec, Options(), FACTS).files["units/hawser-app.service"].content
        assert "ExecStartPre=-/bin/chown 7 /dev/hawser-streams/1 /dev/hawser-streams/2\n" in text

    def test_without_setpriv_coreutils_change_the_user(self, spec: Spec) -> None:
        spec["process"] |= {"args": ["app"], "user": {"uid": 7, "gid": 8, "additionalGids": [9, 10]}}
        settings = unit(spec, facts=FACTS._replace(setpriv="", chroot="/usr/sbin/chroot"))
        assert settings["ExecStart"] == (
            '"@/usr/sbin/chroot" "/usr/sbin/chroot" "--userspec=+7:+8" "--groups=9,10" "--skip-chdir" "/" "app"'
        )

    def test_an_old_systemd_gets_the_streams_from_a_shell_and_the_code_from_a_file(self, spec: Spec) -> None:
        spec["process"] |= {"args": ["app", "it's"], "env": ["A=b c", "a.b=1"], "cwd": "/x y"}
        result = edit(spec, Options(), FACTS._replace(systemd_version=0, shutdown="/usr/lib/systemd/systemd-shutdown"))
        assert "ExecStart=/bin/sh /dev/hawser/run\n" in result.files["units/hawser-app.service"].content
        run = result.files["run"].content
        assert "cd '/x y' || exit 126\n" in run
        assert "'A=b c' 'a.b=1'" in run
        streams = "/dev/hawser-streams"
        assert run.endswith(f"""'/usr/bin/app' 'it'"'"'s' <{streams}/0 >>{streams}/1 2>>{streams}/2\n""")
        assert mounts(result.spec)["/usr/lib/systemd/systemd-shutdown"]["source"] == "hawser/shutdown"
        assert mounts(edit(spec, Options(), FACTS).spec).keys().isdisjoint({"/usr/lib/systemd/systemd-shutdown"})

    def test_logins_get_the_pods_variables_as_far_as_pam_can_read_them(self, spec: Spec) -> None:
        spec["process"]["env"] = ["PATH=/bin", "A=b c", "HOME=/root", "N=a\nb", "C=x#y", "Q='q'", "a.b=1", "E="]
        result = edit(spec, Options(), FACTS._replace(login_environment="LANG=C\n"))
        assert result.files["login"].content == "LANG=C\nPATH=/bin\nA=b c\nE=\n"
        assert result.files["login"].mode == 0o600
        assert mounts(result.spec)["/etc/environment"]["source"] == "hawser/login"
        assert "/etc/environment" not in mounts(edit(spec, Options(), FACTS).spec)

    def test_variables_that_systemd_refuses_go_by_env(self, spec: Spec) -> None:
        spec["process"] |= {"args": ["app"], "env": ["a.b=1", "C=2"]}
        assert unit(spec)["ExecStart"] == '"@/usr/bin/env" "env" "a.b=1" "app"'
        environment = edit(spec, Options(), FACTS).files["environment"]
        assert 'C="2"' in environment.content
        assert "a.b" not in environment.content
        assert environment.mode == 0o600

    @pytest.mark.parametrize(
        ("terminal", "version", "later"), [(True, 244, True), (True, 243, False), (False, 252, False)]
    )
    def test_a_terminal_shows_nothing_of_the_boot(self, spec: Spec, terminal: bool, version: int, later: bool) -> None:
        spec["process"]["terminal"] = terminal
        edited = edit(spec, Options(), FACTS._replace(systemd_version=version))
        assert ("--log-target=null" in edited.spec["process"]["args"]) is later
        assert ("units/systemd-journald.service.d/10-hawser.conf" in edited.files) is later

    def test_a_terminal_is_the_applications(self, spec: Spec) -> None:
        spec["process"]["terminal"] = True
        settings = unit(spec)
        assert (settings["StandardInput"], settings["TTYPath"]) == ("tty-force", "/dev/console")
        assert edit(spec, Options(), FACTS).files["units/console-getty.service"].content == "/dev/null"

    @pytest.mark.parametrize(
        ("asked", "restart", "policy"),
        [
            (Options(), "no", "exit"),
            (Options(keep=True), "always", "keep"),
            (Options(keep=True, on_failure=True), "always", "keep-on-failure"),
        ],
    )
    def test_restarts_are_counted_by_the_script(self, spec: Spec, asked: Options, restart: str, policy: str) -> None:
        options = asked._replace(restarts=5, seconds=60)
        assert unit(spec, options)["Restart"] == restart
        assert f"policy={policy} limit=5 seconds=60" in edit(spec, options, FACTS).files["settings"].content

    def test_a_container_that_may_make_namespaces_keeps_its_services_sandboxes(self, spec: Spec) -> None:
        drop_in = "units/service.d/10-hawser.conf"
        assert drop_in in edit(spec, Options(), FACTS).files
        spec["process"]["capabilities"]["bounding"] = ["CAP_SYS_ADMIN"]
        assert drop_in not in edit(spec, Options(), FACTS).files


class TestMinimal:
    def test_the_init_comes_in_front_and_nothing_else_changes(self, spec: Spec) -> None:
        spec["process"]["user"] = {"uid": 7, "gid": 7}
        result = edit(spec, Options(init="minimal"), FACTS)
        assert result.spec["process"] == spec["process"] | {"args": ["/dev/hawser-init", "--", "/bin/true"]}
        assert mounts(result.spec)["/dev/hawser-init"]["source"] == "/usr/bin/catatonit"
        assert result.files.keys() == {"ready"}


class TestBusybox:
    FACTS = FACTS._replace(systemd="", busybox_init=True)

    def test_the_application_is_an_entry_of_the_inittab(self, spec: Spec) -> None:
        facts = self.FACTS._replace(inittab="::sysinit:/sbin/openrc sysinit\ntty1::respawn:/sbin/getty 38400 tty1\n")
        result = edit(spec, Options(init="init"), facts)
        assert result.spec["process"]["args"] == ["/sbin/init"]
        assert result.files["inittab"].content.splitlines() == [
            "# the container's application",
            "::shutdown:/bin/sh /dev/hawser/stop",
            "::sysinit:/sbin/openrc sysinit",
            "# not in a container: tty1::respawn:/sbin/getty 38400 tty1",
            "::once:/bin/sh /dev/hawser/application",
            "::restart:/bin/sh /dev/hawser/exit",
        ]
        assert mounts(result.spec)["/etc/inittab"]["options"][:2] == ["bind", "ro"]

    def test_the_applications_words_are_quoted(self, spec: Spec) -> None:
        spec["process"] |= {"args": ["app", "it's @CWD@"], "env": ["A=b c"], "cwd": "/x y"}
        script = edit(spec, Options(init="init"), self.FACTS).files["run"].content
        assert """cd '/x y' || exit 126""" in script
        assert """'A=b c'""" in script
        assert """'/usr/bin/app' 'it'"'"'s @CWD@'""" in script


def test_the_table_of_sysvinit_has_the_application_in_order(spec: Spec) -> None:
    table = "id:2:initdefault:\nl0:0:wait:/etc/init.d/rc 0\nca:12345:ctrlaltdel:/sbin/shutdown -r now\n"
    result = edit(spec, Options(init="init"), FACTS._replace(systemd="", sysvinit="/rootfs/sbin/init", inittab=table))
    assert result.spec["process"]["args"] == ["/bin/sh", "/dev/hawser/boot"]
    assert result.files["inittab"].content.splitlines() == [
        "# the container's application",
        "hws0:06:wait:/bin/sh /dev/hawser/stop",
        "id:2:initdefault:",
        "l0:0:wait:/etc/init.d/rc 0",
        "# not in a container: ca:12345:ctrlaltdel:/sbin/shutdown -r now",
        "hws1:0123456:once:/bin/sh /dev/hawser/application",
        "hws2:0123456:ctrlaltdel:/bin/sh /dev/hawser/end",
        "hws3:06:wait:/bin/sh /dev/hawser/over",
    ]

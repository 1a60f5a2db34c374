"""What is left out of a lifted machine, what is masked, and what is found; files on their way into a layer."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.cli.images.lifting import addresses, masking, ports, report, volumes
from hawser.cli.images.lifting.adapting import adapt
from hawser.cli.images.lifting.archive import StreamedArchive
from hawser.cli.images.lifting.manifest import app_name, manifest
from hawser.cli.images.lifting.selection import Rule, Selection, foreign_mounts, rules
from hawser.cli.images.lifting.survey import Captured, Survey
from hawser.cli.images.lifting.transfer import TransferError, transfer
from hawser.cli.images.oci import Entry, ImageConfig

NAMES = st.text(st.characters(exclude_characters="/\0*?", exclude_categories=["Cs"]), min_size=1, max_size=8)
PATHS = st.lists(NAMES.filter(lambda n: n not in (".", "..") and not n.startswith(".wh.")), min_size=1, max_size=4)


def captured(**files: str) -> dict[str, Captured]:
    return {path: Captured(text.encode(), 0o644, 0, 0) for path, text in files.items()}


def survey_of(files: dict[str, str], links: dict[str, str] | None = None) -> Survey:
    survey = Survey(files=captured(**files), links=links or {})
    for path, text in files.items():
        survey.file(path, len(text))
    return survey


@pytest.mark.parametrize(
    ("path", "out"),
    [
        ("proc", False),
        ("proc/1/maps", True),
        ("tmp", False),
        ("tmp/x/y", True),
        ("var/tmp/x", False),
        ("etc/hostname", True),
        ("etc/hosts", False),
        ("boot/vmlinuz-6.1", True),
        ("var/lib/docker", True),
        ("var/lib/docker/overlay2/x", True),
        ("var/lib/dockerish", False),
        ("var/lib/dhcp/dhclient.eth0.leases", True),
        ("home/alice/proc/x", False),
        ("swapfile", True),
        ("etc/ssh/ssh_host_rsa_key", False),
    ],
)
def test_the_kernels_the_nodes_and_what_is_lost_at_a_boot_is_left_out(path: str, out: bool) -> None:
    assert bool(Selection(rules()).left_out(path)) is out


def test_what_the_user_includes_prevails_and_what_they_exclude_is_told_as_theirs() -> None:
    selection = Selection(
        rules(["/srv/**/*.iso", "opt/big"], drop_host_keys=True), include=["/boot/grub", "opt/big/keep"]
    )
    assert selection.left_out("boot/grub/grub.cfg") is None
    assert selection.left_out("boot/vmlinuz") is not None
    assert selection.left_out("opt/big/keep/x") is None
    assert selection.left_out("etc/ssh/ssh_host_rsa_key.pub") is not None
    for path in ("srv/a/b/x.iso", "opt/big/other"):
        rule = selection.left_out(path)
        assert rule is not None
        assert rule.reason == "as asked"
    assert "boot/**" not in selection.early()
    assert "opt/big" not in selection.early()
    assert "proc/**" in selection.early()


@given(PATHS, st.data())
def test_a_path_is_left_out_with_all_that_is_below_it_and_only_then(parts: list[str], data: st.DataObject) -> None:
    path = "/".join(parts)
    length = data.draw(st.integers(1, len(parts)))
    selection = Selection([Rule("/".join(parts[:length]), "why")])
    assert selection.left_out(path)
    assert selection.left_out(path + "/below")
    assert not selection.left_out("other" + path)
    assert not Selection([Rule(path, "why")], [path]).left_out(path)


MOUNTS = r"""
22 1 8:1 / / rw - ext4 /dev/sda1 rw
23 22 0:20 / /proc rw - proc proc rw
24 22 8:2 / /var rw - xfs /dev/sda2 rw
25 24 0:30 / /var/lib/my\040share rw - nfs4 nas:/x rw
26 22 8:2 /log /srv/log rw - xfs /dev/sda2 rw
27 22 0:31 /@home /home rw - btrfs /dev/sda3 rw
28 22 7:0 / /snap/core/1 ro - squashfs /dev/loop0 ro
"""


def test_local_disks_belong_to_the_machine_other_mounts_do_not() -> None:
    found = {rule.pattern: rule.reason for rule in foreign_mounts(MOUNTS)}
    assert found.keys() == {"proc/**", "var/lib/my share/**", "srv/log/**", "snap/core/1/**"}
    assert "nfs4" in found["var/lib/my share/**"]
    assert [rule.pattern for rule in foreign_mounts(MOUNTS, "/var")] == ["lib/my share/**"]


@pytest.mark.parametrize(
    ("unit", "word"),
    [
        ("systemd-udevd.service", "devices"),
        ("getty@tty1.service", "console"),
        ("NetworkManager-wait-online.service", "network"),
        ("networking.service", "network"),
        ("chrony.service", "clock"),
        ("systemd-timesyncd.service", "clock"),
        ("ufw.service", "CAP_NET_ADMIN"),
        ("srv-nas.mount", "volumes"),
        ("dev-sda2.swap", "swap"),
        ("lvm2-monitor.service", "disks"),
        ("docker.socket", "privileges"),
        ("systemd-boot-update.service", "kernel"),
        ("qemu-guest-agent.service", "hypervisor"),
        ("apt-daily.timer", "anew"),
        ("ssh.service", ""),
        ("cron.service", ""),
        ("nginx.service", ""),
        ("systemd-journald.service", ""),
        ("systemd-tmpfiles-setup.service", ""),
        ("systemd-logind.service", ""),
        ("docker-registry.service", ""),
        ("local-fs.target", ""),
        ("network-online.target", ""),
        ("multi-user.target", ""),
        ("boot-complete.target", ""),
        ("dbus.socket", ""),
    ],
)
def test_a_unit_is_masked_for_a_reason_or_kept(unit: str, word: str) -> None:
    assert word in masking.reason(unit)
    assert bool(masking.reason(unit)) is bool(word)


@given(st.sets(st.sampled_from(["nginx", "ssh", "chrony", "ufw", "getty@tty1"])), st.data())
def test_what_the_user_keeps_is_kept_and_what_they_mask_is_masked(stems: set[str], data: st.DataObject) -> None:
    units = {stem + ".service" for stem in stems}
    keep = data.draw(st.sets(st.sampled_from(sorted(stems)))) if stems else set()
    mask = data.draw(st.sets(st.sampled_from(sorted(stems)))) if stems else set()
    decisions = {d.unit: d for d in masking.decide(units, [], sorted(keep), sorted(mask))}
    assert decisions.keys() == units
    for stem in stems:
        expected = stem not in keep and (stem in mask or bool(masking.reason(stem + ".service")))
        assert decisions[stem + ".service"].masked is expected


def test_enabled_are_what_targets_want_and_the_usual_run_levels_start() -> None:
    survey = survey_of(
        {"lib/systemd/system/nginx.service": "x", "etc/init.d/legacy": "x", "etc/init.d/README": "x"},
        {
            "etc/systemd/system/multi-user.target.wants/nginx.service": "/lib/systemd/system/nginx.service",
            "etc/systemd/user/sockets.target.wants/gpg.socket": "x",
            "etc/rc2.d/S20legacy": "../init.d/legacy",
            "etc/rc2.d/K01other": "../init.d/other",
            "etc/systemd/system/off.service": "/dev/null",
            "etc/systemd/system/multi-user.target.wants/off.service": "x",
        },
    )
    assert survey.enabled() == {"nginx.service", "legacy.service"}
    assert survey.units() == {"nginx.service", "legacy.service"}


def sysv(table: str, links: dict[str, str]) -> Survey:
    survey = survey_of({"etc/inittab": table, "lib/systemd/system/nginx.service": "x"}, links)
    survey.file("usr/sbin/init", 1)
    return survey


def test_without_systemd_scripts_start_by_links_and_those_of_the_node_lose_theirs() -> None:
    links = {"etc/rcS.d/S01hwclock.sh": "x", "etc/rc.d/rc3.d/S20shop": "x", "etc/rc2.d/K01old": "x"}
    survey = sysv("si::sysinit:/etc/init.d/rcS\n", {**links, "etc/runlevels/boot/hwclock": "x"})
    assert (survey.init(), survey.units()) == ("init", {"hwclock.service", "shop.service"})
    decisions = masking.decide(survey.units(), survey.enabled())
    entries, _ = adapt(survey, decisions, follow=False, new_host_keys=False)
    written = [entry.path for entry in entries if entry.path != "etc/machine-id"]
    assert written == ["etc/rcS.d/.wh.S01hwclock.sh", "etc/runlevels/boot/.wh.hwclock"]


@pytest.mark.parametrize("table", ["id:3:initdefault:\n", "# ~~::sysinit:x\n", ""])
def test_an_init_that_does_nothing_by_its_table_is_not_sysvinit(table: str) -> None:
    assert sysv(table, {}).init() == "minimal"


def test_changed_files_keep_their_owner_and_lose_what_fails_in_a_container() -> None:
    survey = survey_of({"etc/fstab": "# a\nUUID=1 / ext4\n", "etc/rsyslog.conf": 'module(load="imklog") # x\nother\n'})
    survey.files["etc/pam.d/cron"] = Captured(b"session  required   pam_loginuid.so\n", 0o640, 3, 4)
    survey.files["etc/pam.d/su"] = Captured(b"auth required x.so\n", 0o644, 0, 0)
    decisions = masking.decide(["ufw.service", "ssh.service"], [])
    entries, changes = adapt(survey, decisions, follow=True, new_host_keys=True)
    written = {entry.path: entry for entry in entries}
    assert written["etc/fstab"].content == b"# a\n# lifted: UUID=1 / ext4\n"
    assert written["etc/rsyslog.conf"].content == b'#module(load="imklog") # x\nother\n'
    cron = written["etc/pam.d/cron"]
    assert (cron.content, cron.mode, cron.uid, cron.gid) == (b"session  optional   pam_loginuid.so\n", 0o640, 3, 4)
    assert "etc/pam.d/su" not in written
    assert written["etc/systemd/system/ufw.service"].link == "/dev/null"
    assert "etc/systemd/system/ssh.service" not in written
    assert {change.path for change in changes} <= written.keys()
    assert [entry.path for entry in entries] == sorted(written)


def test_addresses_are_found_by_line_and_the_machines_own_come_first() -> None:
    files = captured(
        **{
            "etc/netplan/a.yaml": "addresses:\n - 192.0.2.10/24\n - 2001:db8::10/64\nvia: 192.0.2.1\n",
            "etc/app.conf": "#192.0.2.9\nv=1.2.3.4.5 300.1.1.1 127.0.0.1 0.0.0.0\nb=198.51.100.7\na=192.0.2.10:80\n",
            "etc/services": "x 192.0.2.99\n",
        }
    )
    own = addresses.own_addresses(files)
    assert own == {"192.0.2.10", "2001:db8::10"}
    found, more = addresses.hard_coded(files, own, limit=5)
    listed = [(one.path, one.line, one.address) for one in found]
    assert listed[0] == ("etc/app.conf", 4, "192.0.2.10")
    assert ("etc/app.conf", 3, "198.51.100.7") in listed
    assert not {"192.0.2.9", "127.0.0.1", "192.0.2.99", "1.2.3.4"} & {address for _, _, address in listed}
    assert more == 0
    assert addresses.hard_coded(files, own, limit=1)[1] == 4


SS = """\
Netid State  Recv-Q Send-Q Local Address:Port Peer Address:Port
tcp   LISTEN 0      128          0.0.0.0:22        0.0.0.0:*    users:(("sshd",pid=7,fd=3))
tcp   LISTEN 0      128             [::]:22           [::]:*    users:(("sshd",pid=7,fd=4))
tcp   LISTEN 0      511        127.0.0.1:6379      0.0.0.0:*    users:(("redis-server",pid=9,fd=6))
udp   UNCONN 0      0            0.0.0.0:514       0.0.0.0:*
"""
NETSTAT = """\
Proto Recv-Q Send-Q Local Address           Foreign Address         State       PID/Program name
tcp        0      0 0.0.0.0:22              0.0.0.0:*               LISTEN      1234/sshd
tcp6       0      0 ::1:6379                :::*                    LISTEN      99/redis-server
udp        0      0 0.0.0.0:514             0.0.0.0:*                           1/syslogd
"""


@pytest.mark.parametrize("text", [SS, NETSTAT])
def test_ports_are_read_from_ss_and_from_netstat(text: str) -> None:
    found = {(port.number, port.protocol): (port.service, port.local) for port in ports.running(text)}
    assert found.keys() == {(22, "tcp"), (6379, "tcp"), (514, "udp")}
    assert found[22, "tcp"] == ("sshd", False)
    assert found[6379, "tcp"] == ("redis-server", True)


def test_without_the_running_machine_ports_come_from_sockets_and_configurations() -> None:
    survey = survey_of(
        {
            "lib/systemd/system/x.socket": "[Socket]\nListenStream=8443\nListenStream=/run/x\nListenDatagram=[::]:53\n",
            "etc/nginx/sites-enabled/a": "server {\n listen 8080;\n listen [::]:8081 ssl;\n listen 127.0.0.1:9;\n}\n",
            "etc/nginx/sites-available/b": "listen 7;\n",
        }
    )
    found = ports.configured(survey, ["x.socket", "nginx.service", "ssh.service", "cron.service"])
    assert {(p.number, p.protocol, p.local) for p in found} == {
        (8443, "tcp", False), (53, "udp", False), (8080, "tcp", False), (8081, "tcp", False), (9, "tcp", True),
        (22, "tcp", False),
    }  # fmt: skip


def test_data_of_databases_large_directories_and_what_is_asked_for_become_volumes() -> None:
    survey = Survey()
    for path, size in {"var/lib/mysql/x": 1, "var/lib/app/x": 200 << 20, "var/lib/dpkg/x": 1 << 30, "srv/x": 1}.items():
        survey.file(path, size)
    found = {volume.path: volume.reason for volume in volumes.volumes(survey, ["/opt/data/"])}
    assert found.keys() == {"/var/lib/mysql", "/var/lib/app", "/srv", "/opt/data"}


def moved(members: list[tuple[tarfile.TarInfo, bytes]], selection: Selection) -> tuple[Survey, bytes]:
    source, sink = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=source, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    source.seek(0)
    return transfer(source, sink, selection), sink.getvalue()


@given(
    st.dictionaries(PATHS.map("/".join), st.binary(max_size=1500), max_size=6),
    st.integers(0, 0o7777), st.integers(0, 1 << 22), st.integers(0, 1 << 33),
)  # fmt: skip
def test_files_arrive_as_they_were_and_again_the_same(
    files: dict[str, bytes], mode: int, owner: int, mtime: int
) -> None:
    def members() -> list[tuple[tarfile.TarInfo, bytes]]:
        result = []
        for path, content in files.items():
            info = tarfile.TarInfo("./" + path)
            info.mode, info.uid, info.gid, info.mtime = mode, owner, owner, mtime
            info.uname = "someone"
            info.pax_headers = {"SCHILY.xattr.user.a": "\udcff\x00b", "SCHILY.xattr.security.selinux": "x"}
            result.append((info, content))
        return result

    survey, layer = moved(members(), Selection([]))
    assert moved(members(), Selection([]))[1] == layer
    assert survey.count == len(files)
    with tarfile.open(fileobj=io.BytesIO(layer), encoding="utf-8", errors="surrogateescape") as tar:
        found = {member.name: member for member in tar}
        assert found.keys() == files.keys()
        for path, member in found.items():
            assert tar.extractfile(member).read() == files[path]  # type: ignore[union-attr]
            assert (member.mode, member.uid, member.gid, member.mtime) == (mode, owner, owner, mtime)
            xattrs = {key: value for key, value in member.pax_headers.items() if "xattr" in key}
            assert xattrs == {"SCHILY.xattr.user.a": "\udcff\x00b"}
            assert member.uname == ""


def test_devices_and_links_to_what_is_left_out_do_not_arrive_and_are_told() -> None:
    device, link, kept = tarfile.TarInfo("srv/null"), tarfile.TarInfo("srv/link"), tarfile.TarInfo("srv/kept")
    device.type, link.type, link.linkname = tarfile.CHRTYPE, tarfile.LNKTYPE, "./tmp/x"
    survey, layer = moved([(device, b""), (link, b""), (kept, b"x")], Selection(rules()))
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        assert tar.getnames() == ["srv/kept"]
    assert survey.devices == 1
    assert "/tmp/x" in survey.notes[0]


def test_a_stream_that_breaks_off_or_leaves_the_root_is_no_machine() -> None:
    outside = tarfile.TarInfo("../etc/passwd")
    with pytest.raises(TransferError, match="points out"):
        moved([(outside, b"")], Selection([]))
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        info = tarfile.TarInfo("opt/x")
        info.size = 10000
        tar.addfile(info, io.BytesIO(bytes(10000)))
    with pytest.raises(TransferError):
        transfer(io.BytesIO(whole.getvalue()[:4096]), io.BytesIO(), Selection([]))


def test_an_archive_that_is_not_finished_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), StreamedArchive(tmp_path / "x.tar") as archive:
        archive.write(b"x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    digests = []
    for name in ("a.tar", "b.tar"):
        with StreamedArchive(tmp_path / name) as archive:
            archive.write(bytes(1024))
            digests.append(archive.finish("localhost/x:1", [Entry("a", b"")], ImageConfig(), 86400))
    assert digests[0] == digests[1]
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


@given(st.from_regex(r"[a-z0-9.-]+/[a-z0-9._-]{1,60}:[\w.-]+", fullmatch=True))
def test_a_pods_name_is_a_label(reference: str) -> None:
    name = app_name(reference)
    assert 0 < len(name) <= 48
    assert name[0].isalpha()
    assert name[-1].isalnum()


@pytest.mark.parametrize("stateful", [False, True])
def test_a_manifest_mounts_what_should_be_volumes_and_fills_it_first(stateful: bool) -> None:
    survey = survey_of({"srv/a": "x", "lib/systemd/systemd": "x"})
    found = report.make("localhost/legacy:1", "x", survey, report.Running(), [], [], Selection([]), "none")
    *_, last = manifest(found, stateful)
    spec = last["spec"]["template"]["spec"] if stateful else last["spec"]
    annotations = (last["spec"]["template"] if stateful else last)["metadata"]["annotations"]
    assert annotations == {"rich.hawser.dev/init": "systemd", "rich.hawser.dev/container": "machine"}
    assert spec["containers"][0]["volumeMounts"] == [{"name": "srv", "mountPath": "/srv"}]
    assert spec["initContainers"][0]["command"][-1] == "/srv=/volumes/srv"
    sources = last["spec"]["volumeClaimTemplates"] if stateful else spec["volumes"]
    assert [source.get("name") or source["metadata"]["name"] for source in sources] == ["srv"]

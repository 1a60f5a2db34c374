"""Looking into an image never leaves it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hawser.runtime.facts import find_executable, home_directory, image_facts
from hawser.runtime.rootfs import Mount, RootFS


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for name in ("usr/bin", "usr/lib/systemd", "etc"):
        (root / name).mkdir(parents=True)
    for name in ("usr/bin/tool", "usr/lib/systemd/systemd"):
        (root / name).write_text("#!")
        (root / name).chmod(0o755)
    (root / "bin").symlink_to("usr/bin")
    (root / "lib").symlink_to("/usr/lib")
    (root / "sbin").symlink_to("usr/sbin")
    (root / "usr/sbin").mkdir()
    (root / "usr/sbin/init").symlink_to("/lib/systemd/systemd")
    (root / "etc/up").symlink_to("../../../../../../etc/passwd")
    (root / "etc/loop").symlink_to("loop")
    return root


@pytest.mark.parametrize(
    ("path", "real"),
    [
        ("/bin/tool", "/usr/bin/tool"),
        ("/sbin/init", "/usr/lib/systemd/systemd"),
        ("//bin/./../bin/tool", "/usr/bin/tool"),
        ("/etc/up", None),
        ("/etc/loop", None),
        ("/no/such", None),
    ],
)
def test_paths_are_the_containers_own(root: Path, path: str, real: str | None) -> None:
    assert RootFS(str(root), []).resolve(path) == real


def test_a_link_that_climbs_ends_at_the_containers_root(root: Path) -> None:
    (root / "etc/passwd").write_text("x:x:7:7::/home/x:/bin/sh\n")
    assert RootFS(str(root), []).read("/etc/up") == "x:x:7:7::/home/x:/bin/sh\n"


@pytest.mark.parametrize("swapped", ["etc/environment", "etc"])
def test_a_link_that_comes_while_one_looks_is_not_followed(
    root: Path, tmp_path: Path, swapped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A volume is another container's at the same time."""
    volume = tmp_path / "volume"
    (volume / "etc").mkdir(parents=True)
    (volume / "etc/environment").write_text("A=b\n")
    host = tmp_path / "host"
    (host / "etc").mkdir(parents=True)
    (host / "etc/environment").write_text("secret\n")
    rootfs = RootFS(str(root), [Mount("/app", str(volume))])
    assert rootfs.read("/app/etc/environment") == "A=b\n"
    resolve = rootfs.resolve

    def looked(path: str) -> str | None:
        found = resolve(path)
        (volume / swapped).rename(volume / "away")
        (volume / swapped).symlink_to(host / swapped)
        return found

    monkeypatch.setattr(rootfs, "resolve", looked)
    assert rootfs.read("/app/etc/environment") is None


def test_only_plain_files_are_read_and_a_pipe_is_not_waited_for(root: Path) -> None:
    os.mkfifo(root / "etc/pipe")
    rootfs = RootFS(str(root), [])
    assert [rootfs.read(path) for path in ("/etc/pipe", "/etc", "/etc/none")] == [None] * 3


def test_sysvinit_has_to_be_the_images_own(root: Path, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    for init in (root / "usr/sbin/init", tmp_path / "volume/init"):
        init.unlink(missing_ok=True)
        init.write_text("\0/etc/inittab\0")
        init.chmod(0o755)
    found = image_facts(RootFS(str(root), []), {"args": ["tool"]})
    assert (found.sysvinit, found.other_init) == (str(root / "usr/sbin/init"), "")
    volume = [Mount("/usr/sbin", str(tmp_path / "volume"))]
    found = image_facts(RootFS(str(root), volume), {"args": ["tool"]})
    assert (found.sysvinit, found.other_init) == ("", "/usr/sbin/init")


def test_bind_mounts_count_and_tmpfs_hides(root: Path, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/run.sh").write_text("#!")
    (tmp_path / "volume/run.sh").chmod(0o755)
    rootfs = RootFS(str(root), [Mount("/app", str(tmp_path / "volume")), Mount("/usr/bin", "")])
    assert rootfs.executable("/app/run.sh")
    assert not rootfs.executable("/bin/tool")
    assert rootfs.hidden("/usr/bin/tool")


@pytest.mark.parametrize(
    ("args", "cwd", "found"),
    [
        (["tool"], "/", "/bin/tool"),
        (["/usr/bin/tool"], "/", "/usr/bin/tool"),
        (["./tool"], "/usr/bin", "/usr/bin/./tool"),
        (["nothing"], "/", ""),
        (["/nothing"], "/", ""),
        ([""], "/", ""),
        (["/hidden/tool"], "/", "/hidden/tool"),
    ],
)
def test_the_executable_is_found_as_execvp_finds_it(root: Path, args: list[str], cwd: str, found: str) -> None:
    rootfs = RootFS(str(root), [Mount("/hidden", "")])
    assert find_executable(rootfs, {"args": args, "cwd": cwd}, "/sbin:relative:/bin") == found


def test_an_image_with_systemd_is_recognised(root: Path) -> None:
    facts = image_facts(RootFS(str(root), []), {"args": ["tool"]})
    assert (facts.systemd, facts.busybox_init, facts.other_init) == ("/sbin/init", False, "")


@pytest.mark.parametrize("link", ["soft", "hard"])
def test_busybox_as_init_is_recognised(root: Path, link: str) -> None:
    (root / "bin/busybox").write_text("")
    (root / "bin/busybox").chmod(0o755)
    (root / "usr/sbin/init").unlink()
    if link == "soft":
        (root / "usr/sbin/init").symlink_to("/bin/busybox")
    else:
        (root / "usr/sbin/init").hardlink_to(root / "bin/busybox")
    (root / "usr/lib/systemd/systemd").unlink()
    facts = image_facts(RootFS(str(root), []), {"args": ["tool"]})
    assert (facts.systemd, facts.busybox_init, facts.other_init) == ("", True, "")


def test_home_directories_come_from_passwd() -> None:
    passwd = "root:x:0:0:root:/root:/bin/sh\nx:x:7:7::/srv/x:/bin/sh\nbroken\n"
    assert [home_directory(passwd, uid) for uid in (0, 7, 8)] == ["/root", "/srv/x", "/"]


@pytest.mark.parametrize(
    ("init", "library", "version"),
    [
        ("/lib/systemd/systemd", "lib/systemd/libsystemd-shared-247.so", 247),  # Debian 11
        ("../lib/systemd/systemd", "usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-255.so", 255),  # Ubuntu 24.04
        ("../lib/systemd/systemd", "usr/lib/aarch64-linux-gnu/systemd/libsystemd-shared-249.so", 249),
        ("../lib/systemd/systemd", "usr/lib/systemd/libsystemd-shared-239.so", 239),  # RHEL 8
        ("../lib/systemd/systemd", "usr/lib/systemd/libsystemd-shared-252-46.el9.so", 252),
        ("../lib/systemd/systemd", "usr/lib64/systemd/libsystemd-shared-258.2-1.fc43.so", 258),
        ("../lib/systemd/systemd", "usr/lib64/libsystemd.so.0", 0),  # RHEL 7
    ],
)
def test_systemds_age_is_told_by_its_library(root: Path, init: str, library: str, version: int) -> None:
    (root / "usr/sbin/init").unlink()
    (root / "usr/sbin/init").symlink_to(init)
    place = root / library
    if place.parts[-3] == "lib":  # /lib is a link of the image
        place = root / "usr" / library.removeprefix("usr/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch()
    facts = image_facts(RootFS(str(root), []), {"args": ["tool"]})
    assert (facts.systemd, facts.systemd_version) == ("/sbin/init", version)

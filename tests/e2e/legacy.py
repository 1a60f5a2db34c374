"""A machine to lift: a Debian root with systemd, sshd, cron, redis, users, and what makes no sense in a container."""

from __future__ import annotations

import os
import shlex
import struct
import subprocess
from pathlib import Path

from hawser.cli.images.description import RichImage
from hawser.cli.images.rich import build_base

PACKAGES = ("redis-server", "ifupdown", "nftables", "udev", "sudo")
FILES = {
    "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "etc/hostname": "legacy\n",
    "etc/fstab": "UUID=11 / ext4 defaults 0 1\nUUID=12 none swap sw 0 0\nnas:/x /srv/nas nfs defaults 0 0\n",
    "etc/network/interfaces": "auto eth0\niface eth0 inet static\n  address 192.0.2.10/24\n  gateway 192.0.2.1\n",
    "etc/app.conf": "# 192.0.2.77 is history\nlisten=192.0.2.10\npeer=192.0.2.20\n",
    "etc/cron.d/tick": "* * * * * alice touch /home/alice/ticked\n",
    "home/alice/notes": "mine\n",
    "tmp/leftover": "x",
    "var/lib/docker/x": "x",
    "boot/vmlinuz": "x",
}


def make(root: Path, key: Path) -> None:
    """Unpacks the cached root (made in about a minute at first) and turns it into a machine that `key` may enter."""
    root.mkdir()
    base = build_base(RichImage("localhost/lifted:1", packages=PACKAGES))
    run("tar", "-xpf", str(base), "-C", str(root), "--xattrs", "--xattrs-include=*")
    units = root / "etc/systemd/system"
    for unit in units.iterdir():
        if unit.is_symlink() and str(unit.readlink()) == "/dev/null":
            unit.unlink()
    (units / "sysinit.target.wants/nftables.service").symlink_to("/lib/systemd/system/nftables.service")
    for path, text in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    run("chroot", str(root), "useradd", "-m", "-s", "/bin/bash", "-u", "1500", "alice")
    run("chroot", str(root), "chown", "-R", "alice:alice", "/home/alice")
    for path in (root / "etc/pam.d").iterdir():
        path.write_text(path.read_text().replace("optional     pam_loginuid", "required     pam_loginuid"))
    odd = root / "opt/odd"
    odd.mkdir()
    (odd / "a").write_text("linked")
    os.link(odd / "a", odd / "b")
    (odd / "capable").write_bytes(b"\x7fELF")
    # CAP_NET_RAW, permitted and effective; and an ACL that lets user 1500 read.
    os.setxattr(odd / "capable", "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0))
    entries = [(1, 6, -1), (2, 4, 1500), (4, 4, -1), (0x10, 4, -1), (0x20, 0, -1)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    os.setxattr(odd / "a", "system.posix_acl_access", acl)
    with (odd / "sparse").open("wb") as file:
        file.seek(64 << 20)
        file.write(b"end")
    os.mknod(odd / "null", 0o20666, os.makedev(1, 3))
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(root / "etc/ssh/ssh_host_ed25519_key"))
    (root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
    (root / "root/.ssh/authorized_keys").write_text(key.with_suffix(".pub").read_text())


def ssh_options(root: Path, key: Path) -> list[str]:
    """Options that make ssh reach an sshd of that root, in namespaces of its own, with redis beside it.

    sshd serves the one connection on its standard streams: nothing listens, and all ends with the connection.
    """
    place = shlex.quote(str(root))
    script = (
        f"ip link set lo up; mount -t proc proc {place}/proc; mount --bind /dev {place}/dev;"
        f" mount -t tmpfs tmpfs {place}/run; mkdir {place}/run/sshd;"
        f" chroot {place} /usr/bin/redis-server --save '' --dir /run --daemonize yes >/dev/null;"
        f" until chroot {place} /usr/bin/redis-cli ping >/dev/null 2>&1 </dev/null; do sleep 0.1; done;"
        f" chroot {place} /usr/sbin/sshd -i"
    )
    proxy = f"unshare --mount --net --pid --fork --kill-child sh -c {shlex.quote(script)}"
    options = {
        "ProxyCommand": proxy,
        "IdentityFile": str(key),
        "StrictHostKeyChecking": "no",
        "UserKnownHostsFile": "/dev/null",
        "BatchMode": "yes",
        "LogLevel": "ERROR",
    }
    return [word for name, value in options.items() for word in ("--ssh-option", f"{name}={value}")]


def disk(root: Path, image: Path) -> None:
    """A disk image with a partition table, and the root's file system in its second partition."""
    with image.open("wb") as file:
        file.truncate(1 << 30)
        entries = [(0x83, 2048, 2048), (0x83, 4096, (1 << 21) - 4096)]
        table = b"".join(struct.pack("<B3sB3sII", 0, b"", kind, b"", start, count) for kind, start, count in entries)
        file.seek(446)
        file.write(table + bytes(32) + b"\x55\xaa")
    size = f"{(1 << 20) - 2048}k"
    run("mkfs.ext4", "-q", "-F", "-d", str(root), "-E", f"offset={4096 * 512}", str(image), size)


def run(*command: str) -> None:
    """Runs a command that has to succeed."""
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"

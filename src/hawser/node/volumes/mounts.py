"""Mounting on this machine: the system calls, and what is mounted where.

Source: mount(2), umount2(2), proc_pid_mountinfo(5).
"""

from __future__ import annotations

import ctypes
import os
import re
import struct
from pathlib import Path

from hawser.runtime import host

RDONLY = 0x01
_REMOUNT, _BIND, _REC, _SHARED = 0x20, 0x1000, 0x4000, 1 << 20
_KEPT = {"nosuid": 0x02, "nodev": 0x04, "noexec": 0x08, "noatime": 0x400, "nodiratime": 0x800, "relatime": 1 << 21}
_DETACH, _NOFOLLOW = 2, 8
# statx(2)
_AT_SYMLINK_NOFOLLOW, _MOUNT_ROOT = 0x100, 0x2000
_ESCAPE = re.compile(r"\\([0-7]{3})")
_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: Path, kind: str, flags: int = 0, options: str = "") -> None:
    """mount(2). Raises OSError."""
    if _libc.mount(source.encode(), os.fsencode(target), kind.encode(), flags, options.encode()):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))


def bind(source: str, target: Path, *, readonly: bool = False) -> None:
    """Shows a file or folder at another place, too. source: may be ``/proc/self/fd/N``. Raises OSError."""
    mount(source, target, "", _BIND)
    if readonly:
        # A remount that names fewer flags than the file system has would take them away.
        flags = sum(number for name, number in _KEPT.items() if name in _options(target))
        mount("", target, "", _REMOUNT | _BIND | RDONLY | flags)


def unmount(target: Path) -> None:
    """Detaches what is mounted at a place, as soon as nobody uses it any more. Raises OSError."""
    if _libc.umount2(os.fsencode(target), _DETACH | _NOFOLLOW):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))


def points(folder: Path) -> list[Path]:
    """Where something is mounted at or below a folder, what is deepest and newest first."""
    found = [p for p, _ in _table(str(folder)) if p == str(folder) or p.startswith(f"{folder}/")]
    found.reverse()
    return [Path(point) for point in sorted(found, key=lambda p: -p.count("/"))]


def is_mounted(target: Path) -> bool:
    """Whether something is mounted exactly there; also a bind mount within one file system."""
    buffer = ctypes.create_string_buffer(256)
    if _libc.statx(-100, os.fsencode(target), _AT_SYMLINK_NOFOLLOW, 0, buffer):
        return False
    attributes, known = struct.unpack_from("=Q", buffer, 8)[0], struct.unpack_from("=Q", buffer, 56)[0]
    if known & _MOUNT_ROOT:
        return bool(attributes & _MOUNT_ROOT)
    # Before Linux 5.8 only the table of mounts tells.
    return any(point == str(target) for point, _ in _table(str(target)))


def unmount_below(folder: Path) -> list[Path]:
    """Detaches everything at or below a folder; what could not be."""
    for point in points(folder):
        try:
            unmount(point)
        except OSError:
            continue
    return points(folder)


def make_shared(folder: Path) -> None:
    """Makes mounts below a folder known to whoever mounts the folder with propagation, as kubelet does with its own.

    Leaves a folder alone that is so already, or in which something is mounted. Raises OSError.
    """
    if _is_shared(folder) or points(folder):
        return
    mount(str(folder), folder, "", _BIND | _REC)
    mount("", folder, "", _SHARED | _REC)


def _is_shared(folder: Path) -> bool:
    best, shared = "", False
    for point, optional in _table():
        inside = point == "/" or str(folder) == point or str(folder).startswith(f"{point}/")
        if inside and len(point) >= len(best):
            best, shared = point, any(word.startswith("shared:") for word in optional)
    return shared


def _options(target: Path) -> set[str]:
    for line in reversed(_lines()):
        words = line.split(" ")
        if _plain(words[4]) == str(target):
            return set(words[5].split(","))
    return set()


def _lines() -> list[str]:
    return host.mountinfo().split("\n")[:-1]


def _table(about: str = "") -> list[tuple[str, list[str]]]:
    """Every mount point with its optional fields, oldest first. about: only those in whose line it may stand."""
    result = []
    for line in _lines():
        if about not in line and "\\" not in line:
            continue
        words = line.split(" ")
        result.append((_plain(words[4]), words[6 : words.index("-", 6)]))
    return result


def _plain(text: str) -> str:
    """A path without the octal escapes of mountinfo: of blanks, tabs, newlines and backslashes."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), text) if "\\" in text else text

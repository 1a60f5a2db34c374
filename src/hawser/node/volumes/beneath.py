"""Opening what lies below a folder that containers may change, so that no symlink leads out of it.

Source: openat2(2). A path is resolved once by name, as a first look; what is then opened is checked by the kernel, so
that a container that swaps folders for symlinks meanwhile gains nothing.
"""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

_OPENAT2 = 437
_NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x02, 0x04, 0x08
_libc = ctypes.CDLL(None, use_errno=True)


def open_below(root: Path, path: str, flags: int) -> int:
    """A descriptor of ``path`` below ``root``; symlinks count as long as they stay inside.

    flags: of open(2). Raises OSError: EXDEV for what leads outside.
    """
    inside = os.path.relpath(os.path.realpath(root / path), os.path.realpath(root))
    base = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return open_at(base, inside, flags)
    finally:
        os.close(base)


def open_at(base: int, path: str, flags: int) -> int:
    """A descriptor of ``path`` below the folder ``base``, without any symlinks. Raises OSError."""
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, _BENEATH | _NO_SYMLINKS | _NO_MAGICLINKS)
    descriptor = int(_libc.syscall(_OPENAT2, base, os.fsencode(path), how, len(how)))
    if descriptor < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return descriptor


def make_folders(root: Path, path: str, mode: int) -> None:
    """Makes the folders of ``path`` below ``root`` that are missing, with this mode. Raises OSError."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    there = 0
    while there < len(parts) and os.path.lexists(root / "/".join(parts[: there + 1])):
        there += 1
    current = open_below(root, "/".join(parts[:there]) or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts[there:]:
            os.mkdir(part, mode, dir_fd=current)
            made = open_at(current, part, os.O_RDONLY | os.O_DIRECTORY)
            os.close(current)
            current = made
            os.fchmod(current, mode)
    finally:
        os.close(current)


def read_below(root: Path, path: str, limit: int = 1 << 20) -> str:
    """The text of a file below ``root``, at most ``limit`` bytes of it. Raises OSError, UnicodeDecodeError."""
    with os.fdopen(open_below(root, path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        return file.read(limit).decode()

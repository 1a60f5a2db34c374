"""What an ELF file needs to run: elf(5), and the note by which Go marks its programs. Little-endian only."""

from __future__ import annotations

import struct

from .light import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import BinaryIO

_INTERPRETER, _NOTE = 3, 4  # PT_INTERP, PT_NOTE
_GO = b"Go\0\0"
_LONGEST = 1 << 16  # of what is read of a segment
MACHINES = {62: "x86_64", 183: "aarch64", 3: "i386", 40: "arm"}


class Elf(NamedTuple):
    """An ELF file. machine: as uname(1) has it, "" for one that is not known here. interpreter: "" when static."""

    machine: str
    interpreter: str
    go: bool


def inspect(file: BinaryIO) -> Elf | None:
    """What a file is, from its beginning; None when it is no ELF file. Raises OSError."""
    file.seek(0)
    head = file.read(64)
    if len(head) < 52 or head[:4] != b"\x7fELF" or head[5] != 1:
        return None
    try:
        return _read(file, head)
    except (struct.error, ValueError, OSError):  # numbers that lead nowhere
        return None


def _read(file: BinaryIO, head: bytes) -> Elf:
    wide = head[4] == 2
    machine = struct.unpack_from("<H", head, 18)[0]
    start = struct.unpack_from("<Q", head, 32)[0] if wide else struct.unpack_from("<I", head, 28)[0]
    size, count = struct.unpack_from("<HH", head, 54 if wide else 42)
    file.seek(start)
    table = file.read(size * min(count, 256))
    interpreter, go = "", False
    for at in range(0, len(table) - size + 1, size or 1):
        kind = struct.unpack_from("<I", table, at)[0]
        if kind not in (_INTERPRETER, _NOTE):
            continue
        if wide:
            offset, length = struct.unpack_from("<Q", table, at + 8)[0], struct.unpack_from("<Q", table, at + 32)[0]
        else:
            offset, length = struct.unpack_from("<I", table, at + 4)[0], struct.unpack_from("<I", table, at + 16)[0]
        file.seek(offset)
        content = file.read(min(length, _LONGEST))
        if kind == _INTERPRETER:
            interpreter = content.split(b"\0")[0].decode("utf-8", "replace")
        else:
            go = go or _GO in content
    return Elf(MACHINES.get(machine, ""), interpreter, go)

"""Partition tables of disk images: MBR with extended partitions, and GPT. Pure.

Source: the UEFI specification, chapter 5 (GPT and the legacy MBR).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

SECTOR = 512
_SIGNATURE = b"\x55\xaa"
_EXTENDED = (0x05, 0x0F, 0x85)
_LINUX_LVM = 0x8E
_GPT_LVM = bytes.fromhex("79d3d6e607f5c244a23c238f2a3df928")
_MOST = 256

Read = Callable[[int, int], bytes]  # offset and length in bytes


@dataclass(frozen=True)
class Partition:
    """A partition: its number, and where it lies, in bytes."""

    number: int
    offset: int
    size: int
    lvm: bool = False


def partitions(read: Read) -> list[Partition]:
    """The partitions of a disk; none when it has no table. Raises ValueError for a table that makes no sense."""
    first = read(0, SECTOR)
    if len(first) < SECTOR or first[510:512] != _SIGNATURE:
        return []
    for size in (SECTOR, 4096):
        if read(size, 8) == b"EFI PART":
            return _gpt(read, size)
    entries = _entries(first)
    # The boot sector of a file system bears the same signature; its bytes there are no entries of a table.
    if any(flag not in (0, 0x80) for flag, *_ in entries) or not any(kind for _, kind, *_ in entries):
        return []
    found = []
    for number, (_, kind, start, count) in enumerate(entries, 1):
        if kind in _EXTENDED:
            found += _logical(read, start)
        elif kind and count:
            found.append(Partition(number, start * SECTOR, count * SECTOR, kind == _LINUX_LVM))
    return sorted(found, key=lambda partition: partition.number)


def _entries(sector: bytes) -> list[tuple[int, int, int, int]]:
    """Flag, kind, first sector and count of each of the four."""
    return [(sector[at], sector[at + 4], *struct.unpack_from("<II", sector, at + 8)) for at in range(446, 510, 16)]


def _logical(read: Read, base: int) -> list[Partition]:
    found: list[Partition] = []
    at = base
    while len(found) < _MOST:
        sector = read(at * SECTOR, SECTOR)
        if sector[510:512] != _SIGNATURE:
            raise ValueError(f"the extended partition has no table at sector {at}")
        here, following = _entries(sector)[:2]
        if here[1] and here[3]:
            found.append(Partition(5 + len(found), (at + here[2]) * SECTOR, here[3] * SECTOR, here[1] == _LINUX_LVM))
        if not following[1] or base + following[2] <= at:
            return found
        at = base + following[2]
    return found


def _gpt(read: Read, sector: int) -> list[Partition]:
    head = read(sector, 92)
    start, count, size = struct.unpack_from("<QII", head, 72)
    if not 128 <= size <= 4096 or count > 4096:
        raise ValueError(f"the GPT names {count} partitions of {size} bytes each")
    table = read(start * sector, count * size)
    found = []
    for index in range(min(count, len(table) // size)):
        entry = table[index * size : (index + 1) * size]
        first, last = struct.unpack_from("<QQ", entry, 32)
        if any(entry[:16]) and last >= first:
            found.append(Partition(index + 1, first * sector, (last - first + 1) * sector, entry[:16] == _GPT_LVM))
    return found

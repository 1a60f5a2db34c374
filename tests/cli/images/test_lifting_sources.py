"""Where lifted machines come from: disks, ssh destinations, what a machine tells."""

from __future__ import annotations

import struct

import pytest

from hawser.cli.images.lifting.facts import fstab_swap, parse, tar_command
from hawser.cli.images.lifting.machines import MachineError
from hawser.cli.images.lifting.partitions import partitions
from hawser.cli.images.lifting.remote import ssh_command


def mbr(*entries: tuple[int, int, int]) -> bytes:
    table = b"".join(struct.pack("<B3sB3sII", 0, b"", kind, b"", start, count) for kind, start, count in entries)
    return bytes(446) + table.ljust(64, b"\0") + b"\x55\xaa"


def test_partitions_of_mbr_extended_and_gpt_disks_are_found() -> None:
    disk = bytearray(1 << 20)
    disk[:512] = mbr((0x83, 8, 10), (0x05, 100, 500), (0x8E, 700, 9))
    disk[100 * 512 : 101 * 512] = mbr((0x83, 2, 5), (0x05, 50, 20))
    disk[150 * 512 : 151 * 512] = mbr((0x82, 3, 6))

    def read(offset: int, length: int) -> bytes:
        return bytes(disk[offset : offset + length])

    found = [(p.number, p.offset // 512, p.size // 512, p.lvm) for p in partitions(read)]
    assert found == [(1, 8, 10, False), (3, 700, 9, True), (5, 102, 5, False), (6, 153, 6, False)]
    disk[:512] = mbr((0xEE, 1, 2000))
    disk[512:604] = b"EFI PART".ljust(72, b"\0") + struct.pack("<QII", 2, 4, 128) + bytes(4)
    disk[1024 + 128 : 1024 + 256] = b"\1" * 32 + struct.pack("<QQ", 40, 49) + bytes(80)
    assert [(p.number, p.offset // 512, p.size // 512) for p in partitions(read)] == [(2, 40, 10)]
    disk[:512] = bytes(512)
    assert partitions(read) == []


@pytest.mark.parametrize(
    ("destination", "ending"),
    [
        ("host", ["--", "host"]),
        ("root@host:2222", ["-p", "2222", "-l", "root", "--", "host"]),
        ("[2001:db8::1]:22", ["-p", "22", "--", "2001:db8::1"]),
    ],
)
def test_destinations_of_ssh_are_words_of_their_own(destination: str, ending: list[str]) -> None:
    assert ssh_command(destination)[-len(ending) :] == ending


@pytest.mark.parametrize("destination", ["", "-oProxyCommand=x", "a b", "host:port", "u@"])
def test_what_is_no_destination_is_refused(destination: str) -> None:
    with pytest.raises(MachineError):
        ssh_command(destination)


def test_tar_is_asked_only_for_what_it_understands() -> None:
    old = tar_command("--sparse --xattrs --anchored", "/r", ["proc/**", "a[b"])
    assert "--xattrs-include=*" not in old
    assert "--sort=name" not in old
    assert old[-3:] == ["--exclude=./proc/*", "--directory=/r", "."]


def test_facts_that_a_machine_can_not_tell_stay_empty() -> None:
    told = parse("banner\n@@hawser:id\n1000\n@@hawser:addresses\n2: eth0 inet 192.0.2.5/24 x\n@@hawser:end\n")
    assert (told.uid, told.complete, told.running.addresses) == (1000, True, frozenset({"192.0.2.5"}))
    assert told.running.ports == ()
    assert not parse("Permission denied").complete
    assert [rule.pattern for rule in fstab_swap("/extra/swap none swap sw\n/dev/sda2 none swap sw\n")] == ["extra/swap"]

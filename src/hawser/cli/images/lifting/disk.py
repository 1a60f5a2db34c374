"""A machine's disk image: its root found, and mounted read-only where nobody else sees it as a file of theirs."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hawser.cli.images.lifting.machines import MachineError, Rootfs
from hawser.cli.images.lifting.partitions import Partition, partitions
from hawser.cli.images.lifting.selection import LOCAL_FILE_SYSTEMS

_QCOW = b"QFI\xfb"
_FOREIGN = {b"KDMV": "VMDK", b"conectix": "VHD", b"vhdxfile": "VHDX", b"# Disk DescriptorFile": "VMDK"}
_NO_REPLAY = {"ext3": "noload", "ext4": "noload", "xfs": "norecovery", "btrfs": "nologreplay"}
_NUMBER = re.compile(r"/dev/(?:[shv]d[a-z]|xvd[a-z]|nvme\d+n\d+p|mmcblk\d+p)(\d+)")


@dataclass(frozen=True)
class _FileSystem:
    """A file system of the disk: where its blocks are, and the names that fstab(5) may use for it."""

    device: str
    kind: str
    names: frozenset[str]


@contextlib.contextmanager
def mounted(image: Path, scratch: Path) -> Iterator[Rootfs]:
    """The machine of a raw or qcow2 disk image, its file systems mounted while the context lasts. Needs root.

    `scratch` is a directory for a raw copy of a qcow2 image. Raises MachineError.
    """
    if not image.exists():
        raise MachineError(f"{image}: no such file")
    with contextlib.ExitStack() as stack:
        raw = _raw(image, scratch, stack)
        found = [_attach(raw, partition, stack) for partition in _parts(raw)]
        root = stack.enter_context(tempfile.TemporaryDirectory(prefix="hawser-lift-"))
        _mount_root([one for one in found if one.kind in LOCAL_FILE_SYSTEMS], Path(root), stack)
        _mount_others(found, Path(root), stack)
        yield Rootfs(Path(root), source=str(image))


def _raw(image: Path, scratch: Path, stack: contextlib.ExitStack) -> Path:
    with image.open("rb") as file:
        start = file.read(32)
    for magic, name in _FOREIGN.items():
        if start.startswith(magic):
            raise MachineError(
                f"{image} is a {name} image", f"qemu-img convert -O raw {image} disk.raw, of the package qemu-utils"
            )
    if not start.startswith(_QCOW):
        return image
    if shutil.which("qemu-img") is None:
        raise MachineError(f"{image} is a qcow2 image, which qemu-img reads", "install the package qemu-utils")
    scratch.mkdir(parents=True, exist_ok=True)
    raw = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=scratch))) / "disk.raw"
    _run("qemu-utils", "qemu-img", "convert", "-O", "raw", str(image), str(raw))
    return raw


def _parts(raw: Path) -> list[Partition]:
    with raw.open("rb") as file:

        def read(offset: int, length: int) -> bytes:
            file.seek(offset)
            return file.read(length)

        try:
            found = partitions(read)
        except ValueError as error:
            raise MachineError(f"{raw}: {error}") from None
    if any(part.lvm for part in found):
        raise MachineError(
            f"{raw} has LVM inside, which is not supported",
            "losetup -fP and vgchange -ay, mount its root, and use --from-rootfs",
        )
    return found or [Partition(0, 0, 0)]  # a file system without a table


def _attach(raw: Path, part: Partition, stack: contextlib.ExitStack) -> _FileSystem:
    place = [f"--offset={part.offset}", *([f"--sizelimit={part.size}"] if part.size else [])]
    device = _run("mount", "losetup", "--find", "--show", "--read-only", *place, str(raw)).strip()
    stack.callback(_run, "mount", "losetup", "--detach", device)
    probed = subprocess.run(["blkid", "-p", "-o", "export", device], capture_output=True, text=True).stdout
    known = dict(line.partition("=")[::2] for line in probed.splitlines())
    if known.get("TYPE") == "LVM2_member":
        raise MachineError(f"{raw} has LVM inside, which is not supported", "mount its root, and use --from-rootfs")
    names = {f"{key}={known[key]}" for key in ("UUID", "LABEL") if key in known}
    for theirs, ours in (("PART_ENTRY_UUID", "PARTUUID"), ("PART_ENTRY_NAME", "PARTLABEL")):
        if theirs in known:
            names.add(f"{ours}={known[theirs]}")
    return _FileSystem(device, known.get("TYPE", ""), frozenset({*names, f"#{part.number}"}))


def _mount_root(found: list[_FileSystem], root: Path, stack: contextlib.ExitStack) -> None:
    for one in found:
        with contextlib.ExitStack() as trial:
            _mount(one, root, trial)
            if (root / "etc/passwd").exists() and ((root / "usr").is_dir() or (root / "bin").exists()):
                stack.push(trial.pop_all())
                return
    kinds = ", ".join(one.kind for one in found) or "none that Linux machines have"
    raise MachineError(f"no file system of the disk is a machine's root (file systems: {kinds})")


def _mount_others(found: list[_FileSystem], root: Path, stack: contextlib.ExitStack) -> None:
    """Mounts what the machine's fstab has on this disk, /var and /home for example."""
    try:
        fstab = (root / "etc/fstab").read_text(errors="replace")
    except OSError:
        return
    rows = [line.split() for line in fstab.splitlines() if not line.lstrip().startswith("#")]
    for device, place, kind, *_ in sorted((row for row in rows if len(row) > 2), key=lambda row: row[1]):
        if place in ("/", "none", "swap") or place.startswith("/boot") or kind not in (*LOCAL_FILE_SYSTEMS, "auto"):
            continue
        number = _NUMBER.fullmatch(device)
        wanted = f"#{number[1]}" if number else device.replace('"', "")
        match = next((one for one in found if wanted in one.names), None)
        if match is None or match.kind not in LOCAL_FILE_SYSTEMS:
            raise MachineError(
                f"{place} of the machine is on {device}, which is not on this disk", "mount all, and use --from-rootfs"
            )
        target = (root / place.strip("/")).resolve()
        if target.is_relative_to(root) and target.is_dir():
            _mount(match, target, stack)


def _mount(one: _FileSystem, place: Path, stack: contextlib.ExitStack) -> None:
    try:
        _run("mount", "mount", "-t", one.kind, "-o", "ro", one.device, str(place))
    except MachineError:
        # A machine that was not shut down has a journal to replay, which a read-only disk can not.
        if one.kind not in _NO_REPLAY:
            raise
        _run("mount", "mount", "-t", one.kind, "-o", f"ro,{_NO_REPLAY[one.kind]}", one.device, str(place))
    stack.callback(_run, "mount", "umount", str(place))


def _run(package: str, *command: str) -> str:
    try:
        ran = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise MachineError(f"{command[0]} is missing", f"install the package {package}") from None
    if ran.returncode:
        raise MachineError(f"{' '.join(command)}: {ran.stderr.strip() or ran.returncode}")
    return ran.stdout

"""PersistentVolumes on this node: local, hostPath and NFS, as folders or as block devices.

A local volume may also be a file with a file system in it: a disk (``disks``).
Source: Kubernetes documentation, "Persistent Volumes", "local", "hostPath", "nfs"; events have kubelet's words.
"""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hawser.api.types import Obj
from hawser.node.volumes import commands, disks, hostpath, mounts, ownership
from hawser.node.volumes.errors import VolumeError

SOURCES = {"local": "local-volume", "hostPath": "host-path", "nfs": "nfs", "csi": "csi"}
_MOUNT_OPTIONS = "volume.beta.kubernetes.io/mount-options"
_INIT = "MountVolume.NewMounter initialization failed"


@dataclass(frozen=True, slots=True)
class Use:
    """How a pod uses a volume. group, on_mismatch: fsGroup, and whether it is looked at the root folder only."""

    readonly: bool = False
    group: int | None = None
    on_mismatch: bool = False


def kind_of(source: Obj) -> str:
    """The source of a PersistentVolume's spec that this node can mount; "" for all others."""
    return next((kind for kind in SOURCES if kind in source), "")


def device(name: str, spec: Obj) -> Path:
    """The device of a volume with ``volumeMode: Block``. Raises VolumeError."""
    if "local" not in spec:
        step = "MapVolume.FindMapperPluginBySpec failed to find BlockVolumeMapper plugin. Volume plugin is nil."
        raise VolumeError("block volumes are of type local or csi on this node", step)
    path = Path(spec["local"]["path"])
    if not path.exists() or not stat.S_ISBLK(path.stat().st_mode):
        raise VolumeError(f"{path} is not a block device", "MapVolume.MapBlockVolume failed")
    return path.resolve()


def set_up(target: Path, row: Obj, use: Use) -> Path:
    """Makes a PersistentVolume available to a pod; where it lies. Waits for commands: not for the event loop.

    target: the folder for it below the pod's. Raises VolumeError, OSError.
    """
    spec = row["spec"]
    options = mount_options(row)
    if source := spec.get("hostPath"):
        if options:
            step = "MountVolume.MountOptionSupport check failed"
            raise VolumeError("mount options are not supported for this volume type", step)
        hostpath.check(Path(source["path"]), source.get("type") or "")
        return Path(source["path"])
    mounted = mounts.is_mounted(target)
    if source := spec.get("nfs"):
        if not mounted:
            mount_nfs(target, source, options, readonly=use.readonly)
        return target
    if not mounted:
        _local(target, spec["local"], options, readonly=use.readonly)
    if not use.readonly:
        # Of what is mounted already nobody knows whether this was done.
        _hand_over(target, row, use, on_mismatch=use.on_mismatch or mounted)
    return target


def _hand_over(target: Path, row: Obj, use: Use, *, on_mismatch: bool) -> None:
    """Makes a mounted local volume the pod's to write to."""
    if disks.is_disk(row):
        disks.open_to_all(target)
    if use.group is not None and not (on_mismatch and ownership.is_owned(target, use.group)):
        ownership.own(target, use.group)


def mount_options(row: Obj) -> tuple[str, ...]:
    """The mount options of a PersistentVolume: of the annotation of old, else of its spec."""
    if text := (row["metadata"].get("annotations") or {}).get(_MOUNT_OPTIONS):
        return tuple(text.split(","))
    return tuple(row["spec"].get("mountOptions") or ())


def mount_nfs(target: Path, source: Obj, options: Sequence[str] = (), *, readonly: bool = False) -> None:
    """Mounts an export. Raises VolumeError."""
    _mount(
        target,
        "nfs",
        f"{source['server']}:{source['path']}",
        options,
        readonly=readonly or bool(source.get("readOnly")),
    )


def _local(target: Path, source: Obj, options: Sequence[str], *, readonly: bool) -> None:
    path = Path(source["path"])
    if not path.exists():
        raise VolumeError(f'path "{path}" does not exist', _INIT)
    if stat.S_ISBLK(path.stat().st_mode):
        kind = source.get("fsType") or "ext4"
        _format(target, path, kind, readonly=readonly)
        _block_device(target, path, kind, options, readonly=readonly)
    elif path.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        mounts.bind(str(path), target, readonly=readonly)
        if options:
            _remount(target, options, readonly=readonly)
    elif path.is_file() and source.get("fsType"):
        with disks.held(path) as lock:
            disks.grow_unused(path, lock)
            _format(target, path, source["fsType"], readonly=readonly, lock=lock)
        _block_device(target, path, source["fsType"], (*disks.OPTIONS, *options), readonly=readonly)
    else:
        raise VolumeError(f'path "{path}" is neither a directory nor a block device', _INIT)


def _format(target: Path, path: Path, kind: str, *, readonly: bool, lock: int | None = None) -> None:
    """Makes a file system on a device that has none. lock: see ``commands.run``."""
    probe = subprocess.run(["blkid", "-p", "-s", "TYPE", "-o", "value", str(path)], capture_output=True, check=False)
    # 2: nothing was recognized on the device (blkid(8)).
    if probe.returncode == 2 and not readonly:
        settings = ["-F", "-m0"] if kind.startswith("ext") else []
        if problem := commands.run([f"mkfs.{kind}", *settings, str(path)], lock=lock):
            raise VolumeError(f'format of disk "{path}" failed: type:("{kind}") target:("{target}") output:({problem})')


def _block_device(target: Path, path: Path, kind: str, options: Sequence[str], *, readonly: bool) -> None:
    _mount(target, kind, str(path), options)
    if readonly:
        # Only this mount: other pods may write to the same device.
        _remount(target, (), readonly=True)


def _remount(target: Path, options: Sequence[str], *, readonly: bool) -> None:
    """Gives a bind mount options of its own."""
    try:
        _mounted(["-o", ",".join(["remount", "bind", *(["ro"] if readonly else []), *options]), str(target)])
    except VolumeError:
        mounts.unmount(target)
        raise


def _mount(target: Path, kind: str, source: str, options: Sequence[str], *, readonly: bool = False) -> None:
    target.mkdir(parents=True, exist_ok=True)
    words = sorted({*options, *(("ro",) if readonly else ())})
    chosen = ["-o", ",".join(words)] if words else []
    _mounted(["-t", kind, *chosen, source, str(target)])


def _mounted(arguments: list[str]) -> None:
    if problem := commands.run(["mount", *arguments]):
        words = f"Mounting command: mount\nMounting arguments: {' '.join(arguments)}"
        status, _, output = problem.partition("\n")
        raise VolumeError(f"mount failed: {status}\n{words}\nOutput: {output}\n")

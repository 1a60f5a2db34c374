"""PersistentVolumes on this node: local, hostPath and NFS, as folders or as block devices.

Source: Kubernetes documentation, "Persistent Volumes", "local", "hostPath", "nfs"; events have kubelet's words.
"""

from __future__ import annotations

import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from hawser.api.types import Obj
from hawser.node.volumes import hostpath, mounts, ownership
from hawser.node.volumes.errors import VolumeError

SOURCES = {"local": "local-volume", "hostPath": "host-path", "nfs": "nfs", "csi": "csi"}
_COMMAND_SECONDS = 120


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


def set_up(target: Path, spec: Obj, use: Use) -> Path:
    """Makes a volume available to a pod; where it lies. Waits for commands: not for the event loop.

    target: the folder for it below the pod's. Raises VolumeError, OSError.
    """
    if source := spec.get("hostPath"):
        hostpath.check(Path(source["path"]), source.get("type") or "")
        return Path(source["path"])
    if mounts.is_mounted(target):
        return target
    if source := spec.get("nfs"):
        mount_nfs(target, source, readonly=use.readonly)
        return target
    _local(target, spec["local"], readonly=use.readonly)
    if use.group is not None and not use.readonly and not (use.on_mismatch and ownership.is_owned(target, use.group)):
        ownership.own(target, use.group)
    return target


def mount_nfs(target: Path, source: Obj, *, readonly: bool = False) -> None:
    """Mounts an export. Raises VolumeError."""
    options = ["-o", "ro"] if readonly or source.get("readOnly") else []
    _mount(target, "nfs", f"{source['server']}:{source['path']}", options)


def _local(target: Path, source: Obj, *, readonly: bool) -> None:
    path = Path(source["path"])
    if not path.exists():
        raise VolumeError(f'path "{path}" does not exist', "MountVolume.NewMounter initialization failed")
    if stat.S_ISBLK(path.stat().st_mode):
        _block_device(target, path, source.get("fsType") or "ext4", readonly=readonly)
        return
    if not path.is_dir():
        step = "MountVolume.NewMounter initialization failed"
        raise VolumeError(f'path "{path}" is neither a directory nor a block device', step)
    target.mkdir(parents=True, exist_ok=True)
    mounts.bind(str(path), target, readonly=readonly)


def _block_device(target: Path, path: Path, kind: str, *, readonly: bool) -> None:
    """Mounts a device, with a new file system when it has none."""
    probe = subprocess.run(["blkid", "-p", "-s", "TYPE", "-o", "value", str(path)], capture_output=True, check=False)
    # 2: nothing was recognized on the device (blkid(8)).
    if probe.returncode == 2 and not readonly:
        options = ["-F", "-m0"] if kind.startswith("ext") else []
        if problem := _run([f"mkfs.{kind}", *options, str(path)]):
            raise VolumeError(f'format of disk "{path}" failed: type:("{kind}") target:("{target}") output:({problem})')
    _mount(target, kind, str(path), ["-o", "ro"] if readonly else [])


def _mount(target: Path, kind: str, source: str, options: list[str]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    arguments = ["-t", kind, *options, source, str(target)]
    if problem := _run(["mount", *arguments]):
        words = f"Mounting command: mount\nMounting arguments: {' '.join(arguments)}"
        status, _, output = problem.partition("\n")
        raise VolumeError(f"mount failed: {status}\n{words}\nOutput: {output}\n")


def _run(command: list[str]) -> str:
    """Runs a command; "" when it succeeds, else its status and, in further lines, its output."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=_COMMAND_SECONDS, check=False)
    except FileNotFoundError:
        return f'exec: "{command[0]}": executable file not found in $PATH'
    except subprocess.TimeoutExpired:
        return f"{command[0]} took longer than {_COMMAND_SECONDS} s"
    output = (done.stdout + done.stderr).decode(errors="replace").strip()
    return f"exit status {done.returncode}\n{output}" if done.returncode else ""

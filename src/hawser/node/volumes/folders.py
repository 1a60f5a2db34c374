"""Volumes as folders of this machine: emptyDir, hostPath and the payload volumes; and what containers mount of them.

Layout below the agent's folder is kubelet's: ``pods/<uid>/volumes/kubernetes.io~<type>/<name>``.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
from pathlib import Path

from hawser.api.quantity import to_bytes
from hawser.api.types import Obj
from hawser.node.pod import view
from hawser.node.pod.configs import Mount
from hawser.node.pod.env import ConfigError, expand
from hawser.node.volumes import atomic, payload
from hawser.node.volumes.payload import Contents, VolumeError

_PLUGINS = {
    "emptyDir": "empty-dir",
    "configMap": "configmap",
    "secret": "secret",
    "downwardAPI": "downward-api",
    "projected": "projected",
}
_MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


class Folders:
    """The pods' folders below ``root``."""

    def __init__(self, root: Path) -> None:
        self.pods = root / "pods"

    def pod(self, uid: str) -> Path:
        return self.pods / uid

    def uids(self) -> list[str]:
        """Pods that have a folder here."""
        return [entry.name for entry in self.pods.iterdir()] if self.pods.is_dir() else []

    def volume(self, pod: Obj, volume: Obj) -> Path:
        """Where a volume lies. Raises VolumeError for types that this node does not have."""
        if "hostPath" in volume:
            return Path(str(volume["hostPath"]["path"]))
        for kind, plugin in _PLUGINS.items():
            if kind in volume:
                return self.pod(view.uid(pod)) / "volumes" / f"kubernetes.io~{plugin}" / str(volume["name"])
        kinds = [k for k in volume if k != "name"]
        if not kinds:
            # A volume without a source is an emptyDir (API reference, Volume).
            return self.pod(view.uid(pod)) / "volumes/kubernetes.io~empty-dir" / str(volume["name"])
        raise VolumeError(f"volume type {kinds[0]} is not supported by this node")

    def named(self, pod: Obj, name: str) -> Path:
        """Where the volume of that name lies. Raises ConfigError when the pod has none."""
        for volume in pod["spec"].get("volumes") or ():
            if volume["name"] == name:
                return self.volume(pod, volume)
        raise ConfigError(f'cannot find the volume "{name}" referenced by FileKeyRef')

    def prepare(self, pod: Obj, contents: Contents) -> None:
        """Sets all volumes of a pod up, or brings them up to date. Raises VolumeError."""
        group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
        for volume in pod["spec"].get("volumes") or ():
            try:
                self._prepare(pod, volume, contents, group)
            except (OSError, ValueError) as err:
                raise VolumeError(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {err}') from err
            except VolumeError as err:
                raise VolumeError(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {err}') from None

    def _prepare(self, pod: Obj, volume: Obj, contents: Contents, group: int | None) -> None:
        path = self.volume(pod, volume)
        if "hostPath" in volume:
            _host_path(path, volume["hostPath"].get("type") or "")
        elif any(kind in volume for kind in payload.PAYLOAD_TYPES):
            atomic.write(path, payload.files(pod, volume, contents), group)
        elif not path.exists() or (_medium(volume) and not path.is_mount()):
            path.mkdir(parents=True, exist_ok=True)
            if _medium(volume):
                _mount_tmpfs(path, volume["emptyDir"])
            path.chmod(0o777)
            if group is not None:
                atomic.own(path, group)

    def refresh(self, pod: Obj, contents: Contents) -> None:
        """Brings payload volumes up to date with their objects. Raises VolumeError."""
        group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
        for volume in pod["spec"].get("volumes") or ():
            if any(kind in volume for kind in payload.PAYLOAD_TYPES):
                try:
                    atomic.write(self.volume(pod, volume), payload.files(pod, volume, contents), group)
                except (OSError, ValueError) as err:
                    raise VolumeError(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {err}') from err

    def mounts(self, pod: Obj, container: Obj, env: dict[str, str]) -> list[Mount]:
        """The volume mounts of a container. Raises ConfigError."""
        volumes = {v["name"]: v for v in pod["spec"].get("volumes") or ()}
        result = []
        for mount in container.get("volumeMounts") or ():
            volume = volumes.get(mount["name"])
            if volume is None:
                raise ConfigError(f'cannot find volume "{mount["name"]}" to mount into container "{container["name"]}"')
            path = self.volume(pod, volume)
            sub = mount.get("subPath") or expand(mount.get("subPathExpr") or "", env)
            if sub:
                path = _sub_path(path, sub, mount["name"])
            readonly = bool(mount.get("readOnly")) or any(k in volume for k in payload.PAYLOAD_TYPES)
            result.append(Mount(mount["mountPath"], str(path), readonly, mount.get("mountPropagation") or "None"))
        return result

    def remove(self, uid: str) -> None:
        """Takes away a pod's folder; what is mounted in it is detached first, and never followed."""
        folder = self.pod(uid)
        unmount_below(folder)
        shutil.rmtree(folder, ignore_errors=True)


def unmount_below(folder: Path) -> None:
    """Detaches every mount at or below a folder."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    points = [line.split()[1].encode().decode("unicode_escape") for line in lines]
    for point in sorted((p for p in points if p == str(folder) or p.startswith(f"{folder}/")), reverse=True):
        _libc.umount2(point.encode(), _MNT_DETACH)


def _medium(volume: Obj) -> bool:
    return (volume.get("emptyDir") or {}).get("medium") == "Memory"


def _mount_tmpfs(path: Path, source: Obj) -> None:
    options = f"size={to_bytes(source['sizeLimit'])}" if source.get("sizeLimit") else ""
    if _libc.mount(b"tmpfs", str(path).encode(), b"tmpfs", 0, options.encode()):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))


def _host_path(path: Path, kind: str) -> None:
    """Checks or makes a hostPath by its type. Raises VolumeError in kubelet's words."""
    checks = {
        "Directory": ("a directory", stat.S_ISDIR),
        "File": ("a file", stat.S_ISREG),
        "Socket": ("a socket file", stat.S_ISSOCK),
        "CharDevice": ("a character device", stat.S_ISCHR),
        "BlockDevice": ("a block device", stat.S_ISBLK),
    }
    if kind == "DirectoryOrCreate" and not path.exists():
        path.mkdir(parents=True, mode=0o755)
    elif kind == "FileOrCreate" and not path.exists():
        path.touch(mode=0o644)
    wanted = checks.get(kind.removesuffix("OrCreate"))
    if wanted and not (path.exists() and wanted[1](path.stat().st_mode)):
        raise VolumeError(f"hostPath type check failed: {path} is not {wanted[0]}")


def _sub_path(base: Path, sub: str, name: str) -> Path:
    """A folder or file below a volume; made as a folder when missing. Raises ConfigError when it leads outside."""
    if sub.startswith("/") or ".." in sub.split("/"):
        raise ConfigError(f'subPath "{sub}" of volume "{name}" must not leave the volume')
    path = base / sub
    try:
        if not path.exists():
            mode = stat.S_IMODE(base.stat().st_mode)
            path.mkdir(parents=True)
            path.chmod(mode)
            os.chown(path, -1, base.stat().st_gid)
        real, root = path.resolve(strict=True), base.resolve(strict=True)
    except OSError as err:
        raise ConfigError(f'failed to prepare subPath for volumeMount "{name}": {err}') from err
    if not real.is_relative_to(root):
        # A symlink made by a container must not reach files of the node.
        raise ConfigError(f'subPath "{sub}" of volume "{name}" leads outside of the volume')
    return real

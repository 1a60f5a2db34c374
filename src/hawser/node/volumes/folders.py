"""The folders of pods on this machine: where volumes lie, and what containers mount of them.

Layout below the agent's folder is kubelet's: ``pods/<uid>/volumes/kubernetes.io~<type>/<name>``.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hawser.api.types import Obj
from hawser.node.pod import view
from hawser.node.pod.configs import Device, Mount
from hawser.node.pod.env import ConfigError, expand_strictly
from hawser.node.volumes import mounts, payload, subpaths
from hawser.node.volumes.errors import VolumeError
from hawser.runtime import trees

log = logging.getLogger(__name__)

_PLUGINS = {
    "emptyDir": "empty-dir",
    "configMap": "configmap",
    "secret": "secret",
    "downwardAPI": "downward-api",
    "projected": "projected",
    "image": "image",
    "nfs": "nfs",
    "csi": "csi",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a volume is: a folder or, for ``device``, a block device. group: whoever uses it is a member of.

    persistent: the name of its PersistentVolume.
    """

    path: Path
    readonly: bool = False
    device: bool = False
    group: int | None = None
    persistent: str = ""


class Folders:
    """The pods' folders below ``root``, and the places of the volumes that were set up since the agent has started."""

    def __init__(self, root: Path) -> None:
        self.pods = root / "pods"
        self._places: dict[str, dict[str, Place]] = {}

    def pod(self, uid: str) -> Path:
        return self.pods / uid

    def uids(self) -> list[str]:
        """Pods that have a folder here."""
        return [entry.name for entry in self.pods.iterdir()] if self.pods.is_dir() else []

    def persistent(self, pod: Obj, plugin: str, name: str) -> Path:
        """The folder of a PersistentVolume for one pod."""
        return self.pod(view.uid(pod)) / "volumes" / f"kubernetes.io~{plugin}" / name

    def volume(self, pod: Obj, volume: Obj) -> Path:
        """Where a volume lies. Raises VolumeError for one whose place is not known, or that this node cannot have."""
        if "hostPath" in volume:
            return Path(str(volume["hostPath"]["path"]))
        if place := self._places.get(view.uid(pod), {}).get(volume["name"]):
            return place.path
        for kind, plugin in _PLUGINS.items():
            if kind in volume:
                return self.persistent(pod, plugin, str(volume["name"]))
        if len(volume) == 1:
            # A volume without a source is an emptyDir (API reference, Volume).
            return self.persistent(pod, "empty-dir", str(volume["name"]))
        raise VolumeError("no volume plugin matched")

    def named(self, pod: Obj, name: str) -> Path:
        """Where the volume of that name lies. Raises ConfigError when the pod has none."""
        for volume in pod["spec"].get("volumes") or ():
            if volume["name"] == name:
                return self.volume(pod, volume)
        raise ConfigError(f'cannot find the volume "{name}" referenced by FileKeyRef')

    # Places

    def place(self, pod: Obj, name: str, place: Place) -> None:
        """A volume was set up."""
        self._places.setdefault(view.uid(pod), {})[name] = place

    def has(self, pod: Obj, name: str) -> bool:
        """Whether a volume was set up."""
        return name in self._places.get(view.uid(pod), {})

    def ready(self, pod: Obj, container: Obj) -> bool:
        """Whether all that a container uses was set up by this agent."""
        return view.used_by(container) <= self._places.get(view.uid(pod), {}).keys()

    def groups(self, pod: Obj) -> list[int]:
        """The groups that volumes bring for their users."""
        places = self._places.get(view.uid(pod), {}).values()
        return sorted({place.group for place in places if place.group is not None})

    def with_groups(self, pod: Obj) -> Obj:
        """The pod as if its spec named the groups of its volumes."""
        groups = self.groups(pod)
        if not groups:
            return pod
        context = pod["spec"].get("securityContext") or {}
        named = list(context.get("supplementalGroups") or ())
        context = {**context, "supplementalGroups": [*named, *(g for g in groups if g not in named)]}
        return {**pod, "spec": {**pod["spec"], "securityContext": context}}

    def elsewhere(self, pod: Obj, persistent: str) -> bool:
        """Whether another pod of this node has a PersistentVolume."""
        uid = view.uid(pod)
        for other, places in self._places.items():
            if other != uid and any(place.persistent == persistent for place in places.values()):
                return True
        found = self.pods.glob(f"*/volumes/*/{persistent}")
        return any(path.parents[2].name != uid and mounts.is_mounted(path) for path in found)

    # Containers

    def mounts(
        self, pod: Obj, container: Obj, env: Mapping[str, str], *, recursive_read_only: bool = False
    ) -> list[Mount]:
        """The volume mounts of a container. recursive_read_only: whether the runtime has them. Raises ConfigError."""
        volumes = {v["name"]: v for v in pod["spec"].get("volumes") or ()}
        places = self._places.get(view.uid(pod), {})
        result = []
        for index, mount in enumerate(container.get("volumeMounts") or ()):
            volume, place = volumes.get(mount["name"]), places.get(mount["name"])
            if volume is None or place is None or place.device:
                raise ConfigError(f'cannot find volume "{mount["name"]}" to mount into container "{container["name"]}"')
            path = place.path
            sub = mount.get("subPath") or expand_strictly(mount.get("subPathExpr") or "", env)
            if sub:
                folder = self.pod(view.uid(pod))
                path = subpaths.prepare(folder, path, sub, mount["name"], container["name"], index)
            readonly = bool(mount.get("readOnly")) or place.readonly
            recursive = _recursive(mount, supported=recursive_read_only)
            propagation = mount.get("mountPropagation") or "None"
            where = mount["mountPath"] if mount["mountPath"].startswith("/") else f"/{mount['mountPath']}"
            result.append(Mount(where, str(path), readonly, propagation, recursive))
        return result

    def devices(self, pod: Obj, container: Obj) -> Iterator[Device]:
        """The block devices of a container. Raises ConfigError."""
        places = self._places.get(view.uid(pod), {})
        for row in container.get("volumeDevices") or ():
            place = places.get(row["name"])
            if place is None or not place.device:
                raise ConfigError(f'cannot find volume "{row["name"]}" to pass into container "{container["name"]}"')
            yield Device(row["devicePath"], str(place.path), "r" if place.readonly else "mrw")

    # The end

    def empty(self, uid: str) -> None:
        """Takes away what a pod that has ended holds of the node's disk, and leaves the rest of its folder."""
        folder = self.pod(uid) / "volumes" / "kubernetes.io~empty-dir"
        if not mounts.unmount_below(folder):
            _remove(folder)

    def remove(self, uid: str) -> bool:
        """Takes away a pod's folder; what is mounted in it is detached first, and never followed.

        Whether it is gone: nothing is removed while something stays mounted, since that may be somebody's data.
        """
        self._places.pop(uid, None)
        folder = self.pod(uid)
        left = mounts.unmount_below(folder)
        if left:
            log.error("the folder of pod %s stays, something is still mounted: %s", uid, ", ".join(map(str, left)))
            return False
        _remove(folder)
        return True


def _remove(folder: Path) -> None:
    with contextlib.suppress(OSError):
        trees.remove(folder)


def _recursive(mount: Obj, *, supported: bool) -> bool:
    """Whether what is mounted below a volume is read-only, too (KEP-3857). Raises ConfigError."""
    mode = mount.get("recursiveReadOnly") or "Disabled"
    if mode == "Disabled":
        return False
    prefix = (
        f'failed to resolve recursive read-only mode: volume "{mount["name"]}" requested recursive read-only mode, '
    )
    propagation = mount.get("mountPropagation") or "None"
    if not mount.get("readOnly"):
        raise ConfigError(f"{prefix}but it is not read-only")
    if propagation != "None":
        raise ConfigError(f'{prefix}but it is not compatible with propagation "{propagation}"')
    if mode == "Enabled" and not supported:
        raise ConfigError(f"{prefix}but it is not supported by the runtime")
    return supported


def is_served(path: Path | str) -> bool:
    """Whether the volume that lies there may be another machine's or program's, who may not answer."""
    return "/kubernetes.io~nfs/" in str(path) or "/kubernetes.io~csi/" in str(path)


def is_payload(volume: Obj) -> bool:
    """Whether a volume is filled from objects of the API."""
    return any(kind in volume for kind in payload.PAYLOAD_TYPES)

"""Setting the volumes of pods up, and keeping their files up to date.

Source: Kubernetes documentation, "Volumes"; what goes wrong is told in kubelet's words.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hawser.api import storage
from hawser.api.errors import APIError
from hawser.api.kinds import CONFIG_MAP, NODE, PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, SECRET
from hawser.api.pod_claims import claim_name
from hawser.api.types import Obj
from hawser.client.client import Client
from hawser.client.events import EventRecorder
from hawser.node.cri.client import Runtime
from hawser.node.cri.errors import CRIError
from hawser.node.cri.model import Image
from hawser.node.csi.plugins import CSIDrivers
from hawser.node.objects import Objects
from hawser.node.pod import view
from hawser.node.pod.configs import Machine
from hawser.node.volumes import atomic, claims, csi, disks, emptydir, hostpath, mounts, ownership, payload, persistent
from hawser.node.volumes.claims import Claim, ClaimError
from hawser.node.volumes.errors import NotMounted, VolumeError
from hawser.node.volumes.folders import Folders, Place, is_payload
from hawser.node.volumes.growth import Growth
from hawser.node.volumes.images import ImageVolumes
from hawser.node.volumes.payload import Contents
from hawser.node.volumes.turns import Turns

if TYPE_CHECKING:
    from hawser.node.volumes.csi_mounts import CSIVolumes

log = logging.getLogger(__name__)

_REASONS = {"MapVolume": "FailedMapVolume", "AttachVolume": "FailedAttachVolume"}
# What kubelet keeps in memory only, because it is secret or changes.
_IN_MEMORY = ("secret", "downwardAPI", "projected")


class Volumes:
    """The volumes of this node's pods. allocatable: the node's."""

    def __init__(
        self,
        client: Client,
        runtime: Runtime,
        folders: Folders,
        objects: Objects,
        machine: Machine,
        allocatable: Callable[[], Obj],
        plugins: CSIDrivers,
        recorder: EventRecorder,
    ) -> None:
        self._plugins = plugins
        self._csi: CSIVolumes | None = None
        self._client = client
        self.images = ImageVolumes(runtime, folders)
        self._folders = folders
        self._objects = objects
        self._machine = machine
        self._allocatable = allocatable
        self._growth = Growth(client, recorder, _can_grow, self._expand)
        self._turns = Turns()

    async def prepare(self, pod: Obj) -> None:
        """Sets all volumes of a pod up, or brings them up to date. Raises NotMounted."""
        contents, known = await asyncio.gather(self._contents(pod), self._claims(pod))
        events: list[tuple[str, str]] = []
        problems: dict[str, str] = {}
        for volume in view.volumes(pod):
            if "image" in volume:
                # Pulled and mounted when a container that uses it starts.
                continue
            name, claim = volume["name"], known.get(volume["name"])
            if claim is not None and claim.problem:
                problems[name] = claim.problem
                continue
            if claim is None and (problem := self._unknown(pod, volume)):
                problems[name] = problem
                continue
            try:
                place = await self._set_up(pod, volume, claim, contents)
                self._folders.place(pod, name, place)
            except (OSError, ValueError, VolumeError) as err:
                events.append(_event(claim.volume["metadata"]["name"] if claim and claim.volume else name, err))
        if problems:
            names = " ".join(sorted(problems))
            text = f"unmounted volumes=[{names}], unattached volumes=[], failed to process volumes=[{names}]"
            words = "; ".join(problems.values())
            events.append(("FailedMount", f"Unable to attach or mount volumes: {text}: {words}"))
        if events:
            raise NotMounted(events)

    async def refresh(self, pod: Obj) -> None:
        """Brings volumes that are filled from objects up to date with these. Raises NotMounted."""
        contents = await self._contents(pod)
        events = []
        for volume in view.volumes(pod):
            if is_payload(volume):
                try:
                    self._folders.place(pod, volume["name"], self._fill(pod, volume, contents))
                except (OSError, ValueError, VolumeError) as err:
                    events.append(_event(volume["name"], err))
        if events:
            raise NotMounted(events)

    async def add_image(self, pod: Obj, volume: Obj, image: Image) -> None:
        """Makes an image that was pulled a volume of a pod. Raises NotMounted."""
        try:
            await self.images.mount(pod, volume, image)
        except (OSError, VolumeError) as err:
            raise NotMounted([_event(volume["name"], err)]) from err

    async def grow(self, pod: Obj) -> bool:
        """Makes those of a running pod's volumes larger that are to be; whether to look again. Raises APIError."""
        return await self._growth.look(pod)

    async def publish_again(self, pod: Obj) -> bool:
        """Has CSI drivers bring a running pod's volumes up to date that want it; whether to do so again.

        Raises NotMounted for what went wrong, APIError.
        """
        some, events = False, []
        known = await self._claims(pod)
        for volume in view.volumes(pod):
            claim = known.get(volume["name"])
            row = claim.volume if claim is not None else None
            if "csi" in volume:
                wanted = csi.inline(pod, volume)
            elif row is not None and claim is not None and "csi" in row["spec"]:
                wanted = csi.persistent(row, readonly=claim.readonly)
            else:
                continue
            try:
                some |= await self._csi_volumes().publish_again(pod, wanted, self._machine.node_name)
            except (OSError, VolumeError) as err:
                some = True
                events.append(_event(wanted.name, err))
        if events:
            raise NotMounted(events)
        return some

    async def remove(self, uid: str) -> None:
        """Takes away all that a pod had; what is mounted is never followed. Raises CRIError."""
        self._growth.forget(uid)
        await self._turns.over(uid)
        images = self.images.names(uid)
        if (self._folders.pod(uid) / "volumes/kubernetes.io~csi").is_dir():
            await self._csi_volumes().remove(uid)
        # Images first: what could not be given up is found again by its folder.
        await self.images.remove(uid, images)
        self._folders.remove(uid)

    # What they are made of

    async def _contents(self, pod: Obj) -> Contents:
        namespace, uid, objects = view.key(pod)[0], view.uid(pod), self._objects
        maps, secrets, tokens = payload.wanted(pod)
        objects.watch(uid, CONFIG_MAP, namespace, maps)
        objects.watch(uid, SECRET, namespace, secrets)
        wanted = sorted(tokens)
        try:
            config_maps, secret_objects, made = await asyncio.gather(
                objects.config_maps(namespace, maps),
                objects.secrets(namespace, secrets),
                asyncio.gather(*(self._token(pod, *token) for token in wanted)),
            )
        except APIError as err:
            text = f"failed to read what volumes are filled from: {err.message}"
            raise NotMounted([("FailedMount", text)]) from err
        return Contents(
            config_maps,
            secret_objects,
            dict(zip(wanted, made, strict=True)),
            host_ips=self._machine.node_ips,
            allocatable=self._allocatable(),
        )

    async def _token(self, pod: Obj, audience: str, seconds: int) -> str | APIError:
        try:
            return await self._objects.token(pod, audience, seconds)
        except APIError as err:
            return err

    async def _claims(self, pod: Obj) -> dict[str, Claim]:
        """The PersistentVolumes behind claims, by the name of the pod's volume."""
        rows = [volume for volume in view.volumes(pod) if claim_name(pod["metadata"]["name"], volume)]
        if not rows:
            return {}
        found = await asyncio.gather(*(self._claim(pod, volume) for volume in rows))
        return {volume["name"]: claim for volume, claim in zip(rows, found, strict=True)}

    async def _claim(self, pod: Obj, volume: Obj) -> Claim:
        namespace, name = view.key(pod)[0], claim_name(pod["metadata"]["name"], volume)
        what = "failed to fetch PVC from API server"
        try:
            claim = await self._client.get(PERSISTENT_VOLUME_CLAIM, name, namespace)
            bound = claims.check_claim(pod, volume, claim)
            what = f"failed to fetch PV {bound} from API server"
            row = await self._client.get(PERSISTENT_VOLUME, bound)
            claims.check_volume(claim, row)
        except (APIError, ClaimError) as err:
            words = f"{what}: {err.message}" if isinstance(err, APIError) else str(err)
            return Claim(problem=f"error processing PVC {namespace}/{name}: {words}")
        uses = [container for _, container in view.every_container(pod)]
        try:
            claims.check_mode(
                volume["name"],
                row,
                mounted=any(m["name"] == volume["name"] for c in uses for m in c.get("volumeMounts") or ()),
                mapped=any(m["name"] == volume["name"] for c in uses for m in c.get("volumeDevices") or ()),
            )
        except ClaimError as err:
            return Claim(problem=str(err))
        if not persistent.kind_of(row["spec"]):
            return Claim(problem=_unmatched(bound))
        return Claim(row, claim, readonly=bool((volume.get("persistentVolumeClaim") or {}).get("readOnly")))

    def _unknown(self, pod: Obj, volume: Obj) -> str:
        """Why a volume can never be on this node."""
        try:
            self._folders.volume(pod, volume)
        except VolumeError:
            return _unmatched(volume["name"])
        return ""

    # One volume

    async def _set_up(self, pod: Obj, volume: Obj, claim: Claim | None, contents: Contents) -> Place:
        if claim is not None and claim.volume is not None and claim.claim is not None:
            place = await self._persistent(pod, claim.volume, readonly=claim.readonly)
            if not place.readonly:
                await self._grow_mounted(pod, claim.claim, claim.volume)
            return place
        if is_payload(volume):
            return self._fill(pod, volume, contents)
        if "csi" in volume:
            return await self._from_driver(pod, csi.inline(pod, volume))
        path = self._folders.volume(pod, volume)
        if source := volume.get("hostPath"):
            hostpath.check(path, source.get("type") or "")
            return Place(path)
        if source := volume.get("nfs"):
            if not mounts.is_mounted(path):
                await self._turns.finish(str(path), view.uid(pod), partial(persistent.mount_nfs, path, source))
            return Place(path, readonly=bool(source.get("readOnly")))
        if emptydir.set_up(path, pod, volume.get("emptyDir") or {}, self._allocatable()):
            group = _group(pod)
            if group is not None:
                ownership.own(path, group)
        return Place(path)

    def _fill(self, pod: Obj, volume: Obj, contents: Contents) -> Place:
        path = self._folders.volume(pod, volume)
        files = payload.files(pod, volume, contents)
        path.mkdir(parents=True, exist_ok=True)
        if not any(kind in volume for kind in _IN_MEMORY):
            path.chmod(0o777)
        elif not mounts.is_mounted(path):
            emptydir.tmpfs(path)
        atomic.write(path, files, _group(pod))
        return Place(path, readonly=True)

    async def _persistent(self, pod: Obj, row: Obj, *, readonly: bool) -> Place:
        name, spec = row["metadata"]["name"], row["spec"]
        if (spec.get("nodeAffinity") or {}).get("required"):
            node = await self._client.get(NODE, self._machine.node_name)
            claims.check_node(row, self._machine.node_name, node["metadata"].get("labels") or {})
        if claims.used_by_one_pod_only(row) and self._folders.elsewhere(pod, name):
            raise VolumeError("volume uses the ReadWriteOncePod access mode and is already in use by another pod")
        group = claims.extra_group(row)
        if "csi" in spec:
            place = await self._from_driver(pod, csi.persistent(row, readonly=readonly))
            return replace(place, group=group, persistent=name)
        if spec.get("volumeMode") == "Block":
            return Place(persistent.device(name, spec), readonly, device=True, group=group, persistent=name)
        target = self._folders.persistent(pod, persistent.SOURCES[persistent.kind_of(spec)], name)
        context = pod["spec"].get("securityContext") or {}
        on_mismatch = context.get("fsGroupChangePolicy") == "OnRootMismatch"
        use = persistent.Use(readonly, _group(pod), on_mismatch)
        path = await self._turns.finish(name, view.uid(pod), partial(persistent.set_up, target, row, use))
        return Place(path, readonly, group=group, persistent=name)

    async def _grow_mounted(self, pod: Obj, claim: Obj, row: Obj) -> None:
        try:
            await self._growth.mounted(pod, claim, row)
        except (APIError, CRIError, VolumeError) as err:
            text = err.text if isinstance(err, CRIError) else str(err)
            raise VolumeError(text, "MountVolume.Setup failed while expanding volume") from err

    async def _expand(self, pod: Obj, row: Obj) -> None:
        """Makes a mounted PersistentVolume as large as it says to be. Raises CRIError, VolumeError."""
        if "csi" in row["spec"]:
            size = int(storage.capacity(row))
            await self._csi_volumes().grow(pod, csi.persistent(row, readonly=False), size)
            return
        name = row["metadata"]["name"]
        target = self._folders.persistent(pod, persistent.SOURCES["local"], name)
        try:
            await self._turns.finish(name, view.uid(pod), partial(disks.grow, target))
        except OSError as err:
            raise VolumeError(str(err)) from err

    async def _from_driver(self, pod: Obj, volume: csi.Volume) -> Place:
        return await self._csi_volumes().mount(pod, volume, self._machine.node_name)

    def _csi_volumes(self) -> CSIVolumes:
        if self._csi is None:
            # Loaded when the first pod has such a volume: most nodes never see one.
            from hawser.node.volumes.csi_mounts import CSIVolumes

            root = Path(self._machine.root)
            self._csi = CSIVolumes(root, self._client, self._plugins, self._folders, self._objects)
        return self._csi


def _group(pod: Obj) -> int | None:
    group: int | None = (pod["spec"].get("securityContext") or {}).get("fsGroup")
    return group


def _can_grow(row: Obj) -> bool:
    """Whether this node has a part in making a PersistentVolume larger."""
    return "csi" in row["spec"] or disks.is_disk(row)


def _unmatched(name: str) -> str:
    return f'failed to get Plugin from volumeSpec for volume "{name}" err=no volume plugin matched'


def _event(name: str, err: Exception) -> tuple[str, str]:
    step = err.step if isinstance(err, VolumeError) else "MountVolume.SetUp failed"
    reason = _REASONS.get(step.partition(".")[0], "FailedMount")
    return reason, f'{step} for volume "{name}" : {err}'


def share(root: Path) -> None:
    """Makes mounts of pods and of CSI drivers known to pods that mount the agent's folders with propagation."""
    for name in ("pods", "plugins"):
        (root / name).mkdir(parents=True, exist_ok=True)
        try:
            mounts.make_shared(root / name)
        except OSError as err:
            log.warning("mounts below %s reach no containers: %s", root / name, err)

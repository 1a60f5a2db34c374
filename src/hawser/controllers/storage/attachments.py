"""VolumeAttachments: which CSI volumes are to be attached to which nodes, for drivers' attachers to do.

A volume is attached to a node while a pod there needs it; pods are deleted only after the node has unmounted what is
theirs. Source: API reference, VolumeAttachment; "CSI Volume", attachRequired; kube-controller-manager's attach-detach
controller for names, events and ``node.status.volumesAttached``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from hawser.api.errors import APIError, ignoring
from hawser.api.kinds import CSI_DRIVER, NODE, PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD, VOLUME_ATTACHMENT
from hawser.api.pod_claims import claim_keys, claims_of
from hawser.api.status import has_ended
from hawser.api.types import Obj
from hawser.client.controller import Controller, Manager
from hawser.controllers.pods import by_node
from hawser.controllers.storage import counts

_SINGLE = {"ReadWriteOnce", "ReadWriteOncePod"}
_AGAIN = 2.0


@dataclass(frozen=True, slots=True)
class Need:
    """A volume that a node needs. pods: who needs it there."""

    volume: Obj
    node: str
    pods: tuple[Obj, ...]

    @property
    def name(self) -> str:
        """Of the VolumeAttachment: drivers' attachers and node agents make it from the same words."""
        source = self.volume["spec"]["csi"]
        digest = hashlib.sha256(f"{source['volumeHandle']}{source['driver']}{self.node}".encode()).hexdigest()
        return f"csi-{digest}"


def in_use(pod: Obj, users: Sequence[Obj]) -> str:
    """Why a pod cannot have a volume that is for one node only. users: the pods elsewhere that need it; nobody is told
    the names of those of another namespace."""
    namespace = pod["metadata"]["namespace"]
    names = [user["metadata"]["name"] for user in users if user["metadata"]["namespace"] == namespace]
    strangers = f"{len(users) - len(names)} pod(s) in different namespaces"
    if not users:
        return "Volume is already exclusively attached to one node and can't be attached to another"
    if not names:
        return f"Volume is already used by {strangers}"
    told = f"Volume is already used by pod(s) {', '.join(names)}"
    return told if len(names) == len(users) else f"{told} and {strangers}"


class AttachDetachController(Controller):
    """Keys are names of nodes."""

    name = "persistentvolume-attach-detach-controller"
    workers = 2

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._recorder = manager.recorder("attachdetach-controller")
        self._pods = by_node(manager.informer(POD))
        self._claims = manager.informer(PERSISTENT_VOLUME_CLAIM)
        self._volumes = manager.informer(PERSISTENT_VOLUME)
        self._drivers = manager.informer(CSI_DRIVER)
        self._attachments = manager.informer(VOLUME_ATTACHMENT)
        self._pods.add_index("claims", claim_keys)
        self._attachments.add_index("node", lambda one: (one["spec"]["nodeName"],))
        self._attachments.add_index("volume", _volume)
        self._asked: dict[str, tuple[str, str]] = {}
        """By volumes for one node only: the node they were asked for and the attachment, until the cache has it. Nobody
        else asks meanwhile: a request whose answer is lost may have done its work."""
        self._news: set[str] = set()
        """Attachments that have come about since they were last looked at."""
        self._pods.on_change(self._on_pod)
        self._claims.on_change(self._on_claim)
        self._attachments.on_change(self._on_attachment)

    def _on_pod(self, old: Obj | None, new: Obj | None) -> None:
        for pod in (old, new):
            if pod is not None and pod["spec"].get("nodeName") and claims_of(pod):
                self.queue.add(pod["spec"]["nodeName"])

    def _on_claim(self, old: Obj | None, new: Obj | None) -> None:
        if new is not None and new["spec"].get("volumeName"):
            where = f"{new['metadata']['namespace']}/{new['metadata']['name']}"
            for pod in self._pods.by_index("claims", where):
                self._on_pod(None, pod)

    def _on_attachment(self, old: Obj | None, new: Obj | None) -> None:
        for one in (old, new):
            if one is not None:
                self.queue.add(one["spec"]["nodeName"])
                for volume in _volume(one):
                    if self._asked.get(volume, ("", ""))[1] == one["metadata"]["name"]:
                        del self._asked[volume]
        if old is not None and new is not None and _is_attached(new) and not _is_attached(old):
            self._news.add(new["metadata"]["name"])
        if new is None and old is not None and (volume := next(iter(_volume(old)), "")):
            # Another node may have waited for it.
            for claim in self._claims.list():
                if claim["spec"].get("volumeName") == volume:
                    self._on_claim(None, claim)

    async def reconcile(self, key: str) -> float | None:
        needs = {need.name: need for need in self._needs(key)}
        there = {one["metadata"]["name"]: one for one in self._attachments.by_index("node", key)}
        waits = False
        for name, need in needs.items():
            attachment = there.get(name)
            if attachment is None:
                waits = not await self._attach(need) or waits
            else:
                self._tell(need, attachment)
        await self._take_back(key, needs)
        for name, attachment in there.items():
            if name not in needs and not attachment["metadata"].get("deletionTimestamp"):
                await self._detach(attachment)
        await self._report(key, [one for name, one in there.items() if name in needs])
        return _AGAIN if waits else None

    def exposed(self) -> Iterable[str]:
        nodes = {pod["spec"].get("nodeName") for pod in self._pods.list() if claims_of(pod)}
        needed = [(need.node, need.volume) for node in sorted(filter(None, nodes)) for need in self._needs(node)]
        listed = (self._volumes.get("", name) for one in self._attachments.list() for name in _volume(one))
        return counts.of_attachments(needed, [volume for volume in listed if volume is not None])

    def _needs(self, node: str) -> Iterator[Need]:
        users: dict[str, list[Obj]] = {}
        for pod in self._pods.by_index("node", node):
            if has_ended(pod):
                continue
            for name in claims_of(pod):
                claim = self._claims.get(pod["metadata"]["namespace"], name)
                if claim is not None and (claim.get("status") or {}).get("phase") == "Bound":
                    users.setdefault(claim["spec"]["volumeName"], []).append(pod)
        for name, pods in users.items():
            volume = self._volumes.get("", name)
            if volume is not None and "csi" in volume["spec"] and self._attaches(volume["spec"]["csi"]["driver"]):
                yield Need(volume, node, tuple(pods))

    def _attaches(self, driver: str) -> bool:
        """Whether a driver's volumes are to be attached at all."""
        found = self._drivers.get("", driver)
        return found is None or bool(found["spec"].get("attachRequired", True))

    async def _attach(self, need: Need) -> bool:
        """Ask for an attachment; False while a volume for one node only is at another."""
        name = need.volume["metadata"]["name"]
        others = [one for one in self._attachments.by_index("volume", name) if one["spec"]["nodeName"] != need.node]
        single = set(need.volume["spec"].get("accessModes") or ()) <= _SINGLE
        asker = self._asked.get(name, (need.node, ""))[0]
        if single and (others or asker != need.node):
            users = self._users(name, {asker, *(one["spec"]["nodeName"] for one in others)} - {need.node})
            for pod in need.pods:
                text = f'Multi-Attach error for volume "{name}" {in_use(pod, users)}'
                self._recorder.event(pod, "Warning", "FailedAttachVolume", text)
            return False
        wanted = {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "VolumeAttachment",
            "metadata": {"name": need.name},
            "spec": {
                "attacher": need.volume["spec"]["csi"]["driver"],
                "nodeName": need.node,
                "source": {"persistentVolumeName": name},
            },
        }
        if single:
            self._asked[name] = need.node, need.name
        try:
            self._attachments.observe(await self._client.create(VOLUME_ATTACHMENT, wanted))
        except APIError as error:
            if error.reason != "AlreadyExists":
                raise
        return True

    def _users(self, volume: str, nodes: Iterable[str]) -> list[Obj]:
        """The pods that need a volume on some nodes."""
        needs = (need for node in sorted(nodes) for need in self._needs(node))
        return [pod for need in needs if need.volume["metadata"]["name"] == volume for pod in need.pods]

    def _tell(self, need: Need, attachment: Obj) -> None:
        name = need.volume["metadata"]["name"]
        error = (attachment.get("status") or {}).get("attachError")
        if need.name in self._news:
            self._news.discard(need.name)
            for pod in need.pods:
                text = f'AttachVolume.Attach succeeded for volume "{name}" '
                self._recorder.event(pod, "Normal", "SuccessfulAttachVolume", text)
        elif error and not _is_attached(attachment):
            text = f'AttachVolume.Attach failed for volume "{name}" : {error.get("message", "")}'
            for pod in need.pods:
                self._recorder.event(pod, "Warning", "FailedAttachVolume", text)

    async def _take_back(self, node: str, needs: Mapping[str, Need]) -> None:
        """What was asked for, is not needed any more, and may be there although the cache does not have it."""
        for volume, (asker, name) in list(self._asked.items()):
            if asker == node and name not in needs:
                with ignoring(404):
                    await self._client.delete(VOLUME_ATTACHMENT, name)
                self._asked.pop(volume, None)

    async def _detach(self, attachment: Obj) -> None:
        metadata = attachment["metadata"]
        self._news.discard(metadata["name"])
        with ignoring(404, 409):
            await self._client.delete(VOLUME_ATTACHMENT, metadata["name"], uid=metadata["uid"])

    async def _report(self, node: str, attachments: list[Obj]) -> None:
        """Say in the node's status what is attached."""
        listed = []
        for one in attachments:
            volume = self._volumes.get("", next(iter(_volume(one)), ""))
            if _is_attached(one) and volume is not None:
                source = volume["spec"]["csi"]
                listed.append(f"kubernetes.io/csi/{source['driver']}^{source['volumeHandle']}")
        wanted = [{"name": name, "devicePath": ""} for name in sorted(listed)]
        with ignoring(404):
            found = await self._client.get(NODE, node)
            if wanted != ((found.get("status") or {}).get("volumesAttached") or []):
                status = {"volumesAttached": wanted or None}
                await self._client.patch(NODE, node, None, {"status": status}, subresource="status")


def _is_attached(attachment: Obj) -> bool:
    return bool((attachment.get("status") or {}).get("attached"))


def _volume(attachment: Obj) -> tuple[str, ...]:
    name = attachment["spec"]["source"].get("persistentVolumeName")
    return (name,) if name else ()

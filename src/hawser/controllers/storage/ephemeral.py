"""Claims of pods' ephemeral volumes: made with the pod, gone with it by the garbage collector.

Source: Kubernetes documentation, "Ephemeral Volumes", generic ephemeral volumes (KEP-1698).
"""

from __future__ import annotations

from collections.abc import Iterable

from hawser.api.errors import APIError
from hawser.api.kinds import PERSISTENT_VOLUME_CLAIM, POD
from hawser.api.pod_claims import claim_name
from hawser.api.types import Obj
from hawser.client.controller import Controller, Manager, controller_of
from hawser.client.informer import key_of
from hawser.series import Counters


def claim_for(pod: Obj, volume: Obj) -> Obj:
    """The claim of one ephemeral volume of a pod. Pure."""
    template = volume["ephemeral"]["volumeClaimTemplate"]
    given = template.get("metadata") or {}
    metadata = pod["metadata"]
    owner = {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": claim_name(metadata["name"], volume),
            "namespace": metadata["namespace"],
            "ownerReferences": [owner],
            **{key: given[key] for key in ("labels", "annotations") if given.get(key)},
        },
        "spec": template["spec"],
    }


class EphemeralVolumeController(Controller):
    """See the module."""

    name = "ephemeral-volume-controller"
    workers = 2

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._recorder = manager.recorder("ephemeral_volume")
        text, prefix = "Number of PersistenVolumeClaims creation requests", "ephemeral_volume_controller_create"
        self._tried = Counters(f"{prefix}_total", text)
        self._failed = Counters(f"{prefix}_failures_total", text)
        self._pods = manager.informer(POD)
        self._claims = manager.informer(PERSISTENT_VOLUME_CLAIM)
        self._pods.on_change(self._on_pod)
        self._claims.on_change(self._on_claim)

    def exposed(self) -> Iterable[str]:
        yield from self._tried.lines()
        yield from self._failed.lines()

    def _on_pod(self, old: Obj | None, new: Obj | None) -> None:
        if old is None and new is not None and any("ephemeral" in one for one in new["spec"].get("volumes") or ()):
            self.enqueue(old, new)

    def _on_claim(self, old: Obj | None, new: Obj | None) -> None:
        """One that is deleted while its pod lives is made again."""
        owner = controller_of(old) if old is not None and new is None else None
        if old is not None and owner is not None and owner["kind"] == "Pod":
            self.queue.add(f"{old['metadata']['namespace']}/{owner['name']}")

    async def reconcile(self, key: str) -> float | None:
        pod = self._pods.get_key(key)
        if pod is None or pod["metadata"].get("deletionTimestamp"):
            return None
        for volume in pod["spec"].get("volumes") or ():
            if "ephemeral" in volume:
                await self._ensure(pod, volume)
        return None

    async def _ensure(self, pod: Obj, volume: Obj) -> None:
        wanted = claim_for(pod, volume)
        try:
            found = self._claims.get_key(key_of(wanted)) or await self._create(wanted)
            owner = controller_of(found)
            if owner is None or owner["uid"] != pod["metadata"]["uid"]:
                text = f"PVC {key_of(wanted)} was not created for pod {key_of(pod)} (pod is not owner)"
                raise APIError(409, "Conflict", text)
        except APIError as error:
            # It is tried again: what is in the way may go.
            text = f"ephemeral volume {volume['name']}: {error.message}"
            self._recorder.event(pod, "Warning", "FailedBinding", text)
            raise

    async def _create(self, wanted: Obj) -> Obj:
        metadata = wanted["metadata"]
        self._tried.add()
        try:
            made = await self._client.create(PERSISTENT_VOLUME_CLAIM, wanted)
        except APIError as error:
            self._failed.add()
            if error.reason == "AlreadyExists":
                return await self._client.get(PERSISTENT_VOLUME_CLAIM, metadata["name"], metadata["namespace"])
            text = f"create PVC {metadata['name']}: {error.message}"
            raise APIError(error.code, error.reason, text, details=error.details) from error
        self._claims.observe(made)
        return made

"""Volumes that grow while pods have them: the node's part of an expansion.

The controller of a volume's kind makes the volume larger and marks its claim ``NodeResizePending``; the node then makes
the file system larger, and says so in the claim. A node may watch no claims, so that it looks at them now and then.
Source: Kubernetes documentation, "Expanding Persistent Volumes Claims"; KEP-1790; marks, events and what is tried again
are kubelet's (its node expander).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal

from hawser.api import storage
from hawser.api.errors import APIError, ignoring
from hawser.api.kinds import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, Kind
from hawser.api.pod_claims import claim_name
from hawser.api.status import condition
from hawser.api.types import Obj
from hawser.client.client import Client
from hawser.client.clock import timestamp
from hawser.client.events import EventRecorder
from hawser.node.cri.errors import CRIError
from hawser.node.pod import view
from hawser.node.volumes.errors import InUse, VolumeError

log = logging.getLogger(__name__)

Expand = Callable[[Obj, Obj], Awaitable[None]]
"""Makes a PersistentVolume of a pod as large as it says to be. Raises CRIError, VolumeError."""

_PENDING, _ONGOING, _INFEASIBLE = "NodeResizePending", "NodeResizeInProgress", "NodeResizeInfeasible"
_CONDITIONS = frozenset({"Resizing", "FileSystemResizePending", "ControllerResizeError", "NodeResizeError"})
# gRPC's codes: asking again is no use; it may still be going on.
_HOPELESS = frozenset({"INVALID_ARGUMENT", "OUT_OF_RANGE", "NOT_FOUND"})
_UNCERTAIN = frozenset({"CANCELLED", "DEADLINE_EXCEEDED", "UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED"})


def mark(claim: Obj) -> str:
    """How far the expansion of a claim is, "" when none is going on."""
    statuses = (claim.get("status") or {}).get("allocatedResourceStatuses") or {}
    return str(statuses.get("storage") or "")


def is_due(claim: Obj, seen: Decimal) -> bool:
    """Whether this node has to do something. seen: the claim's bytes when its volume was last looked at here."""
    return mark(claim) in (_PENDING, _ONGOING) or (not mark(claim) and storage.held(claim) > seen)


def marked(claim: Obj, step: str, conditions: list[Obj] | None = None, size: str = "") -> Obj:
    """The patch of a claim's status that says how far its expansion is.

    step: "" for over. conditions: instead of those of expansions; None leaves them. size: what it has now, if known.
    """
    status = claim.get("status") or {}
    made: Obj = {"allocatedResourceStatuses": {"storage": step} if step else None}
    if conditions is not None:
        kept = [row for row in status.get("conditions") or () if row["type"] not in _CONDITIONS]
        made["conditions"] = [*kept, *conditions] or None
    if size:
        made["capacity"] = {"storage": size}
    return {"metadata": {"resourceVersion": claim["metadata"]["resourceVersion"]}, "status": made}


class Growth:
    """Brings volumes of this node to the size that they are to have.

    can_grow: whether a PersistentVolume can at all. expand: makes it.
    """

    def __init__(
        self, client: Client, recorder: EventRecorder, can_grow: Callable[[Obj], bool], expand: Expand
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._can_grow = can_grow
        self._expand = expand
        # By the name of the PersistentVolume: what its claim had here; those that never grow, or not while in use.
        self._seen: dict[str, Decimal] = {}
        self._fixed: set[str] = set()
        # By the pod: those of them that it has.
        self._had: dict[str, set[str]] = {}

    async def look(self, pod: Obj) -> bool:
        """Makes those of a running pod's volumes larger that are to be; whether to look again. Raises APIError."""
        namespace, name = view.key(pod)
        some = False
        for volume in view.volumes(pod):
            wanted = claim_name(name, volume)
            if not wanted or (volume.get("persistentVolumeClaim") or {}).get("readOnly"):
                continue
            claim = await self._find(PERSISTENT_VOLUME_CLAIM, wanted, namespace)
            bound = claim and claim["spec"].get("volumeName")
            if not claim or not bound:
                # Somebody has taken it away, or made it anew: the pod keeps the volume that it has.
                continue
            self._had.setdefault(view.uid(pod), set()).add(bound)
            if bound in self._fixed:
                continue
            row: Obj | None = None
            if bound not in self._seen:
                row = await self._find(PERSISTENT_VOLUME, bound)
                if row is None or not self._can_grow(row):
                    self._fixed.add(bound)
                    continue
                self._seen[bound] = storage.held(claim)
            some = True
            if is_due(claim, self._seen[bound]):
                try:
                    await self._bring(pod, claim, row or await self._client.get(PERSISTENT_VOLUME, bound))
                except (CRIError, VolumeError):
                    log.info("volume %s of pod %s/%s does not grow yet", bound, namespace, name)
        return some

    async def _find(self, kind: Kind, name: str, namespace: str | None = None) -> Obj | None:
        with ignoring(404):
            return await self._client.get(kind, name, namespace)
        return None

    async def mounted(self, pod: Obj, claim: Obj, row: Obj) -> None:
        """Makes a volume that was just mounted larger if its claim waits for that.

        Raises CRIError and VolumeError for what went wrong, which is told, and APIError.
        """
        if self._can_grow(row):
            name = row["metadata"]["name"]
            self._had.setdefault(view.uid(pod), set()).add(name)
            self._fixed.discard(name)
            self._seen.setdefault(name, storage.held(claim))
            await self._bring(pod, claim, row)

    def forget(self, uid: str) -> None:
        """A pod is gone, and with it what was known of volumes that none other has."""
        for name in self._had.pop(uid, set()).difference(*self._had.values()):
            self._seen.pop(name, None)
            self._fixed.discard(name)

    async def _bring(self, pod: Obj, claim: Obj, row: Obj) -> None:
        name = row["metadata"]["name"]
        if not is_due(claim, self._seen[name]):
            return
        # Another node may have been first with a volume that several have: then the claim is right already.
        own = bool(mark(claim))
        if mark(claim) == _PENDING:
            claim = await self._write(claim, marked(claim, _ONGOING))
        try:
            await self._expand(pod, row)
        except (CRIError, VolumeError) as err:
            await self._failed(pod, claim if own else None, name, err)
            if isinstance(err, InUse) or (isinstance(err, CRIError) and err.code == "FAILED_PRECONDITION"):
                self._fixed.add(name)
                return
            raise
        self._seen[name] = storage.capacity(row)
        node = pod["spec"].get("nodeName", "")
        text = f'MountVolume.NodeExpandVolume succeeded for volume "{name}" {node}'
        for about in (pod, claim):
            self._recorder.event(about, "Normal", "FileSystemResizeSuccessful", text)
        if own:
            await self._write(claim, marked(claim, "", [], row["spec"]["capacity"]["storage"]))

    async def _failed(self, pod: Obj, claim: Obj | None, name: str, err: CRIError | VolumeError) -> None:
        words = (
            f"Expander.NodeExpand failed to expand the volume : {err.text}" if isinstance(err, CRIError) else str(err)
        )
        text = f'NodeExpandVolume.NodeExpandVolume failed for volume "{name}" : {words}'
        self._recorder.event(pod, "Warning", "VolumeResizeFailed", text)
        code = err.code if isinstance(err, CRIError) else ""
        if claim is None or code in _UNCERTAIN:
            return
        message = f"failed to expand pvc with {words}"
        known = condition(claim, "NodeResizeError")
        if known is None or known.get("message") != message:
            now = timestamp(datetime.now(UTC))
            row = {"type": "NodeResizeError", "status": "True", "lastTransitionTime": now, "message": message}
            await self._write(claim, marked(claim, _INFEASIBLE if code in _HOPELESS else _ONGOING, [row]))

    async def _write(self, claim: Obj, patch: Obj) -> Obj:
        metadata = claim["metadata"]
        try:
            return await self._client.patch(
                PERSISTENT_VOLUME_CLAIM, metadata["name"], metadata["namespace"], patch, subresource="status"
            )
        except APIError as err:
            if err.reason != "Conflict":
                raise
            # Somebody else has changed the claim: the next look sees what is left to be done.
            raise VolumeError(err.message) from err

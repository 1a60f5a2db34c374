"""Claims that ask for more than they have: who is to expand their volume is said here, and does it elsewhere.

Source: "Expanding Persistent Volumes Claims"; kube-controller-manager's expand controller, which leaves CSI volumes to
their driver's resizer and knows no plugin of its own any more.
"""

from __future__ import annotations

from hawser.api import storage
from hawser.api.kinds import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM
from hawser.api.types import Obj
from hawser.client.controller import Controller, Manager
from hawser.controllers.storage.local import PROVISIONER


class ExpansionController(Controller):
    """See the module."""

    name = "persistentvolume-expander-controller"

    def setup(self, manager: Manager) -> None:
        self._recorder = manager.recorder("volume_expand")
        self._claims = manager.informer(PERSISTENT_VOLUME_CLAIM)
        self._volumes = manager.informer(PERSISTENT_VOLUME)
        self._claims.on_change(self._on_claim)

    def _on_claim(self, old: Obj | None, new: Obj | None) -> None:
        if new is not None and (old is None or storage.requested(old) != storage.requested(new)):
            self.enqueue(old, new)

    async def reconcile(self, key: str) -> float | None:
        claim = self._claims.get_key(key)
        if claim is None or storage.phase(claim) != "Bound" or storage.requested(claim) <= storage.held(claim):
            return None
        volume = self._volumes.get("", claim["spec"].get("volumeName") or "")
        if volume is None:
            return None
        # Local volumes grow by themselves: see ``local``.
        if "csi" in volume["spec"] or storage.notes(volume).get(storage.PROVISIONED_BY) != PROVISIONER:
            text = "waiting for an external controller to expand this PVC"
            self._recorder.event(claim, "Normal", "ExternalExpanding", text)
        return None

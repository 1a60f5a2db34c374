"""CertificateSigningRequests: immutable but for their approval and what their signer makes of them.

Source: API reference, certificates.k8s.io/v1; Kubernetes documentation, "Certificate Signing Requests".
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from hawser.api.kinds import Kind
from hawser.api.strategic import clone
from hawser.api.types import Obj
from hawser.api.validation.certificates import approval_update
from hawser.apiserver.strategies.base import Lookup, Part, Strategy
from hawser.apiserver.writes import timestamp


class SigningRequestStrategy(Strategy):
    """Who asks is set by admission (``Requesters``), which knows the user."""

    def __init__(self, kind: Kind, lookup: Lookup, now: Callable[[], datetime]) -> None:
        super().__init__(kind, lookup)
        self._now = now
        self.parts = {"approval": Part(self._approval, approval_update)}

    def prepare_create(self, obj: Obj) -> None:
        """Nobody makes an approved request."""
        obj["status"] = {}

    def prepare_update(self, obj: Obj, old: Obj) -> None:
        """What is asked for does not change."""
        obj["spec"] = old["spec"]

    def prepare_status(self, obj: Obj, old: Obj) -> None:
        """The times of conditions are filled in."""
        self._settle(obj, old)

    def _approval(self, new: Obj, old: Obj) -> Obj:
        changed: Obj = {**clone(old), "metadata": new["metadata"]}
        status = changed.setdefault("status", {})
        conditions = (new.get("status") or {}).get("conditions")
        if conditions:
            status["conditions"] = conditions
        else:
            status.pop("conditions", None)
        self._settle(changed, old)
        return changed

    def _settle(self, obj: Obj, old: Obj) -> None:
        now = timestamp(self._now())
        known = {one.get("type"): one for one in (old.get("status") or {}).get("conditions") or ()}
        for one in obj["status"].get("conditions") or ():
            if not one.get("lastUpdateTime"):
                one["lastUpdateTime"] = now
            if not one.get("lastTransitionTime"):
                was = known.get(one.get("type")) or {}
                same = was.get("status") == one.get("status")
                one["lastTransitionTime"] = (same and was.get("lastTransitionTime")) or now

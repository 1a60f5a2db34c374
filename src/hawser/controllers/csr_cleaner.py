"""Removes certificate requests that have done their duty or were forgotten.

Source: Kubernetes documentation, "Certificates and Certificate Signing Requests", "Request signing process".
"""

from __future__ import annotations

import base64
import datetime as dt

from hawser.api.certificates import APPROVED, DENIED, FAILED
from hawser.api.errors import ignoring
from hawser.api.kinds import CERTIFICATE_SIGNING_REQUEST
from hawser.api.types import Obj
from hawser.client.controller import Controller, Manager

_DECIDED = dt.timedelta(hours=1)
_PENDING = dt.timedelta(hours=24)
_EVERY = 3600.0


def due(csr: Obj, now: dt.datetime) -> bool:
    """Whether a request is to go: decided or failed an hour ago, pending for a day, or its certificate is over."""
    status = csr.get("status") or {}
    conditions = status.get("conditions") or []
    if status.get("certificate") and _ended(status["certificate"], now):
        return True
    for one in conditions:
        if one.get("type") in (APPROVED, DENIED, FAILED):
            # An approved request that is not signed yet waits a day like one that is pending.
            waits = one["type"] == APPROVED and not status.get("certificate")
            if _older(one.get("lastUpdateTime"), now, _PENDING if waits else _DECIDED):
                return True
    return not conditions and _older(csr["metadata"].get("creationTimestamp"), now, _PENDING)


def _older(stamp: str | None, now: dt.datetime, age: dt.timedelta) -> bool:
    return bool(stamp) and now - dt.datetime.fromisoformat(str(stamp)) > age


def _ended(encoded: str, now: dt.datetime) -> bool:
    from cryptography import x509

    try:
        listed = x509.load_pem_x509_certificates(base64.b64decode(encoded))
    except ValueError:
        return False
    return any(now > one.not_valid_after_utc for one in listed)


class CleanerController(Controller):
    """Looks once an hour."""

    name = "certificatesigningrequest-cleaner-controller"

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._clock = manager.clock
        self._requests = manager.informer(CERTIFICATE_SIGNING_REQUEST)
        self._requests.on_change(self.enqueue)

    async def reconcile(self, key: str) -> float | None:
        csr = self._requests.get_key(key)
        if csr is None:
            return None
        if not due(csr, self._clock.now()):
            return _EVERY
        with ignoring(404):
            await self._client.delete(CERTIFICATE_SIGNING_REQUEST, key)
        return None

"""Removes bootstrap tokens whose time is over.

Source: Kubernetes documentation, "Authenticating with Bootstrap Tokens", TokenCleaner.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt

from hawser.api.errors import ignoring
from hawser.api.kinds import SECRET
from hawser.api.types import Obj
from hawser.client.controller import Controller, Manager

NAMESPACE = "kube-system"
TYPE = "bootstrap.kubernetes.io/token"


def value(secret: Obj, key: str) -> str:
    """A value of a token's Secret as text; empty when it is not there or no text."""
    try:
        return base64.b64decode((secret.get("data") or {}).get(key) or "", validate=True).decode()
    except (ValueError, binascii.Error):
        return ""


def left(secret: Obj, now: dt.datetime) -> float | None:
    """Seconds until a token ends, 0 when it has; None for one that does not. A time that cannot be read is over."""
    text = value(secret, "expiration")
    if not text:
        return None
    try:
        return max(0.0, (dt.datetime.fromisoformat(text) - now).total_seconds())
    except (ValueError, TypeError):
        return 0.0


class TokenCleaner(Controller):
    """See the module."""

    name = "token-cleaner-controller"

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._clock = manager.clock
        self._tokens = manager.informer(SECRET, NAMESPACE, field_selector=f"type={TYPE}")
        self._tokens.on_change(self.enqueue)

    async def reconcile(self, key: str) -> float | None:
        secret = self._tokens.get_key(key)
        if secret is None:
            return None
        seconds = left(secret, self._clock.now())
        if seconds != 0.0:
            return seconds
        metadata = secret["metadata"]
        with ignoring(404):
            await self._client.delete(SECRET, metadata["name"], metadata["namespace"])
        return None

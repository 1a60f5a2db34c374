"""Bootstrap tokens: ``ID.SECRET``, kept in Secrets of kube-system, with which new nodes ask for their certificates.

Source: Kubernetes documentation, "Authenticating with Bootstrap Tokens". Off unless ``--enable-bootstrap-token-auth``.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import time
from datetime import datetime

import orjson

from hawser.api import kinds
from hawser.api.types import Obj
from hawser.apiserver.authentication.service_accounts import Find
from hawser.apiserver.identity import AUTHENTICATED, User

NAMESPACE = "kube-system"
TYPE = "bootstrap.kubernetes.io/token"
_TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
_GROUP = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]")
_DEFAULT_GROUP = "system:bootstrappers"


class BootstrapTokens:
    """Looks tokens up in the committed Secrets."""

    def __init__(self, find: Find) -> None:
        self._find = find

    def find(self, token: str) -> User | None:
        """The user of a token; None for what is none, has ended or may not be used to log in."""
        match = _TOKEN.fullmatch(token)
        if match is None:
            return None
        record = self._find(kinds.SECRET, NAMESPACE, f"bootstrap-token-{match[1]}")
        return user_of(orjson.loads(record.value), match[1], match[2], time.time()) if record is not None else None


def user_of(secret: Obj, identifier: str, word: str, now: float) -> User | None:
    """The user of a token and its Secret; None unless the Secret is of that token and lets it be used."""
    if secret.get("type") != TYPE or secret["metadata"].get("deletionTimestamp"):
        return None
    data = {key: _text(value) for key, value in (secret.get("data") or {}).items()}
    if data.get("token-id") != identifier or not hmac.compare_digest(
        data.get("token-secret", "").encode(), word.encode()
    ):
        return None
    if data.get("usage-bootstrap-authentication") != "true" or ended(data, now):
        return None
    listed = data.get("auth-extra-groups", "")
    extra = [group for group in listed.split(",") if group]
    if not all(_GROUP.fullmatch(group) for group in extra):
        return None
    return User(f"system:bootstrap:{identifier}", "", (_DEFAULT_GROUP, *dict.fromkeys(extra), AUTHENTICATED))


def ended(data: dict[str, str], now: float) -> bool:
    """Whether the time of a token is over; one that cannot be read is."""
    text = data.get("expiration", "")
    if not text:
        return False
    try:
        return datetime.fromisoformat(text).timestamp() <= now
    except ValueError:
        return True


def _text(encoded: str | None) -> str:
    try:
        return base64.b64decode(encoded or "", validate=True).decode()
    except (ValueError, binascii.Error):
        return ""

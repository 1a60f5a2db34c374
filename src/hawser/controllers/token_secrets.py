"""Fills Secrets of type kubernetes.io/service-account-token, and removes those of accounts that are gone.

Such tokens never end; ``kubectl create token`` makes better ones. Source: Kubernetes documentation, "Configure Service
Accounts for Pods", manually create a long-lived API token; kube-controller-manager's
``--service-account-private-key-file``.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from hawser.api.errors import APIError, ignoring
from hawser.api.jws import SigningKey
from hawser.api.kinds import SECRET, SERVICE_ACCOUNT
from hawser.api.types import Obj
from hawser.client.controller import Controller, Manager

TYPE = "kubernetes.io/service-account-token"
_NAME = "kubernetes.io/service-account.name"
_UID = "kubernetes.io/service-account.uid"
_ISSUER = "kubernetes/serviceaccount"
_CLAIM = "kubernetes.io/serviceaccount/"


def claims(account: Obj, secret: Obj) -> Obj:
    """What the token of a Secret says; it names no end and no audience."""
    namespace, name = account["metadata"]["namespace"], account["metadata"]["name"]
    return {
        "iss": _ISSUER,
        f"{_CLAIM}namespace": namespace,
        f"{_CLAIM}secret.name": secret["metadata"]["name"],
        f"{_CLAIM}service-account.name": name,
        f"{_CLAIM}service-account.uid": account["metadata"]["uid"],
        "sub": f"system:serviceaccount:{namespace}:{name}",
    }


def account_of(secret: Obj) -> tuple[str, str]:
    """Name and uid (which may be empty) of the account that a Secret is for."""
    annotations = secret["metadata"].get("annotations") or {}
    return annotations.get(_NAME) or "", annotations.get(_UID) or ""


def filled(secret: Obj, account: Obj, certificate: bytes, key: SigningKey) -> Obj | None:
    """The Secret as it should be; None when it is."""
    data = dict(secret.get("data") or {})
    data["ca.crt"] = base64.b64encode(certificate).decode()
    data["namespace"] = base64.b64encode(account["metadata"]["namespace"].encode()).decode()
    if not data.get("token"):
        data["token"] = base64.b64encode(key.sign(claims(account, secret)).encode()).decode()
    annotations = {**(secret["metadata"].get("annotations") or {}), _UID: account["metadata"]["uid"]}
    if data == secret.get("data") and annotations == secret["metadata"].get("annotations"):
        return None
    return {**secret, "metadata": {**secret["metadata"], "annotations": annotations}, "data": data}


def _by_account(secret: Obj) -> Iterable[str]:
    return [f"{secret['metadata']['namespace']}/{account_of(secret)[0]}"]


class TokenSecretController(Controller):
    """Does nothing when the process was not told of a key."""

    name = "serviceaccount-token-controller"
    key_file: Path | None = None

    def configure(self, options: Mapping[str, Any]) -> None:
        self.key_file = options["service_account_private_key_file"]

    @cached_property
    def _key(self) -> SigningKey:
        assert self.key_file is not None
        return SigningKey(self.key_file.read_bytes(), str(self.key_file))

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._secrets = manager.informer(SECRET, field_selector=f"type={TYPE}")
        self._accounts = manager.informer(SERVICE_ACCOUNT)
        self._secrets.add_index("account", _by_account)
        self._secrets.on_change(self.enqueue)
        self._accounts.on_change(self._enqueue_secrets)

    def _enqueue_secrets(self, old: Obj | None, new: Obj | None) -> None:
        account = (new or old or {}).get("metadata") or {}
        for secret in self._secrets.by_index("account", f"{account.get('namespace')}/{account.get('name')}"):
            self.enqueue(None, secret)

    async def reconcile(self, key: str) -> float | None:
        secret = self._secrets.get_key(key)
        if self.key_file is None or secret is None or secret["metadata"].get("deletionTimestamp"):
            return None
        namespace = secret["metadata"]["namespace"]
        name, uid = account_of(secret)
        account = self._accounts.get(namespace, name) or await self._live(namespace, name)
        if account is None or (uid and uid != account["metadata"]["uid"]):
            await self._remove(secret)
            return None
        made = filled(secret, account, self._client.ca, self._key)
        if made is not None:
            self._secrets.observe(await self._client.update(SECRET, made))
        return None

    async def _live(self, namespace: str, name: str) -> Obj | None:
        """An account that is not seen yet may be there all the same."""
        try:
            return await self._client.get(SERVICE_ACCOUNT, name, namespace)
        except APIError as error:
            if error.code == 404:
                return None
            raise

    async def _remove(self, secret: Obj) -> None:
        metadata = secret["metadata"]
        with ignoring(404):
            await self._client.delete(SECRET, metadata["name"], metadata["namespace"])

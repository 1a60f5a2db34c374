"""Signs the ConfigMap cluster-info of kube-public with every bootstrap token that may sign, so that whoever joins with
such a token can tell that it is of this cluster.

Source: Kubernetes documentation, "Authenticating with Bootstrap Tokens", ConfigMap signing (JWS with detached content,
RFC 7515, appendix F; HS256).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
from collections.abc import Iterable

import orjson

from hawser.api import jws
from hawser.api.kinds import CONFIG_MAP, SECRET
from hawser.api.types import Obj
from hawser.client.controller import Controller, Manager
from hawser.controllers.token_cleaner import NAMESPACE, TYPE, left, value

_PUBLIC = "kube-public"
_NAME = "cluster-info"
_CONTENT = "kubeconfig"
_SIGNATURE = "jws-kubeconfig-"


def signature(content: str, identifier: str, secret: str) -> str:
    """``HEADER..SIGNATURE`` over content that is not in it."""
    header = jws.encode(orjson.dumps({"alg": "HS256", "kid": identifier}))
    signed = f"{header}.{jws.encode(content.encode())}".encode()
    return f"{header}..{jws.encode(hmac.digest(secret.encode(), signed, hashlib.sha256))}"


def signed(found: Obj, tokens: Iterable[Obj], now: dt.datetime) -> Obj | None:
    """The ConfigMap with the signatures that it should have; None when it has them."""
    data = found.get("data") or {}
    content = data.get(_CONTENT) or ""
    wanted = {key: text for key, text in data.items() if not key.startswith(_SIGNATURE)}
    for token in tokens if content else ():
        identifier, secret = value(token, "token-id"), value(token, "token-secret")
        good = identifier and secret and token["metadata"]["name"] == f"bootstrap-token-{identifier}"
        if good and value(token, "usage-bootstrap-signing") == "true" and left(token, now) != 0.0:
            wanted[f"{_SIGNATURE}{identifier}"] = signature(content, identifier, secret)
    return None if wanted == data else {**found, "data": wanted}


class BootstrapSigner(Controller):
    """See the module."""

    name = "bootstrap-signer-controller"

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._clock = manager.clock
        self._tokens = manager.informer(SECRET, NAMESPACE, field_selector=f"type={TYPE}")
        self._maps = manager.informer(CONFIG_MAP, _PUBLIC, field_selector=f"metadata.name={_NAME}")
        self._maps.on_change(self.enqueue)
        self._tokens.on_change(lambda old, new: self.queue.add(f"{_PUBLIC}/{_NAME}"))

    async def reconcile(self, key: str) -> float | None:
        found = self._maps.get_key(key)
        if found is None:
            return None
        made = signed(found, self._tokens.list(), self._clock.now())
        if made is not None:
            self._maps.observe(await self._client.update(CONFIG_MAP, made))
        return None

"""The ConfigMaps, Secrets and tokens that pods of this node refer to.

Read afresh when a pod starts; afterwards one watch for each namespace and kind that is in use tells of changes.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hawser.api.errors import APIError
from hawser.api.kinds import CONFIG_MAP, SECRET, SERVICE_ACCOUNT, Kind
from hawser.api.types import Obj
from hawser.client.client import Client
from hawser.client.clock import parse_timestamp
from hawser.client.informer import Informer
from hawser.node.pod import view

# As kubelet: a token is renewed when a fifth of its life is left, or after a day, up to ten seconds earlier.
_LEFT = 0.2
_DAY = 86400.0
_JITTER_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    renew_at: float
    expires_at: float


class Objects:
    """Reads through the client. changed: called with kind, namespace and name of an object that changed.

    now: seconds since the epoch. jitter: 0 to 1, so that not all tokens are renewed at once.
    """

    def __init__(
        self,
        client: Client,
        changed: Callable[[str, str, str], None],
        *,
        now: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._now = now
        self._jitter = jitter
        self._client = client
        self._changed = changed
        self._watches: dict[tuple[Kind, str, str], tuple[asyncio.Task[None], set[str]]] = {}
        self._read_versions: dict[tuple[Kind, str, str], str] = {}
        self._tokens: dict[tuple[str, str, int], _Token] = {}

    async def config_maps(self, namespace: str, names: Iterable[str]) -> dict[str, Obj]:
        """Those that exist, by name. Raises APIError for anything but 404."""
        return await self._read(CONFIG_MAP, namespace, names)

    async def secrets(self, namespace: str, names: Iterable[str]) -> dict[str, Obj]:
        """Those that exist, by name. Raises APIError for anything but 404."""
        return await self._read(SECRET, namespace, names)

    async def _read(self, kind: Kind, namespace: str, names: Iterable[str]) -> dict[str, Obj]:
        async def one(name: str) -> Obj | None:
            try:
                return await self._client.get(kind, name, namespace)
            except APIError as err:
                if err.code == 404:
                    return None
                raise

        listed = list(names)
        found = await asyncio.gather(*(one(name) for name in listed))
        for name, obj in zip(listed, found, strict=True):
            if (kind, namespace, name) in self._watches:
                self._read_versions[(kind, namespace, name)] = obj["metadata"]["resourceVersion"] if obj else ""
        return {name: obj for name, obj in zip(listed, found, strict=True) if obj is not None}

    async def token(self, pod: Obj, audience: str, seconds: int) -> str:
        """A token of the pod's service account, bound to the pod; another one after 80 % of its life, or a day.

        When there is no other one to be had, the old one serves as long as it lives. Raises APIError.
        """
        key = (view.uid(pod), audience, seconds)
        known, now = self._tokens.get(key), self._now()
        if known is not None and now < known.renew_at:
            return known.text
        try:
            made = await self._request(pod, audience, seconds)
        except APIError:
            if known is not None and now < known.expires_at:
                return known.text
            raise
        self._tokens[key] = made
        return made.text

    async def _request(self, pod: Obj, audience: str, seconds: int) -> _Token:
        namespace, name = view.key(pod)
        body: Obj = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": [audience] if audience else [],
                "expirationSeconds": seconds,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": view.uid(pod)},
            },
        }
        account = pod["spec"].get("serviceAccountName") or "default"
        made = await self._client.post_subresource(SERVICE_ACCOUNT, account, namespace, "token", body)
        expires_at = parse_timestamp(made["status"]["expirationTimestamp"]).timestamp()
        life = float(made["spec"].get("expirationSeconds") or seconds)
        renew_at = min(expires_at - life * _LEFT, expires_at - life + _DAY) - _JITTER_SECONDS * self._jitter()
        return _Token(str(made["status"]["token"]), renew_at, expires_at)

    def renewal(self, uid: str) -> float | None:
        """When the first of a pod's tokens is to be renewed, seconds since the epoch; None without tokens."""
        return min((token.renew_at for key, token in self._tokens.items() if key[0] == uid), default=None)

    def watch(self, uid: str, kind: Kind, namespace: str, names: Iterable[str]) -> None:
        """Reports changes of these objects while some pod wants them. A node may watch no more than its pods need."""
        for name in names:
            self._watch(uid, kind, namespace, name)

    def _watch(self, uid: str, kind: Kind, namespace: str, name: str) -> None:
        known = self._watches.get((kind, namespace, name))
        if known is None:
            informer = Informer(self._client, kind, namespace, field_selector=f"metadata.name={name}")
            word = kind.kind

            def handler(old: Obj | None, new: Obj | None) -> None:
                # The first list is news only where it differs from what was read before.
                version = new["metadata"]["resourceVersion"] if new else ""
                if informer.has_synced or version != self._read_versions.get((kind, namespace, name), version):
                    self._changed(word, namespace, name)

            informer.on_change(handler)
            known = (asyncio.create_task(informer.run(), name=f"watch {kind.plural} {namespace}/{name}"), set())
            self._watches[(kind, namespace, name)] = known
        known[1].add(uid)

    def forget(self, uid: str) -> None:
        """Ends what only this pod wanted."""
        for key, (task, users) in list(self._watches.items()):
            users.discard(uid)
            if not users:
                task.cancel()
                del self._watches[key]
                self._read_versions.pop(key, None)
        for token_key in [k for k in self._tokens if k[0] == uid]:
            del self._tokens[token_key]

    def close(self) -> None:
        """Ends all watches."""
        for task, _ in self._watches.values():
            task.cancel()
        self._watches.clear()

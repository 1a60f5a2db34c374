"""The ConfigMaps, Secrets and tokens that pods of this node refer to.

Read afresh when a pod starts; afterwards one watch for each namespace and kind that is in use tells of changes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from hawser.api.errors import APIError
from hawser.api.kinds import CONFIG_MAP, SECRET, SERVICE_ACCOUNT, Kind
from hawser.api.types import Obj
from hawser.client.client import Client
from hawser.client.informer import Informer
from hawser.node.pod import view


class Objects:
    """Reads through the client. changed: called with kind, namespace and name of an object that changed."""

    def __init__(self, client: Client, changed: Callable[[str, str, str], None]) -> None:
        self._client = client
        self._changed = changed
        self._watches: dict[tuple[Kind, str, str], tuple[asyncio.Task[None], set[str]]] = {}
        self._read_versions: dict[tuple[Kind, str, str], str] = {}
        self._tokens: dict[tuple[str, str, int], tuple[str, float]] = {}

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
        """A token of the pod's service account, bound to the pod; renewed after 80 % of its life. Raises APIError."""
        key = (view.uid(pod), audience, seconds)
        token, renew_at = self._tokens.get(key, ("", 0.0))
        if token and time.time() < renew_at:
            return token
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
        token = str(made["status"]["token"])
        self._tokens[key] = (token, time.time() + seconds * 0.8)
        return token

    def renewal(self, uid: str) -> float | None:
        """When the first of a pod's tokens is to be renewed, seconds since the epoch; None without tokens."""
        return min((renew_at for key, (_, renew_at) in self._tokens.items() if key[0] == uid), default=None)

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

"""Which node's pods refer to what.

Follows the store. Pods are written often and looked at here seldom: a change is only noted, and read when a node asks.
What a bound pod refers to never changes, but for its resource claims.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import orjson

from hawser.api.kinds import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD
from hawser.apiserver.authorization import references
from hawser.apiserver.authorization.references import Reference
from hawser.apiserver.index import of
from hawser.apiserver.strategies.base import Lookup
from hawser.store.base import EventType, Record, Store, StoreEvent

_PODS = "core/pods/"
_MOST = 20_000
_NOTHING: Counter[Reference] = Counter()


class _Pod:
    """What is known of one bound pod. version: what it must be read again for."""

    __slots__ = ("node", "references", "settled", "version")

    def __init__(self, node: str, version: int, found: set[Reference], settled: bool) -> None:
        self.node = node
        self.version = version
        self.references = found
        self.settled = settled


class Graph:
    """See the module."""

    def __init__(self, store: Store, lookup: Lookup) -> None:
        self._store = store
        self._lookup = lookup
        self._pods: dict[str, _Pod] = {}
        self._nodes: dict[str, Counter[Reference]] = {}
        self._noted: dict[str, Record | None] | None = None
        store.follow(_PODS, self._changed)

    def refers(self, node: str, plural: str, namespace: str, name: str) -> bool:
        """Whether a pod of the node refers to an object, by itself or by a volume of its claims."""
        self._settle()
        mine = self._nodes.get(node, _NOTHING)
        if plural == "persistentvolumes":
            return self._has_volume(mine, name)
        wanted = (plural, namespace, name)
        return wanted in mine or (plural == "secrets" and self._of_volumes(mine, wanted))

    def _has_volume(self, mine: Counter[Reference], name: str) -> bool:
        volume = self._lookup.find(PERSISTENT_VOLUME, "", name)
        claim = ((volume or {}).get("spec") or {}).get("claimRef")
        if not claim:
            return False
        return ("persistentvolumeclaims", claim.get("namespace") or "", claim.get("name") or "") in mine

    def _of_volumes(self, mine: Counter[Reference], wanted: Reference) -> bool:
        for plural, namespace, name in mine:
            if plural != "persistentvolumeclaims":
                continue
            claim = self._lookup.find(PERSISTENT_VOLUME_CLAIM, namespace, name)
            volume_name = ((claim or {}).get("spec") or {}).get("volumeName")
            if not volume_name or not self._has_volume(mine, volume_name):
                continue
            volume = self._lookup.find(PERSISTENT_VOLUME, "", volume_name)
            if volume is not None and wanted in references.of_volume(volume):
                return True
        return False

    def _changed(self, events: Sequence[StoreEvent]) -> None:
        noted = self._noted
        if noted is None:
            return  # Nobody has asked yet: everything is still to be read.
        for event in events:
            noted[event.record.key] = None if event.type is EventType.DELETED else event.record
        if len(noted) > _MOST:
            # Nobody asks any more: start over should somebody do so again.
            self._noted = None
            self._pods.clear()
            self._nodes.clear()

    def _settle(self) -> None:
        """Read what was noted."""
        noted = self._noted
        if noted is None:
            noted = {record.key: record for record in self._store.list(_PODS)}
        self._noted = {}
        for key, record in noted.items():
            node = of(POD, record).field("spec.nodeName") if record is not None else ""
            known = self._pods.get(key)
            if known is not None:
                same = record is not None and known.version == record.created and known.node == node
                if same and known.settled:
                    continue
                self._forget(key, known)
            if record is not None and node:
                self._read(key, record, node)

    def _read(self, key: str, record: Record, node: str) -> None:
        pod = orjson.loads(record.value)
        found = references.of_pod(pod)
        # Containers for debugging are added, and resource claims made, after the pod is bound.
        settled = not pod["spec"].get("resourceClaims") and not pod["spec"].get("ephemeralContainers")
        self._pods[key] = _Pod(node, record.created, found, settled)
        self._nodes.setdefault(node, Counter()).update(found)

    def _forget(self, key: str, known: _Pod) -> None:
        del self._pods[key]
        mine = self._nodes[known.node]
        mine.subtract(known.references)
        for reference in known.references:
            if not mine[reference]:
                del mine[reference]
        if not mine:
            del self._nodes[known.node]

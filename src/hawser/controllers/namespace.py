"""Namespaces under deletion: everything in them is deleted, then they are finalized.

Source: Namespaces walkthrough, "Deletion"; API reference, NamespaceStatus conditions; KEP-5080: pods go before
everything else, so that nothing they rely on is taken from them while they end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hawser.api.errors import APIError, ignoring
from hawser.api.kinds import NAMESPACE, POD, Kind, watched
from hawser.api.types import Obj
from hawser.client.clock import timestamp
from hawser.client.controller import Controller, Manager
from hawser.client.discovery import custom_kinds

FINALIZER = "kubernetes"
_LOOK_AGAIN = 1.0


def deletion_order(kinds: Sequence[Kind]) -> list[Kind]:
    """Namespaced kinds that can be deleted as a collection, pods first."""
    listed = [k for k in kinds if k.namespaced and "deletecollection" in k.verbs]
    return sorted(listed, key=lambda k: k is not POD)


def conditions(
    old: Sequence[Obj], left: Mapping[str, int], held: Mapping[str, int], errors: Sequence[str], now: str
) -> list[Obj]:
    """The status conditions that tell why a namespace is still there.

    left: objects by ``plural.group``; held: objects by finalizer; errors: what could not be deleted.
    """
    holding = "Some content in the namespace has finalizers remaining: "
    content = ", ".join(f"{name} has {count} resource instances" for name, count in left.items())
    holders = ", ".join(f"{name} in {count} resource instances" for name, count in held.items())
    wanted = [
        ("NamespaceDeletionDiscoveryFailure", "", "ResourcesDiscovered", "", "All resources successfully discovered"),
        ("NamespaceDeletionGroupVersionParsingFailure", "", "ParsedGroupVersions", "",
         "All legacy kube types successfully parsed"),
        ("NamespaceDeletionContentFailure", "; ".join(errors), "ContentDeleted", "ContentDeletionFailed",
         "All content successfully deleted, may be waiting on finalization"),
        ("NamespaceContentRemaining", content and f"Some resources are remaining: {content}", "ContentRemoved",
         "SomeResourcesRemain", "All content successfully removed"),
        ("NamespaceFinalizersRemaining", holders and f"{holding}{holders}",
         "ContentHasNoFinalizers", "SomeFinalizersRemain", "All content-preserving finalizers finished"),
    ]  # fmt: skip
    made: list[Obj] = []
    for kind, problem, good, bad, well in wanted:
        status = "True" if problem else "False"
        before = next((c for c in old if c["type"] == kind and c["status"] == status), None)
        made.append(
            {
                "type": kind,
                "status": status,
                "lastTransitionTime": before["lastTransitionTime"] if before else now,
                "reason": bad if problem else good,
                "message": problem or well,
            }
        )
    own = {c["type"] for c in made}
    return [*made, *(c for c in old if c["type"] not in own)]


class NamespaceController(Controller):
    """See the module."""

    name = "namespace-controller"
    workers = 4

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._clock = manager.clock
        self._namespaces = manager.informer(NAMESPACE)
        self._namespaces.on_change(self._enqueue_terminating)
        # Pods take their time; their end is what a namespace usually waits for.
        self._pods = manager.informer(POD)
        self._pods.on_change(self._enqueue_of_pod)

    def _enqueue_terminating(self, old: Obj | None, new: Obj | None) -> None:
        if new is not None and new["metadata"].get("deletionTimestamp"):
            self.enqueue(old, new)

    def _enqueue_of_pod(self, old: Obj | None, new: Obj | None) -> None:
        if new is None and old is not None and not self._pods.list(old["metadata"]["namespace"]):
            namespace = self._namespaces.get(None, old["metadata"]["namespace"])
            if namespace is not None:
                self._enqueue_terminating(None, namespace)

    async def reconcile(self, key: str) -> float | None:
        namespace = self._namespaces.get_key(key)
        if namespace is None or not namespace["metadata"].get("deletionTimestamp"):
            return None
        if FINALIZER not in (namespace["spec"].get("finalizers") or ()):
            return None
        left, held, errors = await self._empty(key)
        if left or errors:
            await self._write_status(namespace, left, held, errors)
            return _LOOK_AGAIN
        await self._finalize(namespace)
        return None

    async def _empty(self, name: str) -> tuple[dict[str, int], dict[str, int], list[str]]:
        """Deletes all content; returns what is left, which finalizers hold it, and what failed."""
        left: dict[str, int] = {}
        held: dict[str, int] = {}
        errors: list[str] = []
        try:
            kinds = [*watched(), *await custom_kinds(self._client)]
        except APIError as e:
            # What cannot be found out may be there: the namespace waits.
            return left, held, [e.message]
        for kind in deletion_order(kinds):
            try:
                if not await self._content(kind, name):
                    continue
                await self._client.delete_collection(kind, name, propagation="Background")
                items = await self._content(kind, name)
            except APIError as e:
                if e.code not in (404, 405):
                    errors.append(e.message)
                if kind is POD and errors:
                    break
                continue
            if items:
                left[f"{kind.plural}.{kind.group}"] = len(items)
            for item in items:
                for finalizer in item["metadata"].get("finalizers") or ():
                    held[finalizer] = held.get(finalizer, 0) + 1
            if kind is POD and items:
                break
        return left, held, errors

    async def _content(self, kind: Kind, namespace: str) -> list[Obj]:
        return (await self._client.list(kind, namespace, metadata_only=True)).items

    async def _write_status(
        self, namespace: Obj, left: Mapping[str, int], held: Mapping[str, int], errors: Sequence[str]
    ) -> None:
        status = namespace.get("status") or {}
        old = status.get("conditions") or []
        made = conditions(old, left, held, errors, timestamp(self._clock.now()))
        if made == old:
            return
        changed = {**namespace, "status": {**status, "phase": "Terminating", "conditions": made}}
        with ignoring(404, 409):
            self._namespaces.observe(await self._client.update(NAMESPACE, changed, subresource="status"))

    async def _finalize(self, namespace: Obj) -> None:
        with ignoring(404):
            current = await self._client.get(NAMESPACE, namespace["metadata"]["name"])
            if current["metadata"]["uid"] != namespace["metadata"]["uid"]:
                return  # another one of that name, which lives
            finalizers = [f for f in current["spec"].get("finalizers") or () if f != FINALIZER]
            await self._client.update(
                NAMESPACE, {**current, "spec": {"finalizers": finalizers}}, subresource="finalize"
            )

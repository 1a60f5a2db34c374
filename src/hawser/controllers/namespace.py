"""Namespaces under deletion: everything in them is deleted, then they are finalized.

Source: Namespaces walkthrough, "Deletion"; API reference, NamespaceStatus conditions; KEP-5080: pods go before
everything else, so that nothing they rely on is taken from them while they end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from hawser.api.errors import APIError, ignoring
from hawser.api.kinds import NAMESPACE, POD, Kind, watched
from hawser.api.status import has_ended
from hawser.api.types import Obj
from hawser.client.clock import parse_timestamp, timestamp
from hawser.client.controller import Controller, Manager
from hawser.client.discovery import discover

FINALIZER = "kubernetes"
_LOOK_AGAIN = 1.0


def deletion_order(kinds: Sequence[Kind]) -> list[Kind]:
    """Namespaced kinds that can be deleted as a collection, pods first."""
    listed = [k for k in kinds if k.namespaced and "deletecollection" in k.verbs]
    return sorted(listed, key=lambda k: k is not POD)


@dataclass(slots=True)
class Rest:
    """What is left of a namespace's content, and why.

    left: objects by ``plural.group``; held: objects by finalizer; errors: what could not be deleted; unknown: why not
    all that there may be is known.
    """

    left: Counter[str] = field(default_factory=Counter)
    held: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    unknown: str = ""

    def __bool__(self) -> bool:
        return bool(self.left or self.errors or self.unknown)


def conditions(old: Sequence[Obj], rest: Rest, now: str) -> list[Obj]:
    """The status conditions that tell why a namespace is still there."""
    remaining = "Some resources are remaining: "
    holding = "Some content in the namespace has finalizers remaining: "
    content = ", ".join(sorted(f"{name} has {count} resource instances" for name, count in rest.left.items()))
    holders = ", ".join(sorted(f"{name} in {count} resource instances" for name, count in rest.held.items()))
    failed = f"Failed to delete all resource types, {len(rest.errors)} remaining: {', '.join(sorted(rest.errors))}"
    wanted = [
        ("NamespaceDeletionDiscoveryFailure", rest.unknown, "ResourcesDiscovered", "DiscoveryFailed",
         "All resources successfully discovered"),
        ("NamespaceDeletionGroupVersionParsingFailure", "", "ParsedGroupVersions", "",
         "All legacy kube types successfully parsed"),
        ("NamespaceDeletionContentFailure", rest.errors and failed, "ContentDeleted", "ContentDeletionFailed",
         "All content successfully deleted, may be waiting on finalization"),
        ("NamespaceContentRemaining", content and f"{remaining}{content}", "ContentRemoved",
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


def incomplete(stale: Sequence[str]) -> str:
    """What is said of group versions that nothing is known of now, in client-go's words; "" for none."""
    if not stale:
        return ""
    which = ", ".join(f"{one}: stale GroupVersion discovery: {one}" for one in sorted(stale))
    all_of_it = f"unable to retrieve the complete list of server APIs: {which}"
    return f"Discovery failed for some groups, {len(stale)} failing: {all_of_it}"


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
        rest = await self._empty(namespace)
        if rest:
            await self._write_status(namespace, rest)
            return _LOOK_AGAIN
        await self._finalize(namespace)
        return None

    async def _empty(self, namespace: Obj) -> Rest:
        """Deletes all content; returns what is left of it."""
        rest, name = Rest(), namespace["metadata"]["name"]
        kinds = [*watched()]
        try:
            found = await discover(self._client)
        except APIError as e:
            rest.unknown = e.message
        else:
            kinds += found.kinds
            rest.unknown = incomplete(found.stale)
        # What cannot be found out may be there: the namespace waits, and what is known goes meanwhile.
        for kind in deletion_order(kinds):
            try:
                if not await self._content(kind, name):
                    continue
                await self._client.delete_collection(kind, name, propagation="Background")
                items = await self._content(kind, name)
            except APIError as e:
                if e.code not in (404, 405):
                    rest.errors.append(e.message)
                if kind is POD and rest.errors:
                    break
                continue
            if items:
                rest.left[f"{kind.plural}.{kind.group}"] = len(items)
            finalizers = [one for item in items for one in item["metadata"].get("finalizers") or ()]
            rest.held.update(finalizers)
            if items and not finalizers and self._should_be_gone(namespace, kind):
                which = f"{kind.group}/{kind.version}, Resource={kind.plural}"
                rest.errors.append(f"unexpected items still remain in namespace: {name} for gvr: {which}")
            if kind is POD and items:
                break
        return rest

    def _should_be_gone(self, namespace: Obj, kind: Kind) -> bool:
        """Whether what nothing holds has had the time to go that it has; that is a pod's to end."""
        metadata = namespace["metadata"]
        pods = [pod for pod in self._pods.list(metadata["name"]) if not has_ended(pod)] if kind is POD else []
        longest = max((int(pod["spec"].get("terminationGracePeriodSeconds") or 0) for pod in pods), default=0)
        return (self._clock.now() - parse_timestamp(metadata["deletionTimestamp"])).total_seconds() >= longest

    async def _content(self, kind: Kind, namespace: str) -> list[Obj]:
        return (await self._client.list(kind, namespace, metadata_only=True)).items

    async def _write_status(self, namespace: Obj, rest: Rest) -> None:
        status = namespace.get("status") or {}
        old = status.get("conditions") or []
        made = conditions(old, rest, timestamp(self._clock.now()))
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

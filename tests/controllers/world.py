"""A cluster in memory for model tests: what the API server keeps and tells, with the faults that a test wishes for.

Controllers run unchanged on a ``Client`` whose requests end here (``world_client.py``). Time is a test's; nothing
happens by itself: a test says when pods start and end (``living.py``), when watches tell of changes, and which requests
fail or are the last thing that a controller's process did.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from hawser.api import errors
from hawser.api.defaults import apply_defaults
from hawser.api.kinds import EVENT, KINDS, NAMESPACE, NODE, POD, SUBJECT_ACCESS_REVIEW, Kind
from hawser.api.patch import merge_patch
from hawser.api.selectors import LabelSelector
from hawser.api.strategic import clone, strategic_merge_patch
from hawser.apiserver.paths import Target
from hawser.client.answers import WatchEvent
from hawser.client.client import STRATEGIC
from hawser.client.clock import Clock, timestamp

from .objects import Obj

Key = tuple[Kind, str, str]
_WAITS = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}


class Fault(StrEnum):
    """What becomes of a request that changes something."""

    NONE = "none"
    REFUSED = "refused"
    """It fails and changes nothing."""
    LOST = "lost"
    """It does its work, and the answer gets lost."""
    CRASH = "crash"
    """It does its work, and whoever asked is no more."""


@dataclass
class _Watch:
    kind: Kind
    namespace: str
    fields: str
    seen: int
    allowed: int
    expired: bool = False
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class World:
    """Objects, their history, and who watches it.

    faults: one for each write; without more of them all is well. stale: watches tell only what ``deliver`` lets them.
    """

    def __init__(self, clock: Clock, faults: Iterable[Fault] = ()) -> None:
        self.clock = clock
        self.faults = iter(faults)
        self.stale = False
        self.crashed = False
        self.writes = 0
        self.requests = 0
        self.told: list[Obj] = []
        """Events that controllers have reported."""
        self.groups: list[Obj] = []
        """What discovery tells of custom resources."""
        self.on_write: Callable[[str, Obj], None] = lambda verb, obj: None
        """Called with the verb and the object after each write of a controller; what must hold at every moment."""
        self.broken: list[AssertionError] = []
        """What did not hold."""
        self._objects: dict[Key, Obj] = {}
        self._history: list[tuple[int, str, Kind, Obj]] = []
        self._watches: list[_Watch] = []
        self._numbers = itertools.count(1)
        self.revision = 0

    # What tests do

    def objects(self, kind: Kind) -> list[Obj]:
        """All of a kind, to be looked at only."""
        return [obj for (known, _, _), obj in self._objects.items() if known == kind]

    def past(self, kind: Kind) -> set[str]:
        """The names of all of a kind that there have ever been."""
        return {obj["metadata"]["name"] for obj in self.states(kind)}

    def states(self, kind: Kind) -> list[Obj]:
        """All that have been of a kind, in every state that they have been in."""
        return [obj for _, _, known, obj in self._history if known == kind]

    def find(self, kind: Kind, name: str, namespace: str = "default") -> Obj | None:
        return self._objects.get((kind, namespace if kind.namespaced else "", name))

    def create(self, kind: Kind, obj: Obj) -> Obj:
        obj = clone(obj)
        metadata = obj.setdefault("metadata", {})
        namespace = metadata.setdefault("namespace", "default") if kind.namespaced else ""
        if "name" not in metadata:
            metadata["name"] = f"{metadata['generateName']}{next(self._numbers):05x}"
        key = (kind, namespace, metadata["name"])
        if key in self._objects:
            raise errors.already_exists(kind.group, kind.plural, metadata["name"])
        if self._is_ending(namespace):
            text = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise errors.APIError(403, "Forbidden", text, details={"causes": [{"reason": "NamespaceTerminating"}]})
        metadata["uid"] = f"uid-{next(self._numbers)}"
        metadata["creationTimestamp"] = timestamp(self.clock.now())
        metadata["generation"] = 1
        obj.setdefault("apiVersion", kind.api_version)
        obj.setdefault("kind", kind.kind)
        if "status" in kind.subresources and kind != NODE:
            obj["status"] = {"phase": "Pending"} if kind == POD else {}
        if kind == NAMESPACE:
            obj |= {"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
        if kind in KINDS:
            apply_defaults(kind, obj)
        self._put(key, obj, "ADDED")
        return obj

    def change(self, kind: Kind, name: str, change: Callable[[Obj], None], namespace: str = "default") -> Obj:
        """Changes an object as any client with all rights may."""
        key = (kind, namespace if kind.namespaced else "", name)
        old = self._objects[key]
        new = clone(old)
        change(new)
        return self._replace(key, old, new)

    def remove(self, kind: Kind, name: str, namespace: str = "default") -> None:
        """Takes an object out of the store, whatever it waits for."""
        key = (kind, namespace if kind.namespaced else "", name)
        obj = self._objects.pop(key)
        self.revision += 1
        gone = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.revision)}}
        self._tell(kind, "DELETED", gone)

    def delete(self, kind: Kind, name: str, namespace: str = "default", propagation: str = "") -> Obj:
        """Deletes as a client does: pods on a node end first, and dependents are seen to as they are to be."""
        key = (kind, namespace if kind.namespaced else "", name)
        obj = self._objects[key]
        metadata = obj["metadata"]
        runs = kind == POD and obj["spec"].get("nodeName") and obj["status"].get("phase") not in ("Failed", "Succeeded")
        finalizers = list(metadata.get("finalizers") or ())
        if (waits := _WAITS.get(propagation)) and waits not in finalizers:
            finalizers.append(waits)
        if not runs and not finalizers and not _holds(obj):
            self.remove(kind, name, namespace)
            return obj
        if metadata.get("deletionTimestamp"):
            return obj
        going = {**metadata, "deletionTimestamp": timestamp(self.clock.now()), "deletionGracePeriodSeconds": 30}
        if finalizers:
            going["finalizers"] = finalizers
        phase = {"status": {**obj["status"], "phase": "Terminating"}} if kind == NAMESPACE else {}
        return self._replace(key, obj, {**obj, "metadata": going, **phase})

    def collect(self) -> bool:
        """Removes, as the garbage collector does, what none of its owners is left of; whether there was anything."""
        uids = {obj["metadata"]["uid"] for obj in self._objects.values()}
        doomed = [
            key
            for key, obj in self._objects.items()
            if (owners := obj["metadata"].get("ownerReferences")) and not any(r["uid"] in uids for r in owners)
        ]
        done = False
        for kind, namespace, name in doomed:
            before = self.revision
            self.delete(kind, name, namespace)
            done = done or self.revision != before
        return done

    def deliver(self, changes: int | None = None) -> None:
        """Lets each watch tell of so many changes more; None: of all there are."""
        for watch in self._watches:
            watch.allowed = self.revision if changes is None else min(self.revision, watch.allowed + changes)
            watch.woken.set()

    def expire(self) -> None:
        """Ends all watches: who watches lists again after a while, and is not told what went on meanwhile."""
        for watch in self._watches:
            watch.expired = True
            watch.woken.set()

    # What clients ask

    def request(self, target: Target, method: str, body: Obj | None, content_type: str) -> Obj:
        kind = target.kind
        assert kind is not None, target.path
        if method == "POST":
            assert body is not None
            if kind.namespaced:
                body.setdefault("metadata", {}).setdefault("namespace", target.namespace)
            if kind == EVENT:
                self.told.append(body)
                return body
            if kind == SUBJECT_ACCESS_REVIEW:
                return {**body, "status": {"allowed": self.allows(body["spec"])}}
            return self.create(kind, body)
        if target.verb == "deletecollection":
            for obj in self._of(target):
                self.delete(
                    kind, obj["metadata"]["name"], target.namespace, (body or {}).get("propagationPolicy") or ""
                )
            return self.listing(target)
        key = (kind, target.namespace if kind.namespaced else "", target.name)
        old = self._objects.get(key)
        if old is None:
            raise errors.not_found(kind.group, kind.plural, target.name)
        if method == "GET":
            return _scale(old) if target.subresource == "scale" else old
        if method == "DELETE":
            asked = body or {}
            only = asked.get("preconditions") or {}
            self._check_uid(kind, old, only.get("uid"))
            if only.get("resourceVersion", old["metadata"]["resourceVersion"]) != old["metadata"]["resourceVersion"]:
                raise errors.conflict(kind.group, kind.plural, target.name)
            return self.delete(kind, target.name, key[1], asked.get("propagationPolicy") or "")
        assert body is not None
        return self._replace(key, old, self._changed(target, method, body, content_type, old), target.subresource)

    def _changed(self, target: Target, method: str, body: Obj, content_type: str, old: Obj) -> Obj:
        kind = target.kind
        assert kind is not None
        asked = body.get("metadata") or {}
        self._check_uid(kind, old, asked.get("uid"))
        if asked.get("resourceVersion", old["metadata"]["resourceVersion"]) not in (
            "",
            old["metadata"]["resourceVersion"],
        ):
            raise errors.conflict(kind.group, kind.plural, target.name)
        if method == "PATCH":
            new: Obj = (
                strategic_merge_patch(old, body, kind.gvk) if content_type == STRATEGIC else merge_patch(old, body)
            )
        else:
            new = clone(body)
        if target.subresource in ("status", "approval"):
            return {**old, "metadata": new["metadata"], "status": new.get("status") or {}}
        if target.subresource == "scale":
            return {**old, "spec": {**old["spec"], "replicas": new["spec"]["replicas"]}}
        return {**new, "status": old["status"]} if "status" in old else new

    def _check_uid(self, kind: Kind, obj: Obj, uid: str | None) -> None:
        if uid and uid != obj["metadata"]["uid"]:
            raise errors.conflict(kind.group, kind.plural, obj["metadata"]["name"])

    def _replace(self, key: Key, old: Obj, new: Obj, subresource: str = "") -> Obj:
        new = clone(new)
        metadata = new["metadata"]
        if not metadata.get("ownerReferences"):
            metadata.pop("ownerReferences", None)
        if subresource in ("", "scale"):
            if key[0] in KINDS:
                apply_defaults(key[0], new)
            metadata["generation"] = old["metadata"]["generation"] + (new.get("spec") != old.get("spec"))
        if new == old:
            return old
        freed = metadata.get("deletionTimestamp") and not metadata.get("finalizers") and not _holds(new)
        if freed and key[0] != POD:
            self.remove(key[0], key[2], key[1])
            return new
        self._put(key, new, "MODIFIED")
        return new

    def _put(self, key: Key, obj: Obj, event: str) -> None:
        self.revision += 1
        obj["metadata"]["resourceVersion"] = str(self.revision)
        self._objects[key] = obj
        self._tell(key[0], event, obj)

    def _tell(self, kind: Kind, event: str, obj: Obj) -> None:
        self._history.append((self.revision, event, kind, obj))
        if not self.stale:
            self.deliver()

    def allows(self, asked: Obj) -> bool:
        """Whether a SubjectAccessReview's user may do what is asked."""
        return True

    def listing(self, target: Target) -> Obj:
        return {"items": self._of(target), "metadata": {"resourceVersion": str(self.revision)}}

    def _of(self, target: Target) -> list[Obj]:
        labels = LabelSelector.parse(target.query.get("labelSelector", ""))
        fields = target.query.get("fieldSelector", "")
        return [
            obj
            for (kind, namespace, _), obj in self._objects.items()
            if kind == target.kind
            and target.namespace in ("", namespace)
            and labels.matches(obj["metadata"].get("labels"))
            and _has(obj, fields)
        ]

    def _is_ending(self, namespace: str) -> bool:
        found = self.find(NAMESPACE, namespace)
        return found is not None and "deletionTimestamp" in found["metadata"]

    async def watch(self, kind: Kind, namespace: str, fields: str, start: int) -> AsyncGenerator[WatchEvent, None]:
        watch = _Watch(kind, namespace, fields, start, start if self.stale else self.revision)
        self._watches.append(watch)
        try:
            while True:
                watch.woken.clear()
                for revision, event, known, obj in self._after(watch.seen):
                    if revision > watch.allowed:
                        break
                    watch.seen = revision
                    if known == kind and namespace in ("", obj["metadata"].get("namespace")) and _has(obj, fields):
                        self.requests += 1
                        yield WatchEvent(event, clone(obj))
                await watch.woken.wait()
                if watch.expired:
                    raise errors.APIError(410, "Expired", "too old resource version")
        finally:
            self._watches.remove(watch)

    def _after(self, revision: int) -> list[tuple[int, str, Kind, Obj]]:
        # Every revision is one event, so that the history is its own index.
        return self._history[revision:]


def _holds(obj: Obj) -> bool:
    """Whether something else than finalizers of its metadata keeps an object: a namespace's own finalizers do."""
    return obj["kind"] == "Namespace" and bool(obj["spec"].get("finalizers"))


def _has(obj: Obj, fields: str) -> bool:
    """Whether an object is of a field selector, of one field that never changes."""
    path, _, value = fields.partition("=")
    found: object = obj
    for part in path.split(".") if path else ():
        found = found.get(part) if isinstance(found, dict) else None
    return not path or found == value


def _scale(obj: Obj) -> Obj:
    labels = obj["spec"]["selector"]
    return {
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {field: obj["metadata"][field] for field in ("name", "namespace", "uid", "resourceVersion")},
        "spec": {"replicas": obj["spec"]["replicas"]},
        "status": {
            "replicas": (obj.get("status") or {}).get("replicas", 0),
            "selector": str(LabelSelector.from_object(labels)),
        },
    }

"""How controllers that own pods see them, claim them, make them and delete them.

Source: ReplicaSet, DaemonSet, StatefulSet and Job documentation; KEP-1: adoption asks the server for the owner first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from hawser.api.errors import APIError
from hawser.api.kinds import POD, Kind
from hawser.api.selectors import LabelSelector
from hawser.api.status import has_ended
from hawser.api.types import Obj
from hawser.client.client import STRATEGIC
from hawser.client.controller import Manager, controller_of
from hawser.client.events import EventRecorder
from hawser.controllers import pods
from hawser.controllers.tally import INDIVIDUAL, Tally, by_owner, tally_of

WORDS: Mapping[str, str] = {
    "SuccessfulCreate": "Created pod: {pod}",
    "FailedCreate": "Error creating: {error}",
    "SuccessfulDelete": "Deleted pod: {pod}",
    "FailedDelete": "Error deleting: {error}",
}
"""What events say, by their reasons. ``{pod}``, ``{owner}``: names; ``{error}``: what went wrong."""

_MANY = 100
_REST_A_POD, _LONGEST_REST = 20e-6, 0.25
LOOKED_AT = 1e-4
"""Seconds of rest for each pod where looking at the owner is looking at all of them."""
_REMOVED = "$deleteFromPrimitiveList/finalizers"


class PodControl:
    """The pods of one kind of owner.

    Own writes are in the cache at once, also deletions, so that no decision is made twice. recorder: of the owner's
    controller. kind: the owner's. words: as WORDS. finalizer: holds pods until the owner has counted their end; adopted
    pods get it and released ones lose it. tallied: whether ``tally`` is kept, for owners of many pods that are alike.
    """

    def __init__(
        self,
        manager: Manager,
        recorder: EventRecorder,
        kind: Kind,
        words: Mapping[str, str] = WORDS,
        *,
        finalizer: str = "",
        tallied: bool = False,
    ) -> None:
        self._client = manager.client
        self._recorder = recorder
        self._kind = kind
        self._words = words
        self._finalizer = finalizer
        self.informer = manager.informer(POD)
        self.informer.add_index("owner", pods.owner_uids)
        self.informer.add_index("orphan", lambda pod: [] if controller_of(pod) else [pod["metadata"]["namespace"]])
        self._tallied = tallied
        if tallied:
            self.informer.add_tally("owner", by_owner)
        # Uids of pods that the server has removed and the watch has not yet told of.
        self._gone: set[str] = set()
        self.informer.on_change(self._forget_gone)

    def _forget_gone(self, old: Obj | None, new: Obj | None) -> None:
        if new is None and old is not None:
            self._gone.discard(old["metadata"]["uid"])

    @property
    def is_exact(self) -> bool:
        """Whether what the informer counts is so: it does not count pods that are gone already."""
        return not self._gone

    def owned(self, uid: str, index: str = "owner") -> list[Obj]:
        """The pods whose controller has this uid; of another index than that of all, some of them."""
        return self._present(self.informer.by_index(index, uid))

    def tally(self, uid: str) -> Tally:
        """How many pods of which sort the controller with this uid has."""
        # What is gone and still in the cache is so for a moment only.
        return tally_of(self.owned(uid)) if self._gone or not self._tallied else self.informer.tally("owner", uid)

    def all_match(self, uid: str, selector: LabelSelector) -> bool:
        """Whether the tally says that a selector matches all pods of the controller with this uid."""
        if not self._tallied or any(requirement.key == INDIVIDUAL for requirement in selector.requirements):
            return False
        matches = selector.matcher()
        return all(matches(dict(sort.labels)) for sort in self.tally(uid))

    def rest(self, uid: str, each: float = _REST_A_POD) -> float:
        """Seconds that an owner of many pods rests, so that it does not write its status at each change of one."""
        return resting(self.informer.count("owner", uid), each)

    def orphans(self, namespace: str) -> list[Obj]:
        """The namespace's pods without a controller."""
        return self._present(self.informer.by_index("orphan", namespace))

    def _present(self, found: list[Obj]) -> list[Obj]:
        return [pod for pod in found if pod["metadata"]["uid"] not in self._gone] if self._gone else found

    def on_orphan(self, look: Callable[[Obj], None]) -> None:
        """Calls ``look`` with pods that have no controller, when that or their labels are new."""
        fields = ("labels", "ownerReferences")

        def handler(old: Obj | None, new: Obj | None) -> None:
            if new is None or controller_of(new) is not None or not new["metadata"].get("labels"):
                return
            if old is None or any(old["metadata"].get(f) != new["metadata"].get(f) for f in fields):
                look(new)

        self.informer.on_change(handler)

    async def claim(
        self, owner: Obj, selector: LabelSelector, belongs: Callable[[Obj], bool] | None = None
    ) -> list[Obj] | None:
        """Adopts the pods that match and releases those that do not match any more; returns all of the owner's.

        An owner under deletion keeps what it has. None: the cache does not know yet that the owner is going or gone.
        belongs: what a pod needs besides its labels.
        """
        metadata = owner["metadata"]
        owned = self.owned(metadata["uid"])
        if pods.is_terminating(owner):
            return owned

        matches = selector.matcher()

        def fits(pod: Obj) -> bool:
            return matches(pod["metadata"].get("labels")) and (belongs is None or belongs(pod))

        if belongs is None and self.all_match(metadata["uid"], selector):
            mine = owned
        else:
            mine = [pod for pod in owned if fits(pod)]
        if len(mine) < len(owned):
            for pod in owned:
                if not fits(pod):
                    await self.release(owner, pod)
        wanted = [pod for pod in self.orphans(metadata["namespace"]) if self._is_wanted(pod) and fits(pod)]
        if wanted and not await pods.may_adopt(self._client, self._kind, owner):
            return None
        for pod in wanted:
            adopted = await self.adopt(owner, pod)
            if adopted is not None:
                mine.append(adopted)
        return mine

    def _is_wanted(self, orphan: Obj) -> bool:
        if not self._finalizer or pods.is_terminating(orphan):
            return pods.is_active(orphan)
        # One that has ended and lost the finalizer has been counted.
        return not has_ended(orphan) or self._finalizer in (orphan["metadata"].get("finalizers") or ())

    async def adopt(self, owner: Obj, pod: Obj) -> Obj | None:
        """Makes the owner the pod's controller; the pod as it is then, None when it is gone."""
        changes: Obj = {"ownerReferences": [pods.owner_reference(owner)]}
        if self._finalizer:
            changes["finalizers"] = [self._finalizer]
        return await self._change(pod, changes)

    async def release(self, owner: Obj, pod: Obj) -> None:
        """Takes the owner's reference out of the pod."""
        changes: Obj = {"ownerReferences": [{"$patch": "delete", "uid": owner["metadata"]["uid"]}]}
        if self._finalizer:
            changes[_REMOVED] = [self._finalizer]
        await self._change(pod, changes)

    async def let_go(self, pod: Obj) -> None:
        """Takes the finalizer away; a pod that was being deleted may be gone by then."""
        if self._finalizer in (pod["metadata"].get("finalizers") or ()):
            await self._change(pod, {_REMOVED: [self._finalizer]})

    async def relabel(self, pod: Obj, labels: Obj) -> Obj | None:
        """Sets labels; the pod as it is then, None when it is gone."""
        return await self._change(pod, {"labels": labels})

    async def _change(self, pod: Obj, changes: Obj) -> Obj | None:
        """Patches the metadata of this very pod; None when it is gone."""
        metadata = pod["metadata"]
        body = {"metadata": {"uid": metadata["uid"], **changes}}
        try:
            changed = await self._client.patch(POD, metadata["name"], metadata["namespace"], body, type=STRATEGIC)
        except APIError as e:
            if e.code not in (404, 409, 422):
                raise
            if e.code == 404:
                self._note_gone(pod)
            return None  # gone, or another one of that name: the watch tells
        self.informer.observe(changed)
        return changed

    async def create(self, owner: Obj, body: Obj) -> Obj:
        """Creates a pod and says so. Raises APIError, which an event tells of unless the whole namespace is going."""
        try:
            made = await self._client.create(POD, body)
        except APIError as e:
            # A pod of that name is somebody's answer to something: whoever asks for names looks again.
            if not is_namespace_terminating(e) and not (e.reason == "AlreadyExists" and body["metadata"].get("name")):
                self.say(owner, "FailedCreate", body["metadata"].get("name", ""), e.message)
            raise
        self.informer.observe(made)
        self.say(owner, "SuccessfulCreate", made["metadata"]["name"])
        return made

    async def create_all(self, owner: Obj, bodies: Sequence[Obj]) -> APIError | None:
        """Creates pods in batches that double, so that what fails always fails once and not 500 times.

        Returns the first failure; what comes after its batch is not tried.
        """

        async def attempt(body: Obj) -> APIError | None:
            try:
                await self.create(owner, body)
            except APIError as e:
                return e
            return None

        done, batch = 0, 1
        while done < len(bodies):
            answers = await asyncio.gather(*(attempt(body) for body in bodies[done : done + batch]))
            failure = next((a for a in answers if a is not None), None)
            if failure is not None:
                return failure
            done, batch = done + batch, batch * 2
        return None

    async def delete(self, owner: Obj, pod: Obj) -> None:
        """Deletes this very pod and says so; that it is gone already is no failure. Raises APIError."""
        metadata = pod["metadata"]
        try:
            answer = await self._client.delete(POD, metadata["name"], metadata["namespace"], uid=metadata["uid"])
        except APIError as e:
            if e.code in (404, 409):
                self._note_gone(pod)
                return
            self.say(owner, "FailedDelete", metadata["name"], e.message)
            raise
        if answer.get("kind") == "Pod" and answer["metadata"].get("deletionTimestamp"):
            self.informer.observe(answer)
        else:
            self._note_gone(pod)
        self.say(owner, "SuccessfulDelete", metadata["name"])

    async def delete_all(self, owner: Obj, doomed: Iterable[Obj]) -> APIError | None:
        """Deletes pods at once; returns the first failure."""
        answers = await asyncio.gather(*(self.delete(owner, pod) for pod in doomed), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, APIError):
                raise answer
        return next((a for a in answers if isinstance(a, APIError)), None)

    def _note_gone(self, pod: Obj) -> None:
        """The pod does not count any more, although the cache may have it for a moment."""
        metadata = pod["metadata"]
        known = self.informer.get(metadata["namespace"], metadata["name"])
        if known is not None and known["metadata"]["uid"] == metadata["uid"]:
            self._gone.add(metadata["uid"])

    def say(self, owner: Obj, reason: str, pod: str, error: str = "") -> None:
        """An event about one of the owner's pods; its reason is one of WORDS."""
        message = self._words[reason].format(pod=pod, owner=owner["metadata"]["name"], error=error)
        self._recorder.event(owner, "Warning" if error else "Normal", reason, message)


def resting(number: int, each: float = _REST_A_POD) -> float:
    """Seconds that something of so many pods rests after it was looked at, so long for each; few do not rest."""
    return min(number * each, _LONGEST_REST) if number >= _MANY else 0.0


def is_namespace_terminating(error: APIError) -> bool:
    """Whether a creation was refused because the whole namespace is being deleted: nothing to try again for."""
    return any(cause.get("reason") == "NamespaceTerminating" for cause in (error.details or {}).get("causes") or ())

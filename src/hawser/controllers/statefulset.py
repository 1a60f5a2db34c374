"""StatefulSets: pods with names, volumes and an order of their own; the decisions are in ``stateful_plan``.

Source: StatefulSet documentation and API reference.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from hawser.api import errors
from hawser.api.errors import APIError, ignoring
from hawser.api.kinds import PERSISTENT_VOLUME_CLAIM, POD, STATEFUL_SET
from hawser.api.selectors import LabelSelector
from hawser.api.types import Obj
from hawser.client.controller import Controller, Manager
from hawser.controllers import stateful_claims as claims
from hawser.controllers.history import History
from hawser.controllers.pod_control import LOOKED_AT, PodControl
from hawser.controllers.stateful_plan import (
    Action,
    Claim,
    Create,
    Delete,
    Own,
    Phase,
    Repair,
    Situation,
    ordinal,
    plan,
    revision_of,
    status,
)

_WORDS: Mapping[str, str] = {
    "SuccessfulCreate": "create Pod {pod} in StatefulSet {owner} successful",
    "FailedCreate": "create Pod {pod} in StatefulSet {owner} failed error: {error}",
    "SuccessfulUpdate": "update Pod {pod} in StatefulSet {owner} successful",
    "FailedUpdate": "update Pod {pod} in StatefulSet {owner} failed error: {error}",
    "SuccessfulDelete": "delete Pod {pod} in StatefulSet {owner} successful",
    "FailedDelete": "delete Pod {pod} in StatefulSet {owner} failed error: {error}",
}


class StatefulSetController(Controller):
    """See the module."""

    name = "statefulset-controller"
    workers = 5

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._clock = manager.clock
        self._recorder = manager.recorder("statefulset-controller")
        self._sets = manager.informer(STATEFUL_SET)
        self._claims = manager.informer(PERSISTENT_VOLUME_CLAIM)
        self._pods = PodControl(manager, self._recorder, STATEFUL_SET, _WORDS)
        self._history = History(manager, self, STATEFUL_SET, "controller.kubernetes.io/hash")
        self._sets.on_change(self.enqueue)
        self._claims.on_change(self._enqueue_claimant)
        self._pods.informer.on_change(self.enqueue_owner("StatefulSet"))
        self._pods.on_orphan(self._enqueue_adopters)

    def rest(self, key: str) -> float:
        sts = self._sets.get_key(key)
        return self._pods.rest(sts["metadata"]["uid"], LOOKED_AT) if sts is not None else 0.0

    def _enqueue_adopters(self, pod: Obj) -> None:
        for sts in self._sets.list(pod["metadata"]["namespace"]):
            if ordinal(sts, pod) >= 0 and _selector(sts).matches(pod["metadata"].get("labels")):
                self.enqueue(None, sts)

    def _enqueue_claimant(self, old: Obj | None, new: Obj | None) -> None:
        """A pod may wait until the claim of its predecessor is gone."""
        if new is not None or old is None:
            return
        name = old["metadata"]["name"].rpartition("-")[0]
        for sts in self._sets.list(old["metadata"]["namespace"]):
            if any(name == f"{t['metadata']['name']}-{sts['metadata']['name']}" for t in claims.templates(sts)):
                self.enqueue(None, sts)

    async def reconcile(self, key: str) -> float | None:
        sts = self._sets.get_key(key)
        if sts is None:
            return None
        revisions = await self._history.claim(sts)
        owned = await self._pods.claim(sts, _selector(sts), lambda pod: ordinal(sts, pod) >= 0)
        if owned is None or revisions is None:
            return None  # the watch brings what the cache does not know yet
        update = await self._history.newest(sts, revisions, lambda: self._count_collision(sts))
        if update is None:
            return None
        was = (sts.get("status") or {}).get("currentRevision")
        current = next((r for r in revisions if r["metadata"]["name"] == was), update)
        todo = plan(self._situation(sts, owned, current, update))
        error = await self._apply(sts, todo.phases)
        # Counts of the pods as they are now, after this plan's own writes.
        owned = self._pods.owned(sts["metadata"]["uid"])
        await self._write_status(sts, status(self._situation(sts, owned, current, update)))
        live = {current["metadata"]["name"], update["metadata"]["name"], *map(revision_of, owned)}
        if error is not None:
            raise error
        await self._history.truncate(sts, revisions, live)
        return todo.look_again

    def _situation(self, sts: Obj, owned: Sequence[Obj], current: Obj, update: Obj) -> Situation:
        namespace = sts["metadata"]["namespace"]
        return Situation(sts, owned, current, update, lambda name: self._claims.get(namespace, name), self._clock.now())

    async def _apply(self, sts: Obj, phases: Iterable[Phase]) -> APIError | None:
        """The first failure; what comes after its batch is not tried. Batches double, as what fails fails always."""
        for phase in phases:
            done, batch = 0, 1
            while done < len(phase):
                answers = await asyncio.gather(*(self._attempt(sts, action) for action in phase[done : done + batch]))
                failure = next((a for a in answers if a is not None), None)
                if failure is not None:
                    return failure
                done, batch = done + batch, batch * 2
        return None

    async def _attempt(self, sts: Obj, action: Action) -> APIError | None:
        try:
            match action:
                case Create(pod, missing, going):
                    await self._create(sts, pod, missing, going)
                case Claim(pod, missing):
                    await self._create_claims(sts, pod, missing)
                case Own(claim, references):
                    await self._own(claim, references)
                case Repair(pod):
                    await self._repair(sts, pod)
                case Delete(pod):
                    await self._pods.delete(sts, pod)
        except APIError as e:
            return e
        return None

    async def _create(self, sts: Obj, pod: Obj, missing: Sequence[Obj], going: str) -> None:
        name = pod["metadata"]["name"]
        try:
            if going:
                raise errors.internal(f"pvc {going} is being deleted")
            await self._create_claims(sts, pod, missing)
        except APIError as e:
            self._pods.say(sts, "FailedCreate", name, e.message)
            raise
        made = await self._pods.create(sts, pod)
        for template in claims.templates(sts):
            claim = self._claims.get(pod["metadata"]["namespace"], claims.name(sts, template, ordinal(sts, pod)))
            wanted = claims.references(sts, claim, made, scaled_away=False) if claim is not None else None
            if claim is not None and wanted is not None:
                await self._own(claim, wanted)

    async def _create_claims(self, sts: Obj, pod: Obj, missing: Sequence[Obj]) -> None:
        about = f"Pod {pod['metadata']['name']} in StatefulSet {sts['metadata']['name']}"
        for claim in missing:
            name = claim["metadata"]["name"]
            try:
                made = await self._client.create(PERSISTENT_VOLUME_CLAIM, claim)
            except APIError as e:
                if e.reason != "AlreadyExists":
                    message = f"create Claim {name} for {about} failed error: {e.message}"
                    self._recorder.event(sts, "Warning", "FailedCreate", message)
                raise APIError(e.code, e.reason, f"failed to create PVC {name}: {e.message}") from e
            self._claims.observe(made)
            self._recorder.event(sts, "Normal", "SuccessfulCreate", f"create Claim {name} {about} success")

    async def _own(self, claim: Obj, references: list[Obj]) -> None:
        changed = {**claim, "metadata": {**claim["metadata"], "ownerReferences": references}}
        with ignoring(404):
            self._claims.observe(await self._client.update(PERSISTENT_VOLUME_CLAIM, changed))

    async def _repair(self, sts: Obj, pod: Obj) -> None:
        name = pod["metadata"]["name"]
        try:
            self._pods.informer.observe(await self._client.update(POD, pod))
        except APIError as e:
            if e.code not in (404, 409):
                self._pods.say(sts, "FailedUpdate", name, e.message)
            raise
        self._pods.say(sts, "SuccessfulUpdate", name)

    async def _count_collision(self, sts: Obj) -> None:
        """Another object has the revision's name: the next try hashes to another one."""
        known = dict(sts.get("status") or {})
        known["collisionCount"] = int(known.get("collisionCount") or 0) + 1
        await self._write_status(sts, known)

    async def _write_status(self, sts: Obj, wanted: Obj) -> None:
        if wanted == sts.get("status"):
            return
        with ignoring(404):
            self._sets.observe(await self._client.update(STATEFUL_SET, {**sts, "status": wanted}, subresource="status"))


def _selector(sts: Obj) -> LabelSelector:
    return LabelSelector.from_object(sts["spec"]["selector"])

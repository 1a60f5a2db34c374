"""ControllerRevisions: the templates that a StatefulSet or DaemonSet has had.

Source: API reference, ControllerRevision; StatefulSet and DaemonSet documentation ("rollback"). A revision's data is a
strategic merge patch that puts its template back in place of another, which is how ``kubectl rollout undo`` uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from hawser.api.errors import APIError, ignoring
from hawser.api.kinds import CONTROLLER_REVISION, Kind
from hawser.api.selectors import LabelSelector
from hawser.api.types import Obj
from hawser.client.controller import Controller, Manager, controller_of
from hawser.controllers import pods
from hawser.controllers.short_names import short_name

LABEL = "controller-revision-hash"
"""Tells of a pod which revision it is of."""


@dataclass(frozen=True, slots=True)
class Newest:
    """How the revision of the current template comes to be the newest.

    revision: a known one, or one to be created. number: what a known one's number has to be; None leaves it.
    """

    revision: Obj
    create: bool = False
    number: int | None = None


def data(template: Obj) -> Obj:
    """The data of a template's revision."""
    replacing: Obj = _sorted({**template, "$patch": "replace"})
    return {"spec": {"template": replacing}}


def _sorted(value: Any) -> Any:
    """Keys in the order in which kubectl compares the text."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def template_of(revision: Obj) -> Obj:
    """The template that a revision has kept."""
    kept: Obj = revision["data"]["spec"]["template"]
    return {key: value for key, value in kept.items() if key != "$patch"}


def plan(owner: Obj, revisions: Sequence[Obj], label: str) -> Newest:
    """The revision of the owner's template; a known one that is not the newest becomes it: a rollback. Pure.

    revisions: the owner's, oldest first. label: where a revision keeps its hash.
    """
    wanted = data(owner["spec"]["template"])
    next_number = revisions[-1]["revision"] + 1 if revisions else 1
    equal = [revision for revision in revisions if revision["data"] == wanted]
    if not equal:
        return Newest(_made(owner, wanted, next_number, label), create=True)
    newest = equal[-1]
    return Newest(newest, number=None if newest is revisions[-1] else next_number)


def _made(owner: Obj, wanted: Obj, number: int, label: str) -> Obj:
    metadata = owner["metadata"]
    collisions = int((owner.get("status") or {}).get("collisionCount") or 0)
    digest = short_name(orjson.dumps(wanted), collisions)
    labels = (owner["spec"]["template"].get("metadata") or {}).get("labels") or {}
    made: Obj = {
        "apiVersion": CONTROLLER_REVISION.api_version,
        "kind": CONTROLLER_REVISION.kind,
        "metadata": {
            "name": f"{metadata['name'][:223]}-{digest}",
            "namespace": metadata["namespace"],
            "labels": {**labels, label: digest},
            "ownerReferences": [pods.owner_reference(owner)],
        },
        "data": wanted,
        "revision": number,
    }
    if metadata.get("annotations"):
        made["metadata"]["annotations"] = dict(metadata["annotations"])
    return made


def ordered(revisions: Collection[Obj]) -> list[Obj]:
    """Oldest first."""
    return sorted(
        revisions,
        key=lambda r: (r["revision"], r["metadata"].get("creationTimestamp") or "", r["metadata"]["name"]),
    )


def beyond(revisions: Sequence[Obj], live: Collection[str], limit: int) -> Sequence[Obj]:
    """The oldest revisions above the limit, of those that nobody uses. live: names of those in use."""
    unused = [revision for revision in revisions if revision["metadata"]["name"] not in live]
    return unused[: max(0, len(unused) - limit)]


class History:
    """The revisions of one kind of owner.

    controller: whose queue gets the owner when its revisions change. label: where a revision keeps its hash.
    """

    def __init__(self, manager: Manager, controller: Controller, kind: Kind, label: str) -> None:
        self._client = manager.client
        self._kind = kind
        self._label = label
        self._revisions = manager.informer(CONTROLLER_REVISION)
        self._revisions.add_index("owner", pods.owner_uids)
        self._revisions.add_index("orphan", lambda r: [] if controller_of(r) else [r["metadata"]["namespace"]])
        owner_is_queued = controller.enqueue_owner(kind.kind)
        # New ones are this controller's own work.
        self._revisions.on_change(lambda old, new: None if old is None else owner_is_queued(old, new))

    async def claim(self, owner: Obj) -> list[Obj] | None:
        """The owner's revisions, oldest first, with those adopted that have no controller and match its selector.

        None: the cache does not know yet that the owner is going or gone.
        """
        metadata = owner["metadata"]
        mine = self._revisions.by_index("owner", metadata["uid"])
        if pods.is_terminating(owner):
            return ordered(mine)
        selector = LabelSelector.from_object(owner["spec"]["selector"])
        orphans = [
            revision
            for revision in self._revisions.by_index("orphan", metadata["namespace"])
            if selector.matches(revision["metadata"].get("labels")) and not pods.is_terminating(revision)
        ]
        if orphans and not await pods.may_adopt(self._client, self._kind, owner):
            return None
        for revision in orphans:
            body = {"metadata": {"ownerReferences": [pods.owner_reference(owner)]}}
            mine.append(await self._patch(revision, body))
        return ordered(mine)

    async def newest(self, owner: Obj, revisions: list[Obj], collided: Callable[[], Any]) -> Obj | None:
        """The revision of the owner's template, made or renumbered when it has to be; it is added to ``revisions``.

        None: another object has its name, which ``collided`` is to count, so that the next try takes another one.
        """
        todo = plan(owner, revisions, self._label)
        if todo.create:
            made = await self._create(todo.revision)
            if made is None:
                await collided()
                return None
        elif todo.number is not None:
            made = await self._patch(todo.revision, {"revision": todo.number})
        else:
            return todo.revision
        revisions[:] = [*(r for r in revisions if r["metadata"]["uid"] != made["metadata"]["uid"]), made]
        return made

    async def _create(self, revision: Obj) -> Obj | None:
        metadata = revision["metadata"]
        try:
            made = await self._client.create(CONTROLLER_REVISION, revision)
        except APIError as e:
            if e.reason != "AlreadyExists":
                raise
            # Perhaps made by a request whose answer was lost.
            made = await self._client.get(CONTROLLER_REVISION, metadata["name"], metadata["namespace"])
            owner = controller_of(made)
            if made["data"] != revision["data"] or owner is None:
                return None
            if owner["uid"] != metadata["ownerReferences"][0]["uid"]:
                return None
        self._revisions.observe(made)
        return made

    async def _patch(self, revision: Obj, body: Obj) -> Obj:
        metadata = revision["metadata"]
        # Only this very revision, not another one that has its name by now.
        body = {**body, "metadata": {**body.get("metadata", {}), "uid": metadata["uid"]}}
        changed = await self._client.patch(CONTROLLER_REVISION, metadata["name"], metadata["namespace"], body)
        self._revisions.observe(changed)
        return changed

    async def truncate(self, owner: Obj, revisions: Sequence[Obj], live: Collection[str], counted: int = 0) -> None:
        """Deletes the oldest unused revisions above the owner's ``revisionHistoryLimit``.

        live: names of those in use. counted: how many of those the limit is for, too.
        """
        limit = max(0, int(owner["spec"].get("revisionHistoryLimit", 10)) - counted)
        await self.delete(beyond(revisions, live, limit))

    async def delete(self, revisions: Iterable[Obj]) -> None:
        """Deletes just these."""
        for revision in revisions:
            metadata = revision["metadata"]
            with ignoring(404, 409):
                await self._client.delete(
                    CONTROLLER_REVISION, metadata["name"], metadata["namespace"], uid=metadata["uid"]
                )

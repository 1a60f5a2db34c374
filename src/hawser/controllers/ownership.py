"""What garbage collection does with one object. Pure.

Source: Garbage collection documentation ("Owners and dependents", "Cascading deletion") and "Owners and Dependents":
foreground deletion waits for dependents with blockOwnerDeletion, orphaning removes references, an object goes when none
of its owners is left; an owner in another namespace, or a namespaced owner of a cluster-scoped object, does not exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from hawser.api.types import Obj

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


class Owner(StrEnum):
    """What an owner reference points to."""

    SOLID = "Solid"
    ABSENT = "Absent"
    WAITING = "Waiting"
    """Deleted in the foreground: it waits for its dependents to go."""


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the object.

    propagation: Foreground, Background or Orphan. unblock: its references must stop blocking its owners first, since
    one of its dependents waits for its own dependents: owners in a circle would wait for each other for ever.
    """

    propagation: str
    unblock: bool = False


@dataclass(frozen=True, slots=True)
class DropReferences:
    """Remove the owner references with these uids."""

    uids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DropFinalizer:
    """Remove one of the collector's own finalizers."""

    finalizer: str


@dataclass(frozen=True, slots=True)
class ReleaseDependents:
    """Remove the references to this object from all its dependents, then the orphan finalizer."""


@dataclass(frozen=True, slots=True)
class DeleteDependents:
    """See to the dependents that block this object's foreground deletion."""


Action = Delete | DropReferences | DropFinalizer | ReleaseDependents | DeleteDependents


def plan(obj: Obj, owners: Sequence[Owner], dependents: Sequence[Obj]) -> Action | None:
    """Pure decision for one object. owners: the state of each of its owner references, in their order."""
    metadata = obj["metadata"]
    finalizers = metadata.get("finalizers") or ()
    if metadata.get("deletionTimestamp"):
        if ORPHAN in finalizers:
            return ReleaseDependents()
        if FOREGROUND in finalizers:
            blocking = [d for d in dependents if blocks(d, metadata["uid"])]
            return DeleteDependents() if blocking else DropFinalizer(FOREGROUND)
        return None
    references = metadata.get("ownerReferences") or ()
    if not references:
        return None
    gone = tuple(r["uid"] for r, state in zip(references, owners, strict=True) if state is not Owner.SOLID)
    if not gone:
        return None
    if len(gone) < len(references):
        return DropReferences(gone)
    if Owner.WAITING in owners and dependents:
        # Its own dependents must be gone before the owner that waits may go.
        return Delete("Foreground", unblock=any(is_waiting(d) for d in dependents) and _blocks_any(obj))
    return Delete(_own_policy(finalizers))


def _own_policy(finalizers: Sequence[str]) -> str:
    if ORPHAN in finalizers:
        return "Orphan"
    return "Foreground" if FOREGROUND in finalizers else "Background"


def is_waiting(owner: Obj) -> bool:
    """Whether an object is deleted in the foreground and waits for its dependents."""
    metadata = owner["metadata"]
    return bool(metadata.get("deletionTimestamp")) and FOREGROUND in (metadata.get("finalizers") or ())


def _blocks_any(dependent: Obj) -> bool:
    return any(r.get("blockOwnerDeletion") for r in dependent["metadata"].get("ownerReferences") or ())


def released(old: Obj, new: Obj) -> set[str]:
    """Uids of owners whose foreground deletion the change of a dependent no longer holds up."""
    before, after = (
        {r["uid"] for r in o["metadata"].get("ownerReferences") or () if r.get("blockOwnerDeletion")}
        for o in (old, new)
    )
    return before - after


def blocks(dependent: Obj, uid: str) -> bool:
    """Whether a dependent holds up the foreground deletion of the owner with this uid."""
    references = dependent["metadata"].get("ownerReferences") or ()
    return any(r["uid"] == uid and r.get("blockOwnerDeletion") for r in references)

"""What a kind does beyond the generic: hooks that the registry calls at fixed points.

The generic behaviour is Kubernetes' own for most kinds (API conventions, "Metadata", "Spec and Status").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from hawser.api.kinds import Kind
from hawser.api.types import Obj
from hawser.api.validation.rules import Errors


class Lookup(Protocol):
    """Read-only view of other objects, for strategies that refer to them."""

    def find(self, kind: Kind, namespace: str, name: str) -> Obj | None:
        """The committed object, decoded, or None."""
        ...

    def phase(self, namespace: str) -> str | None:
        """A namespace's phase, or None when there is no such namespace."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """A subresource that changes a part of the object and is spoken to in the object's own type.

    prepare: from what the client wants and what is stored to what is to be written. errors: what is wrong with that.
    """

    prepare: Callable[[Obj, Obj], Obj]
    errors: Callable[[Obj, Obj], Errors]


class Strategy:
    """The defaults of every hook; a kind's own strategy overrides what differs.

    status_at_creation: a client may create the object with a status. create_on_update: PUT of a name that does not
    exist creates it. unconditional_update: PUT without resourceVersion overwrites. returns_deleted: DELETE answers
    with the object instead of a Status. orphans: what belongs to the object outlives it unless the client says
    otherwise. parts: subresources that change a part of the object, by name (status is not among them).
    """

    status_at_creation = False
    create_on_update = False
    unconditional_update = True
    returns_deleted = False
    orphans = False
    parts: Mapping[str, Part] = {}

    def __init__(self, kind: Kind, lookup: Lookup) -> None:
        self.kind = kind
        self.lookup = lookup

    def prepare_create(self, obj: Obj) -> None:
        """Set what the server owns in a new object, after defaulting and before validation."""

    def prepare_update(self, obj: Obj, old: Obj) -> None:
        """Restore what a PUT or PATCH of the object may not change."""

    def prepare_status(self, obj: Obj, old: Obj) -> None:
        """Restore what a change of the status subresource may not change; the rest of the object is old's already."""

    def warnings(self, obj: Obj, old: Obj | None) -> Iterable[str]:
        """What the client is told of a valid object by Warning headers."""
        return ()

    def reserve(self, obj: Obj, old: Obj | None) -> Callable[[], None] | None:
        """Take what the object needs from a shared pool (addresses, ports), last before the write.

        Returns how to give it back should the write fail. APIError when there is none left.
        """
        return None

    def release(self, obj: Obj) -> None:
        """The object is gone: give back what it had reserved."""

    def grace_seconds(self, obj: Obj, asked: int | None) -> int | None:
        """How long a deletion waits for somebody else to finish the object; None: kinds that are deleted at once."""
        return None

    def deletion_warnings(self, propagation: str) -> Iterable[str]:
        """What the client is told of a deletion. propagation: the policy that it names; may be empty."""
        return ()

    def begin_deletion(self, obj: Obj) -> None:
        """Called when deletionTimestamp has just been set."""

    def may_remove(self, obj: Obj) -> bool:
        """Whether an object under deletion without finalizers (metadata) may go now."""
        return True

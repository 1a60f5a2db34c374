"""What every write carries and brings, and the marks that the server puts on objects: uids, names, times."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from io import BytesIO
from os import urandom
from random import choices

from hawser.api.errors import Cause, FieldError, bad_request, invalid
from hawser.api.kinds import Kind
from hawser.api.types import Obj
from hawser.apiserver import ownership, scheme
from hawser.apiserver.identity import SERVER, User
from hawser.store.base import Keep, Record, Store, WriteFn

# The suffix of generateName: Kubernetes leaves out vowels and what looks alike.
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
_NAME_LIMIT = 63

TRIES = 8
"""How often a write is begun anew when the object changes while others are asked about it, or a name is taken."""


class Moved(Exception):
    """The object has changed since others were asked about it."""


Change = Callable[[Obj], Obj]
"""From the stored object (not to be changed) to what the client wants it to be."""

Undo = Callable[[], None]
"""Gives back what was reserved for a write that did not come about."""


@dataclass(slots=True)
class Options:
    """What every write takes: dryRun, how unknown fields are treated, who writes (the field manager) and below what.

    sees_owners: the change wants to see metadata.managedFields (a JSON patch of them). user: who asks; the server
    itself where nobody else does. kind: the Kubernetes name of these options, ``PatchOptions`` for one.
    annotations: what admission says to the audit log.
    """

    dry_run: bool = False
    fields: scheme.Fields = field(default_factory=scheme.Fields)
    manager: str = ownership.SERVER
    subresource: str = ""
    sees_owners: bool = False
    user: User = SERVER
    kind: str = ""
    annotations: dict[str, str] = field(default_factory=dict)

    def only_try(self, stages: list[str]) -> None:
        """Take over what a client says as dryRun. APIError 422 for a stage that is none."""
        if any(stage != "All" for stage in stages):
            error = FieldError(Cause.NOT_SUPPORTED, "dryRun", 'supported values: "All"', stages)
            raise invalid("meta.k8s.io", self.kind, "", [error])
        self.dry_run = self.dry_run or bool(stages)


@dataclass(frozen=True, slots=True)
class Written:
    """The outcome of a write. created and removed say what happened to the object; uid: of a deleted one."""

    value: bytes
    created: bool = False
    removed: bool = False
    uid: str = ""


def utc_now() -> datetime:
    """The clock of the registry."""
    return datetime.now(UTC)


def generate(base: str) -> str:
    """A name from a generateName."""
    return base[: _NAME_LIMIT - 5] + "".join(choices(_SUFFIX, k=5))


def set_namespace(kind: Kind, namespace: str, metadata: Obj) -> None:
    """Say in a new object's metadata where it is. APIError 400 when it says otherwise already."""
    given = metadata.get("namespace")
    if not kind.namespaced:
        metadata.pop("namespace", None)
    elif not given:
        metadata["namespace"] = namespace
    elif given != namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")


_OURS = ("managedFields", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")
_CONTAINERS = ("labels", "annotations", "ownerReferences", "finalizers")
_LOOKED_AT = frozenset((*_OURS, *_CONTAINERS))


def set_metadata(kind: Kind, metadata: Obj, now: str) -> None:
    """What a new object's metadata starts with; what clients may not set is dropped. now: as of ``timestamp``."""
    if not _LOOKED_AT.isdisjoint(metadata):
        for name in _OURS:
            metadata.pop(name, None)
        drop_empty(metadata)
    metadata["uid"] = new_uid()
    metadata["creationTimestamp"] = now
    if kind.generation:
        metadata["generation"] = 1


_REPEATED_OWNERS = (
    ".metadata.ownerReferences contains duplicate entries{}; API server dedups owner references in 1.20+, and may "
    "reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}"
)


def drop_repeated_owners(metadata: Obj, warnings: list[str], patched: bool = False) -> None:
    """Leave each owner reference once, with a warning in kube-apiserver's words. patched: of what a patch left."""
    references = metadata.get("ownerReferences")
    if not isinstance(references, list) or len(references) < 2:
        return
    kept: list[Obj] = []
    repeated = []
    for reference in references:
        if reference in kept:
            repeated.append(str(reference.get("uid", "")))
        else:
            kept.append(reference)
    if repeated:
        metadata["ownerReferences"] = kept
        when = " after mutating admission happens" if patched else ""
        warnings.append(_REPEATED_OWNERS.format(when, ", ".join(repeated)))


def drop_empty(metadata: Obj) -> None:
    """Lists and maps of an object's metadata without anything in them are not there at all."""
    for name in _CONTAINERS:
        if name in metadata and not metadata[name]:
            del metadata[name]


_random = BytesIO()


def new_uid() -> str:
    """A version 4 UUID (RFC 9562, section 5.4); the kernel is asked for random bytes 256 UUIDs at a time."""
    global _random
    raw = _random.read(16)
    if not raw:
        _random = BytesIO(urandom(16 * 256))
        raw = _random.read(16)
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:]}"


_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


@lru_cache(maxsize=4)
def _format(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def timestamp(moment: datetime) -> str:
    """A time as Kubernetes writes it, in whole seconds of UTC."""
    return _format(int(moment.timestamp()))


def stamp(now: Callable[[], datetime]) -> str:
    """What time a clock shows, as Kubernetes writes it."""
    # The registry's clock is asked by every write: its text need not be worked out of a datetime.
    return _format(int(time.time())) if now is utc_now else timestamp(now())


def tried(key: str, fn: WriteFn, store: Store) -> Record:
    """What a write would do, without doing it (dryRun=All)."""
    current = store.get(key)
    outcome = fn(current, current.revision if current is not None else 0)
    if isinstance(outcome, Keep):
        assert current is not None
        return current
    return Record(key, outcome.value, 0, 0, outcome.index)

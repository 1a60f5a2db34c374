"""The state machine of deletion: what a DELETE makes of an object, and when an object under deletion is really gone.

Source: API conventions and concepts ("Resource deletion", "Finalizers", "Garbage collection"); pod termination in the
pod lifecycle documentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hawser.api.errors import Cause, FieldError, conflict, invalid
from hawser.api.kinds import Kind
from hawser.api.types import Obj
from hawser.apiserver.paths import parse_flag, parse_integer
from hawser.apiserver.strategies.base import Strategy

ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_POLICIES = {"Orphan": ORPHAN, "Foreground": FOREGROUND, "Background": ""}


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """metav1.DeleteOptions.

    propagation: Orphan, Foreground, Background or empty when not given. cascades: ``orphanDependents: false`` says so.
    """

    grace_seconds: int | None = None
    propagation: str = ""
    uid: str | None = None
    resource_version: str | None = None
    cascades: bool = False

    @classmethod
    def read(cls, body: Obj) -> DeleteOptions:
        """As a client sends them. APIError 422 for values that cannot be."""
        grace, policy, orphan = map(body.get, ("gracePeriodSeconds", "propagationPolicy", "orphanDependents"))
        return cls._of(grace, policy, orphan, body.get("preconditions") or {})

    @classmethod
    def asked(cls, query: dict[str, str]) -> DeleteOptions:
        """As a query has them, of a request without a body. APIError 400, 422 for values that cannot be."""
        if not query:
            return cls()
        grace = parse_integer(query["gracePeriodSeconds"]) if "gracePeriodSeconds" in query else None
        orphan = parse_flag(query["orphanDependents"]) if "orphanDependents" in query else None
        pinned = {key: query[key] for key in ("uid", "resourceVersion") if query.get(key)}
        return cls._of(grace, query.get("propagationPolicy"), orphan, pinned)

    @classmethod
    def _of(cls, grace: int | None, policy: str | None, orphan: bool | None, pinned: dict[str, str]) -> DeleteOptions:
        propagation = policy or ""
        if policy is not None:
            _check_propagation(policy, orphan)
        elif orphan is not None:
            propagation = "Orphan" if orphan else "Background"
        return cls(grace, propagation, pinned.get("uid"), pinned.get("resourceVersion"), orphan is False)

    def shown(self, dry_run: bool) -> Obj:
        """As a metav1.DeleteOptions."""
        shown: Obj = {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}
        if self.grace_seconds is not None:
            shown["gracePeriodSeconds"] = self.grace_seconds
        preconditions = {"uid": self.uid, "resourceVersion": self.resource_version}
        if given := {key: value for key, value in preconditions.items() if value is not None}:
            shown["preconditions"] = given
        if self.propagation:
            shown["propagationPolicy"] = self.propagation
        if dry_run:
            shown["dryRun"] = ["All"]
        return shown


def _check_propagation(policy: str, orphan: object) -> None:
    """APIError 422 for a policy that is none, or that is named in two ways."""
    path = "propagationPolicy"
    errors = []
    if orphan is not None:
        detail = "orphanDependents and deletionPropagation cannot be both set"
        errors.append(FieldError(Cause.INVALID, path, detail, policy))
    if policy not in _POLICIES:
        detail = 'supported values: "Foreground", "Background", "Orphan", "nil"'
        errors.append(FieldError(Cause.NOT_SUPPORTED, path, detail, policy))
    if errors:
        raise invalid("meta.k8s.io", "DeleteOptions", "", errors)


def check_preconditions(kind: Kind, obj: Obj, options: DeleteOptions) -> None:
    """APIError 409 unless the object is the one the caller means."""
    metadata = obj["metadata"]
    name = metadata["name"]
    if options.uid is not None and options.uid != metadata["uid"]:
        detail = (
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({metadata['uid']}). "
            "The object might have been deleted and then recreated"
        )
        raise conflict(kind.group, kind.kind, name, detail)
    version = metadata["resourceVersion"]
    if options.resource_version is not None and options.resource_version != version:
        detail = (
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match the ResourceVersion "
            f"in record ({version}). The object might have been modified"
        )
        raise conflict(kind.group, kind.kind, name, detail)


def begin(strategy: Strategy, obj: Obj, options: DeleteOptions, now: datetime) -> bool:
    """Apply a DELETE to obj in place: finalizers by propagation policy, deletionTimestamp, grace period.

    Returns whether the object can be removed at once.
    """
    metadata = obj["metadata"]
    _set_propagation(metadata, options.propagation or _default_propagation(strategy, metadata))
    grace = strategy.grace_seconds(obj, options.grace_seconds)
    began = metadata.get("deletionTimestamp")
    seconds = grace or 0
    if began is None:
        if not seconds and not metadata.get("finalizers") and strategy.may_remove(obj):
            return True
        metadata["deletionTimestamp"] = (now + timedelta(seconds=seconds)).strftime(_TIME)
        metadata["deletionGracePeriodSeconds"] = seconds
        if metadata.get("generation"):
            metadata["generation"] += 1
        strategy.begin_deletion(obj)
    else:
        _shorten(metadata, seconds, grace is not None and options.grace_seconds is not None)
    return finished(strategy, obj)


def _default_propagation(strategy: Strategy, metadata: Obj) -> str:
    """The policy of kinds that leave their dependents alone; a finalizer that is there says what was wanted."""
    if not strategy.orphans or {ORPHAN, FOREGROUND} & set(metadata.get("finalizers") or ()):
        return ""
    return "Orphan"


def _set_propagation(metadata: Obj, policy: str) -> None:
    """Finalizers that tell the garbage collector what to do; without a policy they stay as they are."""
    if not policy:
        return
    wanted = _POLICIES[policy]
    finalizers = [f for f in metadata.get("finalizers") or [] if f not in (ORPHAN, FOREGROUND)]
    if wanted:
        finalizers.append(wanted)
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)


def _shorten(metadata: Obj, seconds: int, asked: bool) -> None:
    """A second DELETE may only make the grace period of the first shorter."""
    before = metadata.get("deletionGracePeriodSeconds") or 0
    if not asked or seconds >= before:
        return
    moved = datetime.strptime(metadata["deletionTimestamp"], _TIME).replace(tzinfo=UTC)
    metadata["deletionTimestamp"] = (moved - timedelta(seconds=before - seconds)).strftime(_TIME)
    metadata["deletionGracePeriodSeconds"] = seconds


def finished(strategy: Strategy, obj: Obj) -> bool:
    """Whether an object under deletion has nothing left to wait for."""
    metadata = obj["metadata"]
    return (
        metadata.get("deletionTimestamp") is not None
        and not metadata.get("deletionGracePeriodSeconds")
        and not metadata.get("finalizers")
        and strategy.may_remove(obj)
    )

"""ResourceQuota: nothing is written that a quota of the namespace has no room for.

Source: Kubernetes documentation, "Resource Quotas", "Admission Control in Kubernetes"; messages are kube-apiserver's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from hawser.api import kinds
from hawser.api.extended_resources import resource_of
from hawser.api.kind import Kind
from hawser.api.kinds import DEVICE_CLASS, POD, RESOURCE_QUOTA
from hawser.api.quota.limited import Limited, uncovered
from hawser.api.quota.names import concerning, counted
from hawser.api.quota.scopes import matches, selectors, terminating
from hawser.api.quota.usage import Around, Usage, exceeded, increase, missing, usage
from hawser.api.types import Obj
from hawser.apiserver.admission.base import Operation, Plugin, Request
from hawser.apiserver.admission.refusals import refused
from hawser.apiserver.admission.tally import Ledger
from hawser.apiserver.committed import Committed, Presence
from hawser.apiserver.writes import Undo

_GROWING = frozenset((kinds.SERVICE, kinds.PERSISTENT_VOLUME_CLAIM, kinds.RESOURCE_CLAIM))
_MOST = 4096


def _stays(request: Request) -> bool:
    """Whether an update of a pod leaves it with the quotas that it counts in: all but new deadlines do."""
    old = request.old
    return (
        request.kind is POD
        and not request.subresource
        and old is not None
        and terminating(request.new) == terminating(old)
    )


class ResourceQuota(Plugin):
    """See the module."""

    name = "ResourceQuota"

    def __init__(self, committed: Committed, now: Callable[[], datetime]) -> None:
        self._committed = committed
        self._quotas = Presence(committed.store, RESOURCE_QUOTA)
        self._now = now
        self._ledgers: dict[str, Ledger] = {}
        self._limited: tuple[Limited, ...] = ()
        self._around = Around(
            self._extended,
            lambda namespace, name: committed.get(POD, namespace, name),
            lambda namespace: committed.every(kinds.RESOURCE_CLAIM, namespace),
        )

    def _extended(self, name: str) -> str:
        return resource_of(self._committed.get(DEVICE_CLASS, "", name) or {})

    def configure(self, limited: tuple[Limited, ...]) -> None:
        """Set what may only be used where a quota says how much."""
        self._limited = limited

    def handles(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """What is created in namespaces, and what may count for more when it is changed."""
        if operation is Operation.CREATE:
            return not subresource and counted(kind)
        if operation is not Operation.UPDATE:
            return False
        return (kind is POD and subresource in ("", "resize")) or (not subresource and kind in _GROWING)

    def validate(self, request: Request) -> None:
        """A dry run takes nothing, but is told whether there is room. APIError 403."""
        if request.dry_run:
            self._check(request)

    def reserve(self, request: Request) -> Undo | None:
        """Take what the object needs from every quota that is about it. APIError 403."""
        wanted = self._check(request)
        if not wanted:
            return None
        undos = [ledger.take(request.new, amount) for ledger, amount in wanted]

        def give_back() -> None:
            for undo in undos:
                undo()

        return give_back

    def _check(self, request: Request) -> list[tuple[Ledger, Usage]]:
        """What is needed of which quota."""
        if not self._quotas.there and not self._limited:
            return []
        quotas = self._committed.every(RESOURCE_QUOTA, request.namespace)
        if (not quotas and not self._limited) or _stays(request):
            return []
        now = self._now()
        self._check_limited(request, quotas, now)
        wanted: list[tuple[Ledger, Usage]] = []
        for quota in quotas:
            found = self._ask(request, quota, now)
            if found is not None:
                wanted.append(found)
        return wanted

    def _check_limited(self, request: Request, quotas: Sequence[Obj], now: datetime) -> None:
        limited = [one for one in self._limited if one.concerns(request.kind)]
        if limited:
            used = usage(request.kind, request.new, now, self._around)
            reason = uncovered(limited, request.kind, used, request.new, quotas)
            if reason:
                raise refused(request, reason)

    def _ask(self, request: Request, quota: Obj, now: datetime) -> tuple[Ledger, Usage] | None:
        """What a quota has to give for a write; None for nothing. APIError 403 when it has not got it."""
        kind, obj = request.kind, request.new
        names = concerning(kind, quota["spec"].get("hard") or {})
        if not names or not matches(kind, selectors(quota), obj):
            return None
        quota_name = quota["metadata"]["name"]
        if kind is POD:
            reason = missing(obj, names)
            if reason:
                raise refused(request, f"failed quota: {quota_name}: {reason}")
        ledger = self._ledger(quota)
        tally = ledger.tally(kind)
        before = tally.amount(request.old, now) if request.old is not None else {}
        amount = increase(tally.amount(obj, now), before)
        if not amount:
            return None
        reason = exceeded(quota_name, ledger.hard, ledger.used(kind, now), amount)
        if reason:
            raise refused(request, reason)
        return ledger, amount

    def _ledger(self, quota: Obj) -> Ledger:
        """The ledger of a quota as it is now; a changed one is counted anew."""
        uid = quota["metadata"]["uid"]
        found = self._ledgers.get(uid)
        if found is None or found.spec != quota["spec"]:
            if len(self._ledgers) >= _MOST:
                self._forget()
            before, found = found, Ledger(self._committed.store, quota, self._around)
            if before is not None:
                found.inherit(before)
            self._ledgers[uid] = found
        return found

    def _forget(self) -> None:
        """Drop the ledgers of quotas that are gone."""
        there = {quota["metadata"]["uid"] for quota in self._committed.every(RESOURCE_QUOTA)}
        self._ledgers = {uid: ledger for uid, ledger in self._ledgers.items() if uid in there}

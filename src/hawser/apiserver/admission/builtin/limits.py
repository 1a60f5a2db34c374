"""LimitRanger: a namespace's LimitRanges are applied to its pods and claims.

Source: Kubernetes documentation, "Admission Control in Kubernetes", "Limit Ranges".
"""

from __future__ import annotations

from hawser.api.kind import Kind
from hawser.api.kinds import LIMIT_RANGE, PERSISTENT_VOLUME_CLAIM, POD
from hawser.api.limits import claim_violations, pod_violations, set_defaults
from hawser.apiserver.admission.base import Operation, Plugin, Request
from hawser.apiserver.admission.refusals import refused, together
from hawser.apiserver.committed import Committed


class LimitRanger(Plugin):
    """See the module."""

    name = "LimitRanger"

    def __init__(self, committed: Committed) -> None:
        self._committed = committed

    def handles(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """New pods, new sizes of pods, and claims."""
        if kind is POD:
            return (subresource, operation) in (("", Operation.CREATE), ("resize", Operation.UPDATE))
        return kind is PERSISTENT_VOLUME_CLAIM and not subresource and operation in (Operation.CREATE, Operation.UPDATE)

    def mutate(self, request: Request) -> None:
        """Fill in the defaults of pods."""
        if request.kind is POD and request.new.get("spec"):
            for limit_range in self._committed.every(LIMIT_RANGE, request.namespace):
                set_defaults(limit_range, request.new)

    def validate(self, request: Request) -> None:
        """APIError 403 with all that is out of bounds."""
        # What is on its way out may be updated, or its finalizers could never be taken off.
        if request.old is not None and request.new["metadata"].get("deletionTimestamp"):
            return
        check = pod_violations if request.kind is POD else claim_violations
        for limit_range in self._committed.every(LIMIT_RANGE, request.namespace):
            found = check(limit_range, request.new)
            if found:
                raise refused(request, together(found))

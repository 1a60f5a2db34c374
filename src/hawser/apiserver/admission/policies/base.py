"""What both kinds of admission policies share: which of them speak of a request, and with what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hawser.api.errors import APIError
from hawser.api.kind import Kind
from hawser.api.kinds import (
    MUTATING_ADMISSION_POLICY,
    MUTATING_ADMISSION_POLICY_BINDING,
    NAMESPACE,
    VALIDATING_ADMISSION_POLICY,
    VALIDATING_ADMISSION_POLICY_BINDING,
)
from hawser.api.types import Obj
from hawser.apiserver.admission.base import Operation, Plugin, Request
from hawser.apiserver.admission.policies.table import Bound, Table
from hawser.apiserver.committed import Committed
from hawser.apiserver.strategies import scale
from hawser.store.base import Record

if TYPE_CHECKING:
    from hawser.apiserver.admission.inputs import Input
    from hawser.apiserver.admission.policies.compiled import Binding, Policy
    from hawser.apiserver.resources import Resources

_EXEMPT = (
    MUTATING_ADMISSION_POLICY,
    MUTATING_ADMISSION_POLICY_BINDING,
    VALIDATING_ADMISSION_POLICY,
    VALIDATING_ADMISSION_POLICY_BINDING,
)


class Policies(Plugin):
    """Policies of one kind."""

    def __init__(self, resources: Resources, committed: Committed, policies: Kind, bindings: Kind) -> None:
        self._resources = resources
        self._committed = committed
        self._table = Table(resources.store, policies, bindings)

    def handles(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """Policies are not asked about policies: it must be possible to mend them."""
        return kind not in _EXEMPT

    def thinks(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """Whether there are expressions to evaluate, which may be given up and tried again."""
        return self.handles(kind, subresource, operation) and bool(self._table.of(kind, subresource, operation))

    def bound(self, request: Request) -> list[Bound]:
        """The policies that may have something to say."""
        return self._table.of(request.kind, request.subresource, request.operation)

    def invocations(
        self, policy: Policy, bindings: tuple[Binding, ...], request: Request
    ) -> Iterator[tuple[Binding | None, Kind, list[Obj | None] | str]]:
        """The bindings that match, each with the version to show and its parameters, or why there are none.

        The binding is None when it is the policy itself that cannot be evaluated.
        """
        from hawser.apiserver.admission.policies import params
        from hawser.apiserver.admission.policies.matching import matched

        kind = matched(policy.matching, request, self._committed)
        if kind is None:
            return
        if policy.param_kind is not None:
            try:
                params.row(policy.param_kind)
            except params.ConfigurationError as error:
                yield None, kind, str(error)
                return
        for binding in bindings:
            if binding.matching is not None and matched(binding.matching, request, self._committed) is None:
                continue
            try:
                found = params.find(policy.param_kind, binding.param_ref, request.namespace, self._committed)
            except params.ConfigurationError as error:
                yield binding, kind, str(error)
            else:
                yield binding, kind, found

    def given(self, request: Request, kind: Kind) -> Input:
        """The variables of a request in a version. APIError when it cannot be shown in that version."""
        from hawser.apiserver.admission.deliberation import Deliberation
        from hawser.apiserver.admission.inputs import Input

        def namespace() -> Obj | None:
            if not request.namespace or request.kind is NAMESPACE:
                return None
            return self._committed.get(NAMESPACE, "", request.namespace)

        new, old = (self.shown(request, kind, obj) for obj in (request.object, request.old))
        given = Input(request, kind, new, old, namespace, self._resources.access.authorizer.allows)
        if request.deliberation is None:
            request.deliberation = Deliberation()
        given.deliberation = request.deliberation
        return given

    def shown(self, request: Request, kind: Kind, obj: Obj | None) -> Obj | None:
        """An object of the request in a version: the subresource's own."""
        if obj is None:
            return None
        if request.subresource == "scale":
            return scale.read(obj, request.kind)
        return obj if kind is request.kind else self.converted(obj, request.kind, kind)

    def converted(self, obj: Obj, source: Kind, wanted: Kind) -> Obj:
        """An object in another version. APIError 500 when only a webhook could tell."""
        own, other = self._resources[source], self._resources[wanted]
        if own.asks or other.asks:
            raise APIError(500, "InternalError", f"failed to convert object version: {wanted.api_version}")
        return other.load(Record("", own.encode(obj), 0, 0))

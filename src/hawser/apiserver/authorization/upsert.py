"""A PUT or an applied configuration that creates its object needs the verb ``create``, too.

Source: Kubernetes documentation, "Authorization" (request verbs); kube-apiserver asks when it is known that the object
is not there yet.
"""

from __future__ import annotations

from hawser.api.errors import forbidden
from hawser.api.kind import Kind
from hawser.apiserver.admission.base import Operation, Plugin, Request
from hawser.apiserver.authorization.access import Access
from hawser.apiserver.authorization.base import MASTERS, Attributes

_CHANGES = ("UpdateOptions", "PatchOptions")


class CreationByChange(Plugin):
    """See the module. In kube-apiserver this is part of the handlers, so it has no name there."""

    name = "CreationByChange"

    def __init__(self, access: Access) -> None:
        self._authorizer = access.authorizer

    def handles(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """Creations of objects."""
        return operation is Operation.CREATE and not subresource

    def validate(self, request: Request) -> None:
        """APIError 403."""
        if request.options.kind not in _CHANGES or MASTERS in request.user.groups:
            return
        kind = request.kind
        asked = Attributes("create", kind.group, kind.plural, namespace=request.namespace, name=request.name)
        decision = self._authorizer.allows(request.user, asked)
        if not decision.allowed:
            raise forbidden(kind.group, kind.plural, request.name, decision.reason)

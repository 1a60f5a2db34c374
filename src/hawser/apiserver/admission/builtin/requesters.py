"""Who asks for a certificate is who sends the request, whatever the request says. Always on: kube-apiserver does it
where objects are stored."""

from __future__ import annotations

from hawser.api.kind import Kind
from hawser.api.kinds import CERTIFICATE_SIGNING_REQUEST
from hawser.apiserver.admission.base import Operation, Plugin, Request


class Requesters(Plugin):
    """Sets username, uid, groups and extra of new signing requests."""

    def handles(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """New signing requests."""
        return kind is CERTIFICATE_SIGNING_REQUEST and not subresource and operation is Operation.CREATE

    def mutate(self, request: Request) -> None:
        """Replace what was given."""
        spec = request.new.setdefault("spec", {})
        for field in ("username", "uid", "groups", "extra"):
            spec.pop(field, None)
        spec.update(request.user.info)

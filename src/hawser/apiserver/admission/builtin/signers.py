"""CertificateApproval and CertificateSigning: who decides on a signing request must be allowed to for its signer.

Source: Kubernetes documentation, "Admission Control in Kubernetes" and "Certificates and Certificate Signing Requests"
(authorization): the verbs ``approve`` and ``sign`` on ``signers``, by the signer's name or ``DOMAIN/*``.
"""

from __future__ import annotations

from hawser.api.kind import Kind
from hawser.api.kinds import CERTIFICATE_SIGNING_REQUEST
from hawser.api.types import Obj
from hawser.apiserver.admission.base import Operation, Plugin, Request
from hawser.apiserver.admission.refusals import refused
from hawser.apiserver.authorization.access import Access
from hawser.apiserver.authorization.base import Attributes

_RESOURCE = ("certificates.k8s.io", "signers")


class _Signers(Plugin):
    """What both have in common. verb: that is needed. subresource: whose changes are looked at."""

    verb = ""
    subresource = ""

    def __init__(self, access: Access) -> None:
        self._authorizer = access.authorizer

    def handles(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """Changes of the one subresource of signing requests."""
        update = operation is Operation.UPDATE
        return kind is CERTIFICATE_SIGNING_REQUEST and subresource == self.subresource and update

    def validate(self, request: Request) -> None:
        """APIError 403."""
        signer = ((request.old or request.new).get("spec") or {}).get("signerName") or ""
        for name in (signer, signer.partition("/")[0] + "/*"):
            if self._authorizer.allows(request.user, Attributes(self.verb, *_RESOURCE, name=name)).allowed:
                return
        raise refused(request, f'user not permitted to {self.verb} requests with signerName "{signer}"')


class CertificateApproval(_Signers):
    """Approving and denying."""

    name = "CertificateApproval"
    verb = "approve"
    subresource = "approval"


class CertificateSigning(_Signers):
    """Writing the certificate, or why there is none."""

    name = "CertificateSigning"
    verb = "sign"
    subresource = "status"

    def validate(self, request: Request) -> None:
        """APIError 403; other parts of the status are not looked at."""
        if _outcome(request.new) != _outcome(request.old or {}):
            super().validate(request)


def _outcome(obj: Obj) -> tuple[str, list[Obj]]:
    status = obj.get("status") or {}
    return status.get("certificate") or "", status.get("conditions") or []

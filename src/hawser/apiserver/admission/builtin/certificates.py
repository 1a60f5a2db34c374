"""CertificateSubjectRestriction: nobody asks for a client certificate of the group that may do everything.

Source: Kubernetes documentation, "Admission Control in Kubernetes".
"""

from __future__ import annotations

from base64 import b64decode

from hawser.api.kind import Kind
from hawser.api.kinds import CERTIFICATE_SIGNING_REQUEST
from hawser.apiserver.admission.base import Operation, Plugin, Request
from hawser.apiserver.admission.refusals import refused

_SIGNER = "kubernetes.io/kube-apiserver-client"
_MASTERS = "system:masters"


class CertificateSubjectRestriction(Plugin):
    """See the module."""

    name = "CertificateSubjectRestriction"

    def handles(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """New signing requests."""
        return kind is CERTIFICATE_SIGNING_REQUEST and not subresource and operation is Operation.CREATE

    def validate(self, request: Request) -> None:
        """APIError 403."""
        spec = request.new.get("spec") or {}
        if spec.get("signerName") != _SIGNER:
            return
        # What hardly ever comes need not be imported before it comes.
        from cryptography import x509
        from cryptography.x509.oid import NameOID

        try:
            subject = x509.load_pem_x509_csr(b64decode(spec["request"])).subject
        except ValueError as error:
            raise refused(request, f"unable to parse csr: {error}") from None
        if any(one.value == _MASTERS for one in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)):
            raise refused(request, f"use of {_SIGNER} signer with {_MASTERS} group is not allowed")

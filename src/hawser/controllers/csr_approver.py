"""Approves node agents' requests for client certificates, when whoever asks is allowed to have them.

Source: Kubernetes documentation, "Certificate Signing Requests" (signers); TLS bootstrapping.
"""

from __future__ import annotations

from hawser.api import certificates
from hawser.api.certificates import APPROVED, DENIED, RequestError
from hawser.api.kinds import CERTIFICATE_SIGNING_REQUEST, SUBJECT_ACCESS_REVIEW
from hawser.api.types import Obj
from hawser.client.client import Client
from hawser.client.controller import Controller, Manager

_SELF = ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.")
_ANY = ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.")


def questions(csr: Obj) -> list[tuple[str, str]]:
    """What the asker must be allowed to create, one of them, each with what the approval then says; none for requests
    that people decide on."""
    status = csr.get("status") or {}
    if status.get("certificate") or certificates.condition(csr, APPROVED) or certificates.condition(csr, DENIED):
        return []
    try:
        request = certificates.parse(csr["spec"]["request"])
    except RequestError:
        return []
    if not certificates.is_node_client(csr, request):
        return []
    own = csr["spec"].get("username") == certificates.common_name(request)
    return [_SELF, _ANY] if own else [_ANY]


def approved(csr: Obj, message: str) -> Obj:
    """The request with the condition."""
    status = csr.get("status") or {}
    made = {"type": APPROVED, "status": "True", "reason": "AutoApproved", "message": message}
    return {**csr, "status": {**status, "conditions": [*(status.get("conditions") or ()), made]}}


class ApproverController(Controller):
    """See the module."""

    name = "certificatesigningrequest-approving-controller"

    def setup(self, manager: Manager) -> None:
        self._client: Client = manager.client
        self._requests = manager.informer(CERTIFICATE_SIGNING_REQUEST)
        self._requests.on_change(self.enqueue)

    async def reconcile(self, key: str) -> float | None:
        csr = self._requests.get_key(key)
        if csr is None:
            return None
        for subresource, message in questions(csr):
            if await self._allowed(csr["spec"], subresource):
                done = approved(csr, message)
                self._requests.observe(await self._client.update(CERTIFICATE_SIGNING_REQUEST, done, "approval"))
                return None
        return None

    async def _allowed(self, spec: Obj, subresource: str) -> bool:
        asked: Obj = {
            "apiVersion": SUBJECT_ACCESS_REVIEW.api_version,
            "kind": SUBJECT_ACCESS_REVIEW.kind,
            "spec": {
                "user": spec.get("username", ""),
                "uid": spec.get("uid", ""),
                "groups": spec.get("groups") or [],
                "extra": spec.get("extra") or {},
                "resourceAttributes": {
                    "group": CERTIFICATE_SIGNING_REQUEST.group,
                    "resource": CERTIFICATE_SIGNING_REQUEST.plural,
                    "subresource": subresource,
                    "verb": "create",
                },
            },
        }
        answer = await self._client.create(SUBJECT_ACCESS_REVIEW, asked)
        return bool((answer.get("status") or {}).get("allowed"))

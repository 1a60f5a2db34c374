"""Who may use a node agent's API: the API server and administrators, known by their client certificates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hawser.client.delegation import ADMINISTRATORS

API_SERVER = "kube-apiserver-kubelet-client"


def allowed(certificate: Mapping[str, Any]) -> bool:
    """Whether a verified certificate's subject may use the API.

    certificate: as ``ssl.SSLSocket.getpeercert`` gives it. Source: PKI certificates and requirements in Kubernetes'
    documentation, which names both subjects.
    """
    names = [pair for part in certificate.get("subject", ()) for pair in part]
    return ("organizationName", ADMINISTRATORS) in names or ("commonName", API_SERVER) in names

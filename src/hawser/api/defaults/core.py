"""Defaults of small kinds: Namespace, Node, Secret, EndpointSlice.

Source: API reference of each kind; what the reference leaves unsaid, the API server's observable answers.
"""

from __future__ import annotations

from base64 import b64encode

from hawser.api.types import Obj

_NAME_LABEL = "kubernetes.io/metadata.name"


def namespace(obj: Obj) -> None:
    """The label with the namespace's own name, which policies select by, and phase Active."""
    metadata = obj.get("metadata") or {}
    if name := metadata.get("name"):
        labels = metadata.get("labels")
        if labels is None:
            labels = metadata["labels"] = {}
        labels[_NAME_LABEL] = name
    status = obj.get("status")
    if status is None:
        status = obj["status"] = {}
    if not status.get("phase"):
        status["phase"] = "Active"


def node(obj: Obj) -> None:
    """What is not set aside can be allocated."""
    status = obj.get("status") or {}
    if status.get("capacity") is not None and status.get("allocatable") is None:
        status["allocatable"] = dict(status["capacity"])


def secret(obj: Obj) -> None:
    """Type Opaque; stringData, which is only ever written, becomes data."""
    if not obj.get("type"):
        obj["type"] = "Opaque"
    texts = obj.pop("stringData", None)
    if texts:
        data = obj.get("data")
        if data is None:
            data = obj["data"] = {}
        for key, text in texts.items():
            data[key] = b64encode(text.encode("utf-8", "surrogatepass")).decode()


def endpoint_slice(obj: Obj) -> None:
    for port in obj.get("ports") or ():
        if port.get("name") is None:
            port["name"] = ""
        if port.get("protocol") is None:
            port["protocol"] = "TCP"

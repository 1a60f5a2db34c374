"""Plugins of volumes and ingresses: default classes, protection of what is in use, expansion of claims.

Source: Kubernetes documentation, "Admission Control in Kubernetes"; "Dynamic Volume Provisioning", defaulting;
"Persistent Volumes", storage object in use protection and expansion; "Ingress", default IngressClass.
"""

from __future__ import annotations

from hawser.api.kind import Kind
from hawser.api.kinds import (
    INGRESS,
    INGRESS_CLASS,
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    STORAGE_CLASS,
    VOLUME_ATTRIBUTES_CLASS,
)
from hawser.api.quantity import compare
from hawser.api.storage import CLASS_BETA, class_of, default_class, notes
from hawser.api.types import Obj
from hawser.apiserver.admission.base import Operation, Plugin, Request
from hawser.apiserver.admission.refusals import refused
from hawser.apiserver.committed import Committed

_INGRESS_ANNOTATION = "kubernetes.io/ingress.class"
_DEFAULT_INGRESS = ("ingressclass.kubernetes.io/is-default-class",)
_PROTECTION = {
    PERSISTENT_VOLUME_CLAIM: "kubernetes.io/pvc-protection",
    PERSISTENT_VOLUME: "kubernetes.io/pv-protection",
    VOLUME_ATTRIBUTES_CLASS: "kubernetes.io/vac-protection",
}


class DefaultStorageClass(Plugin):
    """Claims that name no class get the default one."""

    name = "DefaultStorageClass"

    def __init__(self, committed: Committed) -> None:
        self._committed = committed

    def handles(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """New claims."""
        return kind is PERSISTENT_VOLUME_CLAIM and not subresource and operation is Operation.CREATE

    def mutate(self, request: Request) -> None:
        """An empty name is a name: of no class."""
        claim = request.new
        spec = claim.setdefault("spec", {})
        if spec.get("storageClassName") is not None or CLASS_BETA in notes(claim):
            return
        found = default_class(self._committed.every(STORAGE_CLASS))
        if found is not None:
            spec["storageClassName"] = found["metadata"]["name"]


class DefaultIngressClass(Plugin):
    """Ingresses that name no class get the default one."""

    name = "DefaultIngressClass"

    def __init__(self, committed: Committed) -> None:
        self._committed = committed

    def handles(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """New ingresses."""
        return kind is INGRESS and not subresource and operation is Operation.CREATE

    def mutate(self, request: Request) -> None:
        """The annotation that was used before the field is a name, too."""
        ingress = request.new
        spec = ingress.setdefault("spec", {})
        if spec.get("ingressClassName") is not None or _INGRESS_ANNOTATION in notes(ingress):
            return
        found = default_class(self._committed.every(INGRESS_CLASS), _DEFAULT_INGRESS)
        if found is not None:
            spec["ingressClassName"] = found["metadata"]["name"]


class StorageObjectInUseProtection(Plugin):
    """Claims, volumes and attributes classes wait for those who use them: controllers take the finalizer off."""

    name = "StorageObjectInUseProtection"

    def handles(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """What storage is made of, when it is made."""
        return kind in _PROTECTION and not subresource and operation is Operation.CREATE

    def mutate(self, request: Request) -> None:
        """Add the finalizer."""
        metadata = request.new["metadata"]
        finalizers = metadata.get("finalizers") or []
        wanted = _PROTECTION[request.kind]
        if wanted not in finalizers:
            metadata["finalizers"] = [*finalizers, wanted]


class PersistentVolumeClaimResize(Plugin):
    """Only a bound claim of a class that allows it may ask for more."""

    name = "PersistentVolumeClaimResize"

    def __init__(self, committed: Committed) -> None:
        self._committed = committed

    def handles(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """Changes of claims."""
        return kind is PERSISTENT_VOLUME_CLAIM and not subresource and operation is Operation.UPDATE

    def validate(self, request: Request) -> None:
        """APIError 403."""
        old = request.old
        if old is None:
            return
        size, was = _size(request.new), _size(old)
        if size is None or was is None or size == was or compare(size, was) <= 0:
            return
        if (old.get("status") or {}).get("phase") != "Bound":
            raise refused(request, "Only bound persistent volume claims can be expanded")
        name = class_of(request.new)
        found = self._committed.get(STORAGE_CLASS, "", name) if name and name == class_of(old) else None
        if found is None or not found.get("allowVolumeExpansion"):
            raise refused(
                request,
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must "
                "support resize",
            )


def _size(claim: Obj) -> str | None:
    requests = ((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}
    found: str | None = requests.get("storage")
    return found

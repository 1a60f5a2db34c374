"""What is said of valid volumes and claims: what is deprecated, fractions of a byte.

Source: API concepts, "Warnings"; volumes and their reclaim policies. The sentences are kube-apiserver's.
"""

from __future__ import annotations

from collections.abc import Iterator

from hawser.api.quantity import canonical, parse_quantity
from hawser.api.storage import CLASS_BETA
from hawser.api.types import Obj
from hawser.api.warnings.labels import term

_ANNOTATIONS = {
    CLASS_BETA: 'deprecated since v1.8; use "storageClassName" attribute instead',
    "volume.beta.kubernetes.io/mount-options": 'deprecated since v1.31; use "mountOptions" attribute instead',
}
_RECYCLE = (
    "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach "
    "is to use dynamic provisioning."
)
# Each source's name as it is shown, which is not always the field's.
_GONE = {
    "photonPersistentDisk": "photonPersistentDisk: deprecated in v1.11, non-functional in v1.16+",
    "scaleIO": "scaleIO: deprecated in v1.16, non-functional in v1.22+",
    "storageos": "storageOS: deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "glusterfs: deprecated in v1.25, non-functional in v1.26+",
    "cephfs": "cephfs: deprecated in v1.28, non-functional in v1.31+",
    "rbd": "rbd: deprecated in v1.28, non-functional in v1.31+",
}


def volume(obj: Obj) -> Iterator[str]:
    """A PersistentVolume."""
    notes, spec = obj["metadata"].get("annotations") or {}, obj.get("spec") or {}
    for key, text in _ANNOTATIONS.items():
        if key in notes:
            yield f"metadata.annotations[{key}]: {text}"
    required = (spec.get("nodeAffinity") or {}).get("required") or {}
    for i, each in enumerate(required.get("nodeSelectorTerms") or ()):
        yield from term(each, f"spec.nodeAffinity.required.nodeSelectorTerms[{i}]")
    if spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        yield _RECYCLE
    for field, text in _GONE.items():
        if spec.get(field) is not None:
            yield f"spec.{text}"


def claim(obj: Obj) -> Iterator[str]:
    """A PersistentVolumeClaim."""
    if CLASS_BETA in (obj["metadata"].get("annotations") or {}):
        yield f"metadata.annotations[{CLASS_BETA}]: {_ANNOTATIONS[CLASS_BETA]}"
    yield from claim_spec(obj.get("spec") or {}, "spec")


def claim_spec(spec: Obj, at: str) -> Iterator[str]:
    """A claim's spec, or that of a template, at a path."""
    resources = spec.get("resources") or {}
    for part in ("requests", "limits"):
        amount = (resources.get(part) or {}).get("storage")
        if amount is not None and parse_quantity(amount) % 1:
            path = f"{at}.resources.{part}[storage]"
            yield f'{path}: fractional byte value "{canonical(amount)}" is invalid, must be an integer'

"""Defaults of a pod's volumes. Source: API reference, Volume."""

from __future__ import annotations

from hawser.api.defaults.image import pull_policy
from hawser.api.types import Obj

_MODE = 0o644
# Fields that a source gets where they are absent or empty.
_SIMPLE: dict[str, Obj] = {
    "azureDisk": {"cachingMode": "ReadWrite", "fsType": "ext4", "kind": "Shared"},
    "iscsi": {"iscsiInterface": "default"},
    "rbd": {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"},
    "scaleIO": {"storageMode": "ThinProvisioned", "fsType": "xfs"},
}


def volume(entry: Obj) -> None:
    """One volume: emptyDir when no source is named, modes of files, types."""
    source = next((name for name in entry if name != "name"), None)
    if source is None:
        entry["emptyDir"] = {}
        return
    value = entry[source]
    match source:
        case "secret" | "configMap":
            value.setdefault("defaultMode", _MODE)
        case "downwardAPI":
            value.setdefault("defaultMode", _MODE)
            _downward(value)
        case "projected":
            value.setdefault("defaultMode", _MODE)
            for part in value.get("sources") or ():
                token = part.get("serviceAccountToken")
                if token is not None:
                    token.setdefault("expirationSeconds", 3600)
                _downward(part.get("downwardAPI") or {})
        case "hostPath":
            value.setdefault("type", "")
        case "azureDisk":
            value.setdefault("readOnly", False)
        case "ephemeral":
            template = value.get("volumeClaimTemplate")
            if template is not None:
                template.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
        case "image":
            if not value.get("pullPolicy"):
                value["pullPolicy"] = pull_policy(value.get("reference") or "")
    for field, default in _SIMPLE.get(source, {}).items():
        if not value.get(field):
            value[field] = default


def persistent_source(spec: Obj) -> None:
    """The source among the fields of a PersistentVolume's spec."""
    for source, defaults in _SIMPLE.items():
        value = spec.get(source)
        if isinstance(value, dict):
            for field, default in defaults.items():
                if not value.get(field):
                    value[field] = default
    if "hostPath" in spec:
        spec["hostPath"].setdefault("type", "")
    if "azureDisk" in spec:
        spec["azureDisk"].setdefault("readOnly", False)


def _downward(source: Obj) -> None:
    for item in source.get("items") or ():
        field_ref(item)


def field_ref(source: Obj) -> None:
    """apiVersion of a downward API reference."""
    reference = source.get("fieldRef")
    if reference is not None and not reference.get("apiVersion"):
        reference["apiVersion"] = "v1"

"""The PersistentVolumeClaims that pods name.

Source: Kubernetes documentation, "Persistent Volumes"; "Ephemeral Volumes" for the names of their claims.
"""

from __future__ import annotations

from collections.abc import Iterable

from hawser.api.types import Obj


def claim_name(pod: str, volume: Obj) -> str:
    """The claim of a volume of the pod with this name; "" for other volumes. An ephemeral one's is named after both."""
    if source := volume.get("persistentVolumeClaim"):
        return str(source.get("claimName") or "")
    return f"{pod}-{volume['name']}" if "ephemeral" in volume else ""


def claim_names(pod: str, volumes: Iterable[Obj] | None) -> list[str]:
    """The claims of these volumes of the pod with this name."""
    return [name for volume in volumes or () if (name := claim_name(pod, volume))]


def claims_of(pod: Obj) -> list[str]:
    """The names of the claims that a pod needs, those of its ephemeral volumes among them."""
    return claim_names(pod["metadata"]["name"], pod["spec"].get("volumes"))


def claim_keys(pod: Obj) -> list[str]:
    """The same with their namespace: namespace/name."""
    return [f"{pod['metadata']['namespace']}/{name}" for name in claims_of(pod)]

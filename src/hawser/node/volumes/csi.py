"""What a pod wants of a CSI driver: pure, from its own ``csi`` volume or a PersistentVolume.

Source: Kubernetes documentation, "csi" volumes; API reference, CSIPersistentVolumeSource.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from hawser.api.types import Obj
from hawser.node.pod import view


@dataclass(frozen=True, slots=True)
class Volume:
    """One CSI volume as a pod wants it. source: of the PersistentVolume or of the pod's inline volume."""

    name: str
    driver: str
    handle: str
    source: Obj
    inline: bool
    modes: tuple[str, ...] = ()
    block: bool = False
    readonly: bool = False
    options: tuple[str, ...] = ()


def inline(pod: Obj, volume: Obj) -> Volume:
    """The volume of a pod's own ``csi`` source; its handle is made of the pod and the volume's name."""
    source = volume["csi"]
    handle = hashlib.sha256(f"{view.uid(pod)}{volume['name']}".encode()).hexdigest()
    return Volume(
        volume["name"], source["driver"], f"csi-{handle}", source, inline=True, readonly=bool(source.get("readOnly"))
    )


def persistent(row: Obj, *, readonly: bool) -> Volume:
    """The volume of a PersistentVolume."""
    spec = row["spec"]
    source = spec["csi"]
    return Volume(
        row["metadata"]["name"],
        source["driver"],
        source["volumeHandle"],
        source,
        inline=False,
        modes=tuple(spec.get("accessModes") or ()),
        block=spec.get("volumeMode") == "Block",
        readonly=readonly or bool(source.get("readOnly")),
        options=tuple(spec.get("mountOptions") or ()),
    )

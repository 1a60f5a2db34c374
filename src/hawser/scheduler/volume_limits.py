"""How many volumes of CSI drivers can be attached to a node: pure.

Source: Kubernetes documentation, "Node-specific Volume Limits"; CSINode's ``allocatable``.
"""

from __future__ import annotations

from collections.abc import Iterator

from hawser.api.types import Obj
from hawser.scheduler.cache import NodeInfo
from hawser.scheduler.filters import Refusal
from hawser.scheduler.shapes import PodInfo
from hawser.scheduler.volumes import Stock, key

TOO_MANY = Refusal("NodeVolumeLimits", ("node(s) exceed max volume count",))

_Volume = tuple[str, str]
"""Its driver and its handle there; of one that is yet to be made, the claim."""


def over_limit(pod: PodInfo, node: NodeInfo, stock: Stock) -> Refusal | None:
    """Whether the pod brings more volumes of a driver than the node can have, by the pods that are there or promised
    room, and what is attached still."""
    csi = stock.csi_nodes.get(node.name)
    drivers = ((csi or {}).get("spec") or {}).get("drivers") or ()
    limits = {d["name"]: d["allocatable"]["count"] for d in drivers if "count" in (d.get("allocatable") or {})}
    wanted = {volume for volume in _volumes(pod, stock) if volume[0] in limits} if limits else set()
    if not wanted:
        return None
    promised = (other for other in node.nominated.values() if other.priority >= pod.priority and other.key != pod.key)
    here = {volume for other in (*node.pods.values(), *promised) if other.claims for volume in _volumes(other, stock)}
    here |= {volume for one in stock.attached(node.name) if (volume := _attached(one, stock)) is not None}
    for driver in {driver for driver, _ in wanted - here}:
        if sum(name == driver for name, _ in wanted | here) > limits[driver]:
            return TOO_MANY
    return None


def _volumes(pod: PodInfo, stock: Stock) -> Iterator[_Volume]:
    """The pod's CSI volumes."""
    for name, _ in pod.claims:
        claim = stock.claims.get(f"{pod.namespace}/{name}")
        if claim is None:
            continue
        volume = stock.volumes.get(claim["spec"].get("volumeName") or "")
        if volume is not None:
            if (found := _of_csi(volume)) is not None:
                yield found
        elif (made_by := stock.class_of(claim)) is not None:
            yield made_by["provisioner"], key(claim)


def _attached(attachment: Obj, stock: Stock) -> _Volume | None:
    volume = stock.volumes.get(attachment["spec"]["source"].get("persistentVolumeName") or "")
    return _of_csi(volume) if volume is not None else None


def _of_csi(volume: Obj) -> _Volume | None:
    csi = volume["spec"].get("csi")
    return (csi["driver"], csi["volumeHandle"]) if csi else None

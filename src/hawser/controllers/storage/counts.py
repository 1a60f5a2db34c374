"""How many volumes and claims there are, bound and attached, as the volume binder and the attacher tell it.

Source: Kubernetes metrics reference, pv_collector_*, attachdetach_controller_*, storage_count_*.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from hawser.api.types import Obj
from hawser.exposition import gauge

_Counts = Counter[tuple[str, ...]]


def lines(volumes: Iterable[Obj], claims: Iterable[Obj]) -> Iterator[str]:
    """In Prometheus' text format."""
    total: _Counts = Counter()
    bound, unbound = _of_volumes(volumes, total)
    prefix = "pv_collector_"
    text = "Gauge measuring total number of persistent volumes"
    yield from gauge(f"{prefix}total_pv_count", text, total, ("plugin_name", "volume_mode"))
    text = "Gauge measuring number of persistent volume currently {}"
    yield from gauge(f"{prefix}bound_pv_count", text.format("bound"), bound, ("storage_class",))
    yield from gauge(f"{prefix}unbound_pv_count", text.format("unbound"), unbound, ("storage_class",))
    bound, unbound = _of_claims(claims)
    names, text = ("namespace", "storage_class", "volume_attributes_class"), text.replace("volume", "volume claim")
    yield from gauge(f"{prefix}bound_pvc_count", text.format("bound"), bound, names)
    yield from gauge(f"{prefix}unbound_pvc_count", text.format("unbound"), unbound, names)


def of_attachments(needed: Iterable[tuple[str, Obj]], attached: Iterable[Obj]) -> Iterator[str]:
    """What the attach-detach controller tells. needed: nodes and volumes; attached: the volumes of attachments."""
    in_use: _Counts = Counter()
    states: _Counts = Counter()
    for node, volume in needed:
        in_use[node, plugin(volume)] += 1
        states[plugin(volume), "desired_state_of_world"] += 1
    for volume in attached:
        states[plugin(volume), "actual_state_of_world"] += 1
    name, text = "storage_count_attachable_volumes_in_use", "Measure number of volumes in use"
    yield from gauge(name, text, in_use, ("node", "volume_plugin"))
    name, text = "attachdetach_controller_total_volumes", "Number of volumes in A/D Controller"
    yield from gauge(name, text, states, ("plugin_name", "state"))


def plugin(volume: Obj) -> str:
    """The name of the plugin that a volume is of."""
    spec = volume["spec"]
    if csi := spec.get("csi"):
        return f"kubernetes.io/csi:{csi['driver']}"
    source = next((name for name in _SOURCES if name in spec), "")
    return _SOURCES.get(source, "N/A")


_SOURCES = {
    "hostPath": "kubernetes.io/host-path",
    "local": "kubernetes.io/local-volume",
    "nfs": "kubernetes.io/nfs",
    "iscsi": "kubernetes.io/iscsi",
    "fc": "kubernetes.io/fc",
    "flexVolume": "kubernetes.io/flexvolume",
}


def _of_volumes(volumes: Iterable[Obj], total: _Counts) -> tuple[_Counts, _Counts]:
    bound: _Counts = Counter()
    unbound: _Counts = Counter()
    for volume in volumes:
        spec = volume["spec"]
        total[plugin(volume), spec.get("volumeMode") or "Filesystem"] += 1
        found = bound if (volume.get("status") or {}).get("phase") == "Bound" else unbound
        found[(spec.get("storageClassName") or "",)] += 1
    return bound, unbound


def _of_claims(claims: Iterable[Obj]) -> tuple[_Counts, _Counts]:
    bound: _Counts = Counter()
    unbound: _Counts = Counter()
    for claim in claims:
        spec = claim["spec"]
        classes = spec.get("storageClassName") or "", spec.get("volumeAttributesClassName") or ""
        found = bound if (claim.get("status") or {}).get("phase") == "Bound" else unbound
        found[claim["metadata"]["namespace"], *classes] += 1
    return bound, unbound

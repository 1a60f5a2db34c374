"""How much a pod may receive and send: kubelet's annotations. Pure.

Source: Kubernetes documentation, "Network Plugins" (support traffic shaping); kubelet's limits and messages.
"""

from __future__ import annotations

from collections.abc import Mapping

from hawser.api.quantity import parse_quantity

INGRESS, EGRESS = "kubernetes.io/ingress-bandwidth", "kubernetes.io/egress-bandwidth"
_LEAST, _MOST = 1000, 10**15


class BandwidthError(Exception):
    """An annotation that cannot be followed; the message says why."""


def limits(annotations: Mapping[str, str]) -> tuple[int, int]:
    """Bits a second that a pod may receive and send; 0 for no limit. Raises BandwidthError."""
    ingress, egress = (_limit(name, annotations.get(name)) for name in (INGRESS, EGRESS))
    return ingress, egress


def _limit(name: str, text: str | None) -> int:
    if not text:
        return 0
    try:
        rate = int(parse_quantity(text))
    except ValueError as error:
        raise BandwidthError(f"annotation {name}: {error}") from error
    if rate < _LEAST:
        raise BandwidthError(f"annotation {name}: resource is unreasonably small (< 1kbit)")
    if rate > _MOST:
        raise BandwidthError(f"annotation {name}: resource is unreasonably large (> 1Pbit)")
    return rate

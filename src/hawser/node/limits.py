"""What the agent keeps of the node's resources for itself, and when it frees some: flags and defaults of the kubelet.

Source: Kubernetes documentation, "Reserve Compute Resources", "Node-pressure Eviction", "Garbage Collection".
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field

from hawser.api import durations
from hawser.api.quantity import parse_quantity, to_bytes
from hawser.node.eviction.thresholds import HARD, Threshold, parse
from hawser.node.logrotate import USUAL, Sizes

_RESERVABLE = ("cpu", "memory", "ephemeral-storage", "pid")


@dataclass(frozen=True, slots=True)
class Limits:
    """See the flags. Times in seconds; reserved: quantities by resource, of kube and system together."""

    max_parallel_image_pulls: int = 1
    image_gc_high: int = 85
    image_gc_low: int = 80
    image_min_age: float = 120.0
    thresholds: tuple[Threshold, ...] = field(default_factory=lambda: parse(HARD, "", "", ""))
    transition: float = 300.0
    max_grace: int = 0
    reserved: Mapping[str, str] = field(default_factory=dict)
    pod_pids: int = -1
    housekeeping: float = 10.0
    logs: Sizes = USUAL


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of all limits."""
    add = parser.add_argument_group("resources of the node").add_argument
    add("--max-parallel-image-pulls", type=int, default=1, metavar="N", help="(default: %(default)s)")
    add("--image-gc-high-threshold", type=int, default=85, metavar="PERCENT", help="full disks lose unused images")
    add("--image-gc-low-threshold", type=int, default=80, metavar="PERCENT", help="until so much is used")
    add("--minimum-image-ttl-duration", default="2m", metavar="TIME", help="younger images stay (default: %(default)s)")
    add("--eviction-hard", default=HARD, metavar="SIGNAL<VALUE,...", help="pods are evicted at once")
    add("--eviction-soft", default="", metavar="SIGNAL<VALUE,...", help="pods are evicted after a while")
    add("--eviction-soft-grace-period", default="", metavar="SIGNAL=TIME,...", help="after which while")
    add("--eviction-minimum-reclaim", default="", metavar="SIGNAL=AMOUNT,...", help="what is freed beyond a threshold")
    add("--eviction-pressure-transition-period", default="5m", metavar="TIME", help="(default: %(default)s)")
    add("--eviction-max-pod-grace-period", type=int, default=0, metavar="SECONDS", help="of softly evicted pods")
    add("--kube-reserved", default="", metavar="RESOURCE=AMOUNT,...", help="what the engine needs is not pods'")
    add("--system-reserved", default="", metavar="RESOURCE=AMOUNT,...", help="what the system needs is not pods'")
    add("--housekeeping-interval", default="10s", metavar="TIME", help="between two looks (default: %(default)s)")
    add("--container-log-max-size", default="10Mi", metavar="SIZE", help="of a log (default: %(default)s)")
    add("--container-log-max-files", type=int, default=5, metavar="N", help="of a container (default: %(default)s)")
    add("--pod-max-pids", type=int, default=-1, metavar="N", help="processes of a pod; -1 for the node's own limit")


def read(given: argparse.Namespace) -> Limits:
    """The limits of a parsed command line. Raises ValueError."""
    high, low = given.image_gc_high_threshold, given.image_gc_low_threshold
    if not 0 <= low <= high <= 100:
        raise ValueError(f"invalid image garbage collection thresholds: {low} must not exceed {high}, nor 100")
    if given.container_log_max_files < 2:
        raise ValueError("--container-log-max-files must be at least 2")
    if given.max_parallel_image_pulls < 1:
        raise ValueError("--max-parallel-image-pulls must be a positive number")
    thresholds = parse(
        given.eviction_hard, given.eviction_soft, given.eviction_soft_grace_period, given.eviction_minimum_reclaim
    )
    return Limits(
        given.max_parallel_image_pulls,
        high,
        low,
        durations.length(given.minimum_image_ttl_duration),
        thresholds,
        durations.length(given.eviction_pressure_transition_period),
        given.eviction_max_pod_grace_period,
        _sum(_reserved(given.kube_reserved), _reserved(given.system_reserved)),
        given.pod_max_pids,
        durations.length(given.housekeeping_interval),
        Sizes(to_bytes(given.container_log_max_size), given.container_log_max_files),
    )


def _reserved(text: str) -> dict[str, str]:
    found = {}
    for statement in filter(None, text.split(",")):
        name, _, amount = statement.partition("=")
        if name not in _RESERVABLE:
            raise ValueError(f'cannot reserve "{name}" resource')
        if parse_quantity(amount) < 0:
            raise ValueError(f'resource quantity for "{name}" cannot be negative: {amount}')
        found[name] = amount
    return found


def _sum(first: Mapping[str, str], second: Mapping[str, str]) -> dict[str, str]:
    names = [name for name in _RESERVABLE if name in first or name in second]
    return {n: str(parse_quantity(first.get(n, "0")) + parse_quantity(second.get(n, "0"))) for n in names}

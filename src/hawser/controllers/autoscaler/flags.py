"""kube-controller-manager's flags of the horizontal pod autoscaler."""

from __future__ import annotations

import argparse

from hawser.api import durations


def add(parser: argparse.ArgumentParser) -> None:
    """Adds them, with kube-controller-manager's defaults."""
    listed = parser.add_argument_group("horizontal pod autoscaling")
    prefix = "--horizontal-pod-autoscaler"
    for name, default, text in (
        ("sync-period", "15s", "time between looks at the metrics"),
        ("downscale-stabilization", "5m0s", "for so long no fewer replicas than were asked for within that time"),
        ("cpu-initialization-period", "5m0s", "time after a pod's start in which its CPU usage may not count"),
        ("initial-readiness-delay", "30s", "time after a pod's start in which becoming ready counts as the first time"),
    ):
        listed.add_argument(
            f"{prefix}-{name}",
            type=durations.flag,
            default=default,
            metavar="DURATION",
            help=f"{text} (default: {default})",
        )
    listed.add_argument(
        f"{prefix}-tolerance",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="deviation from the target that changes nothing (default: %(default)s)",
    )

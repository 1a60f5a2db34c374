"""kube-controller-manager's flags of the controllers that deal with nodes that fail, and with what they leave."""

from __future__ import annotations

import argparse

from hawser.api import durations


def add(parser: argparse.ArgumentParser) -> None:
    """Adds them, with kube-controller-manager's defaults."""
    listed = parser.add_argument_group("nodes that fail")
    listed.add_argument(
        "--node-monitor-grace-period",
        type=durations.flag,
        default="50s",
        metavar="DURATION",
        help="silence after which a node is not Ready any more; agents renew their leases every 10s (default: 50s)",
    )
    listed.add_argument(
        "--node-startup-grace-period",
        type=durations.flag,
        default="1m0s",
        metavar="DURATION",
        help="the same for a node that never said anything (default: 1m0s)",
    )
    listed.add_argument(
        "--node-eviction-rate",
        type=float,
        default=0.1,
        metavar="NUMBER",
        help="nodes a second that are given up in a zone (default: %(default)s)",
    )
    listed.add_argument(
        "--secondary-node-eviction-rate",
        type=float,
        default=0.01,
        metavar="NUMBER",
        help="the same in a large zone that is unhealthy; a small one then gives up none (default: %(default)s)",
    )
    listed.add_argument(
        "--large-cluster-size-threshold",
        type=int,
        default=50,
        metavar="NUMBER",
        help="nodes from which on a zone is large (default: %(default)s)",
    )
    listed.add_argument(
        "--unhealthy-zone-threshold",
        type=float,
        default=0.55,
        metavar="SHARE",
        help="share of nodes, three at least, that makes a zone unhealthy (default: %(default)s)",
    )
    listed.add_argument(
        "--terminated-pod-gc-threshold",
        type=int,
        default=12500,
        metavar="NUMBER",
        help="pods that have ended and are kept; 0 keeps all (default: %(default)s)",
    )

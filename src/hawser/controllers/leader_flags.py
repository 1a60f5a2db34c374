"""kube-controller-manager's flags of leader election, and which Leases they are about."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from hawser.api import durations
from hawser.client.leaderelection import Timing

_CONTROLLERS = "kube-controller-manager"
_SCHEDULER = "kube-scheduler"


def add(parser: argparse.ArgumentParser) -> None:
    """Adds them; election is off by default, since an engine has one such process and starts it again by itself."""
    listed = parser.add_argument_group("leader election")
    listed.add_argument(
        "--leader-elect",
        nargs="?",
        type=_boolean,
        const=True,
        default=False,
        metavar="true|false",
        help="work only while holding a Lease; for several such processes, or a cluster with its own (default: false)",
    )
    defaults = Timing()
    for name, seconds, what in (
        ("lease-duration", defaults.duration, "silence of the holder after which others take over"),
        ("renew-deadline", defaults.deadline, "how long the holder goes on without a renewal"),
        ("retry-period", defaults.retry, "between tries"),
    ):
        flag = f"--leader-elect-{name}"
        text = f"{seconds:g}s"
        told = f"{what} (default: {text})"
        listed.add_argument(flag, type=durations.flag, default=text, metavar="DURATION", help=told)
    listed.add_argument(
        "--leader-elect-resource-lock", default="leases", choices=["leases"], help="what is held (default: leases)"
    )
    listed.add_argument(
        "--leader-elect-resource-name",
        default="",
        metavar="NAME",
        help=f"the Lease (default: {_CONTROLLERS}; the scheduler has one of its own, {_SCHEDULER})",
    )
    listed.add_argument(
        "--leader-elect-resource-namespace",
        default="kube-system",
        metavar="NAME",
        help="where it is (default: kube-system)",
    )


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f'"{text}" is neither true nor false')
    return text.lower() == "true"


def timing(options: Mapping[str, Any]) -> Timing:
    """The periods of a command line."""
    return Timing(
        options["leader_elect_lease_duration"],
        options["leader_elect_renew_deadline"],
        options["leader_elect_retry_period"],
    )


def leases(names: Sequence[str], options: Mapping[str, Any]) -> dict[str, list[str]]:
    """The controllers by the names of the Leases that they need."""
    named = options["leader_elect_resource_name"]
    controllers = [name for name in names if name != "scheduler"]
    groups: dict[str, list[str]] = {}
    if controllers:
        groups[named or _CONTROLLERS] = controllers
    if "scheduler" in names:
        groups[_SCHEDULER if controllers else named or _SCHEDULER] = ["scheduler"]
    return groups

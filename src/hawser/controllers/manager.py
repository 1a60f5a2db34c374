"""The process that runs the controllers and the scheduler."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import uvloop

from hawser import quickly
from hawser.client.client import Client
from hawser.client.config import ConfigError
from hawser.client.controller import Controller, Manager
from hawser.client.events import EventRecorder
from hawser.client.leaderelection import Elector, LeadershipLost
from hawser.controllers import leader_flags, node_flags, registry, serving_flags
from hawser.controllers.autoscaler import flags as autoscaler_flags
from hawser.controllers.observed import Observed
from hawser.controllers.serving import CannotListen

log = logging.getLogger(__name__)


def flags() -> frozenset[str]:
    """The names of all flags, without dashes."""
    return frozenset(name[2:] for action in _parser()._actions for name in action.option_strings)


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; exits with 2 and a sentence when it is wrong."""
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        options.chosen = registry.chosen(options.controllers)
    except registry.UnknownController as err:
        parser.error(str(err))
    if wrong := leader_flags.timing(vars(options)).wrong() or serving_flags.wrong(vars(options)):
        parser.error(wrong)
    if options.scheduler_config is not None:
        try:
            registry.make("scheduler").configure(vars(options))
        except (ValueError, OSError) as err:
            parser.error(f"--scheduler-config: {err}")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hawser.controllers",
        description="Runs Hawser's controllers and scheduler against a Kubernetes API.",
    )
    parser.add_argument("--kubeconfig", metavar="FILE", help="how to reach the API (default: as kubectl finds it)")
    parser.add_argument("--context", default="", help="context of the kubeconfig (default: its current one)")
    parser.add_argument(
        "--controllers",
        default="*",
        metavar="LIST",
        help="comma-separated names; * is all but those in brackets, -NAME is without it (default: *); there are: "
        + ", ".join(name if row.by_default else f"[{name}]" for name, row in registry.CONTROLLERS.items()),
    )
    parser.add_argument(
        "--cluster-signing-cert-file", type=Path, metavar="FILE", help="CA that signs certificates, PEM"
    )
    parser.add_argument(
        "--cluster-signing-key-file", type=Path, metavar="FILE", help="its key; without one none is signed"
    )
    parser.add_argument(
        "--cluster-signing-duration",
        type=float,
        default=8760.0,
        metavar="HOURS",
        help="the longest life of what is signed (default: %(default)s)",
    )
    parser.add_argument(
        "--service-account-private-key-file",
        type=Path,
        metavar="FILE",
        help="key that signs the tokens of Secrets; without one none is filled",
    )
    parser.add_argument(
        "--scheduler-config",
        type=Path,
        metavar="FILE",
        help="a KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1) for the scheduler",
    )
    node_flags.add(parser)
    autoscaler_flags.add(parser)
    leader_flags.add(parser)
    serving_flags.add(parser)
    parser.add_argument(
        "--load-balancer-range",
        type=_ranges,
        default=(),
        metavar="CIDR[,CIDR]",
        help="addresses of Services of type LoadBalancer; without one they get none",
    )
    parser.add_argument(
        "--local-volume-root",
        type=Path,
        metavar="DIR",
        help="folder on this machine for volumes of the provisioner hawser.dev/local; without it makes none",
    )
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    return parser


def _ranges(text: str) -> tuple[str, ...]:
    return tuple(str(ip_network(part)) for part in text.split(",") if part)


async def run(client: Client, names: Sequence[str], options: Mapping[str, Any]) -> None:
    """Runs the named controllers until SIGTERM, SIGINT or cancellation. options: of the command line, for them.

    Raises LeadershipLost when a Lease that was held is not any more, and CannotListen.
    """
    observed = Observed(client, names, options)
    endpoint = observed.endpoint()
    work = _elected if options["leader_elect"] else _run
    try:
        await endpoint.start()
        running = asyncio.ensure_future(work(client, names, options, observed))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, running.cancel)
        await running
    except asyncio.CancelledError:
        log.info("stopped")
    finally:
        endpoint.stop()
        await client.close()


async def _run(client: Client, names: Sequence[str], options: Mapping[str, Any], observed: Observed) -> None:
    manager = Manager(client)
    for name in names:
        row = registry.CONTROLLERS[name]
        if row.kinds:
            manager.add_with_first(row.kinds, partial(_make, name, options))
        else:
            manager.add(_make(name, options))
    observed.managers.append(manager)
    # What is imported and set up by now stays; the collector need not walk it again.
    quickly.settle()
    log.info("running %s against %s", ", ".join(names), client.server)
    await manager.run()


async def _elected(client: Client, names: Sequence[str], options: Mapping[str, Any], observed: Observed) -> None:
    """Each Lease is waited for, and lost, on its own; with the first that is lost the process ends."""

    async def lead(lease: str, controllers: Sequence[str]) -> None:
        recorder = EventRecorder(client, lease)
        elector = Elector(client, namespace, lease, timing=leader_flags.timing(options), recorder=recorder)
        observed.leases[lease] = False
        async with elector.leading():
            observed.leases[lease] = True
            await _run(client, controllers, options, observed)

    namespace = options["leader_elect_resource_namespace"]
    try:
        async with asyncio.TaskGroup() as tasks:
            for lease, controllers in leader_flags.leases(names, options).items():
                tasks.create_task(lead(lease, controllers), name=f"election of {lease}")
    except* LeadershipLost as lost:
        raise lost.exceptions[0] from None


def _make(name: str, options: Mapping[str, Any]) -> Controller:
    controller = registry.make(name)
    controller.configure(options)
    return controller


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = arguments(argv)
    logging.basicConfig(
        level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    try:
        client = Client.from_kubeconfig(options.kubeconfig, options.context, user_agent="hawser-controllers")
    except ConfigError as err:
        print(f"hawser.controllers: {err}", file=sys.stderr)
        return 1
    try:
        uvloop.run(run(client, options.chosen, vars(options)))
    except (LeadershipLost, CannotListen) as end:
        log.error("%s", end)
        return 1
    return 0

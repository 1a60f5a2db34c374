#!/usr/bin/env python3
"""Measures any Kubernetes API: the same requests, whatever serves them.

bench/run.py --kubeconfig FILE
bench/run.py --server https://127.0.0.1:6443 --token T --insecure --only create,get --pids api=123,agent=124

Prints a figure a line (`name value unit`); one whose result was wrong prints as FAIL(value), and the exit code is 1.
Everything it creates is in namespaces bench-*, which it deletes.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys

import crud
import lists
import pods
import watches
from http1 import HTTPError, Target
from options import Options
from processes import Processes
from report import Report, note

MEASURES = (*crud.OPERATIONS, "list", "watch", "pod")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--kubeconfig", default="", help="use its current context instead of --server")
    add("--server", default="https://127.0.0.1:6443", help="(default: %(default)s)")
    add("--token", default=os.environ.get("BENCH_TOKEN", ""), help="bearer token (default: $BENCH_TOKEN)")
    add("--ca", default="", help="file with the CA of the server's certificate")
    add("--insecure", action="store_true", help="do not check the server's certificate")
    add("--only", default=",".join(MEASURES), help="some of: %(default)s")
    add("--connections", default="1,16,64", help="of the create measures (default: %(default)s)")
    add("--seconds", type=float, default=3, help="length of each load (default: %(default)s)")
    add("--rounds", type=int, default=3, help="each load is run so often, medians are reported (default: %(default)s)")
    add("--pods", type=int, default=5000, help="objects of the list measure (default: %(default)s)")
    add("--watchers", type=int, default=200, help="(default: %(default)s)")
    add("--burst", type=int, default=30, help="pods of the burst (default: %(default)s)")
    add("--image", default="docker.io/library/busybox:1.36", help="needs sh and sleep (default: %(default)s)")
    add("--node", default="", help="name of the node that the pods are bound to (default: the scheduler's choice)")
    add("--pids", action="append", default=[], metavar="NAME=PID,...", help="report these processes' memory and CPU")
    add("--json", default="", help="write the figures to this file too")
    add("--keep", action="store_true", help="do not clean up")
    given = parser.parse_args()
    if unknown := set(given.only.split(",")) - set(MEASURES):
        parser.error(f"--only: there is no measure {', '.join(sorted(unknown))}")
    return given


def _memory(report: Report, processes: Processes, when: str) -> None:
    for name, resident in processes.rss().items():
        report.add(f"rss_{when}_{name}", resident / 2**20, "MiB")
    if processes.pids:
        report.add(f"pss_{when}", processes.pss() / 2**20, "MiB")


def main() -> int:
    given = _arguments()
    if given.kubeconfig:
        target = Target.from_kubeconfig(given.kubeconfig)
    else:
        target = Target.at(given.server, given.token, given.ca, insecure=given.insecure)
    options = Options(
        target=target,
        only=frozenset(given.only.split(",")),
        connections=tuple(int(number) for number in given.connections.split(",")),
        seconds=given.seconds,
        rounds=given.rounds,
        pods=given.pods,
        watchers=given.watchers,
        burst=given.burst,
        image=given.image,
        node=given.node,
        keep=given.keep,
    )
    # SIGTERM unwinds like Ctrl-C, so that namespaces are removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report, processes = Report(), Processes(given.pids)
    _memory(report, processes, "before")
    for measure in (pods, watches, lists, crud):
        try:
            measure.run(options, report, processes)
        except (HTTPError, OSError) as error:
            report.check(measure.__name__, False, str(error))
    _memory(report, processes, "after")
    if given.json:
        report.write(given.json)
    if report.failed:
        note(f"failed: {', '.join(dict.fromkeys(report.failed))}")
    return 1 if report.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())

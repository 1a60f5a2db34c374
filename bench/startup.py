#!/usr/bin/env python3
"""What a storm of starts does: pods that burn CPU before they are ready, all at once and in turns.

bench/startup.py --kubeconfig FILE --pods 30

Prints, for both ways, when the first, the median and the last pod was Ready after the storm began, and how long a
container ran before it was (median and longest): that is what startup probes and timeouts of applications see.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from datetime import datetime
from typing import Any

from http1 import Connection, HTTPError, Target
from pods import Follower
from report import Report
from scope import namespace, shell_pod

_LOOP = "i=0; while [ $i -lt {rounds} ]; do i=$((i+1)); done; touch /tmp/up; trap 'exit 0' TERM; sleep 3600 & wait"


def pod(name: str, image: str, rounds: int, *, turns: bool) -> dict[str, Any]:
    """Counts before it is ready, as a Java machine compiles."""
    probe = {"exec": {"command": ["test", "-e", "/tmp/up"]}, "periodSeconds": 1, "failureThreshold": 600}
    made = shell_pod(name, image, _LOOP.format(rounds=rounds), startupProbe=probe)
    if turns:
        made["metadata"]["annotations"] = {"hawser.dev/startup": "cpu-hungry"}
    return made


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _storm(given: argparse.Namespace, target: Target, report: Report, *, turns: bool) -> None:
    way = "turns" if turns else "at_once"
    names = [f"storm-{number}" for number in range(given.pods)]
    with namespace(target, "startup") as (connection, path):
        path += "/pods"
        follower = Follower(target, path, connection.list(path)[1])
        try:
            body = [pod(name, given.image, given.rounds, turns=turns) for name in names]
            sent = [connection.must("POST", path, one).sent for one in body]
            follower.wait(names, follower.ready, 900)
            ready = sorted(follower.ready[name] - sent[0] for name in names)
            for word, value in (("first", ready[0]), ("median", statistics.median(ready)), ("last", ready[-1])):
                report.add(f"startup_{way}_{word}", value, "s")
            ran = _ran(connection, path)
            report.add(f"startup_{way}_container_median", statistics.median(ran), "s")
            report.add(f"startup_{way}_container_longest", max(ran), "s")
        finally:
            follower.close()


def _ran(connection: Connection, path: str) -> list[float]:
    """Whole seconds from each container's start until its pod was Ready, as the API says."""
    found = []
    for item in connection.list(path)[0]:
        started = item["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
        ready = next(c for c in item["status"]["conditions"] if c["type"] == "Ready")["lastTransitionTime"]
        found.append(_seconds(ready) - _seconds(started))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--pods", type=int, default=30, help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=1_000_000, help="of each one's loop (default: %(default)s)")
    parser.add_argument("--image", default="docker.io/library/busybox:1.36", help="(default: %(default)s)")
    given = parser.parse_args()
    report = Report()
    target = Target.from_kubeconfig(given.kubeconfig)
    try:
        for turns in (False, True):
            _storm(given, target, report, turns=turns)
            time.sleep(2)
    except HTTPError as error:
        report.check("startup", False, str(error))
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())

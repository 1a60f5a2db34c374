"""Real pods: one create -> Ready (median of 5), a burst of 30 until the last is Ready, and their deletion."""

from __future__ import annotations

import socket
import statistics
import threading
from typing import Any

import orjson

from http1 import Connection, HTTPError, Reader, Target, now
from options import Options
from processes import Processes
from report import Report
from scope import namespace, shell_pod

SINGLE = 5


# The shell ends at once on SIGTERM: the grace period is not what is measured.
_WAIT = "trap 'exit 0' TERM; sleep 3600 & wait"


class Follower:
    """Watches pods in a thread and notes when each became Ready and when it was gone."""

    def __init__(self, target: Target, path: str, revision: str) -> None:
        self.ready: dict[str, float] = {}
        self.gone: dict[str, float] = {}
        self.restarted: set[str] = set()
        self._changed = threading.Condition()
        self._connection = Connection(target, timeout=300)
        self._connection.socket.sendall(target.request("GET", f"{path}?watch=1&resourceVersion={revision}"))
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        reader = Reader()
        try:
            while data := self._connection.socket.recv(262_144):
                when = now()
                reader.feed(data)
                for line in reader.take_lines():
                    self._note(when, orjson.loads(line))
        except OSError:
            pass  # Closed.

    def _note(self, when: float, event: dict[str, Any]) -> None:
        name = event["object"]["metadata"]["name"]
        status = event["object"].get("status", {})
        with self._changed:
            if event["type"] == "DELETED":
                self.gone.setdefault(name, when)
            elif any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions") or []):
                self.ready.setdefault(name, when)
            if any(one.get("restartCount") for one in status.get("containerStatuses") or []):
                self.restarted.add(name)
            self._changed.notify_all()

    def wait(self, names: list[str], what: dict[str, float], seconds: float) -> None:
        """Until all names are in ``ready`` or ``gone``. Raises HTTPError when that takes too long."""
        with self._changed:
            if not self._changed.wait_for(lambda: all(name in what for name in names), seconds):
                left = [name for name in names if name not in what]
                raise HTTPError(
                    f"after {seconds} s these pods are not {'gone' if what is self.gone else 'Ready'}: {left}"
                )

    def close(self) -> None:
        # Its thread has to let go of the descriptor first: the next connection gets the same number.
        self._connection.socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._connection.close()


def run(options: Options, report: Report, processes: Processes) -> None:
    if "pod" not in options.only:
        return
    with namespace(options.target, "pod", options.keep) as (connection, path):
        path += "/pods"
        follower = Follower(options.target, path, connection.list(path)[1])
        try:
            _single(options, report, connection, path, follower)
            _burst(options, report, processes, connection, path, follower)
        except HTTPError as error:
            report.check("pod", False, str(error))
        finally:
            follower.close()


def _pod(options: Options, name: str) -> dict[str, Any]:
    made = shell_pod(name, options.image, _WAIT)
    return {**made, "spec": {**made["spec"], "nodeName": options.node}} if options.node else made


def _single(options: Options, report: Report, connection: Connection, path: str, follower: Follower) -> None:
    started, removed = [], []
    for number in range(SINGLE + 1):
        name = f"one-{number}"
        answer = connection.must("POST", path, _pod(options, name))
        follower.wait([name], follower.ready, 60)
        deleted = connection.must("DELETE", f"{path}/{name}")
        follower.wait([name], follower.gone, 60)
        if number:  # The first one warms up, or pulls the image.
            started.append(follower.ready[name] - answer.sent)
            removed.append(follower.gone[name] - deleted.sent)
    report.add("pod_ready", statistics.median(started), "s")
    report.add("pod_ready_max", max(started), "s")
    report.add("pod_delete", statistics.median(removed), "s")


def _burst(
    options: Options, report: Report, processes: Processes, connection: Connection, path: str, follower: Follower
) -> None:
    names = [f"burst-{number}" for number in range(options.burst)]
    cpu = processes.cpu()
    sent = [connection.must("POST", path, _pod(options, name)).sent for name in names]
    follower.wait(names, follower.ready, 180)
    elapsed = max(follower.ready[name] for name in names) - sent[0]
    report.check("pod_burst", not follower.restarted, f"containers were restarted: {follower.restarted}")
    report.add("pod_burst_ready", elapsed, "s")
    report.add("pod_burst_rate", options.burst / elapsed, "pods/s")
    if processes.pids:
        report.add("pod_burst_server_cpu", processes.cpu() - cpu, "s")
    deleted = connection.must("DELETE", path)
    follower.wait(names, follower.gone, 180)
    elapsed = max(follower.gone[name] for name in names) - deleted.sent
    report.add("pod_burst_gone", elapsed, "s")

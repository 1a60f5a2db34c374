"""Watch fan-out: 200 watchers of one namespace while 500 ConfigMaps are created at a steady 100/s.

A sample is: create request written -> event's bytes read, by each watcher (100,000 samples). One epoll loop stores
bytes with their time only; decoding and checking come after. The creator is a process of its own.
"""

from __future__ import annotations

import multiprocessing
import select
import ssl
import threading
import time
from multiprocessing.connection import Connection as Pipe

import orjson

from crud import configmap
from http1 import Connection, Reader, Target, now
from options import Options
from processes import Processes
from report import Report, percentile
from scope import namespace

OBJECTS, RATE = 500, 100
CREATORS = 8
Made = list[tuple[str, float, float, int]]
"""name, when it was due, when its request was sent, status"""


def _create(target: Target, path: str, pipe: Pipe) -> None:
    """Open loop: object i is due at start + i / RATE, whatever became of those before."""
    made: Made = []
    connections = [Connection(target) for _ in range(CREATORS)]
    for connection in connections:
        connection.must("GET", f"{path}?limit=1")
    pipe.send("ready")
    pipe.recv()
    start = now() + 0.2

    def work(first: int) -> None:
        for number in range(first, OBJECTS, CREATORS):
            name, due = f"w-{number:05}", start + number / RATE
            request = target.request("POST", path, orjson.dumps(configmap(name, {"k": "x" * 500})))
            time.sleep(max(0.0, due - now()))
            answer = connections[first].send(request)
            made.append((name, due, answer.sent, answer.status))

    threads = [threading.Thread(target=work, args=(first,)) for first in range(CREATORS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pipe.send(made)


def run(options: Options, report: Report, processes: Processes) -> None:
    if "watch" not in options.only:
        return
    target = options.target
    with namespace(target, "watch", options.keep) as (connection, path):
        path += "/configmaps"
        pipe, theirs = multiprocessing.Pipe()
        creator = multiprocessing.get_context("fork").Process(target=_create, args=(target, path, theirs))
        creator.start()
        try:
            pipe.recv()
            revision = connection.list(path)[1]
            watches = [Connection(target) for _ in range(options.watchers)]
            for watch in watches:
                watch.socket.sendall(
                    target.request("GET", f"{path}?watch=1&resourceVersion={revision}&timeoutSeconds=600")
                )
            time.sleep(1)
            cpu = processes.cpu()
            pipe.send("go")
            received, made = _collect(watches, pipe)
            cpu = processes.cpu() - cpu
            for watch in watches:
                watch.close()
        finally:
            creator.terminate()
            creator.join()
    _tell(report, received, made)
    if processes.pids:
        report.add("watch_server_cpu", cpu, "s")


def _collect(watches: list[Connection], pipe: Pipe) -> tuple[list[list[tuple[float, bytes]]], Made]:
    """Each watcher's bytes with the time of each read, until all was made and a second was quiet."""
    received: list[list[tuple[float, bytes]]] = [[] for _ in watches]
    by_descriptor = {watch.socket.fileno(): (watch.socket, log) for watch, log in zip(watches, received, strict=True)}
    epoll = select.epoll()
    for descriptor, (socket, _) in by_descriptor.items():
        socket.setblocking(False)
        epoll.register(descriptor, select.EPOLLIN)
    made: Made = []
    last, end = now(), now() + 60
    while now() < end and not (made and now() - last > 1):
        for descriptor, _ in epoll.poll(0.05):
            socket, log = by_descriptor[descriptor]
            try:
                while data := socket.recv(16_384):
                    last = now()
                    log.append((last, data))
                    if not (isinstance(socket, ssl.SSLSocket) and socket.pending()):
                        break
                else:
                    epoll.unregister(descriptor)
            except (ssl.SSLWantReadError, BlockingIOError):
                pass
        if not made and pipe.poll():
            made = pipe.recv()
    epoll.close()
    return received, made


def _tell(report: Report, received: list[list[tuple[float, bytes]]], made: Made) -> None:
    sent = {name: when for name, _, when, _ in made}
    report.check("watch", bool(made) and all(status == 201 for *_, status in made), "creates failed")
    late = max((when - due for _, due, when, _ in made), default=0)
    report.check("watch", late < 0.1, f"creates were up to {late * 1000:.0f} ms late: the load was not steady")
    latencies: list[float] = []
    for log in received:
        reader, names = Reader(), []
        for when, data in log:
            reader.feed(data)
            for line in reader.take_lines():
                event = orjson.loads(line)
                name = event["object"]["metadata"].get("name")
                if name in sent:
                    names.append((int(event["object"]["metadata"]["resourceVersion"]), name))
                    latencies.append(when - sent[name])
        good = names == sorted(names) and {name for _, name in names} == set(sent) and len(names) == len(sent)
        report.check("watch", good, f"a watcher saw {len(names)} events of {len(sent)}, or not in order")
    report.add("watch_events", len(latencies), "events")
    report.add("watch_p50", percentile(latencies, 50) * 1000, "ms")
    report.add("watch_p99", percentile(latencies, 99) * 1000, "ms")

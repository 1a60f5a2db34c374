#!/usr/bin/env python3
"""Measures what an event of a pod costs the controllers: instructions of user code, which noise leaves alone, or, where
the machine does not count them, user time.

bench/controllers.py --curve 1000,10000,50000    one pod changes, when so many are there, 100 of each owner
bench/controllers.py --burst 100,1000,5000       all pods of one owner become ready, 400 a second

No server runs: the API's answers are made up in memory, and what that takes is part of the figures. Each measure is a
process of its own. ``--only`` takes names of controllers, as in the registry.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import multiprocessing
import os
import resource
import struct
from collections.abc import AsyncGenerator, Callable
from typing import Any

import orjson

from hawser.api import kinds
from hawser.api.kinds import POD, Kind
from hawser.api.types import Obj
from hawser.apiserver.paths import parse
from hawser.client.answers import WatchEvent
from hawser.client.client import Client
from hawser.client.controller import Manager
from hawser.controllers import registry

INDEX = "batch.kubernetes.io/job-completion-index"
SINCE = "2026-01-01T00:00:00Z"
_PERF_EVENT_OPEN = 298  # x86-64
_USER_ONLY = 1 << 5 | 1 << 6


class Instructions:
    """Counts the instructions of user code of this process (perf_event_open(2))."""

    def __init__(self) -> None:
        # type hardware, size, config instructions, …, flags exclude_kernel and exclude_hv
        attributes = struct.pack("<IIQQQQQ", 0, 112, 1, 0, 0, 0, _USER_ONLY).ljust(112, b"\0")
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.syscall(_PERF_EVENT_OPEN, attributes, 0, -1, -1, 0)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "perf_event_open")

    def __call__(self) -> int:
        return int.from_bytes(os.read(self._fd, 8), "little")


class Answers(Client):
    """An API server of objects in memory: lists, watches, and writes that succeed and change nothing else."""

    def __init__(self, objects: dict[Kind, dict[str, Obj]]) -> None:
        super().__init__("http://none.invalid")
        self.objects = objects
        self.version = 1
        self.writes = 0
        self._watches: dict[Kind, list[asyncio.Queue[WatchEvent]]] = {}

    async def raw(self, method: str, path: str, body: Any = None, **_: Any) -> bytes:
        target = parse(method, path)
        await asyncio.sleep(0)
        if target.verb == "list":
            items = [*self.objects.get(target.kind, {}).values()] if target.kind else []
            return orjson.dumps({"items": items, "metadata": {"resourceVersion": str(self.version)}})
        if target.kind is None or target.kind == kinds.EVENT or body is None:
            return orjson.dumps(body or self.objects[target.kind][target.name])
        if method in ("PUT", "POST"):
            self.writes += 1
            made = orjson.loads(orjson.dumps(body))
            made["metadata"].setdefault("name", f"{made['metadata'].get('generateName')}{self.writes}")
            made["metadata"].setdefault("uid", made["metadata"]["name"])
            self.put(target.kind, made)
            return orjson.dumps(made)
        raise ValueError(f"{method} {path}")

    def put(self, kind: Kind, obj: Obj) -> None:
        """Stores an object and tells who watches."""
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        self.objects.setdefault(kind, {})[obj["metadata"]["name"]] = obj
        for watch in self._watches.get(kind, ()):
            watch.put_nowait(WatchEvent("MODIFIED", orjson.loads(orjson.dumps(obj))))

    async def watch(self, kind: Kind, *_: Any, **__: Any) -> AsyncGenerator[WatchEvent, None]:
        events: asyncio.Queue[WatchEvent] = asyncio.Queue()
        self._watches.setdefault(kind, []).append(events)
        while True:
            yield await events.get()


def meter() -> tuple[Callable[[], float], str]:
    """What counts what is used from now on, and of what."""
    try:
        count = Instructions()
    except OSError:
        return lambda: resource.getrusage(resource.RUSAGE_SELF).ru_utime * 1e6, "us of user time"
    return lambda: count() / 1e3, "k instructions"


# What there is


def pod(owner: Obj, number: int, node: str, more: Obj) -> Obj:
    """A running pod that is not ready."""
    metadata = owner["metadata"]
    reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": metadata["name"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{metadata['name']}-{number}",
            "namespace": "default",
            "uid": f"{metadata['uid']}-{number}",
            "resourceVersion": "1",
            "creationTimestamp": SINCE,
            "labels": {"app": metadata["name"], **more.pop("labels", {})},
            "ownerReferences": [{**reference, "uid": metadata["uid"], "controller": True, "blockOwnerDeletion": True}],
            **more,
        },
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "a", "resources": {}}], "volumes": []},
        "status": ready(number, False),
    }


def ready(number: int, value: bool) -> Obj:
    condition = {"type": "Ready", "status": "True" if value else "False", "lastTransitionTime": SINCE}
    address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    return {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": [condition]}


def owner(kind: Kind, number: int, replicas: int) -> Obj:
    name = f"{kind.kind.lower()}{number}"
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "a"}]}}
    spec: Obj = {"selector": {"matchLabels": labels}, "template": template, "replicas": replicas}
    if kind == kinds.STATEFUL_SET:
        spec |= {"serviceName": name, "podManagementPolicy": "Parallel", "updateStrategy": {"type": "OnDelete"}}
    if kind == kinds.DAEMON_SET:
        spec |= {"updateStrategy": {"type": "OnDelete"}}
    if kind == kinds.JOB:
        spec |= {"parallelism": replicas, "completions": replicas, "backoffLimit": 6, "completionMode": "NonIndexed"}
    metadata = {"name": name, "namespace": "default", "uid": name, "resourceVersion": "1", "generation": 1}
    metadata["creationTimestamp"] = SINCE
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec, "status": {}}


def service(name: str) -> Obj:
    port = {"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}
    spec = {"selector": {"app": name}, "clusterIP": "10.0.0.1", "ipFamilies": ["IPv4"], "ports": [port]}
    metadata = {"name": name, "namespace": "default", "uid": f"s-{name}", "resourceVersion": "1"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec, "status": {}}


def budget(name: str) -> Obj:
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": {"app": name}}}
    metadata = {"name": name, "namespace": "default", "uid": f"b-{name}", "resourceVersion": "1", "generation": 1}
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata, "spec": spec, "status": {}}


Companion = Callable[[str], Obj]
CASES: dict[str, tuple[Kind, Kind | None, Companion | None]] = {
    "replicaset-controller": (kinds.REPLICA_SET, None, None),
    "statefulset-controller": (kinds.STATEFUL_SET, None, None),
    "daemonset-controller": (kinds.DAEMON_SET, None, None),
    "job-controller": (kinds.JOB, None, None),
    "job-controller/Indexed": (kinds.JOB, None, None),
    "job-controller/OnFailure": (kinds.JOB, None, None),
    "endpointslice-controller": (kinds.REPLICA_SET, kinds.SERVICE, service),
    "endpoints-controller": (kinds.REPLICA_SET, kinds.SERVICE, service),
    "disruption-controller": (kinds.REPLICA_SET, kinds.POD_DISRUPTION_BUDGET, budget),
}
"""Controllers, some with a sort of owner: who owns the pods, and what else there is of each owner."""


def cluster(name: str, pods: int, of_owner: int) -> tuple[Answers, list[Obj]]:
    """Objects for a controller, and the pods that will change."""
    kind, companion, make = CASES[name]
    objects: dict[Kind, dict[str, Obj]] = {}
    listed: list[Obj] = []
    for number in range(max(pods // of_owner, 1)):
        one = owner(kind, number, of_owner)
        _as(name.partition("/")[2], one)
        objects.setdefault(kind, {})[one["metadata"]["name"]] = one
        if companion is not None and make is not None:
            objects.setdefault(companion, {})[one["metadata"]["name"]] = make(one["metadata"]["name"])
        listed += [pod(one, index, f"n{index}", _of_kind(kind, one, index)) for index in range(of_owner)]
    objects[POD] = {one["metadata"]["name"]: one for one in listed}
    if kind == kinds.DAEMON_SET:
        objects[kinds.NODE] = {f"n{index}": _node(f"n{index}") for index in range(of_owner)}
    return Answers(objects), listed


def _of_kind(kind: Kind, one: Obj, index: int) -> Obj:
    if kind == kinds.JOB:
        name, uid = one["metadata"]["name"], one["metadata"]["uid"]
        labels = {"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": name}
        more: Obj = {"labels": labels, "finalizers": ["batch.kubernetes.io/job-tracking"]}
        if one["spec"]["completionMode"] == "Indexed":
            labels[INDEX] = str(index)
            more["annotations"] = {INDEX: str(index)}
        return more
    if kind == kinds.STATEFUL_SET:
        return {"labels": {"statefulset.kubernetes.io/pod-name": f"{one['metadata']['name']}-{index}"}}
    return {}


def _as(sort: str, one: Obj) -> None:
    """Makes a Job one of that sort."""
    if sort == "Indexed":
        one["spec"]["completionMode"] = sort
    elif sort:
        one["spec"]["template"]["spec"]["restartPolicy"] = sort


def _node(name: str) -> Obj:
    metadata = {"name": name, "uid": name, "resourceVersion": "1", "labels": {"kubernetes.io/hostname": name}}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {}, "status": {"conditions": []}}


# What is measured


async def idle(manager: Manager) -> None:
    """Until no controller has anything to do."""
    quiet = 0
    while quiet < 30:
        await asyncio.sleep(0 if quiet < 20 else 0.005)
        busy = any(len(one.queue) or one.queue.running() for one in manager.controllers)
        quiet = 0 if busy else quiet + 1


async def measure(name: str, pods: int, of_owner: int, per_second: float) -> tuple[float, str, int]:
    """What an event takes, of what, and how many writes there were; per_second: 0 waits for the end of each."""
    client, listed = cluster(name, pods, of_owner)
    manager = Manager(client)
    manager.add(registry.make(name.partition("/")[0]))
    running = asyncio.create_task(manager.run())
    while not manager.has_synced:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.01)
    await idle(manager)
    await asyncio.sleep(1.5)
    await idle(manager)
    (count, unit), client.writes = meter(), 0
    before, turns = count(), 0
    chosen = listed if per_second else listed[:: max(1, len(listed) // 200)]
    for number, one in enumerate(chosen):
        client.put(POD, {**one, "metadata": {**one["metadata"]}, "status": ready(number, True)})
        turns += 1
        await (asyncio.sleep(1 / per_second) if per_second else idle(manager))
    if per_second:
        await asyncio.sleep(1)
    await idle(manager)
    used = count() - before
    running.cancel()
    return used / turns, unit, client.writes


def figure(name: str, pods: int, of_owner: int, per_second: float) -> None:
    used, unit, writes = asyncio.run(measure(name, pods, of_owner, per_second))
    print(f"{name:28} {pods:6} pods, {of_owner:5} an owner: {used:8.0f} {unit} an event, {writes} writes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curve", default="", metavar="PODS,...")
    parser.add_argument("--burst", default="", metavar="PODS,...")
    parser.add_argument("--only", default=",".join(CASES), metavar="NAME,...")
    options = parser.parse_args()
    work = [(int(pods), 100, 0.0) for pods in options.curve.split(",") if pods]
    work += [(int(pods), int(pods), 400.0) for pods in options.burst.split(",") if pods]
    for name in options.only.split(","):
        for job in work:
            process = multiprocessing.get_context("spawn").Process(target=figure, args=(name, *job))
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(1)


if __name__ == "__main__":
    main()

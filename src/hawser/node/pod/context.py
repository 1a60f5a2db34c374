"""What every pod worker shares."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from hawser.api.types import Obj
from hawser.client.client import Client
from hawser.client.events import EventRecorder
from hawser.node.cgroups import Cgroups
from hawser.node.cri.client import Runtime
from hawser.node.cri.model import Container
from hawser.node.devices.devices import Devices
from hawser.node.images.manager import Images
from hawser.node.metrics.counters import Counters
from hawser.node.objects import Objects
from hawser.node.pod.book import Book
from hawser.node.pod.configs import Machine
from hawser.node.pod.observed import Waiting
from hawser.node.pod.rush import Rush
from hawser.node.rich import RichPods
from hawser.node.startup import Gate
from hawser.node.volumes.folders import Folders
from hawser.node.volumes.setup import Volumes


class ProbeSink(Protocol):
    """Who wants the results of probes."""

    def probed(self, container_id: str, kind: str, ok: bool, message: str) -> None: ...


class Prober(Protocol):
    """Who runs probes."""

    def watch(
        self, sink: ProbeSink, pod: Obj, spec: Obj, container: Container, pod_ip: str, *, started: bool = False
    ) -> None: ...

    def end_liveness(self, container_id: str) -> None: ...

    def forget(self, container_id: str) -> None: ...


@dataclass(slots=True)
class Context:
    """The node as pod workers see it.

    services: all known Services. node: the Node as last reported. dns: the node's own DNSConfig. pressure: why the node
    takes no such pod now. preempt: ends a pod (its uid) for a critical one. counters: what is counted for metrics.
    book: what the pods that the node has taken take of it. gate: whose turn it is to start. sandboxes: limits how many
    sandboxes are made at once; more than the cores can carry only make each other late. rich: what rich pods need.
    devices: those that pods claim. rush: whether many start. sync_seconds: how often what may have changed elsewhere is
    looked at. now: seconds since the epoch.
    """

    runtime: Runtime
    client: Client
    recorder: EventRecorder
    machine: Machine
    folders: Folders
    volumes: Volumes
    cgroups: Cgroups
    images: Images
    objects: Objects
    prober: Prober
    services: Callable[[], Iterable[Obj]]
    node: Callable[[], Obj]
    allocatable: Callable[[], Obj]
    dns: Callable[[], Obj]
    rich: RichPods
    devices: Devices
    pressure: Callable[[Obj], Waiting | None] = lambda pod: None
    preempt: Callable[[str], None] = lambda uid: None
    counters: Counters = field(default_factory=Counters)
    book: Book = field(default_factory=Book)
    gate: Gate = field(default_factory=Gate)
    sandboxes: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(max(4, 2 * (os.cpu_count() or 1))))
    rush: Rush = field(default_factory=Rush)
    sync_seconds: float = 60.0
    now: Callable[[], float] = time.time

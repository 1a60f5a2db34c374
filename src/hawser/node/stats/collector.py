"""Looks at what pods and node use, when somebody asks and not before; who asks at the same time shares the answer."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from hawser.api.pod_claims import claim_name
from hawser.node.cri.client import Runtime
from hawser.node.cri.errors import CRIError
from hawser.node.stats import disk, host, interfaces
from hawser.node.stats.cgroup import Reader, Usage
from hawser.node.stats.disk import Disk
from hawser.node.stats.model import ContainerUse, Group, NodeUse, PodUse, Snapshot, Subject, VolumeUse
from hawser.node.volumes import mounts
from hawser.node.volumes.folders import is_served

log = logging.getLogger(__name__)

FRESH_SECONDS = 1.0
"""How old an answer may be."""
_DISK_SECONDS = 30.0
_LONGEST_RATE = 300.0
# CPU time is given out in periods of 0.1 s.
_SHORTEST_RATE = 1.0
_FIRST_RATE = 0.3

Rate = tuple[float, int, int | None]
"""When a cgroup was looked at, its CPU time then, and how fast that grew, in nanocores."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What all pods of a look share. disk: the agent's, None when disks are nobody's question; layers: bytes and inodes
    of containers' writable layers, by id; age: seconds that counts of folders are good for; served: by their folders
    the volumes that others serve."""

    links: dict[str, interfaces.Interface]
    layers: dict[str, tuple[int, int]] = field(default_factory=dict)
    disk: Disk | None = None
    images: Disk | None = None
    age: float = _DISK_SECONDS
    served: Mapping[str, Disk | None] = field(default_factory=dict)


class Collector:
    """Makes snapshots. subjects: the pods there are now; root: the agent's folder; pods: cgroup of all pods."""

    def __init__(
        self,
        reader: Reader,
        runtime: Runtime,
        root: Path,
        pods: str,
        node: str,
        subjects: Callable[[], Iterable[Subject]],
    ) -> None:
        self._reader = reader
        self._runtime = runtime
        self._root = root
        self._pods = f"/{pods.strip('/')}"
        self._node = node
        self._subjects = subjects
        self._pid = 0
        self._rates: dict[str, Rate] = {}
        self._folders: dict[str, tuple[float, int, int]] = {}
        self._served = disk.Served()
        self._running: dict[bool, asyncio.Task[Snapshot]] = {}
        self._last: dict[bool, Snapshot] = {}

    async def snapshot(self, *, full: bool = False, rates: bool = False) -> Snapshot:
        """What is used now. full: disks, too. rates: how fast CPU time grows must be known, if that takes a moment."""
        last = self._last.get(full) or self._last.get(True)
        now = time.time()
        if last is not None and now - last.at < FRESH_SECONDS and not (rates and last.node.group.rate is None):
            return last
        running = self._running.get(full)
        if running is None:
            running = self._running[full] = asyncio.create_task(self._take(full, rates), name="stats")
            running.add_done_callback(lambda task: self._running.pop(full, None))
        return await asyncio.shield(running)

    async def _take(self, full: bool, rates: bool) -> Snapshot:
        if rates:
            await self._settle_rates()
        look = _Look(interfaces.read())
        if full:
            look = replace(look, layers=await self._layers(), disk=disk.disk(self._root))
            look = replace(look, images=await self._image_disk())
        subjects = list(self._subjects())
        if full:
            look = replace(look, served=await self._ask(subjects))
        pods = []
        for subject in subjects:
            pods.append(await self._pod(subject, look))
            await asyncio.sleep(0)
        node = self._node_use(look)
        made = self._last[full] = Snapshot(node, tuple(pods), time.time(), full)
        self._forget({group.path for pod in pods for group in _groups(pod)})
        return made

    async def _settle_rates(self) -> None:
        """Makes sure that there is an earlier look to compare with."""
        known = self._rates.get("/")
        age = time.time() - known[0] if known is not None else _LONGEST_RATE
        if known is None or age >= _LONGEST_RATE:
            for path in self._paths():
                self._group(path, full=False)
            age = 0.0
        elif known[2] is not None:
            return
        await asyncio.sleep(max(0.0, _FIRST_RATE - age))

    def _paths(self) -> Iterable[str]:
        yield from ("/", self._pods)
        for subject in self._subjects():
            yield subject.cgroup
            for container in subject.containers.values():
                yield f"{subject.cgroup}/{container.id}"

    def _group(self, path: str, *, full: bool) -> Group:
        usage = self._reader.usage(path, full=full)
        return self._rated(path, usage)

    def _rated(self, path: str, usage: Usage) -> Group:
        now = time.time()
        if usage.cpu is None:
            return Group(path, usage, now)
        before = self._rates.get(path)
        rate = None
        if before is not None:
            passed = now - before[0]
            if passed < (_FIRST_RATE if before[2] is None else _SHORTEST_RATE):
                return Group(path, usage, now, before[2])
            if 0 < passed <= _LONGEST_RATE:
                rate = max(0, int((usage.cpu.usage - before[1]) / passed))
        self._rates[path] = (now, usage.cpu.usage, rate)
        return Group(path, usage, now, rate)

    async def disks(self, uids: set[str], age: float) -> list[PodUse]:
        """What some pods hold of the node's disk, not older than so many seconds."""
        layers: dict[str, tuple[int, int]] = {}
        for uid in uids:
            layers |= await self._layers(uid)
        look = _Look({}, layers, disk.disk(self._root), await self._image_disk(), age)
        subjects = [s for s in self._subjects() if s.pod["metadata"].get("uid") in uids]
        return [await self._pod(subject, look) for subject in subjects]

    async def _pod(self, subject: Subject, look: _Look) -> PodUse:
        containers = []
        full = look.disk is not None
        for name, container in subject.containers.items():
            group = self._group(f"{subject.cgroup}/{container.id}", full=full)
            if group.cpu is None and group.memory is None:
                continue
            rootfs = look.images.holding(*look.layers.get(container.id, (0, 0))) if look.images else None
            logs = look.disk.holding(*await self._held(f"{subject.logs}/{name}", look.age)) if look.disk else None
            containers.append(ContainerUse(name, container, group, rootfs, logs))
        link = look.links.get(subject.link)
        sandbox = subject.sandbox
        return PodUse(
            subject,
            self._group(subject.cgroup, full=full),
            tuple(containers),
            self._group(f"{subject.cgroup}/{sandbox.id}", full=full) if full and sandbox is not None else None,
            (interfaces.other_end(link, "eth0"),) if link is not None else (),
            tuple(await self._volumes(subject, look)) if full else (),
        )

    async def _ask(self, subjects: Iterable[Subject]) -> dict[str, Disk | None]:
        """What others serve, all at once: a server of many volumes that does not answer is waited for only once."""
        folders = [folder for subject in subjects for folder in subject.volumes.values() if is_served(folder)]
        if not folders:
            return {}
        # A driver mounts in the folder of its volume.
        points = {str(at) for point in mounts.points(self._root / "pods") for at in (point, point.parent)}
        return await self._served.disks([folder for folder in folders if folder in points])

    async def _volumes(self, subject: Subject, look: _Look) -> list[VolumeUse]:
        result = []
        declared = {volume["name"]: volume for volume in subject.pod["spec"].get("volumes") or ()}
        for name, folder in subject.volumes.items():
            served = is_served(folder)
            found = look.served.get(folder) if served else disk.disk(Path(folder))
            if found is None:
                continue
            volume = declared.get(name, {})
            claim = claim_name(subject.pod["metadata"]["name"], volume)
            mounted = served or mounts.is_mounted(Path(folder))
            if not mounted:
                found = found.holding(*await self._held(folder, look.age))
            result.append(VolumeUse(name, found, claim, ephemeral=not claim and not mounted))
        return result

    async def _held(self, folder: str, age: float) -> tuple[int, int]:
        """Bytes and inodes of a folder; counted anew after ``age`` seconds."""
        known = self._folders.get(folder)
        now = time.monotonic()
        if known is not None and now - known[0] < age:
            return known[1], known[2]
        # In a thread: a large folder takes long.
        size, inodes = await asyncio.to_thread(disk.usage, Path(folder))
        self._folders[folder] = (now, size, inodes)
        return size, inodes

    async def _layers(self, uid: str = "") -> dict[str, tuple[int, int]]:
        """What the runtime says of containers' writable layers: bytes and inodes."""
        try:
            return {row.id: (row.disk_bytes, row.disk_inodes) for row in await self._runtime.list_container_stats(uid)}
        except CRIError as err:
            log.warning("the runtime tells nothing of containers' disks: %s", err)
            return {}

    async def _image_disk(self) -> Disk | None:
        try:
            found = await self._runtime.image_fs()
        except CRIError as err:
            log.warning("the runtime tells nothing of its images' disk: %s", err)
            return None
        known = disk.disk(Path(found.mountpoint))
        return known.holding(found.used, found.inodes) if known is not None else None

    def _node_use(self, look: _Look) -> NodeUse:
        full = look.disk is not None
        memory = host.memory()
        usage = self._reader.usage("/", full=full)
        return NodeUse(
            name=self._node,
            started=host.booted(),
            group=self._rated("/", replace(usage, memory=memory.used)),
            memory_capacity=memory.capacity,
            swap_capacity=memory.swap,
            swap_used=memory.swap_used,
            network=tuple(interfaces.own(look.links)),
            disk=look.disk,
            images=look.images,
            containers=look.images,
            processes=host.processes(),
            processes_limit=host.processes_limit(),
            pods=self._group(self._pods, full=full),
            agent=self._rated("agent", host.process(os.getpid())),
            runtime=self._rated("runtime", host.process(self._runtime_pid())),
        )

    def _runtime_pid(self) -> int:
        if self._pid == 0 or not Path(f"/proc/{self._pid}").exists():
            self._pid = host.listener(self._runtime.endpoint.removeprefix("unix://"))
        return self._pid

    def _forget(self, live: set[str]) -> None:
        """Drops what is known of cgroups that have gone."""
        live |= {"/", self._pods, "agent", "runtime"}
        for path in [p for p in self._rates if p not in live]:
            del self._rates[path]
        limit = time.monotonic() - 10 * _DISK_SECONDS
        for folder in [f for f, known in self._folders.items() if known[0] < limit]:
            del self._folders[folder]


def _groups(pod: PodUse) -> Iterable[Group]:
    yield pod.group
    for container in pod.containers:
        yield container.group
    if pod.sandbox is not None:
        yield pod.sandbox

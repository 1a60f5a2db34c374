"""The cgroups of pods: one below each hierarchy's root for every pod, holding its containers' cgroups.

Works on cgroup v1 (also "hybrid") and on the unified hierarchy; the runtime's driver is cgroupfs. Source: Linux
Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst; weight from shares as in runc.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from hawser.api.types import Obj
from hawser.runtime import host

_CONTROLLERS = ("cpu", "cpuset", "memory", "pids", "io", "hugetlb")
_NEEDED = frozenset({"cpu", "memory", "pids"})
_TIERS = ("besteffort", "burstable")
MIN_SHARES, MAX_SHARES = 2, 262144

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted cgroup hierarchy. controllers: empty for v2."""

    path: Path
    controllers: frozenset[str]

    @property
    def unified(self) -> bool:
        return not self.controllers


def hierarchies(mounts: str) -> list[Hierarchy]:
    """From /proc/mounts: every v1 hierarchy, and the unified one; both where a host is "hybrid".

    There the unified one limits nothing, but the runtime makes the same groups in it.
    """
    v1: list[Hierarchy] = []
    v2: list[Hierarchy] = []
    known = {"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "pids", "blkio", "hugetlb", "perf_event"}
    known |= {"net_cls", "net_prio", "rdma", "misc"}
    for line in filter(None, mounts.split("\n")):
        _, point, kind, options, *_ = line.split(" ")
        if kind == "cgroup":
            controllers = known & set(options.split(","))
            if "name=systemd" in options:
                controllers.add("name=systemd")
            v1.append(Hierarchy(Path(point), frozenset(controllers)))
        elif kind == "cgroup2":
            v2.append(Hierarchy(Path(point), frozenset()))
    return v1 + v2[:1]


class Cgroups:
    """Makes and removes the cgroups below ``/<root>`` in every hierarchy."""

    def __init__(self, root: str, found: list[Hierarchy] | None = None, pod_pids: int = -1) -> None:
        """pod_pids: how many processes a pod may have; -1 for as many as the node."""
        self.root = root.strip("/")
        self._pod_pids = pod_pids
        self._burstable: dict[str, int] = {}
        self.hierarchies = hierarchies(host.told("mounts")) if found is None else found

    @property
    def unified(self) -> bool:
        """Whether the host has nothing but cgroup v2."""
        return all(hierarchy.unified for hierarchy in self.hierarchies)

    def prepare(self, limits: Obj | None = None) -> None:
        """Makes the tiers; on v2 hands the controllers down to them. limits: of all pods together."""
        for hierarchy in self.hierarchies:
            for part in (self.root, *(f"{self.root}/{tier}" for tier in _TIERS)):
                self._make(hierarchy, hierarchy.path / part)
        self._apply(self.root, limits or {})
        # Pods that ask for nothing get what the others leave.
        self._apply(f"{self.root}/{_TIERS[0]}", {"cpu_shares": MIN_SHARES})
        self._burstable = self._found_shares()
        self._share_out()
        if missing := self.missing():
            log.error(
                "pods can not be limited: %s has no control of %s. Where Hawser itself runs in a container, its own "
                "processes have to leave the root group first (cgroups(7), no internal processes)",
                self.hierarchies[0].path / self.root,
                ", ".join(sorted(missing)),
            )

    def missing(self) -> frozenset[str]:
        """The controllers that cgroup v2 did not hand down to the pods; on v1 every hierarchy has its own."""
        if not self.unified or not self.hierarchies:
            return frozenset()
        given = (self.hierarchies[0].path / self.root / "cgroup.subtree_control").read_text()
        return _NEEDED - {name.removeprefix("+") for name in given.split()}

    def create(self, parent: str, limits: Obj) -> None:
        """Makes a pod's cgroup with its limits (LinuxContainerResources)."""
        for hierarchy in self.hierarchies:
            self._make(hierarchy, hierarchy.path / parent.strip("/"))
        self._apply(parent, {"pids_limit": self._pod_pids, **limits} if self._pod_pids > 0 else limits)
        self._count(parent, limits.get("cpu_shares"))

    def _apply(self, group: str, limits: Obj) -> None:
        for hierarchy in self.hierarchies:
            folder = hierarchy.path / group.strip("/")
            for name, value in _settings(hierarchy, limits):
                try:
                    (folder / name).write_text(value)
                except OSError:
                    # A kernel without this file still gets the containers' own limits, which the runtime sets.
                    continue

    # The tier of burstable pods has as much CPU time as all of them ask for.

    def _count(self, parent: str, shares: int | None) -> None:
        if f"/{_TIERS[1]}/" not in parent or self._burstable.get(parent) == shares:
            return
        self._burstable.pop(parent, None)
        if shares is not None:
            self._burstable[parent] = shares
        self._share_out()

    def _share_out(self) -> None:
        total = min(MAX_SHARES, max(MIN_SHARES, sum(self._burstable.values())))
        self._apply(f"{self.root}/{_TIERS[1]}", {"cpu_shares": total})

    def _found_shares(self) -> dict[str, int]:
        """What an earlier agent gave to pods that still run."""
        found: dict[str, int] = {}
        for hierarchy in self.hierarchies:
            if not hierarchy.unified and "cpu" not in hierarchy.controllers:
                continue
            name = "cpu.weight" if hierarchy.unified else "cpu.shares"
            for path in (hierarchy.path / self.root / _TIERS[1]).glob(f"pod*/{name}"):
                value = int(path.read_text())
                group = f"/{path.parent.relative_to(hierarchy.path)}"
                found.setdefault(group, shares_of(value) if hierarchy.unified else value)
        return found

    def memory_usage(self, group: str) -> int:
        """Bytes that a cgroup uses; 0 when that is not known."""
        for hierarchy in self.hierarchies:
            name = "memory.current" if hierarchy.unified else "memory.usage_in_bytes"
            try:
                return int((hierarchy.path / group.strip("/") / name).read_text())
            except (OSError, ValueError):
                continue
        return 0

    def remove(self, parent: str) -> bool:
        """Removes a pod's empty cgroups; whether all are gone."""
        self._count(parent, None)
        gone = True
        for hierarchy in self.hierarchies:
            gone = _remove(hierarchy.path / parent.strip("/")) and gone
        return gone

    def pods(self) -> dict[str, str]:
        """The pods that have cgroups: cgroup path by uid."""
        found: dict[str, str] = {}
        for hierarchy in self.hierarchies:
            for tier in ("", *_TIERS):
                base = hierarchy.path / self.root / tier
                for entry in base.glob("pod*") if base.is_dir() else ():
                    found[entry.name.removeprefix("pod")] = "/" + str(entry.relative_to(hierarchy.path))
        return found

    def _make(self, hierarchy: Hierarchy, folder: Path) -> None:
        if folder.is_dir():
            return
        if folder.parent != hierarchy.path:
            self._make(hierarchy, folder.parent)
        folder.mkdir(exist_ok=True)
        if "cpuset" in hierarchy.controllers:
            # A v1 cpuset takes no process before its cpus and mems are set.
            for name in ("cpuset.cpus", "cpuset.mems"):
                (folder / name).write_text((folder.parent / name).read_text())
        if hierarchy.unified:
            for controller in _CONTROLLERS:
                try:
                    (folder.parent / "cgroup.subtree_control").write_text(f"+{controller}")
                    (folder / "cgroup.subtree_control").write_text(f"+{controller}")
                except OSError:
                    continue


def weight(shares: int) -> int:
    """cgroup v2's cpu.weight for v1's shares."""
    return 1 + ((max(shares, 2) - 2) * 9999) // 262142


def shares_of(weight: int) -> int:
    """cgroup v1's shares for v2's cpu.weight, as cAdvisor shows them."""
    return 2 + ((weight - 1) * 262142) // 9999


def _settings(hierarchy: Hierarchy, limits: Obj) -> list[tuple[str, str]]:
    shares, period, quota = limits.get("cpu_shares"), limits.get("cpu_period"), limits.get("cpu_quota")
    memory, pids = limits.get("memory_limit_in_bytes"), limits.get("pids_limit")
    pages = limits.get("hugepage_limits") or ()
    result: list[tuple[str, str]] = []
    if hierarchy.unified:
        if shares:
            result.append(("cpu.weight", str(weight(shares))))
        if quota:
            result.append(("cpu.max", f"{quota} {period}"))
        if memory:
            result.append(("memory.max", str(memory)))
        if pids:
            result.append(("pids.max", str(pids)))
        return result + [(f"hugetlb.{row['page_size']}.max", str(row["limit"])) for row in pages]
    if "cpu" in hierarchy.controllers:
        if shares:
            result.append(("cpu.shares", str(shares)))
        if quota:
            result += [("cpu.cfs_period_us", str(period)), ("cpu.cfs_quota_us", str(quota))]
    if memory and "memory" in hierarchy.controllers:
        result.append(("memory.limit_in_bytes", str(memory)))
    if pids and "pids" in hierarchy.controllers:
        result.append(("pids.max", str(pids)))
    if "hugetlb" in hierarchy.controllers:
        result += [(f"hugetlb.{row['page_size']}.limit_in_bytes", str(row["limit"])) for row in pages]
    return result


def _remove(folder: Path) -> bool:
    # Most often the runtime has removed what was inside, and a walk would only be reading.
    if _rmdir(folder):
        return True
    # Only empty cgroups can be removed, innermost first; a process still in one keeps it.
    gone = True
    for base, names, _ in os.walk(folder, topdown=False):
        for name in names:
            gone = _rmdir(Path(base) / name) and gone
    return _rmdir(folder) and gone


def _rmdir(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True

# Importing pathlib would double the start-up time of every container.
# ruff: noqa: PTH112, PTH113, PTH116, PTH118, PTH123
"""A container's own view: /proc and /sys of lxcfs, what that lacks, and a library that has the C library answer so.

The node's view directory is kept by its agent (hawser.rich.view.manager): `offers` lists what is served now, `lxcfs`
and `own` are where, `lib` has the libraries. A container that wants the view has `lib` mounted at /dev/hawser-view: by
that mount the agent finds the containers whose files it is to renew after a crash of a server, or to add later.
"""

from __future__ import annotations

import os

from .edited import HOME, File, Files
from .facts import ViewFacts
from .light import Any
from .preload import with_preload
from .rootfs import RootFS

PLACE = HOME + "-view"  # next to the directory: /dev is a fresh tmpfs in every container
LIBRARY, STEADY = "libhawser-view.so", "libhawser-steady.so"
LOADED = f"{PLACE}/{LIBRARY}"  # in the container
_PRELOAD = "/etc/ld.so.preload"
_GLIBC = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1")
_MUSL = ("/lib/ld-musl-x86_64.so.1", "/lib/ld-musl-aarch64.so.1")
# Its programs complain about a library for 64 bit, each time that one starts.
_NARROW = ("/lib/ld-linux.so.2", "/lib/ld-linux-armhf.so.3")
_ONLINE = "sys/devices/system/cpu/online"
# By file of the view directory, where it belongs. `possible` stays the kernel's: programs size tables with it that they
# index with the kernel's numbers of processors (rseq(2)), and a smaller one has them write past the end.
PLACES = {
    **{
        f"lxcfs/proc/{name}": (f"/proc/{name}",)
        for name in ("cpuinfo", "loadavg", "meminfo", "stat", "swaps", "uptime")
    },
    **{f"own/proc/{name}": (f"/proc/{name}",) for name in ("diskstats", "slabinfo")},
    f"lxcfs/{_ONLINE}": ("/" + _ONLINE, "/sys/devices/system/cpu/present"),
}
# runc refuses what it does not know below /proc; the agent mounts these into the running container.
LATE_PLACES = {f"own/proc/pressure/{name}": (f"/proc/pressure/{name}",) for name in ("cpu", "io", "memory")}


def gather(rootfs: RootFS, home: str) -> ViewFacts:
    """The facts. home: the node's view directory."""
    if not os.path.isdir(os.path.join(home, "lib")):
        return ViewFacts()
    library = os.path.isfile(os.path.join(home, "lib", LIBRARY))
    exists = [any(rootfs.resolve(path) for path in paths) for paths in (_GLIBC, _MUSL, _NARROW)]
    glibc, musl, narrow = (library and found for found in exists)
    preload = (rootfs.read(_PRELOAD) or "") if glibc and not narrow else None
    return ViewFacts(home, _offers(home), preload, musl)


def _offers(home: str) -> tuple[str, ...]:
    try:
        with open(os.path.join(home, "offers"), encoding="ascii") as file:
            offers = tuple(file.read().split())
        # A server that has just died and is not missed yet: its files would fail the container's start.
        return offers if all(os.stat(os.path.join(home, offer)) for offer in {*offers[:1], *offers[-1:]}) else ()
    except OSError:
        return ()


def prepare_environment(spec: dict[str, Any], facts: ViewFacts) -> None:
    """Has the application's C library answer for the container, where only its environment can ask for that."""
    if facts.musl:
        process = spec["process"]
        process["env"] = with_preload(process.get("env") or [], LOADED)


def apply_view(spec: dict[str, Any], facts: ViewFacts) -> Files:
    """Gives a rich container's specification the view, in place; returns the files for the bundle."""
    if not facts.home:
        return {}
    mounts = spec.setdefault("mounts", [])
    taken = {mount["destination"].rstrip("/") for mount in mounts}
    files: Files = {}
    mounts.append(_bind(os.path.realpath(os.path.join(facts.home, "lib")), PLACE))
    for offer in facts.offers:
        source = os.path.join(facts.home, offer)
        mounts.extend(_bind(source, place) for place in PLACES.get(offer, ()) if place not in taken)
    if facts.preload is not None and _PRELOAD not in taken:
        lines = [*facts.preload.split("\n"), LOADED]
        files["ld.so.preload"] = File("\n".join(line for line in lines if line.strip()) + "\n")
        mounts.append(_bind("hawser/ld.so.preload", _PRELOAD))
    env = spec["process"].get("env") or []
    if facts.musl and not any(pair.startswith("LD_PRELOAD=") for pair in env):
        # An init with an environment of its own, which the services inherit.
        spec["process"]["env"] = with_preload(env, LOADED)
    return files


def _bind(source: str, destination: str) -> dict[str, Any]:
    return {
        "destination": destination,
        "type": "bind",
        "source": source,
        "options": ["bind", "ro", "nosuid", "nodev"],
    }

"""emptyDir: a folder on disk, in memory or on huge pages.

Source: Kubernetes documentation, "emptyDir", "Manage HugePages"; KEP-1967 (size of memory backed volumes).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from hawser.api.quantity import parse_quantity, to_bytes
from hawser.api.types import Obj
from hawser.node.pod import resources, view
from hawser.node.volumes import mounts
from hawser.node.volumes.errors import VolumeError

_HUGE = "hugepages-"
_MODE = 0o777


def set_up(path: Path, pod: Obj, source: Obj, allocatable: Obj) -> bool:
    """Makes the folder; whether it is new. Raises VolumeError, OSError."""
    medium = source.get("medium") or ""
    if path.exists() and (not medium or mounts.is_mounted(path)):
        return False
    # Of a volume that cannot be, nothing is left behind.
    pages = _page_size(medium, pod) if medium.startswith("HugePages") else ""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(_MODE)
    if pages:
        mounts.mount("nodev", path, "hugetlbfs", options=f"pagesize={pages}")
    elif medium == "Memory":
        tmpfs(path, memory_limit(pod, source, allocatable))
    elif medium:
        raise VolumeError(f'unknown storage medium "{medium}"')
    path.chmod(_MODE)
    return True


def memory_limit(pod: Obj, source: Obj, allocatable: Obj) -> int:
    """How many bytes a volume in memory may have: the least of the node's, the pod's and its own limit; 0 for none."""
    amounts = [to_bytes(allocatable.get("memory") or 0)]
    amounts.append(int(resources.pod_resources(pod).get("memory_limit_in_bytes") or 0))
    amounts.append(to_bytes(source.get("sizeLimit") or 0))
    return min((amount for amount in amounts if amount > 0), default=0)


def tmpfs(path: Path, size: int = 0) -> None:
    """Mounts a file system in memory that is never swapped out. size: bytes; 0 for the kernel's own limit.

    Raises OSError.
    """
    limit = [f"size={size}"] if size else []
    mounts.mount("tmpfs", path, "tmpfs", options=",".join([*limit, *_unswapped()]))


@cache
def _unswapped() -> tuple[str, ...]:
    """The option that keeps a tmpfs out of swap, where the kernel has it (since Linux 6.3).

    Tried once, as kubelet does: each refusal is a line in the kernel's log.
    """
    with TemporaryDirectory() as folder:
        try:
            mounts.mount("tmpfs", Path(folder), "tmpfs", options="noswap")
        except OSError:
            return ()
        mounts.unmount(Path(folder))
    return ("noswap",)


def _page_size(medium: str, pod: Obj) -> str:
    """The size of huge pages that a medium means: its own, or the one that the pod requests."""
    requested: set[str] = {
        name.removeprefix(_HUGE)
        for part in (pod["spec"], *(container for _, container in view.every_container(pod)))
        for name in ((part.get("resources") or {}).get("requests") or {})
        if name.startswith(_HUGE)
    }
    own = medium.partition("-")[2]
    if not own and len(requested) > 1:
        raise VolumeError(f"medium: {medium} can't be used if container requests multiple huge page sizes")
    for size in requested:
        if not own or parse_quantity(size) == parse_quantity(own):
            return size
    raise VolumeError(f"medium {medium}: hugePages storage requested, but there is no resource request for huge pages")

"""What this machine is: capacity, versions, addresses; from /proc, /sys and os.

Source: proc(5); Kubernetes documentation, "Node Status".
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import shutil
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

_SIOCGIFADDR = 0x8915  # netdevice(7)


@dataclass(frozen=True, slots=True)
class Facts:
    """What does not change while the agent runs. memory and disk in bytes."""

    cpus: int
    memory: int
    disk: int
    max_pods: int
    hugepages: dict[str, int]
    machine_id: str
    system_uuid: str
    boot_id: str
    kernel: str
    os_image: str
    architecture: str
    hostname: str
    swap: int


def facts(folder: Path, max_pods: int = 250, cpus: int = 0, memory_bytes: int = 0) -> Facts:
    """Reads them. folder: lies on the disk that pods use. cpus, memory_bytes: of a node that has but a part."""
    memory = _meminfo()
    return Facts(
        cpus=cpus or os.cpu_count() or 1,
        memory=memory_bytes or memory.get("MemTotal", 0),
        disk=shutil.disk_usage(folder).total,
        max_pods=max_pods,
        hugepages=_hugepages(),
        machine_id=_read("/etc/machine-id"),
        system_uuid=_read("/sys/class/dmi/id/product_uuid") or _read("/etc/machine-id"),
        boot_id=_read("/proc/sys/kernel/random/boot_id"),
        kernel=platform.release(),
        os_image=_os_release().get("PRETTY_NAME", "Linux"),
        architecture={"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
        hostname=socket.gethostname().lower(),
        swap=memory.get("SwapTotal", 0),
    )


def default_address(links: Path = Path("/sys/class/net")) -> str:
    """The address of the interface with the default route; without one of the first network card that has one.

    127.0.0.1 when there is none. links: the kernel's, sysfs(5). A bridge is no card: it may be this engine's own.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        with contextlib.suppress(OSError):
            # Connecting a datagram socket sends nothing: the kernel only picks the source address.
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        for _, name in sorted(socket.if_nameindex()):
            if (links / name / "device").exists():
                with contextlib.suppress(OSError):
                    found = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("16s24x", name.encode()))
                    return socket.inet_ntoa(found[20:24])
    return "127.0.0.1"


def default_address6() -> str:
    """The IPv6 address of the interface with the default route; "" without one."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.connect(("2001:db8::1", 9))
            return str(probe.getsockname()[0])
    except OSError:
        return ""


def _meminfo() -> dict[str, int]:
    result = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        result[name] = int(words[0]) * (1024 if words[1:] == ["kB"] else 1)
    return result


def _hugepages() -> dict[str, int]:
    result = {}
    base = Path("/sys/kernel/mm/hugepages")
    for entry in base.iterdir() if base.is_dir() else ():
        kib = int(entry.name.removeprefix("hugepages-").removesuffix("kB"))
        size = f"{kib // 1048576}Gi" if kib >= 1048576 else f"{kib // 1024}Mi"
        result[f"hugepages-{size}"] = int(_read(str(entry / "nr_hugepages")) or 0) * kib * 1024
    return result


def _os_release() -> dict[str, str]:
    pairs = (line.partition("=") for line in _read("/etc/os-release").splitlines())
    return {name: value.strip('"') for name, _, value in pairs if name}


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""

"""What an engine chooses once, beside its neighbours: ports and address ranges that nobody else on the host has.

A register of all engines' data directories lets each know the others.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import json
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from hawser.cli.engine.settings import (
    CONTROLLERS_PORT,
    DEFAULT_PORT,
    KUBELET_PORT,
    Settings,
    SettingsError,
    free_port,
    instance_id,
    listen_problem,
    load,
    node_name,
    split_listen,
)

_REGISTER = Path("/var/lib/hawser-engines.json")


def pick_range(candidates: Iterable[str], used: Iterable[str]) -> str:
    """The first candidate network that overlaps none of the used ones.

    Raises SettingsError when all are taken.
    """
    taken = [ipaddress.ip_network(u, strict=False) for u in used]
    for text in candidates:
        network = ipaddress.ip_network(text)
        if not any(network.version == t.version and network.overlaps(t) for t in taken):
            return text
    raise SettingsError("no free IPv4 range for pods or services is left on this host; free a route and try again")


def create(data_dir: Path, listen: str | None = None, runtime_endpoint: str = "") -> Settings:
    """Settings for a new engine: free ports, free address ranges, names from the data directory.

    listen: ``HOST:PORT`` asked for; without it 127.0.0.1 and the first free port from 6443.
    Raises SettingsError when the directory holds something else, or lies in another engine's, or nothing is free.
    """
    if listen is not None:
        split_listen(listen)
    # An interrupted first start leaves no more than these.
    if data_dir.exists() and {p.name for p in data_dir.iterdir()} - {"config.tmp", "lost+found"}:
        raise SettingsError(
            f"{data_dir} is not empty and no engine's; name an empty or a new directory with --data-dir"
        )
    with registering():
        return _create(data_dir, listen, runtime_endpoint)


def _create(data_dir: Path, listen: str | None, runtime_endpoint: str) -> Settings:
    neighbours = [s for s in _neighbours() if s.data_dir != data_dir]
    for other in neighbours:
        if data_dir.is_relative_to(other.data_dir) or other.data_dir.is_relative_to(data_dir):
            raise SettingsError(f"{data_dir} and the engine in {other.data_dir} would lie in each other")
    ports = {port for s in neighbours for port in s.ports}
    if listen is None:
        listen = f"127.0.0.1:{free_port('127.0.0.1', DEFAULT_PORT, ports)}"
    port = split_listen(listen)[1]
    used = [*_routes(), *(text for s in neighbours for text in s.ranges)]
    pods = pick_range((f"10.{n}.0.0/16" for n in range(42, 250)), used)
    services = pick_range((f"10.{n}.0.0/20" for n in range(96, 250)), [*used, pods])
    balancers = pick_range((f"10.{n}.16.0/24" for n in range(96, 250)), [*used, pods, services])
    kubelet = free_port("0.0.0.0", KUBELET_PORT, {*ports, port, CONTROLLERS_PORT})
    settings = Settings(
        data_dir=data_dir,
        instance=instance_id(data_dir),
        listen=listen,
        kubelet_listen=f"0.0.0.0:{kubelet}",
        controllers_listen=f"127.0.0.1:{free_port('127.0.0.1', CONTROLLERS_PORT, {*ports, port, kubelet})}",
        node_name=node_name(socket.gethostname()),
        pod_cidr=pods,
        service_cidr=services,
        load_balancer_range=balancers,
        runtime_endpoint=runtime_endpoint,
    )
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
    settings.save()
    _register(settings)
    return settings


def _neighbours() -> list[Settings]:
    """Engines of other data directories on this host that still exist."""
    try:
        directories = json.loads(_REGISTER.read_text())
    except (FileNotFoundError, ValueError):
        return []
    found = []
    for directory in directories if isinstance(directories, list) else []:
        try:
            settings = load(Path(str(directory)))
        except SettingsError:
            continue
        if settings:
            found.append(settings)
    return found


@contextlib.contextmanager
def registering() -> Iterator[None]:
    """One engine of this host at a time chooses ports and ranges (flock(2) on the register's directory)."""
    _REGISTER.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(_REGISTER.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def with_free_ports(settings: Settings) -> Settings:
    """The settings with other ports in place of those of node and controllers that are taken, or were never chosen."""
    with registering():
        free = settings
        others = {port for s in _neighbours() if s.data_dir != settings.data_dir for port in s.ports}
        if listen_problem(free.kubelet_listen):
            host = split_listen(free.kubelet_listen)[0]
            free = replace(free, kubelet_listen=f"{host}:{free_port(host, KUBELET_PORT, others | free.ports)}")
        if not free.controllers_listen or listen_problem(free.controllers_listen):
            port = free_port("127.0.0.1", CONTROLLERS_PORT, others | free.ports)
            free = replace(free, controllers_listen=f"127.0.0.1:{port}")
        if free != settings:
            free.save()
    return free


def register(settings: Settings) -> None:
    """Lets engines of other data directories know of this one. Idempotent."""
    with registering():
        _register(settings)


def _register(settings: Settings) -> None:
    _write_register({str(s.data_dir) for s in _neighbours()} | {str(settings.data_dir)})


def unregister(data_dir: Path) -> None:
    """Forgets an engine whose data was removed."""
    with registering():
        _write_register({str(s.data_dir) for s in _neighbours()} - {str(data_dir)})


def _write_register(directories: set[str]) -> None:
    if not directories:
        _REGISTER.unlink(missing_ok=True)
        return
    text = json.dumps(sorted(directories)) + "\n"
    with contextlib.suppress(FileNotFoundError):
        if _REGISTER.read_text() == text:
            return
    tmp = _REGISTER.with_suffix(".tmp")
    tmp.write_text(text)
    tmp.replace(_REGISTER)


def _routes() -> list[str]:
    """IPv4 destinations this host has routes to, the default route left out (proc(5), /proc/net/route)."""
    networks = []
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        columns = line.split()
        destination, mask = (int.from_bytes(bytes.fromhex(columns[i])[::-1], "big") for i in (1, 7))
        if mask:
            networks.append(f"{ipaddress.IPv4Address(destination)}/{mask.bit_count()}")
    return networks

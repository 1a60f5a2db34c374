"""An engine's settings: chosen once, at its first start, and kept in ``<data>/config.json``.

Everything that must differ between engines on one host (ports, address ranges, interface, table and cgroup names)
derives from the data directory or is picked free at first start, so that several engines run side by side.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import ipaddress
import json
import os
import re
import socket
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

DEFAULT_DATA_DIR = Path("/var/lib/hawser")
RUN_ROOT = Path("/run/hawser")
DEFAULT_PORT = 6443
KUBELET_PORT = 10250
CONTROLLERS_PORT = 10257
_SCHEMA = 1


class SettingsError(Exception):
    """The data directory cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the processes of one engine agree on.

    instance: short id from which the names of links, nftables tables, cgroup and run directory derive.
    listen: ``HOST:PORT`` of the API server; kubelet_listen: of the node agent's API.
    pod_cidr, service_cidr: IPv4 ranges; runtime_endpoint: a CRI socket of the user's, or "" for the private containerd.
    cni_conf_dir, cni_bin_dir: CNI folders of the user's runtime; "" for those of the private containerd.
    apiserver_args, controllers_args, agent_args: further flags of these processes, ``NAME=VALUE`` a line.
    pod_cidr6, service_cidr6: the IPv6 ranges of a dual-stack engine, else "". load_balancer_range: CIDRs of Services of
    type LoadBalancer, comma-separated. ip_pools: further pod ranges, ``NAME=CIDR`` a line.
    controllers_listen: of health and metrics of the controllers; "" for an engine that was made before there were any.
    oci_runtime: runc or crun, for pods without a RuntimeClass; "" for crun where it works.
    """

    data_dir: Path
    instance: str
    listen: str
    kubelet_listen: str
    node_name: str
    pod_cidr: str
    service_cidr: str
    node_port_range: str = "30000-32767"
    runtime_endpoint: str = ""
    cni_conf_dir: str = ""
    cni_bin_dir: str = ""
    apiserver_args: str = ""
    controllers_args: str = ""
    agent_args: str = ""
    pod_cidr6: str = ""
    service_cidr6: str = ""
    load_balancer_range: str = ""
    ip_pools: str = ""
    controllers_listen: str = ""
    oci_runtime: str = ""

    @property
    def ports(self) -> set[int]:
        """All ports that the engine has chosen."""
        listens = (self.listen, self.kubelet_listen, self.controllers_listen)
        return {split_listen(listen)[1] for listen in listens if listen}

    @property
    def ranges(self) -> list[str]:
        """All address ranges that are the engine's."""
        more = [*self.load_balancer_range.split(","), *(line.partition("=")[2] for line in self.ip_pools.splitlines())]
        return [text for text in (self.pod_cidr, self.service_cidr, self.pod_cidr6, self.service_cidr6, *more) if text]

    @property
    def run_dir(self) -> Path:
        return RUN_ROOT / self.instance

    @property
    def ledger(self) -> Path:
        """The folder in which all nodes write down whose each address is; none of them has it for itself."""
        return RUN_ROOT / f"{self.instance}-addresses"

    @property
    def cgroup_root(self) -> str:
        return f"hawser-{self.instance}"

    @property
    def gateway(self) -> str:
        """The node's address towards pods, at which they reach the API (the agent puts it on a link of its own)."""
        return str(ipaddress.IPv4Network(self.pod_cidr)[1])

    @property
    def cluster_dns(self) -> str:
        """The address of the DNS Service: the tenth, as kubeadm has it."""
        return str(ipaddress.IPv4Network(self.service_cidr)[10])

    @property
    def server(self) -> str:
        """The URL clients on this host use."""
        host, port = split_listen(self.listen)
        if host in ("0.0.0.0", "::"):
            host = "127.0.0.1" if host == "0.0.0.0" else "::1"
        return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"

    @property
    def metrics_url(self) -> str:
        """Where controllers and scheduler tell of themselves; "" for nowhere."""
        host, port = split_listen(self.controllers_listen) if self.controllers_listen else ("127.0.0.1", 0)
        told = dict(line.partition("=")[::2] for line in self.controllers_args.splitlines())
        host, number = told.get("bind-address", host), told.get("secure-port", str(port))
        return f"https://{f'[{host}]' if ':' in host else host}:{number}/metrics" if number != "0" else ""

    @property
    def cri_socket(self) -> Path:
        return self.run_dir / "containerd" / "containerd.sock"

    @property
    def cri_endpoint(self) -> str:
        return self.runtime_endpoint or f"unix://{self.cri_socket}"

    @property
    def log_dir(self) -> Path:
        return self.data_dir / "logs"

    @property
    def volumes_dir(self) -> Path:
        """Where the volumes of the default StorageClass are."""
        return self.data_dir / "volumes"

    @property
    def pki_dir(self) -> Path:
        return self.data_dir / "pki"

    def kubeconfig(self, name: str) -> Path:
        """Path of a client's kubeconfig: admin, controllers, agent."""
        return self.data_dir / "kubeconfig" / f"{name}.yaml"

    def document(self) -> dict[str, object]:
        """What config.json holds; ``from_document`` reads it."""
        return {"schema": _SCHEMA, **{k: str(v) for k, v in asdict(self).items() if k != "data_dir"}}

    def save(self) -> None:
        """Writes config.json durably; it holds no secrets."""
        path = self.data_dir / "config.json"
        tmp = path.with_suffix(".tmp")
        with tmp.open("w") as f:
            json.dump(self.document(), f, indent=2)
            f.write("\n")
            f.flush()
            os.fsync(f.fileno())
        tmp.replace(path)


def split_listen(text: str) -> tuple[str, int]:
    """``HOST:PORT`` (IPv6 hosts in brackets) as (host, port).

    Raises SettingsError on anything else.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or not 0 < int(port) < 65536:
        raise SettingsError(f"--listen wants HOST:PORT, for example 127.0.0.1:6443; got {text!r}")
    host = host.strip("[]")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise SettingsError(f"--listen wants an IP address before the port, got {host!r}") from None
    return host, int(port)


def instance_id(data_dir: Path) -> str:
    """Eight characters that name an engine's things on the host; stable for a data directory."""
    return hashlib.sha256(str(data_dir).encode()).hexdigest()[:8]


def load(data_dir: Path) -> Settings | None:
    """The settings of an engine that was started before, or None.

    Raises SettingsError when the file is damaged or was written by a newer Hawser.
    """
    path = data_dir / "config.json"
    try:
        doc = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as e:
        raise SettingsError(f"{path} cannot be read: {e}; restore it, or remove {data_dir} to start anew") from e
    if not isinstance(doc, dict) or not isinstance(doc.get("schema", 0), int):
        raise SettingsError(f"{path} cannot be read: no settings; restore it, or remove {data_dir} to start anew")
    if doc.get("schema", 0) > _SCHEMA:
        raise SettingsError(f"{path} was written by a newer Hawser; upgrade, or use another --data-dir")
    try:
        return from_document(data_dir, doc)
    except (TypeError, ValueError, SettingsError) as e:
        raise SettingsError(f"{path} is incomplete: {e}; restore it, or remove {data_dir} to start anew") from e


def from_document(data_dir: Path, document: dict[str, object]) -> Settings:
    """The settings that ``document`` gave. Raises TypeError, ValueError, SettingsError."""
    known = {f.name for f in fields(Settings)} - {"data_dir"}
    found = Settings(data_dir=data_dir, **{k: str(v) for k, v in document.items() if k in known})
    _check(found)
    return found


def _check(settings: Settings) -> None:
    """Raises ValueError or SettingsError for what would lead astray: names and paths are made of these."""
    for listen in (settings.listen, settings.kubelet_listen, *filter(None, [settings.controllers_listen])):
        split_listen(listen)
    for network in (settings.pod_cidr, settings.service_cidr):
        ipaddress.IPv4Network(network)
    if not re.fullmatch(r"[0-9a-z]{1,8}", settings.instance):
        raise ValueError(f"{settings.instance!r} is no instance id")


@contextlib.contextmanager
def exclusive(data_dir: Path) -> Iterator[int]:
    """Keeps every other `up` and `down` of a data directory waiting; makes the directory when it is not there.

    Yields the descriptor that holds the lock (flock(2) on the directory): what inherits it can release it later.
    """
    if data_dir.exists() and not data_dir.is_dir():
        raise SettingsError(f"{data_dir} is not a directory; name one with --data-dir")
    while True:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
        fd = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), data_dir.stat()):
                    yield fd
                    return
            # It was removed while we waited for whoever removed it.
        finally:
            os.close(fd)


def node_name(hostname: str) -> str:
    """A host name as a node name: a lower-case RFC 1123 subdomain."""
    name = re.sub(r"[^a-z0-9.-]", "-", hostname.lower()).strip("-.")
    return name[:253] or "localhost"


def listen_problem(listen: str) -> str:
    """Why nothing can listen on ``HOST:PORT`` now; "" when something can."""
    host, port = split_listen(listen)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((host, port))
        except OSError as e:
            known = {errno.EADDRINUSE: "the port is taken", errno.EADDRNOTAVAIL: f"this machine has no address {host}"}
            return known.get(e.errno or 0, os.strerror(e.errno or 0))
    return ""


def free_port(host: str, first: int, taken: Iterable[int] = ()) -> int:
    """The first port from ``first`` on that nobody listens on and no neighbour has chosen."""
    avoid = set(taken)
    for port in range(first, first + 500):
        if port in avoid:
            continue
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind((host, port))
            except OSError:
                continue
            return port
    raise SettingsError(f"no free port between {first} and {first + 500}; name one with --listen")

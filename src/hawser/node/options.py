"""The agent's command line."""

from __future__ import annotations

import argparse
import socket
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from hawser.api import durations
from hawser.api.quantity import to_bytes
from hawser.node import limits
from hawser.node.limits import Limits
from hawser.node.pod import admission

Network = IPv4Network | IPv6Network
_PODS = "addresses of pods, IPv4 and IPv6; without it only host-network pods run"


@dataclass(frozen=True, slots=True)
class Options:
    """What the agent is started with; see ``--help``."""

    kubeconfig: Path
    node_name: str
    root_dir: Path
    run_dir: Path
    runtime_endpoint: str
    host: str
    port: int
    tls_cert: Path | None
    tls_key: Path | None
    client_ca: Path | None
    pod_cidr: IPv4Network | None
    pod_cidr6: IPv6Network | None
    service_cidr: IPv4Network
    service_cidr6: IPv6Network | None
    balancers: tuple[Network, ...]
    ip_pools: dict[str, Network]
    cni_conf_dir: Path | None
    cni_bin_dir: Path | None
    instance: str
    cgroup_root: str
    pause_image: str
    node_ips: tuple[str, ...]
    node_labels: dict[str, str]
    node_cpu: int
    node_memory: int
    cluster_cidrs: tuple[Network, ...]
    address_ledger: Path | None
    uplink: tuple[Path, str] | None
    cluster_dns: tuple[str, ...]
    cluster_domain: str
    resolv_conf: Path | None
    proxy_healthz_listen: str
    proxy_metrics_listen: str
    max_pods: int
    pod_manifest_path: Path | None
    max_starting: int
    sync_seconds: float
    allowed_unsafe_sysctls: tuple[str, ...]
    cdi_spec_dirs: tuple[Path, ...]
    limits: Limits
    verbose: bool


def flags() -> frozenset[str]:
    """The names of all flags, without dashes."""
    return frozenset(name[2:] for action in _parser()._actions for name in action.option_strings)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hawser-node", description="The node agent of a Hawser engine: runs the pods that are bound to its node."
    )
    add = parser.add_argument
    add("--kubeconfig", type=Path, required=True, help="how to reach the API server")
    add("--node-name", default=socket.gethostname().lower(), help="name of the Node (default: the host's)")
    add("--root-dir", type=Path, required=True, help="folder of pods' volumes and logs")
    add("--run-dir", type=Path, required=True, help="folder of sockets and of what need not outlive a boot")
    add("--runtime-endpoint", required=True, metavar="unix://PATH", help="socket of the container runtime (CRI v1)")
    add(
        "--listen",
        default="127.0.0.1:10250",
        metavar="HOST:PORT",
        help="address of the kubelet API (default: %(default)s)",
    )
    add("--tls-cert", type=Path, help="certificate of the kubelet API, PEM")
    add("--tls-key", type=Path, help="its key, PEM")
    add("--client-ca", type=Path, help="clients of the kubelet API have certificates of this CA")
    pair, both = "CIDR[,CIDR]", (IPv4Network("10.96.0.0/16"), None)
    add(
        "--pod-cidr",
        type=_pair_of_ranges,
        default=(None, None),
        metavar=pair,
        help="addresses of pods, IPv4 and IPv6; without it only host-network pods run",
    )
    add("--service-cluster-ip-range", type=_pair_of_ranges, default=both, metavar=pair)
    add("--load-balancer-range", default="", metavar=pair, help="further addresses that only Services have")
    add("--ip-pools", default="", metavar="NAME=CIDR,…", help="further addresses of pods, which they ask for by name")
    add("--cni-conf-dir", type=Path, help="CNI configuration folder of the container runtime")
    add("--cni-bin-dir", type=Path, help="CNI plugin folder of the container runtime")
    add("--instance", default="hawser", help="tells the networks of engines apart (default: %(default)s)")
    add("--cgroup-root", default="kubepods", metavar="NAME", help="cgroup above all pods (default: %(default)s)")
    add("--pause-image", default="", help="image of sandboxes; never removed")
    add("--node-ip", default="", metavar="IP[,IP]", help="its addresses (default: those of the default routes)")
    add("--node-labels", default="", metavar="NAME=VALUE,…", help="labels of the Node")
    add("--node-cpu", type=int, default=0, metavar="NUMBER", help="processors of the Node (default: the machine's)")
    add("--node-memory", type=to_bytes, default=0, metavar="QUANTITY", help="its memory (default: the machine's)")
    add("--cluster-cidr", type=_pair_of_ranges, default=(None, None), metavar=pair, help="pods of all nodes")
    add("--address-ledger", type=Path, metavar="PATH", help="folder in which nodes that share addresses claim them")
    add("--uplink", metavar="NETNS:LINK", help="network namespace that routes between nodes, its link to this one")
    add("--cluster-dns", action="append", default=[], metavar="IP", help="name server of pods; may be repeated")
    add("--cluster-domain", default="cluster.local", help="(default: %(default)s)")
    add(
        "--resolv-conf",
        type=Path,
        metavar="FILE",
        help="name servers of pods that do not use the cluster's, and of the cluster's own (default: the node's)",
    )
    add("--pod-manifest-path", type=Path, metavar="PATH", help="folder of static pods' manifests, or one manifest")
    where, free = "HOST:PORT", '"" for none; left out when it is taken (default: %(default)s)'
    add("--proxy-healthz-listen", default="0.0.0.0:10256", metavar=where, help=f"kube-proxy's health, {free}")
    add("--proxy-metrics-listen", default="127.0.0.1:10249", metavar=where, help=f"kube-proxy's metrics, {free}")
    add("--max-pods", type=int, default=250, help="(default: %(default)s)")
    add(
        "--max-starting",
        type=int,
        default=0,
        metavar="NUMBER",
        help="pods with hawser.dev/startup=cpu-hungry that start at a time (default: as many as there are processors)",
    )
    add(
        "--sync-frequency",
        type=durations.flag,
        default="1m",
        metavar="DURATION",
        help="how often volumes are looked at that may have changed elsewhere (default: %(default)s)",
    )
    add(
        "--allowed-unsafe-sysctls",
        default="",
        metavar="NAME,...",
        help="namespaced sysctls that pods may set besides the safe ones; a name may end in *",
    )
    add(
        "--cdi-spec-dirs",
        default="/etc/cdi,/var/run/cdi",
        metavar="PATH,...",
        help="folders of CDI specs, for runtimes that do not read them themselves (default: %(default)s)",
    )
    add("--verbose", action="store_true", help="log what happens, not only what goes wrong")
    limits.add_flags(parser)
    return parser


def parse(arguments: list[str] | None = None) -> Options:
    """Options from a command line; ends the program with usage when it is wrong."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        limited = limits.read(given)
    except (ValueError, ArithmeticError) as error:
        parser.error(str(error))
    host, _, port = given.listen.rpartition(":")
    if not port.isdigit():
        parser.error(f"--listen needs HOST:PORT, not {given.listen}")
    sysctls = tuple(name for name in given.allowed_unsafe_sysctls.split(",") if name)
    for name in sysctls:
        if not admission.namespaced(admission.dotted(name).removesuffix("*")):
            parser.error(f'the sysctl "{name}" are not known to be namespaced')
    return Options(
        kubeconfig=given.kubeconfig,
        node_name=given.node_name,
        root_dir=given.root_dir.absolute(),
        run_dir=given.run_dir.absolute(),
        runtime_endpoint=given.runtime_endpoint,
        host=host.strip("[]"),
        port=int(port),
        tls_cert=given.tls_cert,
        tls_key=given.tls_key,
        client_ca=given.client_ca,
        pod_cidr=given.pod_cidr[0],
        pod_cidr6=given.pod_cidr[1],
        service_cidr=given.service_cluster_ip_range[0],
        service_cidr6=given.service_cluster_ip_range[1],
        balancers=tuple(ip_network(text) for text in given.load_balancer_range.split(",") if text),
        ip_pools={name: ip_network(text) for name, text in map(_pair, filter(None, given.ip_pools.split(",")))},
        cni_conf_dir=given.cni_conf_dir,
        cni_bin_dir=given.cni_bin_dir,
        instance=given.instance,
        cgroup_root=given.cgroup_root,
        pause_image=given.pause_image,
        node_ips=tuple(filter(None, given.node_ip.split(","))),
        node_labels=dict(_pair(pair) for pair in given.node_labels.split(",") if pair),
        node_cpu=given.node_cpu,
        node_memory=given.node_memory,
        cluster_cidrs=tuple(cidr for cidr in given.cluster_cidr if cidr is not None),
        address_ledger=given.address_ledger,
        uplink=_uplink(given.uplink) if given.uplink else None,
        cluster_dns=tuple(given.cluster_dns),
        cluster_domain=given.cluster_domain,
        resolv_conf=given.resolv_conf,
        proxy_healthz_listen=given.proxy_healthz_listen,
        proxy_metrics_listen=given.proxy_metrics_listen,
        max_pods=given.max_pods,
        pod_manifest_path=given.pod_manifest_path,
        max_starting=given.max_starting,
        sync_seconds=given.sync_frequency,
        allowed_unsafe_sysctls=sysctls,
        cdi_spec_dirs=tuple(Path(text) for text in given.cdi_spec_dirs.split(",") if text),
        limits=limited,
        verbose=given.verbose,
    )


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def _uplink(text: str) -> tuple[Path, str]:
    namespace, _, link = text.rpartition(":")
    return Path(namespace), link


def _pair_of_ranges(text: str) -> tuple[IPv4Network, IPv6Network | None]:
    """An IPv4 range and, after a comma, an IPv6 range. Raises ValueError."""
    first, _, second = text.partition(",")
    return IPv4Network(first), IPv6Network(second) if second else None

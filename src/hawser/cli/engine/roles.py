"""The processes of an engine: what each one runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from hawser.cli.engine import containerd, nodes
from hawser.cli.engine.nodes import Node
from hawser.cli.engine.ranges import joined
from hawser.cli.engine.settings import Settings, split_listen

# Fewer malloc arenas keep a process with a few threads small, and so does leaving docstrings out (3 MB a process).
# What is compiled is kept, even where the shell says otherwise: compiling takes longer than all else of a start.
_INTERPRETER = {
    "MALLOC_ARENA_MAX": "2",
    "PYTHONUNBUFFERED": "1",
    "PYTHONOPTIMIZE": "2",
    "PYTHONDONTWRITEBYTECODE": "",
}

# An engine shares its disk with all else that is on the machine, so it waits longer than a kubelet before it evicts.
EVICTION = ",".join(
    (
        "memory.available<100Mi",
        *("nodefs.available<5%", "nodefs.inodesFree<5%"),
        *("imagefs.available<5%", "imagefs.inodesFree<5%"),
    )
)


@dataclass(frozen=True, slots=True)
class Role:
    """One supervised process.

    name: also its log file's and pid file's. stop_after: seconds between SIGTERM and SIGKILL. needs_api: it can do
    nothing before the API server listens, so the processors are left to that one first. namespace: of the network that
    it runs in, hostname: what it is called there; "" for the machine's.
    """

    name: str
    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    stop_after: float = 10.0
    needs_api: bool = False
    namespace: str = ""
    hostname: str = ""


def roles(settings: Settings, listed: Sequence[Node] | None = None) -> list[Role]:
    """Every process in start order; they are stopped in reverse. listed: the nodes (default: as they are kept)."""
    running = [node for node in (nodes.load(settings) if listed is None else listed) if not node.stopped]
    first = [_apiserver(settings), _controllers(settings)]
    runtimes = [role for node in running for role in _containerd(settings, node)]
    # The API server is what all wait for; a runtime only takes a moment to start.
    return [*runtimes[:1], first[0], *runtimes[1:], *(_agent(settings, node) for node in running), first[1]]


def role_name(name: str, node: Node) -> str:
    """The name of a node's process: that of its node is left out for the first one."""
    return name if node.first else f"{name}@{node.name}"


def _containerd(engine: Settings, node: Node) -> list[Role]:
    view = nodes.view(engine, node)
    if view.runtime_endpoint:
        return []
    env = containerd.environment(view)
    role = Role(role_name("containerd", node), containerd.command(view), env, stop_after=15.0)
    return [_inside(role, engine, node)]


def _inside(role: Role, engine: Settings, node: Node) -> Role:
    path = nodes.namespace(engine, node)
    return role if path is None else replace(role, namespace=str(path), hostname=node.name)


def _apiserver(settings: Settings) -> Role:
    pki = settings.pki_dir
    arguments = {
        "data-dir": settings.data_dir / "store",
        "listen": settings.listen,
        "advertise-address": settings.gateway,
        "tls-cert": pki / "apiserver.crt",
        "tls-key": pki / "apiserver.key",
        "client-ca": pki / "ca.crt",
        "token-auth-file": pki / "tokens.csv",
        "service-account-signing-key-file": pki / "sa.key",
        "requestheader-client-ca-file": pki / "front-proxy-ca.crt",
        "requestheader-allowed-names": "front-proxy-client",
        "proxy-client-cert-file": pki / "front-proxy-client.crt",
        "proxy-client-key-file": pki / "front-proxy-client.key",
        "kubelet-client-cert": pki / "apiserver-kubelet-client.crt",
        "kubelet-client-key": pki / "apiserver-kubelet-client.key",
        "kubelet-ca": pki / "ca.crt",
        "service-cluster-ip-range": joined((settings.service_cidr, settings.service_cidr6)),
        "service-node-port-range": settings.node_port_range,
        "cluster-dns": settings.cluster_dns,
    }
    role = _python("apiserver", "hawser.apiserver", arguments)
    # The last one counts: what the user wants comes after what the engine needs.
    role.argv.extend(f"--{line}" for line in settings.apiserver_args.splitlines())
    return role


def _controllers(settings: Settings) -> Role:
    arguments: dict[str, object] = {
        "kubeconfig": settings.kubeconfig("controllers"),
        "service-account-private-key-file": settings.pki_dir / "sa.key",
        "cluster-signing-cert-file": settings.pki_dir / "ca.crt",
        "cluster-signing-key-file": settings.pki_dir / "ca.key",
        "local-volume-root": settings.volumes_dir,
    }
    if not settings.controllers_listen:
        arguments["secure-port"] = 0
    else:
        host, port = split_listen(settings.controllers_listen)
        arguments |= {
            "bind-address": host,
            "secure-port": port,
            "tls-cert-file": settings.pki_dir / "controllers.crt",
            "tls-private-key-file": settings.pki_dir / "controllers.key",
            "client-ca-file": settings.pki_dir / "ca.crt",
        }
    if settings.load_balancer_range:
        arguments["load-balancer-range"] = settings.load_balancer_range
    role = _python("controllers", "hawser.controllers", arguments, needs_api=True)
    role.argv.extend(f"--{line}" for line in settings.controllers_args.splitlines())
    return role


def _agent(engine: Settings, node: Node) -> Role:
    settings = nodes.view(engine, node)
    pki = settings.pki_dir
    arguments: dict[str, object] = {
        "kubeconfig": settings.kubeconfig("agent"),
        "node-name": settings.node_name,
        "root-dir": settings.data_dir / "agent",
        "run-dir": settings.run_dir,
        "runtime-endpoint": settings.cri_endpoint,
        "listen": settings.kubelet_listen,
        "tls-cert": pki / "kubelet.crt",
        "tls-key": pki / "kubelet.key",
        "client-ca": pki / "ca.crt",
        "pod-cidr": joined(map(str, nodes.pod_ranges(engine, node))),
        "cluster-cidr": joined(map(str, nodes.wholes(engine))),
        "address-ledger": engine.ledger,
        "service-cluster-ip-range": joined((settings.service_cidr, settings.service_cidr6)),
        "cluster-dns": settings.cluster_dns,
        "cni-conf-dir": containerd.cni_conf_dir(settings),
        "cni-bin-dir": containerd.cni_bin_dir(settings),
        "instance": settings.instance,
        "cgroup-root": settings.cgroup_root,
        "pause-image": containerd.PAUSE_IMAGE,
        "pod-manifest-path": settings.data_dir / "manifests",
        "eviction-hard": EVICTION,
    }
    further: dict[str, object] = {
        "node-ip": joined(map(str, nodes.addresses(engine, node))),
        "uplink": "" if node.first else f"{nodes.machine_namespace(engine)}:{nodes.link(engine, node)}",
        "node-labels": ",".join(f"{name}={value}" for name, value in node.labels.items()),
        "node-cpu": node.cpu,
        "node-memory": node.memory,
        "load-balancer-range": engine.load_balancer_range,
        "ip-pools": ",".join(engine.ip_pools.splitlines()),
    }
    arguments |= {name: value for name, value in further.items() if value}
    role = _python(role_name("agent", node), "hawser.node", arguments, needs_api=True)
    role.argv.extend(f"--{line}" for line in engine.agent_args.splitlines())
    return _inside(role, engine, node)


def _python(name: str, module: str, arguments: dict[str, object], needs_api: bool = False) -> Role:
    flags = [text for key, value in arguments.items() for text in (f"--{key}", str(value))]
    return Role(name, [sys.executable, "-m", module, *flags], _INTERPRETER, needs_api=needs_api)

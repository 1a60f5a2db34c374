"""The processes of an engine: what each one runs."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from hawser.cli.engine import containerd
from hawser.cli.engine.settings import Settings


@dataclass(frozen=True, slots=True)
class Role:
    """One supervised process.

    name: also its log file's and pid file's. stop_after: seconds between SIGTERM and SIGKILL. needs_api: it can do
    nothing before the API server listens, so the processors are left to that one first.
    """

    name: str
    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    stop_after: float = 10.0
    needs_api: bool = False


def roles(settings: Settings) -> list[Role]:
    """Every process in start order; they are stopped in reverse."""
    listed = [] if settings.runtime_endpoint else [Role("containerd", containerd.command(settings), stop_after=15.0)]
    return [*listed, _apiserver(settings), _agent(settings), _controllers(settings)]


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
        "service-cluster-ip-range": settings.service_cidr,
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
    }
    return _python("controllers", "hawser.controllers", arguments, needs_api=True)


def _agent(settings: Settings) -> Role:
    pki = settings.pki_dir
    arguments = {
        "kubeconfig": settings.kubeconfig("agent"),
        "node-name": settings.node_name,
        "root-dir": settings.data_dir / "agent",
        "run-dir": settings.run_dir,
        "runtime-endpoint": settings.cri_endpoint,
        "listen": settings.kubelet_listen,
        "tls-cert": pki / "kubelet.crt",
        "tls-key": pki / "kubelet.key",
        "client-ca": pki / "ca.crt",
        "pod-cidr": settings.pod_cidr,
        "service-cluster-ip-range": settings.service_cidr,
        "cluster-dns": settings.cluster_dns,
        "cni-conf-dir": containerd.cni_conf_dir(settings),
        "cni-bin-dir": containerd.cni_bin_dir(settings),
        "instance": settings.instance,
        "cgroup-root": settings.cgroup_root,
        "pause-image": containerd.PAUSE_IMAGE,
    }
    return _python("agent", "hawser.node", arguments, needs_api=True)


def _python(name: str, module: str, arguments: dict[str, object], needs_api: bool = False) -> Role:
    flags = [text for key, value in arguments.items() for text in (f"--{key}", str(value))]
    # Fewer malloc arenas keep a process with a few threads small; -X frozen modules stay on by default.
    env = {"MALLOC_ARENA_MAX": "2", "PYTHONUNBUFFERED": "1"}
    return Role(name, [sys.executable, "-m", module, *flags], env, needs_api=needs_api)

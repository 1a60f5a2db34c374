"""The requests that make a pod: CRI's PodSandboxConfig and ContainerConfig.

Source: CRI's api.proto; labels and annotations are kubelet's, so that crictl, cAdvisor and log shippers work.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hawser.api.types import Obj
from hawser.node.cri.model import Features, Image, Labels, signal_value
from hawser.node.pod import admission, resources, security, view
from hawser.node.pod.env import ConfigError, expand

LOG_FOLDER = "logs/pods"
_HOSTNAME_MAX, _NODENAME_MAX = 63, 64
_PROPAGATION = {"None": 0, "HostToContainer": 1, "Bidirectional": 2}


@dataclass(frozen=True, slots=True)
class Machine:
    """What configurations need to know of the node.

    root: the agent's folder. cgroup_root: name of the cgroup above all pods. memory: bytes of the machine.
    node_ips: the node's addresses, at most one of each family.
    dns_servers: addresses for pods with ``dnsPolicy: ClusterFirst``; empty gives them the node's.
    cgroup_v2: whether containers are limited by it. features: what the runtime can do. unsafe_sysctls: names and
    prefixes (``net.core.*``) that pods may set besides the safe ones.
    """

    root: str
    cgroup_root: str
    memory: int
    node_name: str = ""
    node_ips: tuple[str, ...] = ("",)
    cluster_domain: str = "cluster.local"
    dns_servers: tuple[str, ...] = ()
    resolv_conf: str = "/etc/resolv.conf"
    cgroup_v2: bool = False
    features: Features = field(default_factory=Features)
    unsafe_sysctls: tuple[str, ...] = ()

    @property
    def node_ip(self) -> str:
        """The node's primary address."""
        return self.node_ips[0]


@dataclass(frozen=True, slots=True)
class Mount:
    """One bind mount of a container. propagation: None, HostToContainer or Bidirectional. recursive: what is mounted
    below is read-only, too."""

    container_path: str
    host_path: str
    readonly: bool = False
    propagation: str = "None"
    recursive: bool = False


@dataclass(frozen=True, slots=True)
class Device:
    """A device of the node in a container. permissions: of the devices cgroup, letters of ``rwm``."""

    container_path: str
    host_path: str
    permissions: str


def log_directory(root: str, pod: Obj) -> str:
    """``<root>/logs/pods/<namespace>_<name>_<uid>``."""
    namespace, name = view.key(pod)
    return f"{root}/{LOG_FOLDER}/{namespace}_{name}_{view.uid(pod)}"


def log_path(container: str, restart_count: int) -> str:
    """A container's log below its pod's log directory."""
    return f"{container}/{restart_count}.log"


def hostname(pod: Obj, cluster_domain: str) -> tuple[str, str]:
    """The pod's host name, and its domain ("" without a subdomain)."""
    spec = pod["spec"]
    namespace, name = view.key(pod)
    override = spec.get("hostnameOverride")
    host = override or spec.get("hostname") or name
    # A host name is at most 63 characters and does not end in a dash or dot (hostname(7)).
    host = host[:_HOSTNAME_MAX].rstrip("-.") if len(host) > _HOSTNAME_MAX else host
    # A name that replaces the pod's own has no domain of the cluster (KEP-4762).
    domain = f"{spec['subdomain']}.{namespace}.svc.{cluster_domain}" if spec.get("subdomain") and not override else ""
    return host, domain


def kernel_name(pod: Obj, cluster_domain: str) -> str:
    """What the kernel calls the pod's machine: setHostnameAsFQDN. Raises ConfigError for a name it cannot hold."""
    host, domain = hostname(pod, cluster_domain)
    if not (pod["spec"].get("setHostnameAsFQDN") and domain):
        return host
    full = f"{host}.{domain}"
    if len(full) > _NODENAME_MAX:
        raise ConfigError(
            f"failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long "
            f"({_NODENAME_MAX} characters is the max, {len(full)} characters requested)"
        )
    return full


def sandbox(pod: Obj, attempt: int, machine: Machine, dns: Obj, users: Mapping[str, Any] | None = None) -> Obj:
    """runtime.v1 PodSandboxConfig. dns: DNSConfig, see ``hawser.node.pod.dns``. users: see ``hawser.node.pod.userns``.

    Raises ConfigError for what can never run.
    """
    metadata = pod["metadata"]
    namespace, name = view.key(pod)
    spec = pod["spec"]
    security_context = spec.get("securityContext") or {}
    config: Obj = {
        "metadata": {"name": name, "namespace": namespace, "uid": view.uid(pod), "attempt": attempt},
        "log_directory": log_directory(machine.root, pod),
        "dns_config": dns,
        "labels": {
            **(metadata.get("labels") or {}),
            Labels.POD_NAME.value: name,
            Labels.POD_NAMESPACE.value: namespace,
            Labels.POD_UID.value: view.uid(pod),
        },
        "annotations": dict(metadata.get("annotations") or {}),
        "linux": {
            "cgroup_parent": resources.cgroup_parent(machine.cgroup_root, pod),
            "security_context": security.sandbox_security(pod, f"{machine.root}/seccomp", users),
            "sysctls": {admission.dotted(s["name"]): str(s["value"]) for s in security_context.get("sysctls") or ()},
            "resources": resources.pod_resources(pod),
        },
        "port_mappings": [
            {
                "protocol": {"TCP": 0, "UDP": 1, "SCTP": 2}[port.get("protocol") or "TCP"],
                "container_port": port["containerPort"],
                "host_port": port.get("hostPort") or 0,
                "host_ip": port.get("hostIP") or "",
            }
            for _, container in view.every_container(pod)
            for port in container.get("ports") or ()
        ],
    }
    if not view.host_network(pod):
        config["hostname"] = kernel_name(pod, machine.cluster_domain)
    return config


def container(
    pod: Obj,
    spec: Obj,
    attempt: int,
    *,
    image: Image,
    env: Mapping[str, str],
    mounts: Iterable[Mount],
    machine: Machine,
    users: Mapping[str, Any] | None = None,
    devices: Iterable[Device] = (),
) -> Obj:
    """runtime.v1 ContainerConfig of one container. Raises ConfigError for what can never run."""
    namespace, name = view.key(pod)
    annotations: dict[str, str] = {
        **(pod["metadata"].get("annotations") or {}),
        Labels.HASH.value: spec_hash(spec),
        Labels.RESTART_COUNT.value: str(attempt),
        Labels.TERMINATION_PATH.value: spec.get("terminationMessagePath") or "/dev/termination-log",
        Labels.TERMINATION_POLICY.value: spec.get("terminationMessagePolicy") or "File",
        Labels.GRACE_PERIOD.value: str(view.grace_period(pod)),
    }
    if pre_stop := (spec.get("lifecycle") or {}).get("preStop"):
        annotations[Labels.PRE_STOP.value] = json.dumps(pre_stop)
    if spec.get("ports"):
        annotations[Labels.CONTAINER_PORTS.value] = json.dumps(spec["ports"])
    return {
        "metadata": {"name": spec["name"], "attempt": attempt},
        "image": {"image": image.id, "user_specified_image": spec.get("image") or ""},
        "command": [expand(word, env) for word in spec.get("command") or ()],
        "args": [expand(word, env) for word in spec.get("args") or ()],
        "working_dir": spec.get("workingDir") or "",
        "envs": [{"key": key, "value": value.encode(errors="surrogateescape")} for key, value in env.items()],
        "mounts": [
            {
                "container_path": m.container_path,
                "host_path": m.host_path,
                "readonly": m.readonly,
                "propagation": _PROPAGATION[m.propagation],
                "recursive_read_only": m.recursive,
                **({"uidMappings": users["uids"], "gidMappings": users["gids"]} if users else {}),
            }
            for m in mounts
        ],
        "devices": [
            {"container_path": d.container_path, "host_path": d.host_path, "permissions": d.permissions}
            for d in devices
        ],
        "labels": {
            Labels.CONTAINER_NAME.value: spec["name"],
            Labels.POD_NAME.value: name,
            Labels.POD_NAMESPACE.value: namespace,
            Labels.POD_UID.value: view.uid(pod),
        },
        "annotations": annotations,
        "log_path": log_path(spec["name"], attempt),
        **_stop_signal(spec),
        "stdin": bool(spec.get("stdin")),
        "stdin_once": bool(spec.get("stdinOnce")),
        "tty": bool(spec.get("tty")),
        "linux": {
            "resources": resources.container_resources(pod, spec, machine.memory, cgroup_v2=machine.cgroup_v2),
            "security_context": security.container_security(pod, spec, image, f"{machine.root}/seccomp", users),
        },
    }


def _stop_signal(spec: Obj) -> Obj:
    """KEP-4960; runtimes that know nothing of it leave the signal to the agent (``stopper``)."""
    name = (spec.get("lifecycle") or {}).get("stopSignal")
    return {"stop_signal": signal_value(name)} if name else {}


def spec_hash(spec: Obj) -> str:
    """Changes when a running container no longer is what the spec says: its image, as only that may change."""
    return hashlib.sha256(f"{spec['name']}\n{spec.get('image')}".encode()).hexdigest()[:8]

"""Name resolution of a pod: CRI's DNSConfig and the managed /etc/hosts.

Source: Kubernetes documentation, "DNS for Services and Pods", "Adding entries to Pod /etc/hosts with HostAliases";
kubelet's events DNSConfigForming and MissingClusterDNS.
"""

from __future__ import annotations

from pathlib import Path

from hawser.api.types import Obj
from hawser.node.pod import view
from hawser.node.pod.configs import Machine, hostname

_HEADER = "# Kubernetes-managed hosts file.\n"
_NODE_HEADER = "# Kubernetes-managed hosts file (host network).\n"
_RESOLVED = Path("/run/systemd/resolve/resolv.conf")
_RESOLVED_STUB = "127.0.0.53"
_CLUSTER = ("ClusterFirst", "ClusterFirstWithHostNet")
_MOST_SERVERS = 3
_MOST_SEARCHES = 32
_LONGEST_SEARCH_LINE = 2048
_LONGEST_NAME = 253
_NO_CLUSTER_DNS = (
    'kubelet does not have ClusterDNS IP configured and cannot create Pod using "ClusterFirst" policy. '
    'Falling back to "Default" policy.'
)
_SERVERS_EXCEEDED = (
    "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is"
)
_SEARCHES_EXCEEDED = "Search Line limits were exceeded, some search paths have been omitted, the applied search line is"


def parse_resolv_conf(text: str) -> Obj:
    """DNSConfig from a resolv.conf(5)."""
    config: Obj = {"servers": [], "searches": [], "options": []}
    for line in text.splitlines():
        match line.split("#")[0].split(";")[0].split():
            case ["nameserver", server, *_]:
                config["servers"].append(server)
            case ["search" | "domain", *domains]:
                # "." stands for no search at all.
                config["searches"] = [domain.rstrip(".") or "." for domain in domains]
            case ["options", *options]:
                config["options"] = options
    return config


def node_resolv_conf(etc: Path = Path("/etc/resolv.conf"), resolved: Path = _RESOLVED) -> Path:
    """The resolv.conf of the node that is of use to pods.

    systemd-resolved listens on a loopback address, which is another one in a pod: it keeps a file with its own servers.
    """
    try:
        servers = parse_resolv_conf(etc.read_text())["servers"]
    except OSError:
        return etc
    return resolved if servers == [_RESOLVED_STUB] and resolved.exists() else etc


def read_resolv_conf(path: Path) -> Obj:
    """The node's DNSConfig; an empty one when it has none."""
    try:
        return parse_resolv_conf(path.read_text())
    except OSError:
        return parse_resolv_conf("")


def node_complaint(path: Path, node: Obj) -> str:
    """What kubelet says (CheckLimitsForResolvConf) of a resolv.conf without room for the cluster's domains.

    Empty when there is nothing to say. node: the file as parsed.
    """
    searches, most = node["searches"], _MOST_SEARCHES - 3
    if len(searches) > most:
        return f"Resolv.conf file '{path}' contains search line consisting of more than {most} domains!"
    if any(len(search) > _LONGEST_NAME for search in searches):
        return (
            f'Resolv.conf file "{path}" contains a search path which length is more than allowed {_LONGEST_NAME} chars!'
        )
    if len(" ".join(searches)) > _LONGEST_SEARCH_LINE:
        most = _LONGEST_SEARCH_LINE
        return f"Resolv.conf file '{path}' contains search line which length is more than allowed {most} chars!"
    return ""


def dns_config(pod: Obj, machine: Machine, node: Obj) -> Obj:
    """DNSConfig by the pod's dnsPolicy and dnsConfig. node: the node's own, as parsed."""
    return _limited(_composed(pod, machine, node))[0]


def complaints(pod: Obj, machine: Machine, node: Obj) -> list[tuple[str, str]]:
    """Reasons and messages of the warnings that go with ``dns_config``, as kubelet has them."""
    found = [("DNSConfigForming", text) for text in _limited(_composed(pod, machine, node))[1]]
    if _policy(pod) in _CLUSTER and not machine.dns_servers:
        (namespace, name), uid = view.key(pod), view.uid(pod)
        found.insert(0, ("MissingClusterDNS", f'pod: "{name}_{namespace}({uid})". {_NO_CLUSTER_DNS}'))
    return found


def _policy(pod: Obj) -> str:
    policy = str(pod["spec"].get("dnsPolicy") or "ClusterFirst")
    return "Default" if policy == "ClusterFirst" and view.host_network(pod) else policy


def _composed(pod: Obj, machine: Machine, node: Obj) -> Obj:
    policy = _policy(pod)
    if policy == "None":
        config: Obj = {"servers": [], "searches": [], "options": []}
    elif policy in _CLUSTER and machine.dns_servers:
        domain, namespace = machine.cluster_domain, view.key(pod)[0]
        searches = [f"{namespace}.svc.{domain}", f"svc.{domain}", domain]
        config = {
            "servers": list(machine.dns_servers),
            "searches": [*searches, *node["searches"]],
            "options": ["ndots:5"],
        }
    else:
        config = {key: list(values) for key, values in node.items()}
    extra = pod["spec"].get("dnsConfig") or {}
    for key, more in (("servers", extra.get("nameservers")), ("searches", extra.get("searches"))):
        config[key] = list(dict.fromkeys((*config[key], *(more or ()))))
    options = {o.partition(":")[0]: o for o in config["options"]}
    for option in extra.get("options") or ():
        value = option.get("value")
        options[option["name"]] = f"{option['name']}:{value}" if value else option["name"]
    config["options"] = list(options.values())
    return config


def _limited(config: Obj) -> tuple[Obj, list[str]]:
    """What of a DNSConfig resolvers can take, and kubelet's words about the rest."""
    servers, searches = config["servers"], config["searches"]
    told: list[str] = []
    if len(servers) > _MOST_SERVERS:
        servers = servers[:_MOST_SERVERS]
        told.append(f"{_SERVERS_EXCEEDED}: {' '.join(servers)}")
    # glibc 2.28 aborts at a name that is too long.
    fit = [search for search in searches[:_MOST_SEARCHES] if len(search) <= _LONGEST_NAME]
    while len(" ".join(fit)) > _LONGEST_SEARCH_LINE:
        fit.pop()
    if len(fit) < len(searches):
        told.append(f"{_SEARCHES_EXCEEDED}: {' '.join(fit)}")
    return {**config, "servers": servers, "searches": fit}, told


def hosts_file(pod: Obj, machine: Machine, ips: tuple[str, ...], node_hosts: str) -> str:
    """The contents of a pod's /etc/hosts. node_hosts: the node's own file, which host-network pods get."""
    if view.host_network(pod):
        text = _NODE_HEADER + node_hosts
    else:
        text = _HEADER + (
            "127.0.0.1\tlocalhost\n"
            "::1\tlocalhost ip6-localhost ip6-loopback\n"
            "fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n"
        )
        host, domain = hostname(pod, machine.cluster_domain)
        for ip in ips:
            full = f"{host}.{domain}\t" if domain else ""
            text += f"{ip}\t{full}{host}\n"
    aliases = pod["spec"].get("hostAliases") or ()
    if aliases:
        text += "\n# Entries added by HostAliases.\n"
        for alias in aliases:
            text += "\t".join((alias["ip"], *(alias.get("hostnames") or ()))) + "\n"
    return text

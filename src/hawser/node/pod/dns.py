"""Name resolution of a pod: CRI's DNSConfig and the managed /etc/hosts.

Source: Kubernetes documentation, "DNS for Services and Pods", "Adding entries to Pod /etc/hosts with HostAliases".
"""

from __future__ import annotations

from hawser.api.types import Obj
from hawser.node.pod import view
from hawser.node.pod.configs import Machine, hostname

_HEADER = "# Kubernetes-managed hosts file.\n"
_NODE_HEADER = "# Kubernetes-managed hosts file (host network).\n"


def parse_resolv_conf(text: str) -> Obj:
    """DNSConfig from a resolv.conf(5)."""
    config: Obj = {"servers": [], "searches": [], "options": []}
    for line in text.splitlines():
        match line.split("#")[0].split(";")[0].split():
            case ["nameserver", server, *_]:
                config["servers"].append(server)
            case ["search" | "domain", *domains]:
                config["searches"] = domains
            case ["options", *options]:
                config["options"] += options
    return config


def dns_config(pod: Obj, machine: Machine, node: Obj) -> Obj:
    """DNSConfig by the pod's dnsPolicy and dnsConfig. node: the node's own, as parsed."""
    spec = pod["spec"]
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    if policy == "ClusterFirst" and view.host_network(pod):
        policy = "Default"
    if policy == "None":
        config: Obj = {"servers": [], "searches": [], "options": []}
    elif policy in ("ClusterFirst", "ClusterFirstWithHostNet") and machine.dns_servers:
        domain, namespace = machine.cluster_domain, view.key(pod)[0]
        searches = [f"{namespace}.svc.{domain}", f"svc.{domain}", domain]
        config = {
            "servers": list(machine.dns_servers),
            "searches": [*searches, *(s for s in node["searches"] if s not in searches)],
            "options": ["ndots:5"],
        }
    else:
        config = {key: list(values) for key, values in node.items()}
    extra = spec.get("dnsConfig") or {}
    for key, more in (("servers", extra.get("nameservers")), ("searches", extra.get("searches"))):
        config[key] += [value for value in more or () if value not in config[key]]
    options = {o.partition(":")[0]: o for o in config["options"]}
    for option in extra.get("options") or ():
        value = option.get("value")
        options[option["name"]] = f"{option['name']}:{value}" if value else option["name"]
    config["options"] = list(options.values())
    return config


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

"""The network between an engine's nodes: every further node hangs on the machine as a pod hangs on its node.

A further node's network namespace has one link, ``eth0``, with its InternalIP as a /32; the machine routes between all
of them and sends each node's part of the pod range to it. Everything here can be repeated at any time, and needs no
process of the engine: a boot or a crash leaves nothing that ``connect`` does not make again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network
from pathlib import Path

from hawser.cli.engine import nodes
from hawser.cli.engine.nodes import Node
from hawser.cli.engine.settings import Settings, split_listen
from hawser.node.network import netlink, netns
from hawser.node.network.links import Links, PodLink, default_mtu, veth_name
from hawser.node.network.nft import Nft
from hawser.node.network.podtable import drop_table

_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
INTERFACE = "eth0"


def connect(engine: Settings, listed: Sequence[Node]) -> None:
    """Makes what is missing of the network of all running nodes. Raises OSError, NftError."""
    further = [node for node in listed if not node.first and not node.stopped]
    if not further:
        return
    links = _links(engine)
    try:
        if _FORWARD.read_text().strip() != "1":
            _FORWARD.write_text("1")
        # The first node's agent makes the same; whoever comes first.
        links.ensure_gateway((IPv4Network(engine.pod_cidr), IPv4Network(engine.service_cidr)))
        for node in further:
            _connect(engine, node, links)
    finally:
        links.close()
    apply_table(engine, listed)


def _connect(engine: Settings, node: Node, links: Links) -> None:
    path, address = nodes.namespace(engine, node), nodes.address(engine, node)
    assert path is not None and address is not None
    if not netns.is_mounted(path):
        netns.make(path)
    if not links.present(node.name):
        links.attach(PodLink(node.name, str(path), INTERFACE, (address,)))
    pods = nodes.pod_range(engine, node)
    with netlink.Socket() as socket:
        index = socket.index(link(engine, node))
        socket.send([netlink.new_route_via(pods.network_address, pods.prefixlen, address, index)])
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        netns.call_in(descriptor, lambda: _run(node_table(engine)))
    finally:
        os.close(descriptor)


def disconnect(engine: Settings, node: Node) -> None:
    """Takes a further node's link and namespace away; what was in the namespace goes with it."""
    links = _links(engine)
    try:
        links.remove(node.name)
    finally:
        links.close()
    if path := nodes.namespace(engine, node):
        netns.release(str(path))


def apply_table(engine: Settings, listed: Iterable[Node]) -> None:
    """Brings the machine's table in line with which nodes there are and which are cut off. Raises NftError."""
    _run(table(engine, listed))


def remove_table(engine: Settings) -> None:
    """Removes the machine's table. Raises NftError."""
    _run(drop_table(f"ip {table_name(engine)}"))


def link(engine: Settings, node: Node) -> str:
    """The machine's end of a node's link."""
    return veth_name(nodes.link_prefix(engine), node.name)


def table_name(engine: Settings) -> str:
    return f"hawser-{engine.instance}-nodes"


def table(engine: Settings, listed: Iterable[Node]) -> str:
    """Commands that replace the machine's table in one transaction.

    A partitioned node and its pods do not reach the API server, and that one does not reach the node's agent; pods
    reach each other. What a Service translated and sends back where it came from must come back here to be translated
    back.
    """
    prefix, gateway = nodes.link_prefix(engine), engine.gateway
    port = split_listen(engine.listen)[1]
    cut = [f'"{link(engine, node)}"' for node in listed if node.partitioned and not node.first]
    members = f"elements = {{ {', '.join(cut)} }}; " if cut else ""
    name = table_name(engine)
    return f"""\
add table ip {name}
delete table ip {name}
table ip {name} {{
  set cut {{ type ifname; {members}}}
  chain input {{
    type filter hook input priority -2; policy accept;
    iifname @cut tcp dport {port} drop
    iifname @cut tcp sport {nodes.KUBELET_PORT} drop
    iifname "{prefix}*" ip daddr 127.0.0.0/8 ct direction original drop
  }}
  chain output {{
    type filter hook output priority -2; policy accept;
    oifname @cut tcp sport {port} drop
    oifname @cut tcp dport {nodes.KUBELET_PORT} drop
  }}
  chain postrouting {{
    type nat hook postrouting priority 98; policy accept;
    iifname "{prefix}*" oifname "{prefix}*" ct status dnat snat to {gateway}
  }}
}}
"""


def node_table(engine: Settings) -> str:
    """Commands that make the table inside a further node: what a Service sends out again comes back this way."""
    name = table_name(engine)
    return f"""\
add table ip {name}
delete table ip {name}
table ip {name} {{
  chain postrouting {{
    type nat hook postrouting priority 98; policy accept;
    iifname "{INTERFACE}" oifname "{INTERFACE}" masquerade
  }}
}}
"""


def _links(engine: Settings) -> Links:
    from hawser.cli.engine.cleanup import network_config

    config = network_config(engine)
    return Links(nodes.link_prefix(engine), config.gateway_link, {4: config.gateway}, default_mtu())


def _run(commands: str) -> None:
    nft = Nft()
    try:
        nft.run(commands)
    finally:
        nft.close()

"""The network between an engine's nodes: every further node hangs on the machine as a pod hangs on its node.

A further node's network namespace has one link, ``eth0``, with its InternalIPs as a /32 and a /128; the machine routes
between all of them and sends each node's part of the pod ranges to it. Everything here can be repeated at any time, and
needs no process of the engine: a boot or a crash leaves nothing that ``connect`` does not make again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import partial
from ipaddress import ip_network

from hawser.cli.engine import nodes
from hawser.cli.engine.nodes import Node
from hawser.cli.engine.settings import Settings, split_listen
from hawser.node.network import netlink, netns
from hawser.node.network.layout import Network
from hawser.node.network.links import Links, PodLink, default_mtu
from hawser.node.network.netlink import Address
from hawser.node.network.nft import Nft
from hawser.node.network.podtable import drop_table

INTERFACE = "eth0"
_FAMILY = {4: "ip", 6: "ip6"}


def connect(engine: Settings, listed: Sequence[Node]) -> None:
    """Makes what is missing of the network of all running nodes. Raises OSError, NftError."""
    further = [node for node in listed if not node.first and not node.stopped]
    if not further:
        return
    if not netns.is_mounted(machine := nodes.machine_namespace(engine)):
        netns.keep(machine)
    links = _links(engine)
    try:
        # The first node's agent makes the same; whoever comes first.
        links.ensure_gateway(map(ip_network, engine.ranges))
        for node in further:
            _connect(engine, node, links)
    finally:
        links.close()
    apply_table(engine, listed)


def _connect(engine: Settings, node: Node, links: Links) -> None:
    path, addresses = nodes.namespace(engine, node), nodes.addresses(engine, node)
    assert path is not None
    if not netns.is_mounted(path):
        netns.make(path)
    if not links.present(node.name):
        links.attach(PodLink(node.name, str(path), INTERFACE, addresses))
    pods = nodes.pod_ranges(engine, node)
    with netlink.Socket() as socket:
        index = socket.index(nodes.link(engine, node))
        routes = zip(pods, addresses, strict=True)
        socket.send([netlink.new_route_via(part.network_address, part.prefixlen, via, index) for part, via in routes])
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        netns.call_in(descriptor, lambda: _run("".join(map(partial(node_table, engine), pods))))
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


def remove(engine: Settings) -> None:
    """Removes what the machine has for all further nodes. Raises NftError."""
    _run("".join(drop_table(f"{_FAMILY[version]} {table_name(engine)}") for version in _gateways(engine)))
    netns.release(str(nodes.machine_namespace(engine)))


def table_name(engine: Settings) -> str:
    return f"hawser-{engine.instance}-nodes"


def table(engine: Settings, listed: Iterable[Node]) -> str:
    """Commands that replace the machine's tables in one transaction.

    A partitioned node and its pods do not reach the API server, and that one does not reach the node's agent; pods
    reach each other. What a Service translated and sends back where it came from must come back here to be translated
    back.
    """
    cut = [f'"{nodes.link(engine, node)}"' for node in listed if node.partitioned and not node.first]
    return "".join(_machine_table(engine, cut, gateway) for gateway in _gateways(engine).values())


def _machine_table(engine: Settings, cut: Sequence[str], gateway: Address) -> str:
    prefix, port = nodes.link_prefix(engine), split_listen(engine.listen)[1]
    members = f"elements = {{ {', '.join(cut)} }}; " if cut else ""
    name = f"{_FAMILY[gateway.version]} {table_name(engine)}"
    return f"""\
add table {name}
delete table {name}
table {name} {{
  set cut {{ type ifname; {members}}}
  chain input {{
    type filter hook input priority -2; policy accept;
    iifname @cut tcp dport {port} drop
    iifname @cut tcp sport {nodes.KUBELET_PORT} drop
{f'    iifname "{prefix}*" ip daddr 127.0.0.0/8 ct direction original drop' if gateway.version == 4 else ""}
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


def node_table(engine: Settings, pods: Network) -> str:
    """Commands that make the table of a family inside a further node, whose part of the pod range is pods.

    What a Service sends out again comes back this way. What comes for a pod that is not there is not sent back to where
    it came from, and so on.
    """
    family = _FAMILY[pods.version]
    name = f"{family} {table_name(engine)}"
    return f"""\
add table {name}
delete table {name}
table {name} {{
  chain forward {{
    type filter hook forward priority -2; policy accept;
    iifname "{INTERFACE}" oifname "{INTERFACE}" {family} daddr {pods} ct status & dnat == 0 drop
  }}
  chain postrouting {{
    type nat hook postrouting priority 98; policy accept;
    iifname "{INTERFACE}" oifname "{INTERFACE}" masquerade
  }}
}}
"""


def _links(engine: Settings) -> Links:
    from hawser.cli.engine.cleanup import network_config

    return Links(nodes.link_prefix(engine), network_config(engine).gateway_link, _gateways(engine), default_mtu())


def _gateways(engine: Settings) -> dict[int, Address]:
    """The machine's addresses towards pods and nodes, by IP version."""
    return {whole.version: whole[1] for whole in nodes.wholes(engine)}


def _run(commands: str) -> None:
    nft = Nft()
    try:
        nft.run(commands)
    finally:
        nft.close()

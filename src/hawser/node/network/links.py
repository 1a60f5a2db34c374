"""Links, addresses and routes of pods: every pod is a /32 behind a veth pair of its own, routed by the host.

Why routed and not a bridge: with a bridge, traffic between two pods of a node never meets the host's IP layer unless
br_netfilter is loaded and its sysctls are set for the whole machine; without them a Service that chooses a pod on the
same bridge breaks, because the answer takes the short way and is never translated back. Routed, each packet passes
the host's hooks in both directions, by construction. The same shape serves several engines and other CNIs on one
machine, and broadcasts stay out of pods.

All names and addresses are computed, never asked for: MAC addresses follow from the IP address, and neighbour entries
are permanent, so no packet waits for ARP.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from hawser.node.network import netlink, netns
from hawser.node.network.netlink import Address

Network = IPv4Network | IPv6Network

HOST_MAC = bytes.fromhex("eeeeeeeeeeee")
"""MAC of the host end of every pair: each is a network of its own, so they may all be the same (Calico's way)."""
_NAME_LIMIT = 15  # IFNAMSIZ - 1
_LOOPBACK_INDEX = 1
_FORWARD = {4: Path("/proc/sys/net/ipv4/ip_forward"), 6: Path("/proc/sys/net/ipv6/conf/all/forwarding")}


def veth_name(prefix: str, container_id: str) -> str:
    """The host end's name: the engine's prefix and as much of a hash of the sandbox id as fits."""
    return (prefix + sha256(container_id.encode()).hexdigest())[:_NAME_LIMIT]


def pod_mac(address: Address) -> bytes:
    """The pod end's MAC: locally administered, made of the address's last four bytes."""
    return b"\x0a\x58" + address.packed[-4:]


@dataclass(frozen=True, slots=True)
class PodLink:
    """What a pod's interface is to be.

    addresses: at most one of each family. ingress, egress: bits a second at most, 0 for no limit.
    """

    container_id: str
    netns: str
    interface: str
    addresses: tuple[Address, ...]
    ingress: int = 0
    egress: int = 0


class Links:
    """The engine's links in the host's network namespace.

    prefix: of the host ends' names, unique to the engine, at most 8 characters.
    gateway_link: name of the link without ports that holds the gateways' addresses.
    gateways: by IP version.
    mtu: of pod interfaces, bytes.

    Not for use from several threads at once. Opened in the host's network namespace.
    """

    def __init__(self, prefix: str, gateway_link: str, gateways: dict[int, Address], mtu: int) -> None:
        self.prefix = prefix
        self.gateway_link = gateway_link
        self.gateways = gateways
        self.mtu = mtu
        self._socket = netlink.Socket()
        self._ipv6 = Path("/proc/sys/net/ipv6").exists()

    def close(self) -> None:
        self._socket.close()

    def ensure_gateway(self, routed: Iterable[Network]) -> None:
        """Make the gateway link with its addresses, and routes to the networks that must never leave the machine, which
        forwards packets from then on. Raises OSError.

        routed: Service ranges and pod ranges. A pod's /32 is more specific than these; what has no pod ends here
        instead of on the default route.
        """
        for version in self.gateways:
            if _FORWARD[version].read_text().strip() != "1":
                _FORWARD[version].write_text("1")
        if not self._socket.index(self.gateway_link):
            self._socket.send([netlink.new_bridge(self.gateway_link)])
        index = self._socket.index(self.gateway_link)
        requests = [netlink.set_up(index)]
        requests += [netlink.new_address(index, a, a.max_prefixlen) for a in self.gateways.values()]
        for network in routed:
            gateway = self.gateways.get(network.version)
            if gateway is not None:
                requests.append(netlink.new_route(network.network_address, network.prefixlen, index, gateway))
        self._socket.send(requests)

    def attach(self, link: PodLink) -> None:
        """Give a pod its interface; idempotent for a sandbox. Raises OSError (FileNotFoundError: no such netns)."""
        namespace = os.open(link.netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            name = veth_name(self.prefix, link.container_id)
            mac = pod_mac(link.addresses[0])
            request = netlink.new_veth(name, HOST_MAC, link.interface, mac, namespace, self.mtu)
            try:
                self._socket.send([request])
            except FileExistsError:
                # Left by an ADD that was cut short: start over, its state is unknown.
                self._delete([name])
                self._socket.send([request])
            try:
                self._configure_host(name, link, mac)
                self._configure_pod(namespace, link)
            except BaseException:
                self._delete([name])
                raise
        finally:
            os.close(namespace)

    def _configure_host(self, name: str, link: PodLink, mac: bytes) -> None:
        index = self._socket.index(name)
        requests = [netlink.set_up_pod_side(index, self._ipv6)]
        if link.ingress:
            requests.append(netlink.new_rate_limit(index, link.ingress))
        for address in link.addresses:
            gateway = self.gateways[address.version]
            requests.append(netlink.new_route(address, address.max_prefixlen, index, gateway))
            requests.append(netlink.new_neighbour(index, address, mac))
        self._socket.send(requests)

    def _configure_pod(self, namespace: int, link: PodLink) -> None:
        with netns.call_in(namespace, netlink.Socket) as inside:
            index = inside.index(link.interface)
            requests = [netlink.set_up(_LOOPBACK_INDEX), netlink.set_up(index)]
            if link.egress:
                # On the pod's own end: changing it takes CAP_NET_ADMIN.
                requests.append(netlink.new_rate_limit(index, link.egress))
            for address in link.addresses:
                gateway = self.gateways[address.version]
                requests += [
                    netlink.new_address(index, address, address.max_prefixlen),
                    netlink.new_route(gateway, gateway.max_prefixlen, index),
                    netlink.new_default_route(gateway, index),
                    netlink.new_neighbour(index, gateway, HOST_MAC),
                ]
            inside.send(requests)

    def detach(self, container_id: str, addresses: Sequence[Address]) -> None:
        """Take a pod off the network: its routes go now, the pair dies with the pod's namespace.

        Deleting a link waits 15-30 ms for the kernel under its one lock; a dying namespace deletes its links in
        batches with a single wait. ``sweep`` removes pairs whose namespace lives on.
        """
        index = self._socket.index(veth_name(self.prefix, container_id))
        if index:
            requests = [netlink.delete_route(a, a.max_prefixlen, index) for a in addresses]
            try:
                self._socket.send(requests)
            except OSError as error:
                if error.errno not in (errno.ESRCH, errno.ENODEV):
                    raise

    def remove(self, container_id: str) -> None:
        """Delete a sandbox's pair at once; no error when there is none."""
        self._delete([veth_name(self.prefix, container_id)])

    def present(self, container_id: str) -> bool:
        """Whether the host end of a sandbox's pair exists."""
        return bool(self._socket.index(veth_name(self.prefix, container_id)))

    def sweep(self, live_ids: Iterable[str]) -> list[str]:
        """Delete the pairs of all sandboxes but the live ones; the deleted names."""
        keep = {veth_name(self.prefix, container_id) for container_id in live_ids}
        stale = [n for n in self._socket.links() if n.startswith(self.prefix) and n not in keep]
        stale = [n for n in stale if n != self.gateway_link]
        self._delete(stale)
        return stale

    def teardown(self) -> None:
        """Delete every link of the engine; addresses and routes go with them."""
        self.sweep(())
        self._delete([self.gateway_link])

    def _delete(self, names: Iterable[str]) -> None:
        for name in names:
            index = self._socket.index(name)
            if not index:
                continue
            try:
                self._socket.send([netlink.delete_link(index)])
            except OSError as error:
                if error.errno != errno.ENODEV:
                    raise


def default_mtu() -> int:
    """The MTU of the link with the IPv4 default route, as pods' traffic leaves through it; 1500 without one."""
    try:
        for line in Path("/proc/net/route").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[1] == "00000000" and fields[7] == "00000000":
                with netlink.Socket() as socket:
                    return socket.mtu(fields[0])
    except (OSError, IndexError):
        pass
    return 1500

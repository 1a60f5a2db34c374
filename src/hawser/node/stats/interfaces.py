"""What went through network interfaces.

Source: proc_pid_net(5), /proc/net/dev.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

# Links to pods, bridges of containers and the like are no interfaces of the node.
_PHYSICAL = re.compile(r"(eth|en|wl|ww|ib|bond|venet|virtio)[a-z]*\d")


@dataclass(frozen=True, slots=True)
class Interface:
    """Counters of one interface since it was made."""

    name: str
    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


def parse(text: str) -> list[Interface]:
    """From /proc/net/dev."""
    found = []
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        row = [int(word) for word in rest.split()]
        found.append(Interface(name.strip(), *row[0:4], *row[8:12]))
    return found


def read() -> dict[str, Interface]:
    """Every interface of the node's network namespace, by name."""
    return {row.name: row for row in parse(Path("/proc/net/dev").read_text())}


def own(rows: dict[str, Interface]) -> list[Interface]:
    """The node's own interfaces among them."""
    return [row for name, row in rows.items() if _PHYSICAL.match(name)]


def other_end(link: Interface, name: str) -> Interface:
    """A pod's interface, from the node's end of its link: what the pod sends is received there."""
    received = (link.tx_bytes, link.tx_packets, link.tx_errors, link.tx_dropped)
    sent = (link.rx_bytes, link.rx_packets, link.rx_errors, link.rx_dropped)
    return Interface(name, *received, *sent)

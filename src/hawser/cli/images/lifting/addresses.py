"""Addresses written into a machine's configuration, which are others in a pod. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass

from hawser.cli.images.lifting.survey import Captured

LIMIT = 100
_V4 = re.compile(r"(?<![\w.:-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
_V6 = re.compile(r"(?<![\w.:])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w.:])")
# Tables, keys and documentation: what looks like an address there is none, or nobody's.
_IGNORED = re.compile(
    r"etc/(services|protocols|networks|ethertypes|rpc|mime\.types|magic|ssl/.*|pki/.*|ca-certificates.*|ssh/moduli"
    r"|ld\.so\..*|alternatives/.*|os-release|bash_completion.*|.*\.(pem|crt|key|dpkg-.*|rpm(new|save|orig))|.*~)"
)
_NETWORK = re.compile(
    r"etc/(network/interfaces(\.d/.*)?|netplan/.*|sysconfig/network(-scripts)?/.*|NetworkManager/system-connections/.*"
    r"|systemd/network/.*|hosts|hostname)"
)
_OWN_LINE = re.compile(r"^\s*-?\s*(address\d*|addresses|ipaddr\d*|ipv6addr|[0-9a-f.:]+/\d+)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Found:
    """An address in a file, by line; `own` when it is the machine's."""

    path: str
    line: int
    address: str
    own: bool


def own_addresses(files: Mapping[str, Captured]) -> set[str]:
    """The machine's own addresses as its network configuration has them."""
    own = set()
    for path, captured in files.items():
        if _NETWORK.fullmatch(path) and not path.endswith("/hosts"):
            for line in captured.text.splitlines():
                if _OWN_LINE.match(line) and "gateway" not in line.lower():
                    own.update(_addresses(line))
    return own


def hard_coded(files: Mapping[str, Captured], own: set[str], limit: int = LIMIT) -> tuple[list[Found], int]:
    """The addresses in /etc, the machine's own first, and how many more there are than `limit`."""
    found = []
    for path in sorted(files):
        captured = files[path]
        if not path.startswith("etc/") or _IGNORED.fullmatch(path) or b"\0" in captured.content:
            continue
        for number, line in enumerate(captured.text.splitlines(), 1):
            if not line.lstrip().startswith(("#", ";", "//")):
                found += [Found(path, number, address, address in own) for address in _addresses(line)]
    found.sort(key=lambda one: not one.own)
    return found[:limit], max(0, len(found) - limit)


def _addresses(line: str) -> list[str]:
    result = []
    for text in (*_V4.findall(line), *_V6.findall(line)):
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue
        special = address.is_loopback or address.is_unspecified or address.is_multicast or address.is_link_local
        if special or text.startswith(("255.", "0.")) or (address.version == 6 and len(text) < 6):
            continue
        result.append(str(address))
    return list(dict.fromkeys(result))
